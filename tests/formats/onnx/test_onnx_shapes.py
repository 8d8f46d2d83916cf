"""Shape inference without weights against the same with them."""

import numpy as np
import onnx
import pytest
from onnx import helper

from edgeexport.formats.onnx.shapes import inferred_values, note_shapes


@pytest.fixture
def model(build, normal):
    """A large weight, and a small constant whose value decides a shape."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["product"], name="layer"),
        helper.make_node("Reshape", ["product", "shape"], ["rows"], name="rows"),
        helper.make_node("Cast", ["rows"], ["y"], name="cast", to=7),
    ]
    constants = {"w": normal(64, 96), "shape": np.array([-1, 12], np.int64)}
    return build(nodes, constants, {"x": ("float32", ["n", 5, 64])}, {"y": ("int64", None)})


def facts(values):
    return {value.name: value.SerializeToString() for value in values}


def test_every_tensor_is_known_as_with_weights(model):
    whole = onnx.shape_inference.infer_shapes(model).graph
    assert facts(inferred_values(model)) == facts([*whole.value_info, *whole.input, *whole.output])
    assert {"x", "product", "rows", "y"} == set(facts(inferred_values(model)))


def test_the_model_is_left_as_it_is(model):
    before = model.SerializeToString()
    inferred_values(model)
    assert model.SerializeToString() == before


def test_no_weight_is_handed_over(model, monkeypatch):
    handed = []
    infer = onnx.shape_inference.infer_shapes
    monkeypatch.setattr(onnx.shape_inference, "infer_shapes", lambda light: handed.append(light) or infer(light))
    inferred_values(model)
    assert [tensor.name for tensor in handed[0].graph.initializer] == ["shape"]


def test_noting_shapes_twice_keeps_one_of_each(model):
    note_shapes(model)
    note_shapes(model)
    assert sorted(value.name for value in model.graph.value_info) == ["product", "rows"]
    assert [(entry.key, entry.value) for entry in model.metadata_props] == [("onnx.infer", "onnxruntime.quant")]
