"""What a .tflite file takes and gives, and where its bytes are."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeexport.conversion import TensorBytes
from edgeexport.errors import ModelError
from edgeexport.formats.tflite.flatbuffer import Entry, dtype_name, op_name, signatures, tensor_name
from edgeexport.formats.tflite.layout import stored_bytes
from edgeexport.signature import Dimension, Signature, TensorSpec


def stored_tensors(path: Path, model: Any) -> Iterator[TensorBytes]:
    """Every byte of the file at ``path``, which ``model`` was read from."""
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as data,
    ):
        shares = list(stored_bytes(model, data))
    return iter(shares)


def read_signature(model: Any, where: str) -> Signature:
    """Inputs and outputs; several signatures of different lengths make one with a named dimension.

    Raises:
        ModelError: it has no signature, or several that differ in more than one length.
    """
    entries = signatures(model)
    if not entries:
        raise ModelError(f"{where} has no signature, so its inputs have no names", "Convert it with signatures.")
    first = entries[0]
    dimension = "sequence" if first.key == "decode" else first.key.rpartition("_")[0] or "length"
    shapes = [_shapes(model, entry) for entry in entries]
    if any(set(shape) != set(shapes[0]) for shape in shapes):
        raise ModelError(f"{where}: its signatures have different inputs and outputs")
    lengths, more = _lengths(shapes, where)

    def spec(name: str, index: int) -> TensorSpec:
        tensor = model.subgraphs[first.subgraph].tensors[index]
        shape: list[Dimension] = []
        for axis, length in enumerate(shapes[0][name]):
            found = tuple(other[name][axis] for other in shapes)
            shape.append(length if len(set(found)) == 1 else dimension if found == lengths else "total")
        return TensorSpec(name, dtype_name(tensor.type), tuple(shape), *_quantization(tensor))

    inputs = tuple(spec(name, index) for name, index in first.inputs.items())
    outputs = tuple(spec(name, index) for name, index in first.outputs.items())
    known = {dimension: tuple(sorted(lengths))} if lengths else {}
    if any("total" in spec.shape for spec in inputs):
        known["total"] = tuple(length + more for length in known[dimension])
    return Signature(inputs, outputs, known)


def _lengths(shapes: list[dict[str, tuple[int, ...]]], where: str) -> tuple[tuple[int, ...], int]:
    """The one length by which each signature differs from the others; none where there is one signature.

    A mask over a cache and new tokens is longer than these by the cache, which is given second; 0 without one.

    Raises:
        ModelError: ranks differ, or a signature has several such lengths.
    """
    found: set[tuple[int, ...]] = set()
    for name, first in shapes[0].items():
        if any(len(other[name]) != len(first) for other in shapes):
            raise ModelError(f"{where}: its signatures have '{name}' in different ranks")
        rows = [tuple(other[name][axis] for other in shapes) for axis in range(len(first))]
        found.update(row for row in rows if len(set(row)) > 1)
    if not found:
        return (), 0
    least, *others = sorted(found)
    distances = {longer - length for row in others for longer, length in zip(row, least, strict=True)}
    if len(distances) > 1:
        raise ModelError(f"{where}: its signatures differ in more than one length")
    return least, distances.pop() if distances else 0


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


def names(model: Any) -> Iterator[tuple[str, str]]:
    """Operator and name of everything that the first signature computes."""
    graph = model.subgraphs[0]
    for operator in graph.operators:
        if operator.outputs:
            yield op_name(model, operator), tensor_name(graph.tensors[operator.outputs[0]])
