"""The format as the pipeline uses it: torch modules in, packages out, run by the evaluator."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("coremltools", reason="pip install 'edgeexport[coreml]'")

from edgeexport import mil, tree
from edgeexport.errors import ConversionError, ModelError, RecipeError
from edgeexport.formats.coreml import CoremlFormat
from edgeexport.recipe import resolve
from edgeexport.settings import Interface
from edgeexport.sources.torch import TorchSource
from edgeexport.target import load_target


class Net(nn.Module):
    """A table, two layers with an activation, and an added table that nothing else uses."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(60, 32)
        self.places = nn.Parameter(torch.randn(1, 20, 32))
        self.first = nn.Linear(32, 64)
        self.second = nn.Linear(64, 48)

    def forward(self, ids, mask):
        hidden = self.words(ids) + self.places
        hidden = torch.relu(self.first(hidden))
        bias = (1.0 - mask.float()) * torch.finfo(torch.float32).min
        weights = torch.softmax(bias, -1).unsqueeze(-1)
        return self.second((hidden * weights).sum(1))


def make_source(module=None):
    module = (module or Net()).eval()
    module.example_inputs = {"ids": torch.ones(1, 20, dtype=torch.int64), "mask": torch.ones(1, 20, dtype=torch.int64)}
    module.example_outputs = ("scores",)
    return TorchSource(module, "net", "digest")


def samples(count):
    random = np.random.default_rng(1)
    for _ in range(count):
        mask = (np.arange(20) < random.integers(5, 20)).astype(np.int32)[None]
        yield {"ids": random.integers(0, 60, (1, 20)).astype(np.int32), "mask": mask}


def settings(precision, target="iphone-ios18", **flags):
    return resolve(load_target(target), None, "", {"precision": precision, **flags}).settings


@pytest.fixture(scope="module")
def source():
    return make_source()


@pytest.fixture(scope="module")
def baseline(source, tmp_path_factory):
    path = tmp_path_factory.mktemp("coreml") / "float.mlpackage"
    return CoremlFormat().baseline(source, Interface(deployment_target="iOS18"), path)


@pytest.fixture
def convert(baseline, tmp_path):
    def convert(precision, **flags):
        chosen = settings(precision, **flags)
        feeds = lambda _: samples(40)  # noqa: E731
        return CoremlFormat().convert(baseline, chosen, feeds, tmp_path / f"{precision}.mlpackage")

    return convert


def outputs(artifact, mode="exact"):
    model = mil.load(artifact.path, mode)
    return np.concatenate([model(sample)[artifact.signature.outputs[0].name] for sample in samples(10)])


def expected(source):
    name = source.signature.outputs[0].name
    return np.concatenate(
        [source.reference({key: value.astype(np.int64) for key, value in s.items()})[name] for s in samples(10)]
    )


def digest(path):
    return [
        (str(file.relative_to(path)), hashlib.sha256(file.read_bytes()).hexdigest())
        for file in sorted(path.rglob("*"))
        if file.is_file()
    ]


def noise_db(found, wanted):
    return 10 * np.log10((wanted**2).mean() / ((found - wanted) ** 2).mean())


def test_float32(source, baseline):
    np.testing.assert_allclose(outputs(baseline), expected(source), rtol=1e-5, atol=1e-5)
    assert [spec.dtype for spec in baseline.signature.inputs] == ["int32", "int32"]
    assert CoremlFormat().inspect(baseline.path)[0] == baseline.signature


def stored(path):
    return [item for item in CoremlFormat().inspect(path)[1] if item.what != "structure"]


@pytest.mark.parametrize(
    ("precision", "least", "ratio"), [("fp16", 55, 0.6), ("w8", 35, 0.45), ("w8a8", 25, 0.45), ("w4", 12, 0.45)]
)
def test_compressed(source, baseline, convert, precision, least, ratio):
    artifact = convert(precision)
    weights = [sum(item.bytes for item in stored(a.path)) for a in (artifact, baseline)]
    assert weights[0] / weights[1] < ratio
    assert noise_db(outputs(artifact, "device"), expected(source)) > least
    assert CoremlFormat().inspect(artifact.path)[0] == baseline.signature


def test_masks_stay_numbers_in_float16(convert):
    model = mil.load(convert("fp16").path, "device")
    for sample in samples(10):
        model(sample)
    assert model.findings == []


def test_an_added_table_stays_float(convert):
    artifact = convert("w8")
    assert any("feed 'add' stay float16" in note for note in artifact.notes)
    stored = [(item.component, item.dtype, item.bytes) for item in CoremlFormat().inspect(artifact.path)[1]]
    assert ("other", "float16", 20 * 32 * 2) in stored
    assert ("embedding", "int8", 60 * 32) in stored


def test_an_override_keeps_a_layer_in_float32(convert):
    stored = CoremlFormat().inspect(convert("w8", overrides=[{"precision": "fp32", "op_type": "gather"}]).path)[1]
    assert ("embedding", "float32", 60 * 32 * 4) in [(item.component, item.dtype, item.bytes) for item in stored]


def test_a_palette(source, convert):
    artifact = convert("w4", quantization={"palette_bits": 4, "block_size": 16})
    stored = {(item.component, item.dtype) for item in CoremlFormat().inspect(artifact.path)[1]}
    assert ("linear", "uint4") in stored
    assert noise_db(outputs(artifact), expected(source)) > 15


def test_ranges_come_from_all_samples(baseline, tmp_path):
    """The last sample is small: by its range alone, all others would be clipped."""

    def feeds(_):
        yield from samples(10)
        yield {"ids": np.zeros((1, 20), np.int32), "mask": np.eye(1, 20, dtype=np.int32)}

    chosen = settings("w8a8", calibration={"method": "minmax"})
    artifact = CoremlFormat().convert(baseline, chosen, feeds, tmp_path / "a.mlpackage")
    assert noise_db(outputs(artifact), outputs(baseline)) > 25
    assert "int8 activations: 0 of 1 add, 2 of 2 linear" in artifact.notes


def test_outliers_are_left_out_and_named(baseline, tmp_path):
    chosen = settings("w8a8", quantization={"minimum_snr": 200.0, "fallback": "w8"})
    artifact = CoremlFormat().convert(baseline, chosen, lambda _: samples(5), tmp_path / "a.mlpackage")
    assert any("layers have float16 activations instead" in note for note in artifact.notes)
    np.testing.assert_allclose(outputs(artifact), outputs(baseline), atol=0.05)


class Spiky(nn.Module):
    """One value of a rare token sets the range of all others; looking ids up adds integers, for those below zero."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(600, 64)
        self.words.weight.data[599, 0] = 400.0
        self.first, self.second = nn.Linear(64, 64), nn.Linear(64, 48)

    def forward(self, ids, mask):
        hidden = torch.tanh(self.first(self.words(ids + mask)))
        return self.second(hidden).mean(1)


def spiky_samples(_):
    random = np.random.default_rng(2)
    for number in range(100):
        ids = random.integers(0, 590, (1, 20)).astype(np.int32)
        ids[0, 0] = 598 if number == 50 else ids[0, 0]
        yield {"ids": ids, "mask": np.ones((1, 20), np.int32)}


def test_a_target_leaves_outliers_and_integers_out_and_names_them(tmp_path):
    float32 = CoremlFormat().baseline(make_source(Spiky()), Interface(), tmp_path / "float.mlpackage")
    found = {}
    for least in (0.0, None):
        flags = {} if least is None else {"quantization": {"minimum_snr": least}}
        chosen = settings("w8a8", "iphone-ios17", calibration={"method": "minmax"}, **flags)
        found[least] = CoremlFormat().convert(float32, chosen, spiky_samples, tmp_path / f"{least}.mlpackage")
    assert found[None].notes[0] == "int8 activations: 1 of 2 linear"
    assert found[None].notes[1].startswith("1 layers have float16 activations instead")
    assert [note for note in found[None].notes if "compute with integers" in note] == [
        "2 operators compute with integers as they are: add, add_0"
    ]
    wanted, plain, chosen = (
        np.concatenate([mil.load(artifact.path)(one)["output"] for one in spiky_samples("")])
        for artifact in (float32, found[0.0], found[None])
    )
    assert noise_db(plain, wanted) < 15
    assert noise_db(chosen, wanted) > 25


def test_constants_of_inner_blocks_stay_numbers_in_float16(tmp_path):
    import coremltools as ct
    from coremltools.converters.mil import Builder

    from edgeexport.formats.coreml import library

    @Builder.program(input_specs=[Builder.TensorSpec(shape=(4,))], opset_version=ct.target.iOS17)
    def program(x):
        positive = Builder.greater(x=Builder.reduce_sum(x=x, axes=[0]), y=0.0)
        low = lambda: Builder.softmax(x=Builder.add(x=x, y=np.float32([0, 0, -3e38, -3e38])), axis=0)  # noqa: E731
        return Builder.cond(pred=positive, _true_fn=low, _false_fn=lambda: Builder.identity(x=x), name="weights")

    model = ct.convert(program, minimum_deployment_target=ct.target.iOS17, compute_precision=ct.precision.FLOAT32)
    library.save(model, tmp_path / "float.mlpackage")
    half = library.half(tmp_path / "float.mlpackage", settings("fp16", "iphone-ios17"), lambda _: False)
    library.save(half, tmp_path / "half.mlpackage", tmp_path / "float.mlpackage")
    values = [op.outputs[0].val for op in library.operations(library.program_of(half)) if op.op_type == "const"]
    inside = [value for value in values if getattr(value, "dtype", None) == np.float16]
    assert min(float(value.min()) for value in inside) == -30000
    found = mil.load(tmp_path / "half.mlpackage", "device")({"x": np.float32([1, 1, 5, 5])})["weights"]
    np.testing.assert_allclose(found, [0.5, 0.5, 0, 0], atol=1e-3)


class Price(nn.Module):
    """Gives what float16 does not hold, in a unit that it does not hold either."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(32, 32)
        self.example_inputs = {"x": torch.zeros(1, 32)}

    def forward(self, x):
        return self.layer(x) * 100_000.0


@pytest.mark.parametrize("precision", ["fp16", "w8", "w8a8"])
def test_a_unit_beyond_float16_is_kept(tmp_path, precision):
    given = [{"x": row[None]} for row in np.random.default_rng(0).normal(size=(100, 32)).astype(np.float32)]
    source = TorchSource(Price(), "price", "digest")
    float32 = CoremlFormat().baseline(source, Interface(), tmp_path / "float.mlpackage")
    chosen = settings(precision, "iphone-ios17")
    artifact = CoremlFormat().convert(float32, chosen, lambda _: iter(given), tmp_path / "a.mlpackage")
    model = mil.load(artifact.path, "device")
    found, wanted = (np.concatenate([run(one)["output"] for one in given]) for run in (model, source.reference))
    assert np.abs(wanted).max() > 1e5
    assert noise_db(found, wanted) > (30 if precision == "w8a8" else 40)
    assert model.findings == []


CONVERT = """
import sys
from pathlib import Path
sys.path.insert(0, {folder!r})
from test_coreml_format import CoremlFormat, Interface, make_source, settings
base = CoremlFormat().baseline(make_source(), Interface(deployment_target="iOS18"), Path("f.mlpackage"))
CoremlFormat().convert(base, settings("w8"), None, Path("w.mlpackage"))
"""


def test_the_same_model_gives_the_same_bytes(baseline, convert, tmp_path):
    """In another process with another order of sets, and after other conversions in this one."""
    code = CONVERT.format(folder=str(Path(__file__).parent))
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, env={**os.environ, "PYTHONHASHSEED": "7"})
    assert digest(tmp_path / "f.mlpackage") == digest(baseline.path)
    assert digest(tmp_path / "w.mlpackage") == digest(convert("w8").path)


def test_reading_and_converting_write_nothing_into_a_package(baseline, convert):
    before = digest(baseline.path)
    convert("fp16")
    list(CoremlFormat().inspect(baseline.path)[1])
    assert CoremlFormat().gaps(baseline.path, "coreml", "18") == []
    assert digest(baseline.path) == before
    assert tree.size(baseline.path) == sum(f.stat().st_size for f in baseline.path.rglob("*") if f.is_file())


@pytest.mark.parametrize(
    ("precision", "target", "flags", "what"),
    [
        ("w8a8-dynamic", "iphone-ios17", {}, "does not execute"),
        ("w8", "iphone-ios17", {"quantization": {"block_size": 32}}, "iOS 18"),
        ("fp16", "iphone-ios17", {"quantization": {"mask_value": -1e30}}, "mask_value"),
        ("w8", "iphone-ios17", {"quantization": {"smoothing": 0.5}}, "quantization.smoothing"),
        ("w8a8", "iphone-ios17", {"interface": {"deployment_target": "iOS16"}}, "iOS 17"),
        ("w8a8", "iphone-ios17", {"quantization": {"palette_bits": 4}}, "palette"),
        ("fp32", "iphone-ios17", {"overrides": [{"precision": "w8", "op_type": "linear"}]}, "override"),
    ],
)
def test_settings_refused(baseline, tmp_path, precision, target, flags, what):
    with pytest.raises(Exception, match=what) as caught:
        chosen = settings(precision, target, **flags)
        CoremlFormat().convert(baseline, chosen, None, tmp_path / "a.mlpackage")
    assert hasattr(caught.value, "hint")


def test_static_needs_samples(baseline, tmp_path):
    with pytest.raises(RecipeError, match="calibration samples"):
        CoremlFormat().convert(baseline, settings("w8a8"), None, tmp_path / "a.mlpackage")


def test_nothing_to_compress(baseline, tmp_path):
    chosen = replace_types(settings("w8"), ("lstm",))
    with pytest.raises(ConversionError, match="no weight to compress"):
        CoremlFormat().convert(baseline, chosen, None, tmp_path / "a.mlpackage")


def replace_types(chosen, types):
    import msgspec

    quantization = msgspec.structs.replace(chosen.quantization, op_types=types)
    return msgspec.structs.replace(chosen, quantization=quantization)


def test_channels_last_is_refused(source, tmp_path):
    with pytest.raises(RecipeError, match="channels first"):
        CoremlFormat().baseline(source, Interface(channels_last=True), tmp_path / "a.mlpackage")


def test_an_onnx_source_is_refused(source, tmp_path):
    from edgeexport.sources.onnx import OnnxSource

    source.write_onnx(tmp_path / "a.onnx")
    with pytest.raises(ModelError, match="torch modules"):
        CoremlFormat().baseline(OnnxSource(tmp_path / "a.onnx"), Interface(), tmp_path / "a.mlpackage")


def test_a_program_for_a_later_ios_is_a_gap(baseline, convert):
    for artifact in (baseline, convert("w4")):
        (gap,) = CoremlFormat().gaps(artifact.path, "coreml", "17")
        assert (gap.where, "iOS 18" in gap.what) == ("main", True)
        assert CoremlFormat().gaps(artifact.path, "coreml", "18.1") == []
