"""Float16 inside, float32 outside."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeexport.errors import RecipeError
from edgeexport.formats.onnx.half import to_float16
from edgeexport.settings import Override


def stored(model):
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_weights_are_those_of_numpy_and_ends_stay_float32(chain, run, chain_samples):
    weight = stored(chain())["w1"]
    model = to_float16(chain())
    assert np.array_equal(stored(model)["w1"], weight.astype(np.float16))
    ends = (*model.graph.input, *model.graph.output)
    assert {value.type.tensor_type.elem_type for value in ends} == {TensorProto.FLOAT}
    before, after = run(chain(), chain_samples[0])[0], run(model, chain_samples[0])[0]
    assert after.dtype == np.float32
    assert 0 < np.abs(after - before).max() < 0.01 * np.abs(before).max()


def test_values_out_of_range_are_clipped(build, run, normal):
    nodes = [helper.make_node("Add", ["x", "b"], ["y"], name="add")]
    values = np.float32([1e6, -1e6, 1e-12, 0])
    model = build(nodes, {"b": values}, {"x": ("float32", [4])}, {"y": ("float32", [4])})
    half = stored(to_float16(model))["b"]
    assert np.array_equal(half[:2], np.float16([65504, -65504]))
    assert 0 < half[2] < 1e-7
    assert half[3] == 0


def test_nodes_left_float_keep_their_weights(chain, run, chain_samples):
    weight = stored(chain())["w2"]
    model = to_float16(chain(), {"second"})
    saved = stored(model)
    assert np.array_equal(saved["w2"], weight)
    assert saved["w1"].dtype == np.float16
    run(model, chain_samples[0])


def test_an_override_reaches_float16_and_one_without_a_match_is_refused(chain, convert, settings):
    model, _ = convert(chain(), settings("fp16", [Override(precision="fp32", name="second")]))
    kinds = {name: array.dtype.name for name, array in stored(model).items()}
    assert kinds == {"w1": "float16", "w2": "float32"}
    with pytest.raises(RecipeError, match="matches no node"):
        convert(chain(), settings("fp16", [Override(precision="fp32", name="third")]))


def test_the_file_is_half_as_large(chain, convert, settings):
    model, _ = convert(chain(), settings("fp16"))
    assert sum(array.nbytes for array in stored(model).values()) == 2 * (16 * 32 + 32 * 8)


def test_a_raised_mask_is_noted_and_a_row_of_masks_is_finite(build, convert, settings, run):
    nodes = [
        helper.make_node("Add", ["x", "least"], ["a"], name="mask_one"),
        helper.make_node("Add", ["a", "least"], ["b"], name="mask_two"),
        helper.make_node("Softmax", ["b"], ["y"], name="softmax", axis=-1),
    ]
    shape = ("float32", ["n", 4])
    model = build(nodes, {"least": np.float32([np.finfo(np.float32).min])}, {"x": shape}, {"y": shape})
    half, notes = convert(model, settings("fp16", mask_value=-100.0))
    assert notes == ("1 attention mask constants raised to -100",)
    assert stored(half)["least"].tolist() == [-100]
    assert np.allclose(run(half, {"x": np.zeros((1, 4), np.float32)})[0], 0.25)
