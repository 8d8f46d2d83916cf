"""Weight-only precisions against numpy."""

import numpy as np
import pytest
from onnx import helper, numpy_helper

from edgeexport.errors import RecipeError
from edgeexport.formats.onnx.graph import Graph
from edgeexport.formats.onnx.weights import expand_at_load
from edgeexport.settings import Override


def stored(model):
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def wide(build, normal):
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], name="dense")]
    constants = {"w": normal(128, 24, seed=1)}
    return build(nodes, constants, {"x": ("float32", ["n", 128])}, {"y": ("float32", ["n", 24])})


@pytest.mark.parametrize(("bits", "precision"), [(8, "w8"), (4, "w4")])
@pytest.mark.parametrize("block", [16, 32, 64, 128])
def test_matrices_are_stored_in_blocks(build, normal, convert, settings, bits, precision, block):
    model, _ = convert(wide(build, normal), settings(precision, block_size=block))
    (node,) = model.graph.node
    assert node.op_type == "MatMulNBits"
    attributes = {entry.name: entry.i for entry in node.attribute}
    assert (attributes["K"], attributes["N"]) == (128, 24)
    assert (attributes["bits"], attributes["block_size"]) == (bits, block)
    steps, scales = (stored(model)[name] for name in node.input[1:3])
    assert steps.nbytes == 128 * 24 * bits // 8
    assert scales.size == 24 * 128 // block
    assert "w" not in stored(model)


@pytest.mark.parametrize(("bits", "precision", "least", "most"), [(8, "w8", 38, 60), (4, "w4", 15, 30)])
def test_outputs_are_as_near_as_the_bits_allow(build, normal, convert, settings, run, bits, precision, least, most):
    """Signal to noise in dB; accuracy level 4 rounds the activations to int8 as well."""
    model = wide(build, normal)
    x = {"x": normal(16, 128, seed=2)}
    before = run(model, x)[0]
    after = run(convert(model, settings(precision))[0], x)[0]
    decibel = 10 * np.log10(np.square(before).sum() / np.square(after - before).sum())
    assert least < decibel < most


@pytest.mark.parametrize("kind", ["Conv", "ConvTranspose"])
def test_convolutions_keep_int8_weights_by_output_channel(build, normal, run, kind):
    shape = (6, 3, 3, 3) if kind == "Conv" else (3, 6, 3, 3)
    weight = normal(*shape) * np.geomspace(0.1, 10, 6, dtype=np.float32).reshape(
        (6, 1, 1, 1) if kind == "Conv" else (1, 6, 1, 1)
    )
    nodes = [helper.make_node(kind, ["x", "w"], ["y"], name="conv")]
    size = 4 if kind == "Conv" else 8
    model = build(nodes, {"w": weight}, {"x": ("float32", ["n", 3, 6, 6])}, {"y": ("float32", ["n", 6, size, size])})
    x = normal(2, 3, 6, 6, seed=3)
    expand_at_load(Graph(model), {"conv"})
    others = (1, 2, 3) if kind == "Conv" else (0, 2, 3)
    scale = np.abs(weight).max(axis=others, keepdims=True) / 127
    steps = np.round(weight / scale)
    saved = stored(model)
    assert set(saved) == {"w__conv_int8", "w__conv_scale"}
    assert np.array_equal(saved["w__conv_int8"], steps.astype(np.int8))
    assert np.allclose(saved["w__conv_scale"], scale, rtol=1e-6)
    rounded = build(
        nodes, {"w": (steps * scale).astype(np.float32)}, {"x": ("float32", None)}, {"y": ("float32", None)}
    )
    rounded.graph.node[0].input[1] = "w"
    assert np.allclose(run(model, {"x": x})[0], run(rounded, {"x": x})[0], rtol=0, atol=1e-4)


def test_only_named_convolutions_change(convs):
    expand_at_load(Graph(convs), {"second"})
    kinds = {name: array.dtype.name for name, array in stored(convs).items()}
    assert kinds == {
        "w1": "float32",
        "b1": "float32",
        "b2": "float32",
        "w2__second_int8": "int8",
        "w2__second_scale": "float32",
    }


@pytest.mark.parametrize("precision", ["w8", "w4"])
def test_convolutions_of_a_model_are_named_in_the_notes(convs, convert, settings, run, conv_samples, precision):
    model, notes = convert(convs, settings(precision))
    assert "2 convolutions keep 8-bit weights, expanded when the model is loaded" in notes
    before, after = (np.stack([run(which, sample)[0] for sample in conv_samples]) for which in (convs, model))
    cosine = (before * after).sum() / np.linalg.norm(before) / np.linalg.norm(after)
    assert 0.9995 < cosine < 1


@pytest.mark.parametrize(("precision", "kind"), [("w8", "int8"), ("w4", "int4")])
def test_embedding_tables(build, normal, convert, settings, run, precision, kind):
    table = normal(40, 64)
    nodes = [helper.make_node("Gather", ["table", "ids"], ["y"], name="embed")]
    model = build(nodes, {"table": table}, {"ids": ("int64", ["n"])}, {"y": ("float32", ["n", 64])})
    converted, _ = convert(model, settings(precision))
    largest = max(stored(converted).values(), key=lambda array: array.size)
    assert largest.dtype.name == kind
    assert largest.size == 40 * 64
    rows = run(converted, {"ids": np.array([0, 39, 7])})[0]
    step = np.abs(table).max() / (127 if precision == "w8" else 7)
    assert 0 < np.abs(rows - table[[0, 39, 7]]).max() <= step * 1.01


@pytest.mark.parametrize("precision", ["w8", "w4"])
def test_an_override_leaves_a_layer_float(chain, convert, settings, precision):
    weight = stored(chain())["w2"]
    model, _ = convert(chain(), settings(precision, [Override(precision="fp32", name="second")]))
    assert [node.op_type for node in model.graph.node] == ["MatMulNBits", "Relu", "MatMul"]
    assert np.array_equal(stored(model)["w2"], weight)


@pytest.mark.parametrize("precision", ["w8", "w4", "fp16", "fp32"])
@pytest.mark.parametrize("other", ["w8a8", "w8a8-dynamic"])
def test_an_override_to_integer_activations_is_refused(chain, convert, settings, precision, other):
    with pytest.raises(RecipeError, match=f"contradicts precision {precision}"):
        convert(chain(), settings(precision, [Override(precision=other, name="second")]))
