"""Where the bytes of an .mlpackage are: every one of every file.

The specification is a protobuf message, in which each operation takes its own bytes; a weight file is a header, and for
each value 64 bytes of metadata and its data, aligned to 64 (:mod:`edgeexport.mil.blob`). What several operations share
is the first one's that reads it.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeexport import tree
from edgeexport.conversion import TensorBytes
from edgeexport.errors import ModelError
from edgeexport.formats.coreml import modules
from edgeexport.mil.package import Package
from edgeexport.mil.proto import messages

_COMPONENTS = {
    "gather": "embedding",
    "linear": "linear",
    "matmul": "linear",
    "conv": "convolution",
    "conv_transpose": "convolution",
    "lstm": "recurrent",
    "gru": "recurrent",
    "rnn": "recurrent",
}
_SCALES = {"scale", "zero_point", "offset", "lut"}
_LEAST_BYTES = 64
_BLOB = struct.Struct("<IIQQQ")
_HEADER = 64


class Contents:
    """A package's specification and weight files, read without torch.

    Args:
        path: the package.

    Raises:
        ModelError: it is damaged, or no ML Program.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._package = Package(path)
        self.specification = self._package.specification()
        if self.specification.WhichOneof("Type") != "mlProgram":
            kind = self.specification.WhichOneof("Type") or "nothing"
            raise ModelError(f"{path} holds {kind}, not an ML Program")
        self._paths = modules.read(self.specification.description.metadata.userDefined)
        self._kinds = messages("MIL_pb2").DataType
        self._blobs: dict[Path, dict[int, TensorBytes]] = {}

    def main(self) -> Any:
        """The function that runs where none is named.

        Raises:
            ModelError: there is none of that name, or it has no operations.
        """
        name = self.specification.description.defaultFunctionName or "main"
        program = self.specification.mlProgram
        if name not in program.functions:
            raise ModelError(f"{self._path} has no function {name!r}")
        function = program.functions[name]
        if function.opset not in function.block_specializations:
            raise ModelError(f"function {name!r} has no operations for its opset {function.opset!r}")
        return function

    def shares(self) -> Iterator[TensorBytes]:
        """Every byte of every file, by module and kind."""
        rest = tree.size(self._path)
        program = self.specification.mlProgram
        for name in sorted(program.functions):
            for opset in sorted(program.functions[name].block_specializations):
                for share in self._block(program.functions[name].block_specializations[opset]):
                    rest -= share.bytes
                    yield share
        for path, blobs in self._blobs.items():
            for share in _blob_shares(path.stat().st_size, blobs, path.read_bytes()):
                rest -= share.bytes
                yield share
        yield _structure("", rest)

    def _block(self, block: Any) -> Iterator[TensorBytes]:
        operations = list(block.operations)
        paths, components = self._owners(operations)
        for operation, path, component in zip(operations, paths, components, strict=True):
            around = _in_message(operation.ByteSize())
            for key, value in _values(operation):
                if value.WhichOneof("value") == "blobFileValue":
                    self._blob(value, self._share(operation, key, value, component, path))
                elif value.WhichOneof("value") == "immediateValue" and (size := self._immediate(value)) >= _LEAST_BYTES:
                    share = self._share(operation, key, value, component, path)
                    around -= size
                    yield TensorBytes(share.component, share.dtype, size, path, share.what)
            yield _structure(path, around)

    def _owners(self, operations: list[Any]) -> tuple[list[str], list[str]]:
        """The module and the kind of operator of each operation; constants have those of their first reader."""
        paths = [modules.module_of(_name(operation), self._paths) for operation in operations]
        readers: dict[str, list[int]] = {}
        for number, operation in enumerate(operations):
            for name in _read(operation):
                readers.setdefault(name, []).append(number)
        components = [_COMPONENTS.get(operation.type, "") for operation in operations]
        for number in reversed(range(len(operations))):
            users = [user for output in operations[number].outputs for user in readers.get(output.name, ())]
            if not paths[number] or operations[number].type == "const":
                paths[number] = next((paths[user] for user in users if paths[user]), paths[number])
            passed = operations[number].type.startswith("constexpr_") or operations[number].type in (
                "const",
                "dequantize",
            )
            if not components[number] and passed:
                components[number] = next((components[user] for user in users if components[user]), "")
        writers = {output.name: number for number, operation in enumerate(operations) for output in operation.outputs}
        for number, operation in enumerate(operations):
            if not paths[number]:
                before = (paths[writers[name]] for name in _read(operation) if name in writers)
                paths[number] = next(filter(None, before), "")
        return paths, components

    def _share(self, operation: Any, key: str, value: Any, component: str, path: str) -> TensorBytes:
        dtype, size, several = self._kind(value)
        if key in _SCALES and operation.type != "const":
            return TensorBytes("scales", dtype, size, path, "scale")
        is_weight = bool(component) or (dtype.startswith("float") and several)
        return TensorBytes(component or "other", dtype, size, path, "weight" if is_weight else "constant")

    def _kind(self, value: Any) -> tuple[str, int, bool]:
        """Element type, packed bytes, and whether there is more than one element."""
        tensor = value.type.tensorType
        name = self._kinds.Name(tensor.dataType).lower() if tensor.dataType in self._kinds.values() else "unknown"
        digits = "".join(filter(str.isdigit, name))
        bits = {"bool": 8, "string": 0}.get(name, int(digits or 0))
        count = math.prod(size.constant.size for size in tensor.dimensions)
        return name, -(-count * bits // 8), count > 1

    def _immediate(self, value: Any) -> int:
        """Bytes of a constant that is in the specification itself."""
        if value.immediateValue.WhichOneof("value") != "tensor":
            return 0
        return min(self._kind(value)[1], int(value.immediateValue.ByteSize()))

    def _blob(self, value: Any, share: TensorBytes) -> None:
        known = self._blobs.setdefault(self._package.weights(value.blobFileValue.fileName), {})
        known.setdefault(int(value.blobFileValue.offset), share)


def _blob_shares(size: int, blobs: dict[int, TensorBytes], data: bytes) -> Iterator[TensorBytes]:
    """A weight file in order; what lies between two values is the structure of the one before."""
    at, path = 0, ""
    yield _structure("", min(_HEADER, size))
    at = min(_HEADER, size)
    for offset, share in sorted(blobs.items()):
        if not 0 <= offset <= size - _BLOB.size:
            raise ModelError(f"a weight is at byte {offset} of a file that has {size}")
        _, _, count, start, _ = _BLOB.unpack_from(data, offset)
        if offset < at or start < offset or start + count > size:
            raise ModelError(f"the weight at byte {offset} lies outside its file, or over another one")
        yield _structure(path, offset - at)
        yield _structure(share.path, start - offset)
        yield TensorBytes(share.component, share.dtype, count, share.path, share.what)
        at, path = start + count, share.path
    yield _structure(path, size - at)


def _values(operation: Any) -> Iterator[tuple[str, Any]]:
    """Every constant in an operation and in the blocks inside it, with the parameter that takes it."""
    for key in sorted(operation.inputs):
        for binding in operation.inputs[key].arguments:
            if binding.WhichOneof("binding") == "value":
                yield key, binding.value
    for key in sorted(operation.attributes):
        if key != "name":
            yield key, operation.attributes[key]
    for block in operation.blocks:
        for inner in block.operations:
            yield from _values(inner)


def _read(operation: Any) -> Iterator[str]:
    """Names that an operation and the blocks inside it read."""
    for key in sorted(operation.inputs):
        for binding in operation.inputs[key].arguments:
            if binding.WhichOneof("binding") == "name":
                yield str(binding.name)
    for block in operation.blocks:
        for inner in block.operations:
            yield from _read(inner)


def _name(operation: Any) -> str:
    named = operation.attributes["name"].immediateValue.tensor.strings.values if "name" in operation.attributes else ()
    return str(named[0]) if named else str(operation.outputs[0].name) if operation.outputs else ""


def _in_message(size: int) -> int:
    """Bytes of a message of that size as a repeated field of a small number: its tag, its length and itself."""
    return 1 + max(1, -(-int(size).bit_length() // 7)) + int(size)


def _structure(path: str, size: int) -> TensorBytes:
    return TensorBytes("graph", "", size, path, "structure")
