"""What the quantizer writes for a plan: types, scales and numbers."""

import hashlib
import logging
import sys

import numpy as np
import pytest
from tflite_models import (
    by_name,
    convolutions,
    cosine,
    make_settings,
    normal,
    operators,
    run,
    save,
    two_layers,
    values,
    weight,
    words,
)

from edgeexport.errors import ConversionError, MissingRequirement
from edgeexport.formats.tflite.flatbuffer import dtype_name, read_model
from edgeexport.formats.tflite.quantize import quantize

INTERVALS = {"input.0": (-3.5, 4.25), "first": (0.0, 30.0), "output.0": (-60.0, 58.0)}
LAYERS = ["first", "output.0"]


@pytest.fixture
def write(tmp_path):
    """Quantize a model; gives its path and what it reads back as."""
    count = iter(range(100))

    def write(model, precisions, settings, intervals=INTERVALS):
        path = tmp_path / f"{next(count)}.tflite"
        quantize(model, precisions, intervals, settings, path)
        return path, read_model(path)

    return write


@pytest.fixture
def inputs():
    return [{"x": np.clip(normal(4, 16, seed=seed), -3.5, 4.25)} for seed in range(10)]


def outputs(path, feeds, name="y"):
    return np.stack([run(path, feed)[name] for feed in feeds])


def scales(tensor):
    return np.asarray(tensor.quantization.scale), list(tensor.quantization.zeroPoint)


# weights, against numpy


@pytest.mark.parametrize("precision", ["w8a8", "w8a16", "w8a8-dynamic", "w8"])
def test_weights_are_rounded_by_channel(write, precision):
    model = two_layers()
    _, written = write(model, dict.fromkeys(LAYERS, precision), make_settings(precision))
    tensor, given = by_name(written)["first/1"], values(model, weight(model, "first"))
    scale, zero = scales(tensor)
    assert dtype_name(tensor.type) == "int8"
    assert np.allclose(scale, np.abs(given).max(axis=1) / 127, rtol=1e-6)
    assert zero == [0] * 32
    assert np.array_equal(values(written, tensor), np.clip(np.rint(given / scale[:, None]), -127, 127))


@pytest.mark.parametrize(
    ("precision", "rule"),
    [("w8a8", "per_channel"), ("w8a16", "per_channel"), ("w8", "per_channel"), ("w8a8-dynamic", "hybrid_per_channel")],
)
def test_one_scale_a_tensor(write, precision, rule):
    model = two_layers()
    _, written = write(model, dict.fromkeys(LAYERS, precision), make_settings(precision, **{rule: False}))
    tensor, given = by_name(written)["first/1"], values(model, weight(model, "first"))
    scale, zero = scales(tensor)
    assert scale.tolist() == pytest.approx([np.abs(given).max() / 127])
    assert zero == [0]
    assert np.array_equal(values(written, tensor), np.clip(np.rint(given / scale), -127, 127))


@pytest.mark.parametrize(("precision", "hybrid"), [("w8a8", False), ("w8a8-dynamic", True)])
def test_each_kind_of_layer_has_its_own_granularity(write, precision, hybrid):
    rules = {"per_channel": True, "hybrid_per_channel": False} if not hybrid else {"per_channel": False}
    _, written = write(two_layers(), dict.fromkeys(LAYERS, precision), make_settings(precision, **rules))
    assert len(by_name(written)["first/1"].quantization.scale) == 32


def test_half_precision_rounds_to_float16(write, inputs):
    model = two_layers()
    path, written = write(model, dict.fromkeys(LAYERS, "fp16"), make_settings("fp16"))
    stored = values(written, by_name(written)["first/1"])
    assert stored.dtype == np.float16
    assert np.array_equal(stored, values(model, weight(model, "first")).astype(np.float16))
    assert operators(written).count("DEQUANTIZE") == 2
    assert cosine(outputs(path, inputs), outputs(save(model, path.with_suffix(".f")), inputs)) > 0.999999


@pytest.mark.parametrize("hybrid", [True, False])
def test_4_bits_are_int4_with_a_scale_a_channel_or_tensor(write, hybrid):
    model = two_layers()
    settings = make_settings("w4", hybrid_per_channel=hybrid)
    _, written = write(model, dict.fromkeys(LAYERS, "w4"), settings)
    tensor, given = by_name(written)["first/1"], values(model, weight(model, "first"))
    scale, _ = scales(tensor)
    assert dtype_name(tensor.type) == "int4"
    largest = np.abs(given).max(axis=1) if hybrid else np.abs(given).max()
    assert np.allclose(scale, largest / 7, rtol=1e-6)
    restored = values(written, tensor) * (scale[:, None] if hybrid else scale)
    assert np.abs(restored - given).max() <= scale.max() / 2 * 1.001


def test_4_bits_in_blocks(write, inputs):
    model = two_layers()
    path, written = write(model, {"output.0": "w4"}, make_settings("w4", block_size=32))
    tensor = by_name(written)["output.0/1"]
    assert dtype_name(tensor.type) == "int4"
    assert tensor.quantization.details.blockSize == 32
    assert dtype_name(by_name(written)["first/1"].type) == "float32"
    assert cosine(outputs(path, inputs), outputs(save(model, path.with_suffix(".f")), inputs)) > 0.98


# activations


@pytest.mark.parametrize(("precision", "dtype", "bias"), [("w8a8", "int8", "int32"), ("w8a16", "int16", "int64")])
def test_static_activations_span_their_intervals(write, precision, dtype, bias):
    model = two_layers()
    _, written = write(model, dict.fromkeys(LAYERS, precision), make_settings(precision))
    tensors = by_name(written)
    assert operators(written) == ["QUANTIZE", "FULLY_CONNECTED", "FULLY_CONNECTED", "DEQUANTIZE"]
    for name, interval in (("input.0_quantized", (-3.5, 4.25)), ("first", (0, 30)), ("output.0", (-60, 58))):
        (scale,), (zero,) = scales(tensors[name])
        assert dtype_name(tensors[name].type) == dtype
        if precision == "w8a8":
            assert scale == pytest.approx((interval[1] - interval[0]) / 255)
            assert zero == round(-128 - interval[0] / scale)
        else:
            assert scale == pytest.approx(max(map(abs, interval)) / 32767)
            assert zero == 0
    (scale,), _ = scales(tensors["input.0_quantized"])
    of_weight, _ = scales(tensors["first/1"])
    steps, (of_bias, _) = values(written, tensors["first/2"]), scales(tensors["first/2"])
    assert steps.dtype == bias
    assert np.allclose(of_bias, scale * of_weight)
    assert np.abs(steps * of_bias - values(model, weight(model, "first", 2))).max() <= of_bias.max() / 2 * 1.001


@pytest.mark.parametrize("interval", [(2.0, 6.0), (-6.0, -2.0)])
def test_intervals_are_widened_to_hold_zero(write, interval):
    _, written = write(two_layers(), {"first": "w8a8"}, make_settings("w8a8"), {**INTERVALS, "input.0": interval})
    (scale,), (zero,) = scales(by_name(written)["input.0_quantized"])
    assert scale == pytest.approx(6 / 255)
    assert zero == (-128 if interval[0] > 0 else 127)


def test_dynamic_layers_keep_float_activations(write, inputs):
    path, written = write(two_layers(), dict.fromkeys(LAYERS, "w8a8-dynamic"), make_settings("w8a8-dynamic"), {})
    assert operators(written) == ["FULLY_CONNECTED"] * 2
    assert dtype_name(by_name(written)["first"].type) == "float32"
    plain = outputs(save(two_layers(), path.with_suffix(".f")), inputs)
    assert 0.999 < cosine(outputs(path, inputs), plain) < 1


@pytest.mark.parametrize("precision", ["w8a8", "w8a16", "w8", "w4", "fp16", "w8a8-dynamic"])
def test_outputs_are_near_float_and_not_the_same(write, inputs, precision):
    path, _ = write(two_layers(), dict.fromkeys(LAYERS, precision), make_settings(precision))
    before, after = outputs(save(two_layers(), path.with_suffix(".f")), inputs), outputs(path, inputs)
    assert cosine(before, after) > {"w4": 0.98, "w8a8": 0.999}.get(precision, 0.9999)
    assert not np.array_equal(before, after)
    assert np.abs(before - after).max() < (8 if precision == "w4" else 0.8)


def test_what_the_plan_leaves_out_stays_float(write):
    _, written = write(two_layers(), {"first": "w8a8"}, make_settings("w8a8"))
    tensors = by_name(written)
    assert operators(written) == ["QUANTIZE", "FULLY_CONNECTED", "DEQUANTIZE", "FULLY_CONNECTED"]
    assert dtype_name(tensors["output.0/1"].type) == "float32"
    assert (
        values(written, tensors["output.0/1"]).tobytes()
        == values(two_layers(), weight(two_layers(), "output.0")).tobytes()
    )


def test_precisions_mix_in_one_graph(write, inputs):
    path, written = write(two_layers(), {"first": "w8a8", "output.0": "w8"}, make_settings("w8a8"))
    assert dtype_name(by_name(written)["first"].type) == "int8"
    assert operators(written).count("FULLY_CONNECTED") == 2
    assert dtype_name(by_name(written)["output.0"].type) == "float32"
    plain = outputs(save(two_layers(), path.with_suffix(".f")), inputs)
    assert 0.999 < cosine(outputs(path, inputs), plain) < 1


# tables


@pytest.mark.parametrize(("precision", "dtype", "most"), [("embedding-8", "int8", 127), ("embedding-4", "int4", 7)])
@pytest.mark.parametrize("hybrid", [True, False])
def test_tables_have_a_scale_a_row_or_one(write, precision, dtype, most, hybrid):
    model = words()
    settings = make_settings("w8a8-dynamic", hybrid_per_channel=hybrid)
    path, written = write(model, {"embed": precision}, settings, {})
    table, given = by_name(written)["embed/1"], values(model, weight(model, "embed"))
    scale, _ = scales(table)
    assert dtype_name(table.type) == dtype
    assert np.allclose(scale, (np.abs(given).max(axis=1) if hybrid else np.abs(given).max()) / most, rtol=1e-6)
    stored = values(written, table)
    assert np.array_equal(stored, np.clip(np.rint(given / (scale[:, None] if hybrid else scale)), -most, most))
    ids = np.array([3, 49, 0, 3], np.int32)
    rows = stored[ids] * (scale[ids, None] if hybrid else scale)
    expected = rows @ values(model, weight(model, "output.0")).T
    assert np.allclose(run(path, {"ids": ids})["y"], expected, atol=1e-4)


# the file


def test_marks_of_precisions_are_taken_off_again(write):
    plans = [
        (two_layers((4, 8)), dict.fromkeys(["first", "1/first"], "w8a8"), "w8a8"),
        (two_layers(), {"first": "w8a8-dynamic", "output.0": "w8"}, "w8a8"),
        (words(), {"embed": "embedding-4", "output.0": "w4"}, "w4"),
    ]
    for model, precisions, precision in plans:
        before = set(by_name(model)) | set(by_name(model, len(model.subgraphs) - 1))
        intervals = {**INTERVALS, **{f"1/{name}": interval for name, interval in INTERVALS.items()}}
        path, written = write(model, precisions, make_settings(precision), intervals)
        after = {name for number in range(len(written.subgraphs)) for name in by_name(written, number)}
        assert before <= after
        assert not any("@" in name for name in after)
        assert not any(f"{precision}@".encode() in path.read_bytes() for precision in precisions.values())


def test_the_given_model_is_not_changed(write, tmp_path):
    model = two_layers()
    before = save(model, tmp_path / "before.tflite").read_bytes()
    write(model, dict.fromkeys(LAYERS, "w8a8"), make_settings("w8a8"))
    assert save(model, tmp_path / "after.tflite").read_bytes() == before


def test_nothing_is_left_beside_the_file(write):
    path, _ = write(two_layers(), dict.fromkeys(LAYERS, "w8"), make_settings("w8"), {})
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("precision", ["w8a8", "w4", "fp16"])
def test_the_same_plan_gives_the_same_bytes(write, precision):
    digests = {
        hashlib.sha256(
            write(two_layers((4, 8)), dict.fromkeys(order, precision), make_settings(precision), both)[0].read_bytes()
        ).hexdigest()
        for order in (["first", "output.0", "1/first", "1/output.0"], ["1/output.0", "1/first", "output.0", "first"])
        for both in [{**INTERVALS, **{f"1/{name}": interval for name, interval in INTERVALS.items()}}]
    }
    assert len(digests) == 1


def test_signatures_share_one_copy_of_a_quantized_weight(write):
    precisions = dict.fromkeys(["first", "output.0", "1/first", "1/output.0"], "w8")
    _, written = write(two_layers((4, 8)), precisions, make_settings("w8"), {})
    for name in ("first/1", "output.0/1"):
        assert by_name(written)[name].buffer == by_name(written, 1)[f"1/{name}"].buffer != 0


# inputs and outputs


@pytest.mark.parametrize(
    ("precision", "io_type", "ends"),
    [
        ("w8a8", "float32", ("QUANTIZE", "DEQUANTIZE")),
        ("w8a8", "int8", None),
        ("w8a16", "int16", None),
        ("w8a8", "int16", ("QUANTIZE", "QUANTIZE")),
        ("w8a16", "int8", ("QUANTIZE", "QUANTIZE")),
    ],
)
def test_inputs_and_outputs_have_the_type_asked_for(write, precision, io_type, ends):
    settings = make_settings(precision, io_type=io_type)
    _, written = write(two_layers(), dict.fromkeys(LAYERS, precision), settings)
    graph = written.subgraphs[0]
    types = [dtype_name(graph.tensors[index].type) for index in (*graph.inputs, *graph.outputs)]
    assert types == [io_type, io_type]
    found = operators(written)
    assert (found[0], found[-1]) == ends if ends else found == ["FULLY_CONNECTED", "FULLY_CONNECTED"]


# what goes wrong


def test_what_the_quantizer_refuses_is_a_conversion_error(write, tmp_path):
    with pytest.raises(ConversionError, match=r"quantizing to w4 failed: ValueError: .*first/1.*block size 32"):
        write(two_layers(), {"first": "w4"}, make_settings("w4", block_size=32))
    assert list(tmp_path.iterdir()) == []


def test_an_activation_without_an_interval_is_a_conversion_error(write):
    with pytest.raises(ConversionError, match=r"quantizing to w8a8 failed: .*first"):
        write(two_layers(), {"first": "w8a8"}, make_settings("w8a8"), {"input.0": (-1, 1)})


def test_a_missing_quantizer_is_named_with_what_installs_it(write, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "ai_edge_quantizer", None)
    with pytest.raises(MissingRequirement, match="quantizing TFLite models needs ai-edge-quantizer") as caught:
        write(two_layers(), {"first": "w8"}, make_settings("w8"))
    assert caught.value.hint == "pip install 'edgeexport[litert]'"
    assert list(tmp_path.iterdir()) == []


def test_logging_is_as_before_and_the_terminal_stays_quiet(write, capfd):
    before = logging.root.manager.disable
    write(convolutions(), {"stem": "w8"}, make_settings("w8"), {})
    with pytest.raises(ConversionError):
        write(two_layers(), {"first": "w8a8"}, make_settings("w8a8"), {})
    assert logging.root.manager.disable == before
    assert capfd.readouterr() == ("", "")
