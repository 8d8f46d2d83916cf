"""Where the bytes of an ONNX file are: every one of them.

A protobuf message is its fields one after the other, so the file is the sum of its nodes, initializers and the rest.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from onnx import TensorProto, helper

from edgeexport.conversion import TensorBytes
from edgeexport.formats.onnx.graph import Graph
from edgeexport.formats.onnx.paths import Paths

_COMPONENTS = {
    "Gather": "embedding",
    "GatherBlockQuantized": "embedding",
    "MatMul": "linear",
    "MatMulInteger": "linear",
    "MatMulNBits": "linear",
    "Gemm": "linear",
    "QGemm": "linear",
    "QLinearMatMul": "linear",
    "Conv": "convolution",
    "ConvInteger": "convolution",
    "QLinearConv": "convolution",
    "ConvTranspose": "convolution",
    "LayerNormalization": "normalization",
}
_PASS_THROUGH = {"DequantizeLinear", "QuantizeLinear", "Transpose", "Cast", "Identity", "Reshape", "Mul"}
_BITS = {TensorProto.INT4: 4, TensorProto.UINT4: 4, TensorProto.BOOL: 8}
_SCALE = re.compile(r".*_(?:scales?|zero|zero_points?|zp|inv)(?:_\d+)?")
_SCALE_INPUTS = {
    "QuantizeLinear": (1, 2),
    "DequantizeLinear": (1, 2),
    "MatMulNBits": (2, 3),
    "GatherBlockQuantized": (2, 3),
    "MatMulInteger": (2, 3),
    "ConvInteger": (2, 3),
}
_PACKED_INPUTS = {"MatMulNBits": 1, "GatherBlockQuantized": 0}
"""Whose integers lie in bytes, as many in each as their attribute ``bits`` allows; 4 where it is left out."""
_FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}


def stored_tensors(model: Any) -> Iterator[TensorBytes]:
    """Every byte of the file: each initializer and constant with the kind of operator that uses it and the module that
    it belongs to, and the structure around them."""
    graph = Graph(model)
    paths = Paths(graph)
    rest = int(model.ByteSize())
    for name, tensor in graph.constants.items():
        values, around = _split(tensor)
        component, path = _component(graph, name), paths.of_constant(name)
        yield TensorBytes(component, _stored_type(graph, name), values, path, _what(graph, name, component))
        yield _structure(path, around)
        rest -= values + around
    for node in graph.nodes:
        around, path = _in_message(node.ByteSize()), paths.of_node(node)
        for entry in node.attribute:
            if entry.HasField("t"):
                values, _ = _split(entry.t)
                yield TensorBytes("constant", _dtype(entry.t), values, path, "constant")
                around -= values
                rest -= values
        yield _structure(path, around)
        rest -= around
    yield _structure("", rest)


def tensor_bytes(tensor: Any) -> int:
    """Bytes of a stored tensor's values."""
    if tensor.raw_data:
        return len(tensor.raw_data)
    bits = _BITS.get(tensor.data_type) or helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize * 8
    return -(-int(math.prod(tensor.dims)) * int(bits) // 8)


def _split(tensor: Any) -> tuple[int, int]:
    """Bytes of a tensor's values, and of its name, shape and encoding around them."""
    whole = _in_message(tensor.ByteSize())
    bare = TensorProto(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type)
    if tensor.data_type == TensorProto.STRING:
        values = sum(map(len, tensor.string_data))
    else:
        values = min(tensor_bytes(tensor), int(tensor.ByteSize() - bare.ByteSize()))  # small integers may take less
    return values, whole - values


def _in_message(size: int) -> int:
    """Bytes of a message of that size as a repeated field of a small number: its tag, its length and itself."""
    return 1 + max(1, -(-int(size).bit_length() // 7)) + int(size)


def _structure(path: str, size: int) -> TensorBytes:
    return TensorBytes("graph", "", size, path, "structure")


def _dtype(tensor: Any) -> str:
    name = str(TensorProto.DataType.Name(tensor.data_type)).lower()
    return {"float": "float32", "double": "float64"}.get(name, name)


def _stored_type(graph: Graph, name: str) -> str:
    """The type of an initializer's values, which may be packed in bytes: two parameters of 4 bits are one uint8."""
    tensor = graph.constants[name]
    if tensor.data_type == TensorProto.UINT8:
        for node in graph.users.get(name, ()):
            place = _PACKED_INPUTS.get(node.op_type)
            if place is not None and node.input[place] == name:
                bits = next((entry.i for entry in node.attribute if entry.name == "bits"), 4)
                return f"uint{bits}"
    return _dtype(tensor)


def _what(graph: Graph, name: str, component: str) -> str:
    """Whether an initializer is a weight, a scale (zero points among them) or a constant of the graph."""
    for node in graph.users.get(name, ()):
        if any(place < len(node.input) and node.input[place] == name for place in _SCALE_INPUTS.get(node.op_type, ())):
            return "scale"
    if _SCALE.fullmatch(name):
        return "scale"
    tensor = graph.constants[name]
    several = math.prod(tensor.dims) > 1
    is_weight = component != "other" or tensor.data_type in _FLOATS
    return "weight" if is_weight and several else "constant"


def _component(graph: Graph, name: str, depth: int = 4) -> str:
    """The component of the first layer that uses a constant, seen through dequantization and the like."""
    for node in graph.users[name]:
        if node.op_type in _COMPONENTS:
            return _COMPONENTS[node.op_type]
        if node.op_type in _PASS_THROUGH and depth and node.output:
            found = _component(graph, node.output[0], depth - 1)
            if found != "other":
                return found
    return "other"
