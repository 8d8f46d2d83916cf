"""Which nodes become integers, how, and what the written graph then says."""

import numpy as np
import pytest
from onnx import helper, numpy_helper

from edgeexport.errors import RecipeError
from edgeexport.formats.onnx.graph import Graph, name_nodes
from edgeexport.formats.onnx.integer import assign, left_float, settle
from edgeexport.settings import Override


def stored(model):
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def operators(model):
    return [node.op_type for node in model.graph.node]


def cosine(one, other):
    return float((one * other).sum() / np.linalg.norm(one) / np.linalg.norm(other))


def zero_points(model, op_type="QuantizeLinear"):
    saved = stored(model)
    return {saved[node.input[2]].dtype.name for node in model.graph.node if node.op_type == op_type}


def weight_of(model, name):
    """The stored int8 weight and scale behind ``name``."""
    saved = stored(model)
    return saved[f"{name}_quantized"], saved[f"{name}_scale"], saved[f"{name}_zero_point"]


# which nodes


def test_listed_operators_with_constant_weights_are_chosen(chain, convs, settings):
    assert assign(Graph(chain()), settings(), "w8a8") == {"first": "w8a8", "second": "w8a8"}
    assert assign(Graph(convs), settings(op_types=("MatMul",)), "w8a8") == {}
    assert assign(Graph(convs), settings(op_types=("Conv",)), "w8a8-dynamic") == dict.fromkeys(
        ["first", "second"], "w8a8-dynamic"
    )


@pytest.mark.parametrize(("constant_only", "chosen"), [(True, {}), (False, {"scores": "w8a8"})])
def test_products_of_activations_are_a_choice(build, settings, constant_only, chosen):
    model = build(
        [helper.make_node("MatMul", ["x", "z"], ["y"], name="scores")],
        {},
        {"x": ("float32", [2, 3]), "z": ("float32", [3, 2])},
        {"y": ("float32", [2, 2])},
    )
    assert assign(Graph(model), settings(constant_weights_only=constant_only), "w8a8") == chosen


@pytest.mark.parametrize(("least", "chosen"), [(8, ["first", "second"]), (9, ["second"]), (17, [])])
def test_convolutions_of_few_channels_stay_float(convs, settings, least, chosen):
    assert list(assign(Graph(convs), settings(least_channels=least), "w8a8")) == chosen


def test_grouped_convolutions_count_the_channels_of_all_groups(build, settings, normal):
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], name="depthwise", group=8)]
    shape = ("float32", ["n", 8, 6, 6])
    model = build(nodes, {"w": normal(8, 1, 1, 1)}, {"x": shape}, {"y": shape})
    assert list(assign(Graph(model), settings(least_channels=8), "w8a8")) == ["depthwise"]
    assert list(assign(Graph(model), settings(least_channels=9), "w8a8")) == []


@pytest.mark.parametrize(
    ("default", "float_outputs", "chosen"),
    [
        ("w8a8", (), ["first", "relu", "second", "pool"]),
        ("w8a8", ("Conv",), ["first", "second"]),
        ("w8a8-dynamic", (), ["first", "second"]),
    ],
)
def test_carried_operators_follow_integers_only(convs, settings, default, float_outputs, chosen):
    rules = settings(carried_op_types=("Relu", "GlobalAveragePool"), float_outputs=float_outputs)
    assert list(assign(Graph(convs), rules, default)) == chosen


def test_later_overrides_win(chain, settings):
    by_type = Override(precision="fp32", op_type="MatMul")
    by_name = Override(precision="w8a8", name="^sec")
    graph = Graph(chain())
    assert assign(graph, settings(overrides=[by_type, by_name]), "w8a8-dynamic") == {"second": "w8a8"}
    assert assign(graph, settings(overrides=[by_name, by_type]), "w8a8-dynamic") == {}
    assert left_float(graph, settings(overrides=[by_type, by_name])) == {"first"}


@pytest.mark.parametrize(
    "override",
    [
        Override(precision="fp32", op_type="Conv"),
        Override(precision="fp32", name="third"),
        Override(precision="fp32", op_type="Relu", name="first"),
        Override(precision="fp32"),
    ],
)
def test_an_override_that_matches_nothing_is_refused(chain, settings, override):
    with pytest.raises(RecipeError, match="matches no node"):
        assign(Graph(chain()), settings(overrides=[override]), "w8a8")


def fused(build, normal, rank, extra_reader=False):
    shape = ("float32", ["n", 16] if rank == 2 else ["n", 4, 16])
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"], name="dense"),
        helper.make_node("Add", ["a", "b"], ["y"], name="bias"),
    ]
    outputs = {"y": shape}
    if extra_reader:
        nodes.append(helper.make_node("Neg", ["a"], ["z"], name="reader"))
        outputs["z"] = shape
    return build(nodes, {"w": normal(16, 16), "b": normal(16, seed=1)}, {"x": shape}, outputs)


@pytest.mark.parametrize(
    ("rank", "extra", "precision", "expected"),
    [
        (2, False, "w8a8", "w8a8-dynamic"),
        (2, True, "w8a8", "w8a8"),
        (3, False, "w8a8", "w8a8"),
        (2, False, "w8a8-dynamic", "w8a8-dynamic"),
    ],
)
def test_only_what_would_fuse_to_gemm_settles_on_dynamic(build, normal, rank, extra, precision, expected):
    graph = Graph(fused(build, normal, rank, extra))
    assert settle(graph, {"dense": precision}) == {"dense": expected}


# what is written


def test_dynamic_matmul_is_integer_and_near_float(chain, run, convert, settings, chain_samples):
    model, notes = convert(chain(), settings("w8a8-dynamic"))
    assert operators(model).count("MatMulInteger") == 2
    assert "MatMul" not in operators(model)
    assert "0 nodes with static int8 activations, 2 with dynamic ones" in notes
    x = chain_samples[0]
    before, after = run(chain(), x)[0], run(model, x)[0]
    assert 0.999 < cosine(before, after) < 1


@pytest.mark.parametrize("activation_type", ["uint8", "int8"])
def test_activation_type_is_what_is_written(convs, convert, settings, conv_samples, run, activation_type):
    rules = settings("w8a8", activation_type=activation_type)
    model, _ = convert(convs, rules, conv_samples)
    assert zero_points(model) == {activation_type}
    before, after = (np.stack([run(which, sample)[0] for sample in conv_samples]) for which in (convs, model))
    assert 0.999 < cosine(before, after) < 1


@pytest.mark.parametrize("weight_type", ["uint8", "int8"])
def test_weight_type_is_what_is_written(convs, convert, settings, conv_samples, weight_type):
    model, _ = convert(convs, settings("w8a8", weight_type=weight_type), conv_samples)
    steps, _, zero = weight_of(model, "w1")
    assert steps.dtype.name == zero.dtype.name == weight_type


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("reduce_range", [True, False])
def test_weights_equal_numpy(convs, convert, settings, conv_samples, per_channel, reduce_range):
    rules = settings("w8a8", per_channel=per_channel, reduce_range=reduce_range)
    weight = stored(convs)["w1"]
    model, _ = convert(convs, rules, conv_samples)
    steps, scale, zero = weight_of(model, "w1")
    largest = np.abs(weight).max(axis=(1, 2, 3), keepdims=True) if per_channel else np.abs(weight).max()
    limit = 64 if reduce_range else 127
    assert scale.size == (16 if per_channel else 1)
    assert np.allclose(scale.ravel(), largest.ravel() / limit, rtol=1e-5)
    assert not zero.any()
    assert np.abs(steps).max() == limit
    restored = steps * (scale.reshape(-1, 1, 1, 1) if per_channel else scale)
    assert np.abs(restored - weight).max() <= scale.max() / 2 * 1.001


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("reduce_range", [True, False])
def test_dynamic_weights_equal_numpy(chain, convert, settings, per_channel, reduce_range):
    weight = stored(chain())["w1"]
    model, _ = convert(chain(), settings(per_channel=per_channel, reduce_range=reduce_range))
    steps, scale, zero = weight_of(model, "w1")
    largest = np.abs(weight).max(axis=0) if per_channel else np.abs(weight).max()
    limit = 64 if reduce_range else 127
    assert np.allclose(scale.ravel(), np.ravel(largest) / limit, rtol=1e-5)
    assert not zero.any()
    assert np.array_equal(steps, np.clip(np.round(weight / scale), -limit, limit))


def test_static_activations_span_the_calibrated_range(convs, convert, settings, conv_samples):
    model, _ = convert(convs, settings("w8a8", method="minmax"), conv_samples)
    saved = stored(model)
    x = np.concatenate([sample["x"] for sample in conv_samples])
    node = next(node for node in model.graph.node if node.op_type == "QuantizeLinear" and node.input[0] == "x")
    scale, zero = saved[node.input[1]], saved[node.input[2]]
    assert np.isclose(scale, (x.max() - x.min()) / 255, rtol=1e-5)
    assert int(zero) == round(float(-x.min() / scale))


def test_the_calibration_method_reaches_the_graph(convs, convert, settings, conv_samples):
    scales = {}
    for method in ("minmax", "percentile", "mse"):
        model, _ = convert(convs, settings("w8a8", method=method, percentile=95), conv_samples)
        scales[method] = float(stored(model)["x_scale"])
    assert scales["percentile"] < scales["mse"] <= scales["minmax"]


@pytest.mark.parametrize(("float_outputs", "quantized"), [((), True), (("Conv",), False)])
def test_float_outputs_are_not_quantized(convs, convert, settings, conv_samples, float_outputs, quantized):
    model, _ = convert(convs, settings("w8a8", float_outputs=float_outputs), conv_samples)
    read = {node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    assert ("c" in read or "c_QuantizeLinear_Input" in read) is quantized


def test_biases_stay_float(convs, convert, settings, conv_samples):
    bias = stored(convs)["b1"]
    model, _ = convert(convs, settings("w8a8"), conv_samples)
    assert np.array_equal(stored(model)["b1"], bias)


@pytest.mark.parametrize(
    ("override", "integer", "floating"),
    [
        (Override(precision="fp32", name="^first$"), ["second"], ["first"]),
        (Override(precision="fp32", op_type="MatMul", name="sec"), ["first"], ["second"]),
    ],
)
def test_overrides_by_name_change_the_nodes(chain, convert, settings, override, integer, floating):
    model, _ = convert(chain(), settings(overrides=[override]))
    assert [node.name for node in model.graph.node if node.op_type == "MatMul"] == floating
    assert [node.name for node in model.graph.node if node.op_type == "MatMulInteger"] == [
        f"{name}_quant" for name in integer
    ]


def test_an_override_by_type_changes_the_nodes(convs, convert, settings, conv_samples):
    model, notes = convert(convs, settings("w8a8", [Override(precision="fp32", op_type="Conv")]), conv_samples)
    assert "QuantizeLinear" not in operators(model)
    assert {array.dtype.name for array in stored(model).values()} == {"float32"}
    assert "0 nodes with static int8 activations, 0 with dynamic ones" in notes


def test_overrides_mix_static_and_dynamic(chain, convert, settings, chain_samples, run):
    rules = settings("w8a8-dynamic", [Override(precision="w8a8", name="first")])
    model, notes = convert(chain(), rules, chain_samples)
    assert "1 nodes with static int8 activations, 1 with dynamic ones" in notes
    assert {"QuantizeLinear", "DynamicQuantizeLinear", "MatMulInteger"} <= set(operators(model))
    before, after = run(chain(), chain_samples[0])[0], run(model, chain_samples[0])[0]
    assert 0.999 < cosine(before, after) < 1


@pytest.mark.parametrize("precision", ["w8a8-dynamic", "w8a8", "w8", "w4"])
def test_an_override_reaches_embeddings(build, convert, settings, normal, precision):
    nodes = [
        helper.make_node("Gather", ["words", "ids"], ["a"], name="embed_words"),
        helper.make_node("Gather", ["places", "ids"], ["b"], name="embed_places"),
        helper.make_node("Add", ["a", "b"], ["y"], name="sum"),
    ]
    constants = {"words": normal(40, 64), "places": normal(40, 64, seed=1)}
    model = build(nodes, constants, {"ids": ("int64", ["n"])}, {"y": ("float32", ["n", 64])})
    rules = settings(precision, [Override(precision="fp32", name="places")])
    converted, _ = convert(model, rules, [{"ids": np.array([1])}])
    saved = stored(converted)
    assert np.array_equal(saved["places"], constants["places"])
    assert "words" not in saved


@pytest.mark.parametrize("precision", ["w8a8-dynamic", "w8"])
def test_an_override_reaches_a_tied_table(tied, convert, settings, precision):
    model, _ = convert(tied, settings(precision, [Override(precision="fp32", name="embed|head")]))
    assert stored(model)["table"].dtype == np.float32


@pytest.mark.parametrize("precision", ["w8a8", "w8a8-dynamic"])
def test_every_written_node_has_a_name_of_its_own(convs, convert, settings, conv_samples, precision):
    model, _ = convert(convs, settings(precision), conv_samples)
    names = [node.name for node in model.graph.node]
    assert all(names)
    assert len(set(names)) == len(names)
    before = list(names)
    name_nodes(model)
    assert [node.name for node in model.graph.node] == before
