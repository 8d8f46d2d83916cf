"""Inner values of ML Programs: which are shown, that showing them changes nothing, and that a fault is found."""

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("coremltools", reason="pip install 'edgeexport[coreml]'")

from observing import compare_here

from edgeexport import mil
from edgeexport.errors import ModelError
from edgeexport.formats.coreml import CoremlFormat
from edgeexport.formats.coreml.observed import observe
from edgeexport.mil.package import Package
from edgeexport.recipe import resolve
from edgeexport.settings import Interface
from edgeexport.sources.torch import TorchSource
from edgeexport.target import load_target


class Net(nn.Module):
    """Four layers of 48, three with an activation."""

    def __init__(self, outlier=1.0):
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two, self.three, self.four = (nn.Linear(48, 48) for _ in range(4))
        with torch.no_grad():
            for part in (self.one, self.two, self.three, self.four):
                part.weight.mul_(2)
            self.two.weight[5] *= outlier
            self.two.bias[5] *= outlier
            self.three.weight[:, 5] /= outlier
        self.example_inputs = {"x": torch.zeros(4, 48)}
        self.example_outputs = ("y",)

    def forward(self, x):
        x = torch.relu(self.one(x))
        x = torch.relu(self.two(x))
        return self.four(torch.relu(self.three(x)))


def samples(count):
    random = np.random.default_rng(1)
    return [{"x": random.standard_normal((1, 48)).astype(np.float32)} for _ in range(count)]


def write(folder, precision, outlier=1.0):
    """Paths of the float32 package and of the compressed one."""
    module = Net(outlier).eval()
    module.example_inputs = {"x": torch.zeros(1, 48)}
    source = TorchSource(module, "net", "digest")
    paths = folder / "float.mlpackage", folder / f"{precision}.mlpackage"
    baseline = CoremlFormat().baseline(source, Interface(deployment_target="iOS17"), paths[0])
    flags = {"precision": precision, "quantization": {"minimum_snr": 0.0}}
    chosen = resolve(load_target("iphone-ios17"), None, "", flags).settings
    CoremlFormat().convert(baseline, chosen, lambda _: iter(samples(40)), paths[1])
    return paths


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    return write(tmp_path_factory.mktemp("observed"), "w8a8")


def spoil(path, name, factor=1.5):
    """Make the scales of one layer's weight too large."""
    package = Package(path)
    spec = package.specification()
    function = spec.mlProgram.functions["main"]
    for operation in function.block_specializations[function.opset].operations:
        if operation.type == "constexpr_affine_dequantize" and f"{name}_weight" in operation.outputs[0].name:
            place = operation.attributes["scale"].blobFileValue
            weights = package.weights(place.fileName)
            data = bytearray(weights.read_bytes())
            start = int(np.frombuffer(data, np.uint64, 1, place.offset + 16)[0])
            scales = np.frombuffer(data, np.float16, 48, start) * np.float16(factor)
            data[start : start + scales.nbytes] = scales.astype(np.float16).tobytes()
            weights.write_bytes(data)
            return
    raise AssertionError(f"no weight of {name}")


@pytest.fixture
def spoilt(packages, tmp_path):
    from edgeexport import tree

    def spoilt(name):
        tree.copy(packages[1], tmp_path / "spoilt.mlpackage")
        spoil(tmp_path / "spoilt.mlpackage", name)
        return packages[0], tmp_path / "spoilt.mlpackage"

    return spoilt


@pytest.mark.parametrize("name", ["two", pytest.param("three", marks=pytest.mark.slow)])
def test_a_spoilt_scale_is_found(spoilt, tmp_path, name):
    _, result = compare_here(observe, *spoilt(name), tmp_path / "o", samples(6), "coreml")
    assert result.worst[0] == name
    error = next(layer for layer in result.layers if layer.path == name)
    assert error.snr_db == pytest.approx(20 * np.log10(2), abs=1.5)
    assert error.operator == "linear"


@pytest.mark.slow
def test_an_outlier_channel_is_found_where_it_is(tmp_path):
    paths = write(tmp_path, "w8a8", outlier=300.0)
    _, result = compare_here(observe, *paths, tmp_path / "o", samples(6), "coreml")
    (worst,) = result.worst[:1]
    error = next(layer for layer in result.layers if layer.path == worst)
    # What the next layer reads is quantized: the activation's result, which is named after its operator.
    assert (error.operator, [result.layers[place].path for place in error.reads]) == ("relu", ["two"])
    assert error.snr_db > 25 > 10 > error.channel_snr_db


def test_figures_are_those_of_the_evaluators_own_values(packages, tmp_path):
    observed, result = compare_here(observe, *packages, tmp_path / "o", samples(6), "coreml")
    (place,) = [number for number, layer in enumerate(observed.layers) if layer.path == "two"]
    layer = observed.layers[place]
    reference, compressed = mil.load(packages[0], "device"), mil.load(packages[1], "device")
    signal = noise = 0.0
    for sample in samples(6):
        a = reference.intermediates(sample, [layer.reference])[layer.reference].astype(np.float64)
        b = compressed.intermediates(sample, [layer.output])[layer.output].astype(np.float64)
        signal, noise = signal + (a**2).sum(), noise + ((a - b) ** 2).sum()
    assert result.layers[place].snr_db == pytest.approx(10 * np.log10(signal / noise), abs=1e-6)
    assert result.notes == ("layers compared over 6 samples; observing them left the outputs the same to the bit",)
    activation = next(one for one in observed.layers if one.path == "relu")
    assert activation.output.startswith("dequantize_")
    assert activation.grid.low == 0
    assert not activation.integers


def test_a_mac_is_told_of_the_outputs(packages, tmp_path):
    observed = observe(*packages, tmp_path, 64)
    described = {
        one.name: one.type.multiArrayType for one in Package(observed.quantized).specification().description.output
    }
    for layer in observed.layers:
        assert list(described[layer.output].shape) == [1, 48]
        assert described[layer.output].dataType == 65552  # FLOAT16
    assert {"output", *(layer.output for layer in observed.layers)} == set(described)


def test_another_model_has_nothing_in_common(packages, tmp_path):
    class Other(nn.Module):
        def __init__(self):
            super().__init__()
            self.example_inputs, self.example_outputs = {"x": torch.zeros(1, 48)}, ("y",)

        def forward(self, x):
            return torch.tanh(x)

    path = tmp_path / "other.mlpackage"
    source = TorchSource(Other().eval(), "other", "digest")
    CoremlFormat().baseline(source, Interface(deployment_target="iOS17"), path)
    with pytest.raises(ModelError, match="no inner value in common"):
        observe(packages[0], path, tmp_path, 8)
