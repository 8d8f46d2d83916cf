"""Modules of nodes and constants, and constants that are shared."""

import numpy as np
import onnx
import pytest
from onnx import helper

from edgeexport.formats.onnx.graph import Graph
from edgeexport.formats.onnx.inspect import stored_tensors
from edgeexport.formats.onnx.paths import Paths, named_path, parameter_path
from edgeexport.formats.onnx.prepare import share_constants, strip


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("/bert/encoder/layer.0/attention/self/query/MatMul", "bert.encoder.layer.0.attention.self.query"),
        ("/head.1/node_linear", "head.1"),
        ("/a/b/Clip_output_0_QuantizeLinear", "a.b"),
        ("/Softmax", ""),
        ("onnx::Conv_17_DequantizeLinear", ""),
        ("MatMul_3", ""),
    ],
)
def test_a_nodes_name_tells_its_module(name, path):
    assert named_path(name) == path


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("bert.embeddings.word_embeddings.weight_int8", "bert.embeddings.word_embeddings"),
        ("head.1.bias", "head.1"),
        ("head.1.weight_Transposed", "head.1"),
        ("onnx::MatMul_12", ""),
        ("/a/b/Constant_output_0", ""),
        ("weight", ""),
    ],
)
def test_a_parameters_name_tells_its_module(name, path):
    assert parameter_path(name) == path


@pytest.fixture
def tied(build, normal):
    """A table that is looked up in one module and multiplied with in another; nodes of the second have no name."""
    nodes = [
        helper.make_node(
            "DequantizeLinear", ["onnx::T_q", "onnx::T_scale"], ["table"], name="onnx::T_DequantizeLinear"
        ),
        helper.make_node("Gather", ["table", "ids"], ["rows"], name="/model/embed/Gather"),
        helper.make_node("MatMul", ["rows", "head.proj.weight"], ["dense"], name="MatMul_1"),
        helper.make_node("Relu", ["dense"], ["y"], name="Relu_2"),
    ]
    constants = {
        "onnx::T_q": np.ones((64, 8), np.int8),
        "onnx::T_scale": np.float32(0.5),
        "head.proj.weight": normal(8, 4),
    }
    return build(nodes, constants, {"ids": ("int64", ["n"])}, {"y": ("float32", ["n", 4])})


def test_names_then_parameters_then_readers_then_producers(tied):
    paths = Paths(Graph(tied))
    assert [paths.of_node(node) for node in tied.graph.node] == ["model.embed", "model.embed", "head.proj", "head.proj"]
    assert [paths.of_constant(tensor.name) for tensor in tied.graph.initializer] == ["model.embed"] * 2 + ["head.proj"]


def test_every_byte_has_its_module(tied):
    shares = list(stored_tensors(tied))
    found = {}
    for item in shares:
        found[item.path, item.what, item.dtype] = found.get((item.path, item.what, item.dtype), 0) + item.bytes
    assert sum(found.values()) == len(tied.SerializeToString())
    assert found["model.embed", "weight", "int8"] == 64 * 8
    assert found["model.embed", "scale", "float32"] == 4
    assert found["head.proj", "weight", "float32"] == 8 * 4 * 4
    gather, matmul = tied.graph.node[1], tied.graph.node[2]
    assert found["model.embed", "structure", ""] > gather.ByteSize()
    assert found["head.proj", "structure", ""] > matmul.ByteSize()


def test_a_longer_name_is_its_own_modules_bytes(tied):
    def structure(path):
        return sum(item.bytes for item in stored_tensors(tied) if (item.path, item.what) == (path, "structure"))

    before = structure("head.proj"), structure("model.embed"), structure("")
    tied.graph.node[2].doc_string = "x" * 50
    after = structure("head.proj"), structure("model.embed"), structure("")
    assert after[0] - before[0] == 52  # the text, its tag and its length
    assert after[1] == before[1]
    assert 0 <= after[2] - before[2] <= 2  # the length of the graph around it


# shared constants


@pytest.fixture
def repeated(build, normal):
    nodes = [
        helper.make_node("Add", ["x", "first"], ["a"]),
        helper.make_node("Add", ["a", "second"], ["b"]),
        helper.make_node("Add", ["b", "third"], ["c"]),
        helper.make_node("Mul", ["c", "other"], ["y"]),
    ]
    zeros = np.zeros(16, np.float32)
    constants = {"first": zeros + 1, "second": zeros + 1, "third": zeros + 2, "other": (zeros + 1)[None]}
    return build(nodes, constants, {"x": ("float32", [4, 16])}, {"y": ("float32", [4, 16])})


def test_equal_constants_are_stored_once(repeated):
    before = repeated.ByteSize()
    assert share_constants(repeated) == 1
    assert [tensor.name for tensor in repeated.graph.initializer] == ["first", "third", "other"]
    assert [node.input[1] for node in repeated.graph.node] == ["first", "first", "third", "other"]
    assert before - repeated.ByteSize() > 64
    assert share_constants(repeated) == 0


def test_strip_shares_and_the_outputs_stay(tied, normal):
    import onnxruntime

    tied.graph.initializer.append(helper.make_tensor("copy", onnx.TensorProto.FLOAT, [8, 4], normal(8, 4).ravel()))
    tied.graph.initializer[-1].CopyFrom(tied.graph.initializer[-2])
    tied.graph.initializer[-1].name = "copy"
    tied.graph.node.insert(3, helper.make_node("MatMul", ["rows", "copy"], ["dense2"]))
    tied.graph.node.insert(4, helper.make_node("Add", ["dense", "dense2"], ["both"]))
    tied.graph.node[5].input[0] = "both"
    feeds = {"ids": np.arange(5)}

    def outputs():
        session = onnxruntime.InferenceSession(tied.SerializeToString(), providers=["CPUExecutionProvider"])
        return session.run(None, feeds)[0]

    expected = outputs()
    strip(tied)
    assert "copy" not in {tensor.name for tensor in tied.graph.initializer}
    np.testing.assert_array_equal(outputs(), expected)


def test_an_output_and_an_optional_input_stay(build):
    nodes = [helper.make_node("Add", ["x", "b"], ["y"]), helper.make_node("Add", ["y", "c"], ["z"])]
    ones = np.ones(4, np.float32)
    model = build(nodes, {"a": ones, "b": ones, "c": ones}, {"x": ("float32", [4])}, {"z": ("float32", [4])})
    model.graph.input.append(helper.make_tensor_value_info("b", onnx.TensorProto.FLOAT, [4]))
    model.graph.output.append(helper.make_tensor_value_info("a", onnx.TensorProto.FLOAT, [4]))
    assert share_constants(model) == 0
    assert {tensor.name for tensor in model.graph.initializer} == {"a", "b", "c"}
