"""Layers of small float models: weights, positions, signatures, and names that overrides match."""

import re

import pytest
from tflite_models import convolutions, make_settings, normal, save, two_layers, words

from edgeexport.artifact import Artifact
from edgeexport.formats.tflite import TfliteFormat
from edgeexport.formats.tflite.flatbuffer import dtype_name, op_name, read_model, tensor_name
from edgeexport.formats.tflite.inspect import read_signature
from edgeexport.formats.tflite.observe import common_name
from edgeexport.formats.tflite.plan import WEIGHTS
from edgeexport.settings import Override

MODELS = {"two": two_layers, "words": words, "convolutions": convolutions, "lengths": lambda: two_layers((4, 8))}


@pytest.fixture
def work(tmp_path):
    """Functions that find the layers of a model, and convert it."""
    count = iter(range(1000))

    def baseline(model):
        path = save(model, tmp_path / f"float{next(count)}.tflite")
        return Artifact("tflite", path, "fp32", read_signature(read_model(path), path.name))

    def find(model, settings):
        return list(TfliteFormat().layers(baseline(model), settings))

    def convert(model, settings, samples):
        path = tmp_path / f"model{next(count)}.tflite"
        TfliteFormat().convert(baseline(model), settings, lambda _: iter(samples), path)
        return read_model(path)

    return find, convert


def feeds(kind):
    import numpy as np

    if kind == "words":
        return [{"ids": np.arange(4, dtype=np.int32) + seed} for seed in range(20)]
    if kind == "convolutions":
        return [{"x": normal(1, 6, 6, 3, seed=seed)} for seed in range(20)]
    lengths = (4, 8) if kind == "lengths" else (4,)
    return [{"x": normal(length, 16, seed=seed)} for seed in range(20) for length in lengths]


def weight_type(model, layer):
    """The dtype that a layer's weight is stored in."""
    for graph in model.subgraphs:
        made = {int(operator.outputs[0]): operator for operator in graph.operators if len(operator.outputs)}
        for index, operator in made.items():
            name = common_name(tensor_name(graph.tensors[index]))
            if re.fullmatch(re.escape(layer) + "(_quantized)?", name) and op_name(model, operator) in WEIGHTS:
                place = int(operator.inputs[1])
                while place in made:  # weights alone are stored as integers before a DEQUANTIZE
                    place = int(made[place].inputs[0])
                return dtype_name(graph.tensors[place].type)
    raise AssertionError(f"nothing computes {layer}")


def test_weights_and_multiplications(work):
    find, _ = work
    first, second = find(two_layers(), make_settings())
    assert (first.name, first.operator, first.weights, first.macs) == ("first", "FULLY_CONNECTED", 512, 512)
    assert (second.name, second.weights, second.macs) == ("output.0", 256, 256)
    assert first.alternatives == ("w8a8-dynamic", "fp32")


def test_convolutions_multiply_at_every_position(work):
    find, _ = work
    found = {layer.name: layer for layer in find(convolutions(), make_settings())}
    assert set(found) == {"stem", "deep", "body", "output.0"}
    assert (found["stem"].weights, found["stem"].macs) == (16 * 27, 16 * 27 * 36)
    assert (found["deep"].weights, found["deep"].macs) == (9 * 16, 9 * 16 * 36)
    assert (found["body"].weights, found["body"].macs) == (16 * 16, 16 * 16 * 36)
    assert (found["output.0"].weights, found["output.0"].macs) == (64, 64)
    assert found["stem"].alternatives == ("w8", "fp32")


def test_a_look_up_has_weights_and_multiplies_nothing(work):
    find, _ = work
    table, layer = find(words(), make_settings("w8a8-dynamic"))
    assert (table.name, table.operator, table.weights, table.macs) == ("embed", "EMBEDDING_LOOKUP", 800, 0)
    assert table.alternatives == ("fp32",)
    assert (layer.name, layer.weights, layer.macs) == ("output.0", 128, 128)


def test_layers_of_later_signatures_are_those_of_the_first(work):
    find, _ = work
    assert [layer.name for layer in find(two_layers((4, 8)), make_settings())] == ["first", "output.0"]


@pytest.mark.parametrize("precision", ["w8a8", "w8a16", "w8a8-dynamic", "w8", "w4", "fp16"])
@pytest.mark.parametrize("kind", MODELS)
def test_an_override_by_a_layers_name_changes_that_layer_alone(kind, precision, work):
    find, convert = work
    model, samples = MODELS[kind], feeds(kind)
    found = find(model(), make_settings(precision))
    assert found
    plain = convert(model(), make_settings(precision), samples)
    before = {layer.name: weight_type(plain, layer.name) for layer in found}
    assert "float32" not in before.values()
    for layer in found:
        for alternative in layer.alternatives:
            override = Override(precision=alternative, name=f"^{re.escape(layer.name)}$")
            settings = make_settings(precision, overrides=[override])
            changed = convert(model(), settings, samples)
            after = {each.name: weight_type(changed, each.name) for each in found}
            own = "float32" if alternative == "fp32" else "int8"
            assert after == {**before, layer.name: own}
            left = [each.name for each in find(model(), settings)]
            assert (layer.name in left) == (alternative != "fp32")
