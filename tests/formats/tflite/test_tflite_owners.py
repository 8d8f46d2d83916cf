"""Whose bytes they are: constants of their readers, what is shared of the first, the last layer by its parameters."""

from collections import Counter

import numpy as np
import pytest
import torch
from tflite_models import by_name, convolutions, make_settings, save, two_layers, words
from torch import nn

from edgeexport.formats.tflite import TfliteFormat
from edgeexport.formats.tflite.flatbuffer import read_model
from edgeexport.formats.tflite.inspect import stored_tensors
from edgeexport.formats.tflite.names import digest, shorten
from edgeexport.formats.tflite.owners import module_of
from edgeexport.formats.tflite.quantize import quantize
from edgeexport.settings import Interface
from edgeexport.sources.torch import TorchSource


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("encoder.layer.0.dense", "encoder.layer.0.dense"),
        ("encoder.layer.0.dense:12", "encoder.layer.0.dense"),
        ("1/encoder.dense:2", "encoder.dense"),
        ("encoder.dense_quantized", "encoder.dense"),
        ("encoder.dense:2_dequant", "encoder.dense"),
        ("encoder.dense/1", "encoder.dense"),
        ("1/encoder.dense:2/1_dequant", "encoder.dense"),
        ("output.0/1_dequant", ""),
        ("output.0", ""),
        ("1/output.0_dequant", ""),
        ("input.3", ""),
        ("model", ""),
        ("model:7", ""),
        ("", ""),
    ],
)
def test_a_name_tells_the_module(name, path):
    assert module_of(name) == path


def shares(path):
    found = Counter()
    for item in stored_tensors(path, read_model(path)):
        found[item.path, item.what, item.dtype] += item.bytes
    assert sum(found.values()) == path.stat().st_size
    return found


@pytest.mark.parametrize("lengths", [(4,), (4, 8, 16)])
def test_constants_are_their_readers(lengths, tmp_path):
    found = shares(save(two_layers(lengths), tmp_path / "m.tflite"))
    assert found["first", "weight", "float32"] == 4 * (32 * 16 + 32)
    assert found["", "weight", "float32"] == 4 * (8 * 32 + 8)  # of the layer that gives the output, and no names of it


def test_each_signature_adds_structure_alone(tmp_path):
    one, three = (shares(save(two_layers(n), tmp_path / "m.tflite")) for n in ((4,), (4, 8, 16)))
    assert {key: count for key, count in one.items() if key[1] != "structure"} == {
        key: count for key, count in three.items() if key[1] != "structure"
    }
    assert three["first", "structure", ""] > 2 * one["first", "structure", ""]


def test_a_shared_table_is_the_first_readers(tmp_path):
    model = words()
    tensors = by_name(model)
    operator = model.subgraphs[0].operators[-1]
    table = tensors["embed/1"]
    weight = model.subgraphs[0].tensors[operator.inputs[1]]
    weight.buffer, weight.shape = table.buffer, list(table.shape)
    model.subgraphs[0].tensors[operator.outputs[0]].shape = [4, 50]
    found = shares(save(model, tmp_path / "m.tflite"))
    assert found["embed", "weight", "float32"] == 4 * 50 * 16
    assert found["", "weight", "float32"] == 0


def test_scales_and_zero_points_are_their_layers(tmp_path):
    path = tmp_path / "m.tflite"
    quantize(two_layers(), dict.fromkeys(["first", "output.0"], "w8"), {}, make_settings("w8"), path)
    found = shares(path)
    assert found["first", "scale", "float32"] == 4 * 32
    assert found["first", "scale", "int64"] == 8 * 32
    assert found["first", "weight", "int8"] == 32 * 16


def test_a_longer_name_is_its_own_modules_bytes(tmp_path):
    model = convolutions()
    before = shares(save(model, tmp_path / "before.tflite"))
    by_name(model)["deep"].name = b"deep" + b"x" * 400
    after = shares(save(model, tmp_path / "after.tflite"))
    assert sum(after.values()) - sum(before.values()) == 400
    assert after["deep" + "x" * 400, "structure", ""] == before["deep", "structure", ""] + 400


def test_gaps_belong_to_what_lies_before_them(tmp_path):
    path = save(two_layers(), tmp_path / "m.tflite")
    before = shares(path)
    path.write_bytes(path.read_bytes() + bytes(32))  # as writers that append do
    after = shares(path)
    grown = {key: count - before[key] for key, count in after.items() if count != before[key]}
    assert list(grown.values()) == [32]
    assert [what for _, what, _ in grown] == ["structure"]


class Net(nn.Module):
    """Layers in a list, which is never called itself, and a last one whose name in the file is the output's."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.ModuleList([nn.Linear(12, 12) for _ in range(2)])
        self.classifier = nn.Linear(12, 5)
        self.example_inputs = {"x": torch.zeros(1, 12)}
        self.output_names = ["scores"]

    def forward(self, x):
        for layer in self.layer:
            x = torch.relu(layer(x))
        return self.classifier(x)


@pytest.mark.parametrize("precision", ["fp32", "w8a8"])
def test_modules_of_a_converted_model(precision, tmp_path):
    source = TorchSource(Net().eval(), "net", "digest")
    artifact = TfliteFormat().baseline(source, Interface(), tmp_path / "float.tflite")
    path, width = artifact.path, 4
    if precision != "fp32":
        random = np.random.default_rng(0)
        rows = [{"x": random.normal(size=(1, 12)).astype(np.float32)} for _ in range(9)]
        settings = make_settings(precision)
        path, width = TfliteFormat().convert(artifact, settings, lambda _: iter(rows), tmp_path / "int8.tflite").path, 1
    dtype = {4: "float32", 1: "int8"}[width]
    found = shares(path)
    for module, size in (("layer.0", 144), ("layer.1", 144), ("classifier", 60)):
        assert found[module, "weight", dtype] >= width * size
    assert {path for path, what, _ in found if what in ("weight", "scale")} <= {"layer.0", "layer.1", "classifier", ""}
    assert found["", "weight", dtype] == 0


def test_an_output_is_named_by_its_layers_parameter():
    model = two_layers()
    tensors = by_name(model)
    weight = bytes(model.buffers[tensors["output.0/1"].buffer].data)
    shorten(model, {digest(weight): "head.classifier"})
    names = {tensor.name.decode() for tensor in model.subgraphs[0].tensors}
    assert {"head.classifier/1", "head.classifier/2", "output.0"} <= names
