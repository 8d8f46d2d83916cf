"""Where the bytes of an ONNX file are."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from onnx import TensorProto, helper

from edgeexport.conversion import TensorBytes
from edgeexport.formats.onnx.graph import Graph

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


def stored_tensors(model: Any) -> Iterator[TensorBytes]:
    """Every initializer, with the kind of operator that uses it."""
    graph = Graph(model)
    for name, tensor in graph.constants.items():
        dtype = TensorProto.DataType.Name(tensor.data_type).lower()
        yield TensorBytes(_component(graph, name), dtype, tensor_bytes(tensor))
    for node in graph.nodes:
        for entry in node.attribute:
            if entry.HasField("t"):
                dtype = TensorProto.DataType.Name(entry.t.data_type).lower()
                yield TensorBytes("constant", dtype, tensor_bytes(entry.t))


def tensor_bytes(tensor: Any) -> int:
    """Bytes of a stored tensor's values."""
    if tensor.raw_data:
        return len(tensor.raw_data)
    bits = _BITS.get(tensor.data_type) or helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize * 8
    return -(-int(math.prod(tensor.dims)) * int(bits) // 8)


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
