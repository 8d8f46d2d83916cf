"""What the schema of settings takes and refuses."""

import msgspec
import pytest

from edgeexport.settings import PRECISIONS, Limits, Settings

LEAST = {
    "precision": "w8a8",
    "quantization": {"activation_type": "uint8", "per_channel": True, "op_types": ["MatMul"]},
    "calibration": {"method": "minmax", "minimum_samples": 1},
}


def convert(**changes):
    return msgspec.convert({**LEAST, **changes}, Settings)


def test_what_must_be_said_is_little():
    settings = convert()
    assert settings.limits == Limits()
    assert all(value is None for value in msgspec.to_builtins(settings.limits).values())
    assert (settings.timing.pairs, settings.timing.threads, settings.golden_samples) == (60, 1, 8)
    assert settings.quantization.op_types == ("MatMul",)


@pytest.mark.parametrize("missing", ["precision", "quantization", "calibration"])
def test_what_decides_an_export_has_no_default(missing):
    table = {key: value for key, value in LEAST.items() if key != missing}
    with pytest.raises(msgspec.ValidationError, match=missing):
        msgspec.convert(table, Settings)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_precisions(precision):
    assert convert(precision=precision).precision == precision


@pytest.mark.parametrize(
    "changes",
    [
        {"precision": "int8"},
        {"typo": 1},
        {"limits": {"size": 1.0}},
        {"limits": {"size_ratio": 0}},
        {"limits": {"size_ratio": float("nan")}},
        {"limits": {"agreement": 1.5}},
        {"limits": {"accuracy_drop": 2}},
        {"limits": {"peak_memory": 0}},
        {"timing": {"pairs": -1}},
        {"timing": {"threads": 1.5}},
        {"golden_samples": 0},
        {"golden_samples": 257},
        {"calibration": {"method": "entropy", "minimum_samples": 1}},
        {"calibration": {"method": "minmax", "minimum_samples": 0}},
        {"calibration": {"method": "percentile", "minimum_samples": 1, "percentile": 50}},
        {"quantization": {**LEAST["quantization"], "activation_type": "int4"}},
        {"quantization": {**LEAST["quantization"], "smoothing": 1.1}},
        {"quantization": {**LEAST["quantization"], "block_size": 48}},
        {"quantization": {**LEAST["quantization"], "mask_value": 1.0}},
        {"overrides": [{"precision": "w4"}]},
        {"overrides": [{"op_type": "Add"}]},
    ],
    ids=str,
)
def test_refused(changes):
    with pytest.raises(msgspec.ValidationError):
        convert(**changes)


def test_plain_values_come_back_equal():
    settings = convert(overrides=[{"precision": "fp32", "name": "head"}], limits={"size_ratio": 0.3})
    assert msgspec.convert(msgspec.to_builtins(settings), Settings) == settings
