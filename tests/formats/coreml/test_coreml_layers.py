"""Layers of a small program: weights, positions, and names that overrides match before and after it is halved."""

import re

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("coremltools", reason="pip install 'edgeexport[coreml]'")

from edgeexport.formats.coreml import CoremlFormat
from edgeexport.mil.model import functions
from edgeexport.recipe import resolve
from edgeexport.settings import Interface
from edgeexport.sources.torch import TorchSource
from edgeexport.target import load_target


class Net(nn.Module):
    """A table, a convolution over rows, and two layers, of which the last is too small to compress."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(60, 32)
        self.mix = nn.Conv1d(32, 24, 3, padding=1)
        self.wide = nn.Linear(24, 40)
        self.small = nn.Linear(40, 4)

    def forward(self, ids):
        mixed = torch.relu(self.mix(self.words(ids).transpose(1, 2)))
        return self.small(torch.relu(self.wide(mixed.mean(-1))))


@pytest.fixture(scope="module")
def baseline(tmp_path_factory):
    module = Net().eval()
    module.example_inputs = {"ids": torch.ones(1, 20, dtype=torch.int64)}
    module.example_outputs = ("scores",)
    source = TorchSource(module, "net", "digest")
    path = tmp_path_factory.mktemp("layers") / "float.mlpackage"
    return CoremlFormat().baseline(source, Interface(deployment_target="iOS18"), path)


def settings(precision, *overrides):
    flags = {"precision": precision, "overrides": list(overrides)}
    return resolve(load_target("iphone-ios18"), None, "", flags).settings


def find(baseline, precision, *overrides):
    return list(CoremlFormat().layers(baseline, settings(precision, *overrides)))


@pytest.fixture
def convert(baseline, tmp_path):
    count = iter(range(100))

    def convert(precision, *overrides):
        feeds = lambda _: ({"ids": np.full((1, 20), seed, np.int32)} for seed in range(40))  # noqa: E731
        path = tmp_path / f"{next(count)}.mlpackage"
        return CoremlFormat().convert(baseline, settings(precision, *overrides), feeds, path)

    return convert


def weight_types(artifact):
    """How many bytes of weights have each dtype, biases and scales apart."""
    found = {}
    for item in CoremlFormat().inspect(artifact.path)[1]:
        if item.what == "weight" and item.bytes > 160:
            found[item.dtype] = found.get(item.dtype, 0) + item.bytes
    return found


def test_weights_and_multiplications(baseline):
    table, mix, wide, small = find(baseline, "w8a8")
    assert (table.operator, table.weights, table.macs) == ("gather", 60 * 32, 0)
    assert (mix.operator, mix.weights, mix.macs) == ("conv", 24 * 32 * 3, 24 * 32 * 3 * 20)
    assert (wide.operator, wide.weights, wide.macs) == ("linear", 24 * 40, 24 * 40)
    assert (small.weights, small.macs) == (160, 160)
    assert mix.alternatives == ("w8", "fp32")


def test_weights_too_small_to_compress_are_no_layers(baseline):
    for precision in ("w8", "w4"):
        assert [layer.weights for layer in find(baseline, precision)] == [60 * 32, 24 * 32 * 3, 24 * 40]
    assert find(baseline, "fp16") == []


@pytest.mark.parametrize("precision", ["w8", "w4", "w8a8"])
def test_an_override_by_a_layers_name_leaves_it_in_float32_and_no_other(baseline, convert, precision):
    found = find(baseline, precision)
    before = weight_types(convert(precision)).get("float32", 0)
    assert before == 0
    for layer in found:
        override = {"precision": "fp32", "name": f"^{re.escape(layer.name)}$"}
        left = find(baseline, precision, override)
        assert [each.name for each in left] == [each.name for each in found if each is not layer]
        assert weight_types(convert(precision, override)).get("float32", 0) == 4 * layer.weights


@pytest.mark.parametrize("precision", ["w8", "w4", "w8a8"])
def test_alone_one_layer_is_compressed_and_the_others_are_float32(baseline, convert, precision):
    found = find(baseline, precision)
    for layer in found:
        others = {"precision": "fp32", "name": f"^(?!({re.escape(layer.name)})$)"}
        assert [each.name for each in find(baseline, precision, others)] == [layer.name]
        stored = weight_types(convert(precision, others))
        assert stored["float32"] == 4 * (60 * 32 + 24 * 32 * 3 + 24 * 40 + 160 - layer.weights)
        if layer.weights >= 512:
            assert sum(stored.values()) - stored["float32"] < 1.2 * layer.weights


def test_a_layer_of_static_ones_may_have_integer_weights_alone(baseline, convert):
    wide = find(baseline, "w8a8")[2]
    artifact = convert("w8a8", {"precision": "w8", "name": f"^{wide.name}$"})
    plain = convert("w8a8")
    assert weight_types(artifact) == weight_types(plain)
    kinds = [[one.op for one in functions(each.path)[0].block.operations] for each in (artifact, plain)]
    assert kinds[0].count("quantize") < kinds[1].count("quantize")


def test_a_name_as_float16_has_it_matches_too(baseline, convert):
    """Such an operator computes in float16, with weights that stay."""
    wide = find(baseline, "w8")[2]
    artifact = convert("w8", {"precision": "fp32", "name": f"^{wide.name}_cast_fp16$"})
    assert weight_types(artifact)["float16"] >= 2 * wide.weights
    assert "float32" not in weight_types(artifact)
