"""Rewrites before quantization: the outputs stay what they were."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgeexport.formats.onnx.graph import Graph
from edgeexport.formats.onnx.prepare import (
    at_least_opset,
    fold_constants,
    keep_residual_adds_apart,
    prepare,
    raise_masks,
    strip,
)


@pytest.fixture
def residual(build, normal):
    """x + MatMul(x) → LayerNormalization, and an Add that no normalization reads."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="layer"),
        helper.make_node("Add", ["a", "x"], ["sum"], name="residual"),
        helper.make_node("LayerNormalization", ["sum", "gain", "shift"], ["normed"], name="norm", axis=-1),
        helper.make_node("Add", ["normed", "x"], ["y"], name="other"),
    ]
    constants = {"w": normal(8, 8), "gain": normal(8, seed=1), "shift": normal(8, seed=2)}
    return build(nodes, constants, {"x": ("float32", ["n", 8])}, {"y": ("float32", ["n", 8])})


def test_a_residual_add_becomes_a_sum_of_equal_value(residual, run, normal):
    x = normal(5, 8, seed=9)
    before = run(residual, {"x": x})[0]
    assert keep_residual_adds_apart(Graph(residual)) == 1
    assert [node.op_type for node in residual.graph.node] == ["MatMul", "Sum", "LayerNormalization", "Add"]
    assert np.allclose(run(residual, {"x": x})[0], before, rtol=0, atol=1e-6)


def masked(build, value, **how):
    """scores + (1 − mask) · value → Softmax."""
    nodes = [
        helper.make_node("Sub", ["one", "mask"], ["hidden"]),
        helper.make_node("Mul", ["hidden", "least"], ["bias"]),
        helper.make_node("Add", ["scores", "bias"], ["biased"]),
        helper.make_node("Softmax", ["biased"], ["y"], axis=-1),
    ]
    constants = {"one": np.float32([1]), "least": np.array(value, np.float32)}
    shapes = {"scores": ("float32", ["n", 6]), "mask": ("float32", ["n", 6])}
    return build(nodes, constants, shapes, {"y": ("float32", ["n", 6])})


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_a_raised_mask_gives_the_same_softmax(build, run, normal, shape):
    model = masked(build, np.full(shape, np.finfo(np.float32).min))
    feeds = {"scores": normal(3, 6) * 5, "mask": np.float32([[1, 1, 1, 0, 0, 0]] * 3)}
    before = run(model, feeds)[0]
    assert raise_masks(Graph(model), -100.0) == 1
    raised = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}["least"]
    assert raised.shape == shape
    assert float(raised.reshape(())) == -100
    after = run(model, feeds)[0]
    assert after[:, 3:].max() < 1e-30
    assert np.allclose(after, before, rtol=0, atol=1e-7)


@pytest.mark.parametrize(("value", "mask"), [(-1e4, -100.0), (np.finfo(np.float32).min, 0.0)])
def test_ordinary_constants_and_a_mask_of_zero_are_left(build, value, mask):
    model = masked(build, value)
    before = model.SerializeToString()
    assert raise_masks(Graph(model), mask) == 0
    assert model.SerializeToString() == before


def test_folding_moves_a_computed_pad_into_the_convolution(build, run, normal):
    nodes = [
        helper.make_node("Concat", ["none", "ends"], ["pads"], axis=0),
        helper.make_node("Pad", ["x", "pads"], ["padded"], mode="constant"),
        helper.make_node("Conv", ["padded", "w"], ["y"], name="conv"),
    ]
    constants = {"none": np.array([0, 0, 1, 1]), "ends": np.array([0, 0, 1, 1]), "w": normal(4, 3, 3, 3)}
    model = build(nodes, constants, {"x": ("float32", ["n", 3, 5, 5])}, {"y": ("float32", ["n", 4, 5, 5])})
    x = normal(2, 3, 5, 5, seed=1)
    before = run(model, {"x": x})[0]
    folded = fold_constants(model)
    assert [node.op_type for node in folded.graph.node] == ["Conv"]
    assert [entry.domain for entry in folded.opset_import] == [""]
    assert np.allclose(run(folded, {"x": x})[0], before, rtol=0, atol=1e-6)


def test_prepare_keeps_the_outputs_and_names_what_it_did(residual, run, normal):
    x = normal(5, 8, seed=9)
    before = run(residual, {"x": x})[0]
    assert prepare(residual, -100.0) == ["1 residual Add before LayerNormalization written as Sum"]
    assert np.allclose(run(residual, {"x": x})[0], before, rtol=0, atol=1e-6)


@pytest.mark.parametrize("transposed", [0, 1])
def test_prepare_writes_gemm_as_matmul_and_add(build, run, normal, transposed):
    weight = normal(5, 8) if transposed else normal(8, 5)
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["y"], name="dense", transB=transposed)]
    constants = {"w": weight, "b": normal(5, seed=1)}
    model = build(nodes, constants, {"x": ("float32", ["n", 8])}, {"y": ("float32", ["n", 5])})
    x = normal(3, 8, seed=2)
    prepare(model, 0.0)
    assert [node.op_type for node in model.graph.node] == ["MatMul", "Add"]
    expected = x @ (weight.T if transposed else weight) + constants["b"]
    assert np.allclose(run(model, {"x": x})[0], expected, rtol=0, atol=1e-5)


def test_prepare_of_convolutions_keeps_the_outputs(convs, run, conv_samples):
    before = [run(convs, sample)[0] for sample in conv_samples]
    prepare(convs, -100.0)
    after = [run(convs, sample)[0] for sample in conv_samples]
    assert np.allclose(before, after, rtol=0, atol=1e-5)


def test_strip_leaves_what_runtimes_read(chain, run, chain_samples):
    model = onnx.shape_inference.infer_shapes(chain())
    model.graph.node[0].doc_string = "where it came from"
    model.metadata_props.add(key="tool", value="x")
    model.graph.node[0].metadata_props.add(key="scope", value="layer")
    assert model.graph.value_info
    before = run(model, chain_samples[0])[0]
    strip(model)
    assert not model.graph.value_info
    assert not model.metadata_props
    assert not model.graph.node[0].metadata_props
    assert not model.graph.node[0].doc_string
    assert np.array_equal(run(model, chain_samples[0])[0], before)


@pytest.mark.parametrize(("own", "wanted", "expected"), [(11, 13, 13), (13, 13, 13), (18, 13, 18)])
def test_opset_is_raised_and_never_lowered(chain, run, chain_samples, own, wanted, expected):
    model = chain(own)
    raised = at_least_opset(model, wanted)
    assert [entry.version for entry in raised.opset_import if not entry.domain] == [expected]
    assert np.array_equal(run(raised, chain_samples[0])[0], run(model, chain_samples[0])[0])
