"""SmoothQuant: the same outputs, flatter activations."""

import numpy as np
import pytest
from onnx import helper, numpy_helper

from edgeexport.formats.onnx.graph import Graph
from edgeexport.formats.onnx.smooth import smooth


@pytest.fixture
def outliers(chain_samples):
    for sample in chain_samples:
        sample["x"][..., 3] *= 60
    return chain_samples


def stored(model):
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


@pytest.mark.parametrize("strength", [0.0, 0.5, 0.85, 1.0])
@pytest.mark.parametrize("opset", [13, 18])
def test_outputs_stay(chain, run, outliers, strength, opset):
    model = chain(opset)
    before = np.stack([run(model, sample)[0] for sample in outliers])
    assert smooth(Graph(model), strength, 20.0, lambda _title: iter(outliers)) == ["x"]
    after = np.stack([run(model, sample)[0] for sample in outliers])
    assert np.allclose(after, before, rtol=0, atol=1e-6 * np.abs(before).max())


def test_factors_follow_the_paper(chain, run, outliers):
    model = chain()
    weight = stored(model)["w1"]
    smooth(Graph(model), 0.85, 3.0, lambda _title: iter(outliers))
    channels = np.abs(np.concatenate([sample["x"].reshape(-1, 16) for sample in outliers])).max(axis=0)
    scale = channels**0.85 / np.abs(weight).max(axis=1) ** 0.15
    scale = scale / np.median(scale)
    assert np.allclose(stored(model)["smooth_0_factor"], 1 / scale, rtol=1e-5)
    assert np.allclose(stored(model)["w1"], weight * scale[:, None], rtol=1e-5)
    x = outliers[0]["x"]
    model.graph.output.append(helper.make_tensor_value_info("x__smooth", 1, None))
    assert np.allclose(run(model, {"x": x}, ["x__smooth"])[0], x / scale, rtol=1e-5)


def test_the_activation_gets_flatter(chain, outliers):
    model = chain()
    smooth(Graph(model), 0.85, 3.0, lambda _title: iter(outliers))
    channels = np.abs(np.concatenate([sample["x"].reshape(-1, 16) for sample in outliers])).max(axis=0)
    after = channels * stored(model)["smooth_0_factor"]
    assert channels.max() / np.median(channels) > 30
    assert after.max() / np.median(after) < 4


def test_only_ratios_above_the_threshold_are_smoothed(chain, outliers, chain_samples):
    model = chain()
    before = model.SerializeToString()
    assert smooth(Graph(model), 0.85, 1e4, lambda _title: iter(outliers)) == []
    assert model.SerializeToString() == before


def two_readers(build, normal, same_input):
    """Two MatMuls that read one weight, or one activation."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="one"),
        helper.make_node("Tanh", ["a"], ["t"], name="tanh"),
        helper.make_node("MatMul", ["x" if same_input else "t", "v" if same_input else "w"], ["b"], name="two"),
        helper.make_node("Add", ["a", "b"], ["y"], name="sum"),
    ]
    constants = {"w": normal(16, 16, seed=1), **({"v": normal(16, 16, seed=2)} if same_input else {})}
    shape = ("float32", ["n", 4, 16])
    return build(nodes, constants, {"x": shape}, {"y": shape})


@pytest.mark.parametrize(("same_input", "smoothed"), [(True, ["x"]), (False, [])])
def test_shared_activations_and_shared_weights(build, normal, run, outliers, same_input, smoothed):
    """A weight that another activation also meets cannot follow one of them: ALBERT's layers are like that."""
    model = two_readers(build, normal, same_input)
    before = np.stack([run(model, sample)[0] for sample in outliers])
    assert smooth(Graph(model), 0.5, 20.0, lambda _title: iter(outliers)) == smoothed
    after = np.stack([run(model, sample)[0] for sample in outliers])
    assert np.allclose(after, before, rtol=0, atol=1e-6 * np.abs(before).max())
    assert sum(node.op_type == "Mul" for node in model.graph.node) == len(smoothed)


def test_a_model_without_matmuls_is_left(convs, conv_samples):
    before = convs.SerializeToString()
    assert smooth(Graph(convs), 0.5, 3.0, lambda _title: iter(conv_samples)) == []
    assert convs.SerializeToString() == before


def test_a_dead_channel_does_not_divide_by_zero(chain, run, outliers):
    for sample in outliers:
        sample["x"][..., 5] = 0
    model = chain()
    before = run(model, outliers[0])[0]
    smooth(Graph(model), 1.0, 3.0, lambda _title: iter(outliers))
    assert np.isfinite(stored(model)["smooth_0_factor"]).all()
    assert np.allclose(run(model, outliers[0])[0], before, rtol=0, atol=1e-6 * np.abs(before).max())
