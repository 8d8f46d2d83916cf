"""Reads and writes .tflite flatbuffers, and answers small questions about them.

A model here is the `ModelT` of the LiteRT schema (the classes that `schema()` gives): plain mutable objects whose
constant buffers are numpy views into the one byte array that was read from disk.

`read_model` checks the file before it unpacks anything (see `verifier`), and afterwards that every index and size in
it fits, so that whoever walks a model may index its lists without looking.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np

from edgeexport.errors import ConversionError, MissingRequirement, ModelError
from edgeexport.formats.tflite.verifier import IDENTIFIER, SCHEMA_VERSION, Malformed, verify

_ADVICE = "Export it again, or copy it again: the file is incomplete or was altered."
# Index lists become Python lists, which callers may edit; a million entries are far beyond any real operator.
_MOST_INDICES = 1_000_000
_UNPACKING = (struct.error, ValueError, IndexError, TypeError, OverflowError, KeyError, AttributeError, MemoryError)

# Schema names where numpy's differ or has none; every other name is numpy's own in lower case.
_PACKED_BITS = {"int4": 4, "uint4": 4, "int2": 2}
_NO_NUMPY = {"bfloat16": 2, "float8_e4m3fn": 1, "float8_e5m2": 1}
_WITHOUT_SIZE = {"string", "resource", "variant"}


@dataclasses.dataclass(frozen=True)
class Entry:
    """One signature of a model: a named way to call one of its subgraphs.

    Attributes:
        key: the name that runtimes ask for, such as `serving_default`.
        inputs: input name → tensor index in the subgraph.
        outputs: output name → tensor index in the subgraph.
        subgraph: index of the subgraph.
    """

    key: str
    inputs: dict[str, int]
    outputs: dict[str, int]
    subgraph: int


@functools.cache
def schema() -> Any:
    """The module of the schema's generated classes and enumerations.

    Raises:
        MissingRequirement: LiteRT is not installed.
    """
    try:
        return importlib.import_module("ai_edge_litert.schema_py_generated")
    except ImportError as error:
        raise MissingRequirement(
            "Reading TFLite models needs the package ai-edge-litert.", "pip install 'edgeexport[litert]'"
        ) from error


def read_model(path: Path) -> Any:
    """Read a .tflite file.

    Constants stay views into one buffer, so the model costs its file size once. They may be written to; the file
    does not change.

    Raises:
        ModelError: there is no such file, it is not a TFLite model of schema version 3, or it is cut off or corrupt.
    """
    classes = schema()
    try:
        with path.open("rb") as file:
            data = bytearray(path.stat().st_size)
            del data[file.readinto(data) :]
    except FileNotFoundError:
        raise ModelError(f"There is no model at {path}.") from None
    except OSError as error:
        raise ModelError(f"The model {path} cannot be read: {error.strerror or error}.") from error
    try:
        verify(data)
        model = classes.ModelT.InitFromObj(classes.Model.GetRootAs(data, 0))
        _resolve_offsets(model, data)
        _lists(model)
        _check_indices(model)
    except Malformed as error:
        raise ModelError(f"{path} is not a readable TFLite model: {error}.", _ADVICE) from error
    except _UNPACKING as error:
        raise ModelError(f"{path} is not a readable TFLite model: it is corrupt ({error}).", _ADVICE) from error
    return model


def write_model(model: Any, path: Path) -> None:
    """Write a model; the same model gives the same bytes.

    What is equal is written once (:mod:`edgeexport.formats.tflite.builder`). Constants are aligned to 16 bytes as the
    schema asks, which the generated classes leave out; kernels on microcontrollers read them in place.

    Raises:
        ConversionError: the model cannot be packed (over 2 GiB) or the file cannot be written.
    """
    from edgeexport.formats.tflite.builder import SharingBuilder

    flatbuffers = schema().flatbuffers
    builder = SharingBuilder(_likely_size(model))
    packed = type(model)()
    packed.__dict__.update(model.__dict__, buffers=[_AlignedBuffer(buffer) for buffer in model.buffers or ()])
    try:
        builder.Finish(packed.Pack(builder), file_identifier=IDENTIFIER)
    except flatbuffers.builder.BuilderSizeError as error:
        raise ConversionError("The model is over the 2 GiB that a .tflite file can hold.") from error
    try:
        # `Output()` would copy the whole file once more.
        path.write_bytes(memoryview(builder.Bytes)[builder.Head() :])
    except OSError as error:
        raise ConversionError(f"The model cannot be written to {path}: {error.strerror or error}.") from error


def builtin_code(operator_code: Any) -> int:
    """The operator's number. Old files keep numbers below 127 in a field of one byte."""
    return max(int(operator_code.builtinCode), int(operator_code.deprecatedBuiltinCode))


def op_name(model: Any, operator: Any) -> str:
    """The operator's name as in the schema, with the inner name of custom and composite operators.

    Returns:
        `FULLY_CONNECTED`, `CUSTOM(name)`, `STABLEHLO_COMPOSITE(name)`, or `BUILTIN_999` for one newer than the schema.
    """
    code = model.operatorCodes[operator.opcodeIndex]
    name = _builtin_names().get(builtin_code(code), f"BUILTIN_{builtin_code(code)}")
    inner = None
    if name == "CUSTOM":
        inner = code.customCode
    elif name == "STABLEHLO_COMPOSITE":
        inner = getattr(operator.builtinOptions2, "name", None)
    elif name == "STABLEHLO_CUSTOM_CALL":
        inner = getattr(operator.builtinOptions2, "callTargetName", None)
    return f"{name}({_text(inner)})" if inner else name


def tensor_name(tensor: Any) -> str:
    """The tensor's name, or an empty string when it was stripped."""
    return _text(tensor.name)


def dtype_name(tensor_type: int) -> str:
    """Numpy's name of a schema `TensorType`, or the schema's in lower case: `float32`, `int4`, `bfloat16`, `string`."""
    name = _type_names().get(int(tensor_type), f"type{tensor_type}")
    return "object" if name == "string" else name


def constant(model: Any, tensor: Any) -> np.ndarray | None:
    """The tensor's constant value, or None if the model computes it.

    Returns:
        A view in the tensor's shape where numpy has the type. 4-bit and 2-bit values come unpacked, as int8 or uint8;
        bfloat16 and 8-bit floats as the raw bits in an unsigned integer.
    """
    data = model.buffers[tensor.buffer].data if tensor.buffer else None
    if data is None or (len(data) == 0 and size_in_bytes(tensor) != 0):
        return None
    raw = _bytes_array(data)
    name = _type_names().get(int(tensor.type), "")
    shape = tuple(int(size) for size in (tensor.shape if tensor.shape is not None else ()))
    if name in _WITHOUT_SIZE or not name:
        return raw
    if name in _PACKED_BITS:
        return _unpack(raw, _PACKED_BITS[name], name.startswith("u"), math.prod(shape)).reshape(shape)
    dtype = np.dtype(f"uint{8 * _NO_NUMPY[name]}" if name in _NO_NUMPY else name)
    return np.frombuffer(raw, dtype.newbyteorder("<"), count=math.prod(shape)).reshape(shape)


def signatures(model: Any) -> list[Entry]:
    """The model's signatures in file order; empty if it has none."""
    return [
        Entry(
            _text(definition.signatureKey),
            {_text(item.name): int(item.tensorIndex) for item in definition.inputs or ()},
            {_text(item.name): int(item.tensorIndex) for item in definition.outputs or ()},
            int(definition.subgraphIndex),
        )
        for definition in model.signatureDefs or ()
    ]


def size_in_bytes(tensor: Any) -> int | None:
    """Bytes of a tensor of this type and shape, or None where they depend on the value (strings)."""
    name = _type_names().get(int(tensor.type), "string")
    if name in _WITHOUT_SIZE:
        return None
    count = math.prod(int(size) for size in (tensor.shape if tensor.shape is not None else ()))
    if name in _PACKED_BITS:
        return (count * _PACKED_BITS[name] + 7) // 8
    return count * (_NO_NUMPY.get(name) or np.dtype(name).itemsize)


class _AlignedBuffer:
    """Stands in for a `BufferT` while packing, and aligns its content to 16 bytes."""

    def __init__(self, buffer: Any) -> None:
        self._buffer = buffer

    def Pack(self, builder: Any) -> int:  # noqa: N802 - the name that the generated classes call
        classes = schema()
        data, vector = self._buffer.data, None
        if data is not None:
            raw = _bytes_array(data)
            builder.StartVector(1, len(raw), 16)
            builder.head -= len(raw)
            builder.Bytes[builder.head : builder.head + len(raw)] = raw.data
            vector = builder.EndVector()
        classes.BufferStart(builder)
        if vector is not None:
            classes.BufferAddData(builder, vector)
        classes.BufferAddOffset(builder, self._buffer.offset)
        classes.BufferAddSize(builder, self._buffer.size)
        packed: int = classes.BufferEnd(builder)
        return packed


def _likely_size(model: Any) -> int:
    """Bytes that packing takes, on the generous side: a builder that runs short copies all it has to twice the room."""
    constants = sum(len(buffer.data) + 64 for buffer in model.buffers or () if buffer.data is not None)
    return constants + 65536 + sum(1024 * (len(graph.tensors) + len(graph.operators)) for graph in model.subgraphs)


def _bytes_array(data: Any) -> np.ndarray:
    """Bytes of a buffer, of any kind that packing takes: an array, bytes-like, or a list of integers."""
    if isinstance(data, np.ndarray):
        return np.ascontiguousarray(data).reshape(-1).view(np.uint8)
    return np.asarray(data, np.uint8) if isinstance(data, list) else np.frombuffer(data, np.uint8)


def _unpack(raw: np.ndarray, bits: int, unsigned: bool, count: int) -> np.ndarray:
    """Values of `bits` bits each, the first in the lowest bits of a byte."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    values = ((raw[:, None] >> shifts) & ((1 << bits) - 1)).reshape(-1)[:count]
    if unsigned:
        return values
    top = 8 - bits
    return (values << top).astype(np.uint8).view(np.int8) >> top


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


@functools.cache
def _builtin_names() -> dict[int, str]:
    return {code: name for name, code in vars(schema().BuiltinOperator).items() if isinstance(code, int)}


@functools.cache
def _type_names() -> dict[int, str]:
    return {code: name.lower() for name, code in vars(schema().TensorType).items() if isinstance(code, int)}


def _resolve_offsets(model: Any, data: bytearray) -> None:
    """Give content that lies behind the flatbuffer (as in files over 2 GiB) to the objects that point to it."""
    view = np.frombuffer(data, np.uint8)
    for buffer in model.buffers:
        if buffer.offset > 1:  # 0 and 1 both stand for "inside the flatbuffer"
            buffer.data = _section(view, buffer.offset, buffer.size)
        buffer.offset = buffer.size = 0
    for subgraph in model.subgraphs:
        for operator in subgraph.operators:
            if operator.largeCustomOptionsOffset > 1:
                start, size = operator.largeCustomOptionsOffset, operator.largeCustomOptionsSize
                operator.customOptions = _section(view, start, size)
            operator.largeCustomOptionsOffset = operator.largeCustomOptionsSize = 0


def _section(view: np.ndarray, start: int, size: int) -> np.ndarray:
    if start + size > len(view):
        raise Malformed("it is cut off: a constant lies beyond the end of the file")
    return view[start : start + size]


def _lists(model: Any) -> None:
    """Turn index arrays into lists, which can be appended to, and leave weights alone."""
    budget = _MOST_INDICES

    def visit(value: Any) -> None:
        nonlocal budget
        for name, item in vars(value).items():
            if isinstance(item, np.ndarray) and item.dtype == np.int32:
                budget -= item.size
                if budget < 0:
                    raise Malformed(f"it lists more than {_MOST_INDICES} indices")
                setattr(value, name, item.tolist())
            elif isinstance(item, list):
                for element in item:
                    if hasattr(element, "__dict__"):
                        visit(element)
            # A sparse tensor's segments are data as large as its weights.
            elif hasattr(item, "__dict__") and name != "sparsity" and not isinstance(item, np.ndarray):
                visit(item)

    for subgraph in model.subgraphs:
        visit(subgraph)


def _check_indices(model: Any) -> None:
    """Every index points at something, and every constant has the size that its type and shape need."""

    def within(index: int, length: int, what: str, least: int = 0) -> None:
        if not least <= index < length:
            raise Malformed(f"it refers to {what} {index} of {length}")

    for number, subgraph in enumerate(model.subgraphs):
        count = len(subgraph.tensors)
        for tensor in subgraph.tensors:
            within(tensor.buffer, len(model.buffers), "buffer")
            _check_tensor(model, tensor)
        for index in [*(subgraph.inputs or ()), *(subgraph.outputs or ())]:
            within(index, count, f"in subgraph {number} tensor")
        for operator in subgraph.operators:
            within(operator.opcodeIndex, len(model.operatorCodes), "operator code")
            # -1 stands for an optional input that was left out.
            for index in [*(operator.inputs or ()), *(operator.outputs or ()), *(operator.intermediates or ())]:
                within(index, count, f"in subgraph {number} tensor", least=-1)
    for definition in model.signatureDefs or ():
        within(definition.subgraphIndex, len(model.subgraphs), "subgraph")
        for item in [*(definition.inputs or ()), *(definition.outputs or ())]:
            within(item.tensorIndex, len(model.subgraphs[definition.subgraphIndex].tensors), "tensor")
    for metadata in model.metadata or ():
        within(metadata.buffer, len(model.buffers), "buffer")


def _check_tensor(model: Any, tensor: Any) -> None:
    name = tensor_name(tensor)
    if int(tensor.type) not in _type_names():
        raise Malformed(f"tensor {name!r} has the unknown type {tensor.type}")
    shape = tensor.shape or ()
    if any(size < 0 for size in shape):
        raise Malformed(f"tensor {name!r} has the negative shape {list(shape)}")
    data = model.buffers[tensor.buffer].data if tensor.buffer else None
    expected = size_in_bytes(tensor)
    # Empty buffers are how some writers mark a tensor that is computed.
    if data is not None and len(data) and tensor.sparsity is None and expected is not None and len(data) != expected:
        raise Malformed(f"tensor {name!r} needs {expected} bytes and has {len(data)}")
    quantization = tensor.quantization
    if quantization is not None and quantization.scale is not None and len(quantization.scale) > 1:
        axis, scales = quantization.quantizedDimension, len(quantization.scale)
        if not 0 <= axis < len(shape) or shape[axis] != scales:
            raise Malformed(f"tensor {name!r} has {scales} scales along dimension {axis} of the shape {list(shape)}")


__all__ = [
    "SCHEMA_VERSION",
    "Entry",
    "builtin_code",
    "constant",
    "dtype_name",
    "op_name",
    "read_model",
    "schema",
    "signatures",
    "size_in_bytes",
    "tensor_name",
    "write_model",
]
