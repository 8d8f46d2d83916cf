"""The bytes that inspect counts are the bytes that are stored."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeexport.formats.onnx import OnnxFormat
from edgeexport.formats.onnx.inspect import stored_tensors, tensor_bytes


def groups(model):
    found = {}
    for tensor in (tensor for tensor in stored_tensors(model) if tensor.what != "structure"):
        key = tensor.component, tensor.dtype
        found[key] = found.get(key, 0) + tensor.bytes
    return found


def everything(build, normal):
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"], name="embed"),
        helper.make_node("LayerNormalization", ["rows", "gain"], ["normed"], name="norm", axis=-1),
        helper.make_node("MatMul", ["normed", "w"], ["dense"], name="dense"),
        helper.make_node("Add", ["dense", "bias"], ["y"], name="bias_add"),
    ]
    constants = {"table": normal(64, 32), "gain": normal(32), "w": normal(32, 16), "bias": normal(16)}
    return build(nodes, constants, {"ids": ("int64", ["n", "s"])}, {"y": ("float32", ["n", "s", 16])})


def test_components_of_a_float_model(build, normal):
    assert groups(everything(build, normal)) == {
        ("embedding", "float32"): 64 * 32 * 4,
        ("normalization", "float32"): 32 * 4,
        ("linear", "float32"): 32 * 16 * 4,
        ("other", "float32"): 16 * 4,
    }


@pytest.mark.parametrize("precision", ["fp32", "fp16", "w8", "w4", "w8a8-dynamic", "w8a8"])
@pytest.mark.parametrize("kind", ["everything", "convs", "tied"])
def test_bytes_add_up_to_the_tensors(build, normal, convs, tied, convert, settings, precision, kind):
    model = {"everything": everything(build, normal), "convs": convs, "tied": tied}[kind]
    feed = {"x": normal(1, 8, 6, 6)} if kind == "convs" else {"ids": np.array([[1, 2]])}
    converted, _ = convert(model, settings(precision), [feed])
    arrays = [numpy_helper.to_array(tensor) for tensor in converted.graph.initializer]
    arrays += [
        numpy_helper.to_array(entry.t)
        for node in converted.graph.node
        for entry in node.attribute
        if entry.HasField("t")
    ]
    # numpy spends a byte on a 4-bit number, the file half of one
    stored = sum(array.nbytes // 2 if "int4" in array.dtype.name else array.nbytes for array in arrays)
    counted = sum(groups(converted).values())
    packed = [tensor for tensor in converted.graph.initializer if not tensor.raw_data]  # small integers, as varints
    assert stored - 8 * len(packed) <= counted <= stored
    assert sum(tensor.bytes for tensor in stored_tensors(converted)) == len(converted.SerializeToString())
    assert counted < converted.ByteSize() < counted + 6000


def test_integer_weights_keep_their_component(build, normal, convert, settings):
    converted, _ = convert(everything(build, normal), settings("w8a8-dynamic"))
    found = groups(converted)
    assert found["embedding", "int8"] == 64 * 32
    assert ("embedding", "float32") not in found
    assert found["linear", "int8"] >= 32 * 16
    assert ("linear", "float32") not in found or found["linear", "float"] <= 16 * 4


@pytest.mark.parametrize(("precision", "kind", "bits"), [("w4", "uint4", 4), ("w8", "uint8", 8)])
def test_weights_packed_in_bytes_have_the_bits_that_their_operator_reads(
    build, normal, convert, settings, precision, kind, bits
):
    node = helper.make_node("MatMul", ["x", "w"], ["y"], name="dense")
    model = build([node], {"w": normal(64, 48)}, {"x": ("float32", ["n", 64])}, {"y": ("float32", ["n", 48])})
    converted, _ = convert(model, settings(precision))
    weights = {tensor.dtype: tensor.bytes for tensor in stored_tensors(converted) if tensor.what == "weight"}
    assert weights == {kind: 64 * 48 * bits // 8}


@pytest.mark.parametrize(
    ("kind", "count", "expected"),
    [
        (TensorProto.FLOAT, 5, 20),
        (TensorProto.FLOAT16, 5, 10),
        (TensorProto.BFLOAT16, 5, 10),
        (TensorProto.INT64, 5, 40),
        (TensorProto.INT8, 5, 5),
        (TensorProto.BOOL, 5, 5),
        (TensorProto.INT4, 6, 3),
        (TensorProto.INT4, 5, 3),
    ],
)
@pytest.mark.parametrize("raw", [True, False])
def test_bytes_of_each_type(kind, count, expected, raw):
    values = np.arange(count, dtype=np.float32)
    tensor = helper.make_tensor("t", kind, [count], values.astype(int) if kind != 1 else values)
    if raw:
        tensor = TensorProto(name="t", data_type=kind, dims=[count], raw_data=bytes(expected))
    assert tensor_bytes(tensor) == expected


def test_constant_nodes_count(build, normal):
    nodes = [
        helper.make_node("Constant", [], ["shift"], value=numpy_helper.from_array(normal(3))),
        helper.make_node("Add", ["x", "shift"], ["y"]),
    ]
    model = build(nodes, {}, {"x": ("float32", [3])}, {"y": ("float32", [3])})
    assert groups(model) == {("constant", "float32"): 12}


def test_inspect_reads_a_file(build, normal, tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(everything(build, normal), str(path))
    signature, tensors = OnnxFormat().inspect(path)
    assert [spec.to_dict() for spec in signature.inputs] == [{"name": "ids", "dtype": "int64", "shape": ["n", "s"]}]
    assert signature.outputs[0].shape == ("n", "s", 16)
    tensors = list(tensors)
    values = [tensor.bytes for tensor in tensors if tensor.what != "structure"]
    assert sum(values) == 4 * (64 * 32 + 32 + 32 * 16 + 16)
    assert sum(tensor.bytes for tensor in tensors) == path.stat().st_size
