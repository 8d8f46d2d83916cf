"""A program as frozen data: what :file:`MIL.proto` says, read once and checked.

Constants are loaded when they are first asked for, so that reading a program costs no weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch

from edgeexport.errors import ModelError
from edgeexport.mil.blob import byte_count, decode
from edgeexport.mil.dtypes import DTYPES, Dtype
from edgeexport.mil.memory import claim
from edgeexport.mil.proto import messages


@dataclass(frozen=True)
class Type:
    """The type of a value.

    Attributes:
        dtype: of its elements.
        shape: None for a dimension that is known when the program runs; None as a whole where the rank is not known.
        container: ``tensor``, ``list`` or ``state``.
    """

    dtype: Dtype
    shape: tuple[int | None, ...] | None
    container: str = "tensor"

    def __str__(self) -> str:
        sizes = "?" if self.shape is None else ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.container}<{self.dtype.name}[{sizes}]>"


@dataclass(frozen=True)
class Named:
    """A name and its type."""

    name: str
    type: Type


@dataclass(frozen=True)
class Stored:
    """How a constant is stored.

    Attributes:
        dtype: of its elements.
        bytes: in the file, sub-byte elements packed.
    """

    dtype: Dtype
    bytes: int


@dataclass(frozen=True)
class Literal:
    """A constant inside an operation.

    Attributes:
        load: gives a tensor, a string or a list of strings.
        stored: what it takes in the file; None for text and lists.
    """

    load: Callable[[], Any]
    stored: Stored | None = None


Argument = str | Literal | tuple[str | Literal, ...]
"""What an operation takes: a value by name, a constant, or several of these."""


@dataclass(frozen=True)
class Operation:
    """One operation.

    Attributes:
        op: its name in the opset, such as ``conv``.
        name: its own name, which is that of its first output where it has none.
        arguments: by parameter.
        outputs: what it gives.
        blocks: of control flow.
    """

    op: str
    name: str
    arguments: dict[str, Argument]
    outputs: tuple[Named, ...]
    blocks: tuple[Block, ...] = ()


@dataclass(frozen=True)
class Block:
    """Operations in the order in which they run."""

    inputs: tuple[Named, ...]
    outputs: tuple[str, ...]
    operations: tuple[Operation, ...]


@dataclass(frozen=True)
class Function:
    """One function of a program.

    Attributes:
        opset: the iOS release whose operators it uses, such as 17.
    """

    name: str
    inputs: tuple[Named, ...]
    opset: int
    block: Block


class Reader:
    """Reads functions out of a ``Program`` message.

    Args:
        blob: gives the tensor of a weight file by file name, offset, element type and shape.
    """

    def __init__(self, blob: Callable[[str, int, Dtype, tuple[int, ...]], torch.Tensor]) -> None:
        self._blob = blob
        kinds = messages("MIL_pb2").DataType
        self._dtypes = {kinds.Value(name): dtype for name, dtype in DTYPES.items()}
        self._kinds = kinds

    def functions(self, program: Any) -> dict[str, Function]:
        """All functions by name.

        Raises:
            ModelError: a message lacks a part, or has a type that is not known.
        """
        return {name: self._function(name, message) for name, message in sorted(program.functions.items())}

    def _function(self, name: str, message: Any) -> Function:
        if message.opset not in message.block_specializations:
            raise ModelError(f"function {name!r} has no operations for its opset {message.opset!r}")
        digits = message.opset.removeprefix("CoreML")
        if not digits.isdigit():
            raise ModelError(f"function {name!r} has the opset {message.opset!r}, which is not known")
        block = self._block(message.block_specializations[message.opset])
        return Function(name, self._named(message.inputs), int(digits) + 10, block)

    def _block(self, message: Any) -> Block:
        operations = tuple(self._operation(operation) for operation in message.operations)
        return Block(self._named(message.inputs), tuple(message.outputs), operations)

    def _operation(self, message: Any) -> Operation:
        outputs = self._named(message.outputs)
        arguments = {key: self._argument(value) for key, value in message.inputs.items()}
        name = outputs[0].name if outputs else message.type
        for key, value in message.attributes.items():
            if key != "name":
                arguments[key] = self._literal(value)
            elif value.immediateValue.tensor.strings.values:
                name = value.immediateValue.tensor.strings.values[0]
        blocks = tuple(self._block(block) for block in message.blocks)
        return Operation(message.type, name, arguments, outputs, blocks)

    def _argument(self, message: Any) -> Argument:
        found = tuple(self._binding(binding) for binding in message.arguments)
        return found[0] if len(found) == 1 else found

    def _binding(self, message: Any) -> str | Literal:
        return str(message.name) if message.WhichOneof("binding") == "name" else self._literal(message.value)

    def _named(self, messages: Iterable[Any]) -> tuple[Named, ...]:
        return tuple(Named(message.name, self.type(message.type)) for message in messages)

    def type(self, message: Any) -> Type:
        """The type that a ``ValueType`` message describes."""
        kind = message.WhichOneof("type")
        if kind == "stateType":
            wrapped = self.type(message.stateType.wrappedType)
            return Type(wrapped.dtype, wrapped.shape, "state")
        if kind == "listType":
            element = self.type(message.listType.type)
            return Type(element.dtype, element.shape, "list")
        if kind == "dictionaryType":  # only of classify, which gives class names with their probabilities
            return Type(DTYPES["FLOAT32"], None, "list")
        if kind != "tensorType":
            raise ModelError(f"a value has the type {kind!r}, which no program for devices uses")
        tensor = message.tensorType
        if tensor.dataType not in self._dtypes:
            known = self._kinds.Name(tensor.dataType) if tensor.dataType in self._kinds.values() else tensor.dataType
            raise ModelError(f"a value has elements of the type {known}, which is not executed")
        if tensor.rank < 0:
            return Type(self._dtypes[tensor.dataType], None)
        if tensor.rank != len(tensor.dimensions):
            raise ModelError(f"a value of rank {tensor.rank} has {len(tensor.dimensions)} dimensions")
        shape = tuple(
            size.constant.size if size.WhichOneof("dimension") == "constant" else None for size in tensor.dimensions
        )
        # As many bytes may be asked for; with unknown dimensions this is the least.
        claim((size for size in shape if size is not None), 1)
        return Type(self._dtypes[tensor.dataType], shape)

    def _literal(self, value: Any) -> Literal:
        if value.WhichOneof("value") == "blobFileValue":
            kind, blob = self._fixed(value.type), value.blobFileValue
            stored = Stored(kind[0], byte_count(*kind))
            return Literal(lambda: self._blob(blob.fileName, blob.offset, *kind), stored)
        immediate = value.immediateValue
        if immediate.WhichOneof("value") == "list":
            items = [self._literal(item) for item in immediate.list.values]
            return Literal(lambda: [item.load() for item in items])
        if immediate.WhichOneof("value") == "tuple":
            items = [self._literal(item) for item in immediate.tuple.values]
            return Literal(lambda: tuple(item.load() for item in items))
        if immediate.WhichOneof("value") != "tensor":
            raise ModelError("a constant has neither elements nor a place in a weight file")
        fixed = self._fixed(value.type)
        return Literal(lambda: self._tensor(immediate.tensor, *fixed), Stored(fixed[0], byte_count(*fixed)))

    def _fixed(self, message: Any) -> tuple[Dtype, tuple[int, ...]]:
        kind = self.type(message)
        if kind.shape is None or None in kind.shape:
            raise ModelError(f"a constant has no fixed shape: {kind}")
        return kind.dtype, tuple(size or 0 for size in kind.shape)

    def _tensor(self, message: Any, dtype: Dtype, shape: tuple[int, ...]) -> Any:
        claim(shape, dtype.held.itemsize)
        field = message.WhichOneof("value")
        if field is None:
            values: Any = []
        elif field == "bytes":
            return decode(message.bytes.values, dtype, shape)
        else:
            values = getattr(message, field).values
        if dtype.kind == "string":
            return values[0] if shape == () and len(values) else list(values)
        tensor = torch.tensor(list(values), dtype=dtype.held)
        count = 1
        for size in shape:
            count *= size
        if tensor.numel() != count:
            raise ModelError(f"a constant {dtype.name}{list(shape)} has {tensor.numel()} elements")
        return tensor.reshape(shape)
