"""What a .tflite file takes and gives, and where its bytes are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgeexport.conversion import TensorBytes
from edgeexport.errors import ModelError
from edgeexport.formats.tflite.flatbuffer import Entry, dtype_name, op_name, signatures, tensor_name
from edgeexport.signature import Dimension, Signature, TensorSpec

_COMPONENTS = {
    "EMBEDDING_LOOKUP": "embedding",
    "GATHER": "embedding",
    "FULLY_CONNECTED": "linear",
    "BATCH_MATMUL": "linear",
    "CONV_2D": "convolution",
    "DEPTHWISE_CONV_2D": "convolution",
    "TRANSPOSE_CONV": "convolution",
}


def stored_tensors(model: Any) -> Iterator[TensorBytes]:
    """Every constant once, with the kind of operator that uses it, and the scales and zero points."""
    seen: set[int] = set()
    scales: set[bytes] = set()
    for graph in model.subgraphs:
        users = _users(model, graph)
        for index, tensor in enumerate(graph.tensors):
            data = model.buffers[tensor.buffer].data if tensor.buffer else None
            if data is not None and len(data) and tensor.buffer not in seen:
                seen.add(tensor.buffer)
                yield TensorBytes(users.get(index, "other"), dtype_name(tensor.type), len(data))
            parameters = tensor.quantization
            if parameters is not None and parameters.scale is not None and len(parameters.scale):
                key = bytes(memoryview(parameters.scale)) if hasattr(parameters.scale, "dtype") else b""
                if key not in scales:
                    scales.add(key)
                    yield TensorBytes("scales", "float32", 4 * len(parameters.scale))
                    points = parameters.zeroPoint
                    yield TensorBytes("scales", "int64", 8 * (0 if points is None else len(points)))


def read_signature(model: Any, where: str) -> Signature:
    """Inputs and outputs; several signatures of different lengths make one with a named dimension.

    Raises:
        ModelError: it has no signature, or several that differ in more than one length.
    """
    entries = signatures(model)
    if not entries:
        raise ModelError(f"{where} has no signature, so its inputs have no names", "Convert it with signatures.")
    first = entries[0]
    dimension = first.key.rpartition("_")[0] or "length"
    shapes = [_shapes(model, entry) for entry in entries]
    if any(set(shape) != set(shapes[0]) for shape in shapes):
        raise ModelError(f"{where}: its signatures have different inputs and outputs")
    lengths = _lengths(shapes, where)

    def spec(name: str, index: int) -> TensorSpec:
        tensor = model.subgraphs[first.subgraph].tensors[index]
        shape: list[Dimension] = []
        for axis, length in enumerate(shapes[0][name]):
            shape.append(length if len({other[name][axis] for other in shapes}) == 1 else dimension)
        return TensorSpec(name, dtype_name(tensor.type), tuple(shape), *_quantization(tensor))

    inputs = tuple(spec(name, index) for name, index in first.inputs.items())
    outputs = tuple(spec(name, index) for name, index in first.outputs.items())
    return Signature(inputs, outputs, {dimension: lengths} if lengths else {})


def _lengths(shapes: list[dict[str, tuple[int, ...]]], where: str) -> tuple[int, ...]:
    """The one length by which each signature differs from the others, ascending; none where there is one signature.

    Raises:
        ModelError: ranks differ, or a signature has several such lengths.
    """
    found: list[set[int]] = [set() for _ in shapes]
    for name, first in shapes[0].items():
        if any(len(other[name]) != len(first) for other in shapes):
            raise ModelError(f"{where}: its signatures have '{name}' in different ranks")
        for axis in range(len(first)):
            if len({other[name][axis] for other in shapes}) > 1:
                for lengths, other in zip(found, shapes, strict=True):
                    lengths.add(other[name][axis])
    if any(len(lengths) > 1 for lengths in found):
        raise ModelError(f"{where}: its signatures differ in more than one length")
    return tuple(sorted(length for lengths in found for length in lengths))


def _quantization(tensor: Any) -> tuple[float | None, int | None]:
    parameters = tensor.quantization
    if dtype_name(tensor.type) not in {"int8", "uint8", "int16"} or parameters is None or parameters.scale is None:
        return None, None
    if not len(parameters.scale):
        return None, None
    points = parameters.zeroPoint
    return float(parameters.scale[0]), int(points[0]) if points is not None and len(points) else 0


def _shapes(model: Any, entry: Entry) -> dict[str, tuple[int, ...]]:
    tensors = model.subgraphs[entry.subgraph].tensors
    both = {**entry.inputs, **entry.outputs}
    return {name: tuple(map(int, tensors[index].shape)) for name, index in both.items()}


def _users(model: Any, graph: Any) -> dict[int, str]:
    """The component of the first layer that reads each tensor, seen through dequantization."""
    found: dict[int, str] = {}
    for operator in reversed(graph.operators):
        op = op_name(model, operator)
        passed = found.get(operator.outputs[0]) if op == "DEQUANTIZE" else None
        component = _COMPONENTS.get(op) or passed
        if component is not None:
            for index in operator.inputs:
                found[index] = component
    return found


def names(model: Any) -> Iterator[tuple[str, str]]:
    """Operator and name of everything that the first signature computes."""
    graph = model.subgraphs[0]
    for operator in graph.operators:
        if operator.outputs:
            yield op_name(model, operator), tensor_name(graph.tensors[operator.outputs[0]])
