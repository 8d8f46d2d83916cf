"""Names of tensors: short, unique, and the same in every signature after its number."""

import pytest
from tflite_models import RELU, Builder, by_name, normal, run, save

from edgeexport.formats.tflite.flatbuffer import read_model
from edgeexport.formats.tflite.names import module_path, shorten

LINEAR = "torch.nn.modules.linear.Linear"


@pytest.mark.parametrize(
    ("given", "path"),
    [
        (f"package.Bert_model/package.BertEncoder_encoder/{LINEAR}_dense;1", "model.encoder.dense"),
        (f"net.Net/torch.nn.modules.container.Sequential_features/{LINEAR}_0;", "features.0"),
        (f"net.Net/{LINEAR}_first;net.Net/torch.nn.modules.activation.ReLU_relu;", "relu"),
        ("net.Net/;1", ""),
        ("arith.constant1", ""),
        ("StatefulPartitionedCall:0", ""),
        ("", ""),
    ],
)
def test_the_module_path_is_that_of_the_source(given, path):
    assert module_path(given) == path


def test_layers_that_have_a_name_in_common_are_told_apart():
    """As the projections of an attention are named after the first of them too, and a layer after what is around it."""
    built = Builder()
    built.graph()
    last = x = built.tensor("x", (2, 8))
    for number, name in enumerate(
        ["N/L_query;1", "N/L_key;N/L_query;1", "N/L_value;N/L_query;1", "N/L_out/L_dense;N/L_out;"]
    ):
        weight = built.tensor(f"w{number}", (8, 8), normal(8, 8, seed=number))
        last = built.op("FULLY_CONNECTED", [last, weight, -1], built.tensor(name, (2, 8)), "FullyConnectedOptions")
    last = built.op("TANH", [last], built.tensor("N/L_out;2", (2, 8)))
    y = built.op("TANH", [last], built.tensor("y", (2, 8)))
    built.signature("main", {"x": x}, {"y": y})
    shorten(built.model)
    found = [name for name in names(built.model.subgraphs[0]) if "/" not in name]
    assert found == ["input.0", "query", "key", "value", "out.dense", "out", "output.0"]


def long_names(lengths):
    """Two layers and an operator of the model itself, with names as the converter gives them."""
    built = Builder()
    for length in lengths:
        built.graph()
        x = built.tensor("serving_default_args_0:0", (length, 8))
        w, b = built.tensor("arith.constant1", (8, 8), normal(8, 8)), built.tensor("arith.constant2", (8,), normal(8))
        encoder = "net.Net/net.Encoder_encoder"
        one = built.tensor(f"{encoder}/{LINEAR}_dense;{encoder}/torch.nn.ReLU_relu;1", (length, 8))
        two = built.tensor(f"{encoder}/{LINEAR}_dense;2", (length, 8))
        three = built.tensor(f"{encoder}/{LINEAR}_dense;3", (length, 8))
        four = built.tensor("net.Net/;", (length, 8))
        five = built.tensor("whatever", (length, 8))
        y = built.tensor("StatefulPartitionedCall:0", (length, 8))
        built.tensor("arith.left_over", (3,))
        fused = {"options": "FullyConnectedOptions", "fusedActivationFunction": RELU}
        built.op("FULLY_CONNECTED", [x, w, b], one, **fused)
        built.op("FULLY_CONNECTED", [one, w, -1], two, **fused)
        built.op("FULLY_CONNECTED", [two, w, b], three, **fused)
        built.op("TANH", [three], four)
        built.op("TANH", [four], five)
        built.op("ADD", [five, x], y, "AddOptions")
        built.signature(f"sequence_{length}", {"x": x}, {"y": y})
    return built.model


def names(graph):
    return [tensor.name.decode() for tensor in graph.tensors]


FIRST = [
    "input.0",
    "encoder.relu/1",
    "encoder.relu/2",
    "encoder.relu",
    "encoder.dense",
    "encoder.dense:2",
    "model",
    "model:2",
    "output.0",
    "unused.9",
]


def test_every_tensor_is_named_by_its_module_and_constants_by_their_reader():
    model = long_names([2])
    shorten(model)
    assert names(model.subgraphs[0]) == FIRST


def test_later_signatures_differ_by_their_number_alone():
    model = long_names([2, 3, 4])
    shorten(model)
    assert names(model.subgraphs[0]) == FIRST
    assert names(model.subgraphs[1]) == [f"1/{name}" for name in FIRST]
    assert names(model.subgraphs[2]) == [f"2/{name}" for name in FIRST]
    everything = [name for graph in model.subgraphs for name in names(graph)]
    assert len(set(everything)) == len(everything)


def test_the_file_is_smaller_and_computes_the_same(tmp_path):
    model = long_names([2, 3])
    before = save(model, tmp_path / "before.tflite")
    x = {"x": normal(3, 8, seed=7)}
    expected = run(before, x, "sequence_3")["y"]
    shorten(model)
    after = save(model, tmp_path / "after.tflite")
    assert after.stat().st_size < before.stat().st_size
    assert run(after, x, "sequence_3")["y"].tobytes() == expected.tobytes()
    assert "1/encoder.dense" in by_name(read_model(after), 1)


def test_an_operator_without_outputs_names_its_constants_after_the_end():
    built = Builder()
    built.graph()
    x = built.tensor("a", (2,))
    constant = built.tensor("b", (2,), normal(2))
    y = built.op("ADD", [x, x], built.tensor("c", (2,)), "AddOptions")
    built.op("ASSIGN_VARIABLE", [constant], y)
    built.model.subgraphs[0].operators[-1].outputs = []
    built.signature("main", {"x": x}, {"y": y})
    shorten(built.model)
    assert names(built.model.subgraphs[0]) == ["input.0", "end/0", "output.0"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["Sequential_output/L_0;1", "L_x;1"], ["output.0:2", "x"]),  # a module called as outputs are
        (["Sequential_input/L_0;1", "L_x;1"], ["input.0:2", "x"]),
        (["L_a;1", "L_a;2", "L_a/L_2;1"], ["a", "a:2", "a.2"]),  # the second of a, and a's child 2
        (["L_a/L_2;1", "L_a;1", "L_a;2"], ["a.2", "a", "a:2"]),
    ],
)
def test_names_are_unique_whatever_modules_are_called(given, expected):
    built = Builder()
    for _ in range(2):
        built.graph()
        x = last = built.tensor("x", (2,))
        for name in given:
            constant = built.tensor("c", (2,), normal(2))
            last = built.op("ADD", [last, constant], built.tensor(f"net.Net/{name}", (2,)), "AddOptions")
        y = built.op("TANH", [last], built.tensor("y", (2,)))
        built.signature("main", {"x": x}, {"y": y})
    shorten(built.model)
    first, second = map(names, built.model.subgraphs)
    assert [name for name in first if "/" not in name] == ["input.0", *expected, "output.0"]
    assert second == [f"1/{name}" for name in first]
    assert len(set(first + second)) == len(first + second)
