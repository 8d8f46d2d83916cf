"""Which operator gets which precision."""

import re

import numpy as np
import pytest
from tflite_models import Builder, convolutions, make_settings, normal, two_layers, words

from edgeexport.errors import RecipeError
from edgeexport.formats.tflite.plan import Graph, assign, carry, fall_back
from edgeexport.ranges import Range
from edgeexport.settings import PRECISIONS, Override

CONVOLUTIONS = ["stem", "deep", "body"]


def products():
    """scores = x @ z, of two activations, as a batched product and as a fully connected layer."""
    built = Builder()
    built.graph()
    x, z = built.tensor("input.0", (4, 16)), built.tensor("input.1", (8, 16))
    y = built.op("FULLY_CONNECTED", [x, z, -1], built.tensor("scores", (4, 8)), "FullyConnectedOptions")
    built.signature("main", {"x": x, "z": z}, {"y": y})
    return built.model


def chosen(model, *arguments, **options):
    graph, settings = Graph(model), make_settings(*arguments, **options)
    return carry(graph, assign(graph, settings), settings)


def fallen_back(model, ranges, settings):
    graph = Graph(model)
    return fall_back(graph, carry(graph, assign(graph, settings), settings), ranges, settings)


# reading the graph


def test_nodes_are_named_by_their_first_output():
    nodes = Graph(convolutions()).nodes
    assert [(node.op, node.name) for node in nodes] == [
        ("CONV_2D", "stem"),
        ("DEPTHWISE_CONV_2D", "deep"),
        ("CONV_2D", "body"),
        ("ADD", "sum"),
        ("MEAN", "mean"),
        ("FULLY_CONNECTED", "output.0"),
    ]
    assert [node.name for node in Graph(two_layers((4, 8))).nodes] == ["first", "output.0", "1/first", "1/output.0"]


def test_activations_are_float_and_no_constants():
    graph = Graph(convolutions())
    found = {node.name: (list(graph.activations(node)), graph.read(node)) for node in graph.nodes}
    assert found["stem"] == (["input.0", "stem"], ["input.0"])
    assert found["sum"] == (["body", "deep", "sum"], ["body", "deep"])
    assert found["mean"] == (["sum", "mean"], ["sum"])
    lookup = Graph(words()).nodes[0]
    assert list(Graph(words()).activations(lookup)) == ["embed"]


def test_layers_have_a_constant_weight():
    graph = Graph(convolutions())
    assert [node.name for node in graph.nodes if graph.is_layer(node)] == [*CONVOLUTIONS, "output.0"]
    assert not any(Graph(products()).is_layer(node) for node in Graph(products()).nodes)


# by rule


def test_listed_operators_are_chosen_in_every_signature():
    assert chosen(two_layers((4, 8))) == dict.fromkeys(["first", "output.0", "1/first", "1/output.0"], "w8a8")
    assert chosen(convolutions(), op_types=("CONV_2D",)) == {"stem": "w8a8", "body": "w8a8"}
    assert chosen(two_layers(), op_types=("CONV_2D",)) == {}


@pytest.mark.parametrize("precision", [precision for precision in PRECISIONS if precision != "fp32"])
def test_each_precision_in_a_convolutional_network(precision):
    found = chosen(convolutions(), precision)
    of_convolutions = "w8" if precision in {"w8a8-dynamic", "w4"} else precision
    assert found == {**dict.fromkeys(CONVOLUTIONS, of_convolutions), "output.0": precision}


def test_everything_means_operators_without_weights_too_where_static():
    assert set(chosen(convolutions(), op_types=("*",))) == {*CONVOLUTIONS, "sum", "mean", "output.0"}
    assert set(chosen(convolutions(), "w8", op_types=("*",))) == {*CONVOLUTIONS, "output.0"}


@pytest.mark.parametrize(("constant_only", "expected"), [(True, {}), (False, {"scores": "w8a8"})])
def test_products_of_activations_are_a_choice(constant_only, expected):
    assert chosen(products(), constant_weights_only=constant_only) == expected
    assert chosen(products(), "w8", constant_weights_only=constant_only) == {}


@pytest.mark.parametrize(
    ("precision", "bits", "expected"),
    [
        ("w8a8", None, "embedding-8"),
        ("w8a16", None, "embedding-8"),
        ("w8a8-dynamic", None, "embedding-8"),
        ("w8", None, "embedding-8"),
        ("w4", None, "embedding-4"),
        ("fp16", None, "fp16"),
        ("w8a8", 4, "embedding-4"),
        ("w8", 4, "embedding-4"),
        ("w4", 8, "embedding-8"),
        ("fp16", 4, "fp16"),
    ],
)
def test_tables_have_the_bits_asked_for(precision, bits, expected):
    assert chosen(words(), precision, embedding_bits=bits) == {"embed": expected, "output.0": precision}


def test_tables_stay_float_where_they_are_not_listed():
    assert chosen(words(), op_types=("FULLY_CONNECTED",)) == {"output.0": "w8a8"}


@pytest.mark.parametrize(
    ("precision", "bits", "table", "product"),
    [
        ("w8a8-dynamic", None, "embedding-8", "w8a8-dynamic"),
        ("w8a8-dynamic", 4, "embedding-4", "w4"),
        ("w4", None, "embedding-4", "w4"),
        ("w4", 8, "embedding-8", "w8a8-dynamic"),
        ("w8", 4, "embedding-4", "w8"),
        ("fp16", 4, "fp16", "fp16"),
    ],
)
def test_a_product_with_a_table_has_the_tables_bits(precision, bits, table, product):
    built = Builder()
    built.graph()
    ids = built.tensor("input.0", (4,), dtype="int32")
    weight = built.tensor("embed/1", (9, 16), normal(9, 16))
    rows = built.op("EMBEDDING_LOOKUP", [ids, weight], built.tensor("embed", (4, 16)))
    head = built.op("FULLY_CONNECTED", [rows, weight], built.tensor("head", (4, 9)), "FullyConnectedOptions")
    built.signature("main", {"ids": ids}, {"head": head})
    assert chosen(built.model, precision, embedding_bits=bits) == {"embed": table, "head": product}


# carried operators


@pytest.mark.parametrize(
    ("carried", "expected"),
    [
        ((), []),
        (("ADD",), ["sum"]),
        (("ADD", "MEAN"), ["sum", "mean"]),
        (("MEAN",), []),  # the sum that it reads is float
    ],
)
def test_carried_operators_follow_static_ones_only(carried, expected):
    found = chosen(convolutions(), carried_op_types=carried)
    assert [name for name in found if name in {"sum", "mean"}] == expected
    assert set(found.values()) == {"w8a8"}


def test_one_float_operand_leaves_a_carried_operator_float():
    found = chosen(convolutions(), op_types=("DEPTHWISE_CONV_2D",), carried_op_types=("ADD", "MEAN"))
    assert found == {"deep": "w8a8"}


@pytest.mark.parametrize("precision", ["w8", "w4", "fp16", "w8a8-dynamic"])
def test_nothing_is_carried_where_nothing_is_static(precision):
    found = chosen(convolutions(), precision, carried_op_types=("ADD", "MEAN"))
    assert not {"sum", "mean"} & set(found)


def test_what_reads_an_input_or_a_table_is_not_carried():
    built = Builder()
    built.graph()
    x, ids = built.tensor("input.0", (4, 16)), built.tensor("input.1", (4,), dtype="int32")
    table = built.tensor("embed/1", (9, 16), normal(9, 16))
    rows = built.op("EMBEDDING_LOOKUP", [ids, table], built.tensor("embed", (4, 16)))
    one = built.op("ADD", [rows, rows], built.tensor("one", (4, 16)), "AddOptions")
    two = built.op("ADD", [x, x], built.tensor("two", (4, 16)), "AddOptions")
    constant = built.tensor("three/1", (4, 16), normal(4, 16))
    three = built.op("ADD", [constant, constant], built.tensor("three", (4, 16)), "AddOptions")
    built.signature("main", {"x": x, "ids": ids}, {"one": one, "two": two, "three": three})
    assert chosen(built.model, carried_op_types=("ADD",)) == {"embed": "embedding-8"}


# the stem


@pytest.mark.parametrize(
    ("least", "expected"),
    [
        (1, ["stem", "deep", "body", "output.0"]),
        (3, ["stem", "deep", "body", "output.0"]),
        (4, ["body", "output.0"]),  # and the depthwise one right behind it
        (17, ["output.0"]),
    ],
)
def test_convolutions_of_few_channels_stay_float(least, expected):
    assert list(chosen(convolutions(), least_channels=least)) == expected
    assert list(chosen(convolutions(), "w8a16", least_channels=least)) == expected


def test_a_stem_counts_where_activations_are_integers_only():
    assert list(chosen(convolutions(), "w8", least_channels=17)) == [*CONVOLUTIONS, "output.0"]


def test_a_depthwise_convolution_behind_another_kind_of_operator_is_no_stem():
    built = Builder()
    built.graph()
    x, plane = built.tensor("input.0", (1, 6, 6, 16)), (1, 6, 6, 16)
    twice = built.op("ADD", [x, x], built.tensor("twice", plane), "AddOptions")
    weight = built.tensor("deep/1", (1, 3, 3, 16), normal(1, 3, 3, 16))
    deep = built.op("DEPTHWISE_CONV_2D", [twice, weight, -1], built.tensor("deep", plane), "DepthwiseConv2DOptions")
    built.signature("main", {"x": x}, {"y": deep})
    assert list(chosen(built.model, least_channels=8)) == ["deep"]
    assert list(chosen(built.model, least_channels=17)) == []


# overrides


def test_overrides_by_name_and_by_type():
    by_name = Override(precision="fp32", name="^fir")
    by_type = Override(precision="w8", op_type="CONV_2D")
    assert chosen(two_layers(), overrides=[by_name]) == {"output.0": "w8a8"}
    assert chosen(convolutions(), overrides=[by_type]) == {
        "stem": "w8",
        "deep": "w8a8",
        "body": "w8",
        "output.0": "w8a8",
    }


def test_with_both_both_must_match():
    both = Override(precision="fp32", op_type="CONV_2D", name="e")  # stem and deep have an e; deep is no CONV_2D
    assert list(chosen(convolutions(), overrides=[both])) == ["deep", "body", "output.0"]


def test_a_name_is_that_of_every_signature():
    for pattern in ("first", "^first$"):
        override = Override(precision="fp32", name=pattern)
        assert set(chosen(two_layers((4, 8)), overrides=[override])) == {"output.0", "1/output.0"}


def test_later_overrides_win():
    by_type = Override(precision="fp32", op_type="FULLY_CONNECTED")
    by_name = Override(precision="w8a8-dynamic", name="^first")
    assert chosen(two_layers(), overrides=[by_type, by_name]) == {"first": "w8a8-dynamic"}
    assert chosen(two_layers(), overrides=[by_name, by_type]) == {}


def test_an_override_adds_what_no_rule_chose():
    override = Override(precision="w8a8", op_type="MEAN")
    assert chosen(convolutions(), op_types=("CONV_2D",), overrides=[override]) == {
        "stem": "w8a8",
        "body": "w8a8",
        "mean": "w8a8",
    }


@pytest.mark.parametrize(
    "override",
    [
        Override(precision="fp32", op_type="CONV_2D"),
        Override(precision="fp32", op_type="fully_connected"),
        Override(precision="fp32", name="third"),
        Override(precision="fp32", name="^1/first"),
        Override(precision="fp32", op_type="EMBEDDING_LOOKUP", name="first"),
        Override(precision="fp32"),
    ],
)
def test_an_override_that_matches_nothing_is_refused(override):
    with pytest.raises(RecipeError, match=re.escape(f"override {override} matches no operator")):
        chosen(two_layers((4, 8)), overrides=[Override(precision="fp32", name="first"), override])


@pytest.mark.parametrize("precision", ["w8", "w8a8-dynamic"])
def test_weights_of_an_operator_without_any_are_refused(precision):
    override = Override(precision=precision, op_type="ADD")
    with pytest.raises(RecipeError, match=r"matches ADD 'sum', which has no weights to quantize"):
        chosen(convolutions(), overrides=[override])


@pytest.mark.parametrize("precision", ["w8", "w8a8-dynamic", "w8a8"])
def test_an_override_brings_back_a_table_in_its_own_form(precision):
    override = Override(precision=precision, op_type="EMBEDDING_LOOKUP")
    for bits, expected in ((None, "embedding-8"), (4, "embedding-4")):
        found = chosen(words(), op_types=("FULLY_CONNECTED",), overrides=[override], embedding_bits=bits)
        assert found == {"output.0": "w8a8", "embed": expected}


def test_a_table_left_float_by_an_override():
    override = Override(precision="fp32", op_type="EMBEDDING_LOOKUP")
    assert chosen(words(), overrides=[override]) == {"output.0": "w8a8"}


@pytest.mark.parametrize("precision", ["fp32", "w8", "w8a8-dynamic"])
def test_nothing_is_carried_from_a_layer_that_an_override_leaves_float(precision):
    override = Override(precision=precision, name="^body")
    found = chosen(convolutions(), overrides=[override], carried_op_types=("ADD", "MEAN"))
    assert {name for name, has in found.items() if has == "w8a8"} == {"stem", "deep", "output.0"}


def test_a_carried_operator_that_an_override_leaves_float_stays_float():
    override = Override(precision="fp32", op_type="ADD")
    found = chosen(convolutions(), overrides=[override], carried_op_types=("ADD", "MEAN"))
    assert set(found) == {"stem", "deep", "body", "output.0"}


@pytest.mark.parametrize("precision", ["w8", "w4", "fp16", "w8a8-dynamic"])
def test_a_static_override_beside_what_calibrates_nothing_is_refused(precision):
    override = Override(precision="w8a8", name="first")
    with pytest.raises(RecipeError, match=f"contradicts precision {re.escape(precision)}, which calibrates nothing"):
        chosen(two_layers(), precision, overrides=[override])


# layers too coarse in int8 steps


def seen(array):
    found = Range()
    found.add(np.asarray(array, np.float32))
    return found


@pytest.fixture
def ranges():
    """Of the convolutional network; each activation is normal, about 40 dB."""
    names = ["input.0", *CONVOLUTIONS, "sum", "mean", "output.0"]
    return {name: seen(normal(2000, seed=number)) for number, name in enumerate(names)}


def with_outlier():
    values = normal(100_000, seed=9)
    values[5] = 300
    return seen(values)


def test_nothing_falls_back_where_all_is_fine(ranges):
    settings = make_settings("w8a8", minimum_snr=22.0)
    assert min(found.snr_db() for found in ranges.values()) > 30
    assert fallen_back(convolutions(), ranges, settings) == []


@pytest.mark.parametrize(
    ("tensor", "layers"),
    [
        ("input.0", ["stem"]),
        ("output.0", ["output.0"]),
        ("stem", ["stem", "deep"]),
        ("body", ["body"]),  # the sum reads it too, and has no weight
        ("deep", ["deep", "body"]),
        ("sum", []),
        ("mean", ["output.0"]),
    ],
)
def test_exactly_the_layers_beside_the_outlier_fall_back(ranges, tensor, layers):
    ranges[tensor] = with_outlier()
    settings = make_settings("w8a8", minimum_snr=22.0, carried_op_types=("ADD", "MEAN"))
    assert ranges[tensor].snr_db() < 15
    assert fallen_back(convolutions(), ranges, settings) == layers


@pytest.mark.parametrize(("offset", "expected"), [(-0.01, []), (0.01, ["stem"])])
def test_the_limit_is_that_of_the_setting(ranges, offset, expected):
    ranges["input.0"] = with_outlier()
    settings = make_settings("w8a8", minimum_snr=ranges["input.0"].snr_db() + offset)
    assert fallen_back(convolutions(), ranges, settings) == expected


@pytest.mark.parametrize(("precision", "least"), [("w8a8", 0.0), ("w8a16", 22.0)])
def test_the_rule_is_off_at_zero_and_for_16_bits(ranges, precision, least):
    ranges["input.0"] = with_outlier()
    settings = make_settings(precision, minimum_snr=least)
    assert fallen_back(convolutions(), ranges, settings) == []


def test_layers_that_are_not_static_do_not_fall_back(ranges):
    ranges["input.0"] = with_outlier()
    settings = make_settings("w8a8", [Override(precision="w8", name="stem")], minimum_snr=22.0)
    assert fallen_back(convolutions(), ranges, settings) == []


def test_all_signatures_fall_back_together():
    fine, coarse = seen(normal(2000)), with_outlier()
    ranges = {"input.0": fine, "first": fine, "output.0": coarse}
    settings = make_settings("w8a8", minimum_snr=22.0)
    assert fallen_back(two_layers((4, 8)), ranges, settings) == ["output.0", "1/output.0"]
