"""The graph's maps and edits."""

import numpy as np
import pytest
from onnx import helper, numpy_helper

from edgeexport.formats.onnx.graph import (
    Graph,
    attribute,
    constants_to_initializers,
    copy_model,
    name_nodes,
)


def test_maps_name_users_and_producers(chain):
    graph = Graph(chain())
    assert set(graph.constants) == {"w1", "w2"}
    assert [node.name for node in graph.users["b"]] == ["second"]
    assert graph.producers["a"].name == "first"
    assert "x" not in graph.producers


def test_layers_are_those_with_a_constant_float_weight(convs, chain, build):
    assert [node.name for node in Graph(convs).layers()] == ["first", "second"]
    assert [node.name for node in Graph(chain()).layers()] == ["first", "second"]
    scores = build(
        [helper.make_node("MatMul", ["x", "z"], ["y"], name="scores")],
        {},
        {"x": ("float32", [2, 3]), "z": ("float32", [3, 2])},
        {"y": ("float32", [2, 2])},
    )
    assert Graph(scores).layers() == []


def test_matmuls_leaves_out_stacked_weights(build, normal):
    nodes = [
        helper.make_node("MatMul", ["x", "flat"], ["a"], name="flat_one"),
        helper.make_node("MatMul", ["a", "stack"], ["y"], name="stacked"),
    ]
    constants = {"flat": normal(4, 4), "stack": normal(2, 4, 4)}
    model = build(nodes, constants, {"x": ("float32", [2, 3, 4])}, {"y": ("float32", [2, 3, 4])})
    assert [node.name for node in Graph(model).matmuls()] == ["flat_one"]
    assert [node.name for node in Graph(model).layers()] == ["flat_one", "stacked"]


def test_edits_of_constants_reach_the_model(chain):
    model = chain()
    graph = Graph(model)
    doubled = graph.values("w1") * 2
    graph.set_constant("w1", doubled)
    graph.add_constant("extra", np.arange(3, dtype=np.int8))
    graph.drop_constants(["w2"])
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert set(stored) == set(graph.constants) == {"w1", "extra"}
    assert np.array_equal(stored["w1"], doubled)
    assert np.array_equal(stored["extra"], np.array([0, 1, 2], np.int8))


def test_is_float_constant(tied):
    graph = Graph(tied)
    graph.add_constant("steps", np.arange(3))
    assert graph.is_float_constant("table")
    assert not graph.is_float_constant("steps")
    assert not graph.is_float_constant("ids")


def test_replaced_nodes_are_copies_with_fresh_maps(chain):
    graph = Graph(chain())
    first, _, second = graph.nodes
    second.input[0] = "a"
    graph.replace_nodes([first, second])
    assert [node.name for node in graph.model.graph.node] == ["first", "second"]
    assert [node.name for node in graph.users["a"]] == ["second"]
    assert graph.users["b"] == []


def test_a_copy_shares_nothing(chain):
    model = chain()
    copied = copy_model(model)
    copied.graph.node[0].name = "other"
    assert model.graph.node[0].name == "first"


def test_every_node_gets_a_name_of_its_own(chain):
    model = chain()
    for name, node in zip(["same", "", "same"], model.graph.node, strict=True):
        node.name = name
    name_nodes(model)
    assert [node.name for node in model.graph.node] == ["same", "Relu_1", "MatMul_2"]


def test_a_made_up_name_does_not_meet_a_given_one(chain):
    model = chain()
    for name, node in zip(["", "Relu_1", "MatMul_0"], model.graph.node, strict=True):
        node.name = name
    name_nodes(model)
    assert len({node.name for node in model.graph.node}) == 3


def test_float_constant_nodes_become_initializers_and_others_stay(build, run, normal):
    shift = normal(3)
    nodes = [
        helper.make_node("Constant", [], ["shift"], value=numpy_helper.from_array(shift)),
        helper.make_node("Constant", [], ["shape"], value=numpy_helper.from_array(np.array([3]))),
        helper.make_node("Add", ["x", "shift"], ["a"]),
        helper.make_node("Reshape", ["a", "shape"], ["y"]),
    ]
    model = build(nodes, {}, {"x": ("float32", [1, 3])}, {"y": ("float32", [3])})
    x = normal(1, 3, seed=1)
    before = run(model, {"x": x})[0]
    constants_to_initializers(model)
    assert [node.op_type for node in model.graph.node] == ["Constant", "Add", "Reshape"]
    assert [tensor.name for tensor in model.graph.initializer] == ["shift"]
    assert np.array_equal(run(model, {"x": x})[0], before)
    assert np.array_equal(before, (x + shift)[0])


@pytest.mark.parametrize(("name", "default", "value"), [("perm", None, [1, 0]), ("axis", 7, 7)])
def test_attribute_or_default(tied, name, default, value):
    turn = next(node for node in tied.graph.node if node.name == "turn")
    assert attribute(turn, name, default) == value


def test_a_constant_that_a_branch_reads_counts_as_used(build, normal):
    """An If reads its branches' outer names; a pass that saw no use would drop them."""
    outputs = [helper.make_tensor_value_info("picked", 1, None)]
    branch = helper.make_graph([helper.make_node("Identity", ["w"], ["picked"])], "then", [], outputs)
    other = helper.make_graph([helper.make_node("Identity", ["w"], ["picked"])], "else", [], outputs)
    nodes = [helper.make_node("If", ["flag"], ["y"], name="if", then_branch=branch, else_branch=other)]
    model = build(nodes, {"w": normal(2), "flag": np.array(True)}, {"x": ("float32", [1])}, {"y": ("float32", None)})
    assert [node.name for node in Graph(model).users["w"]] == ["if", "if"]
