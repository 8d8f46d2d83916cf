"""Checks the structure of a .tflite file before anything is unpacked.

A flatbuffer is a web of offsets. The generated Python classes follow them without looking, so a file that is cut off or
altered makes them raise odd errors, or build millions of empty objects out of a stretch of zeros. This walks the same
offsets first, with the rules of the C++ verifier (tables and vectors inside the file, at most so many tables).

Rules, in order:
    1. at least 8 bytes, the identifier `TFL3` at byte 4, schema version 3;
    2. every table lies in the file, its vtable too, and every field inside the table;
    3. every vector and string lies in the file;
    4. at most a million tables, and no more bytes in vectors than a few times the file.
"""

from __future__ import annotations

import struct
from typing import NoReturn

IDENTIFIER = b"TFL3"
SCHEMA_VERSION = 3

_MOST_TABLES = 1_000_000
# Writers may share a vector between fields, but not without end.
_MOST_SHARING = 4

_Kind = int | str | list[str]
# field number → what is behind its offset: bytes per element of a vector (1 for strings), a table's name, or a list
# with the name of a vector's tables. "*" is a table of which only the frame is known. Scalars are left out.
_TABLES: dict[str, dict[int, _Kind]] = {
    "*": {},
    "Model": {
        1: ["OperatorCode"],
        2: ["SubGraph"],
        3: 1,
        4: ["Buffer"],
        5: 4,
        6: ["Metadata"],
        7: ["SignatureDef"],
        8: ["*"],
        9: ["*"],
    },
    "OperatorCode": {1: 1},
    "SubGraph": {0: ["Tensor"], 1: 4, 2: 4, 3: ["Operator"], 4: 1},
    "Tensor": {0: 4, 3: 1, 4: "Quantization", 6: "Sparsity", 7: 4, 9: ["VariantSubType"]},
    "Quantization": {0: 4, 1: 4, 2: 4, 3: 8, 5: "*"},
    "Sparsity": {0: 4, 1: 4, 2: ["Dimension"]},
    "Dimension": {3: "*", 5: "*"},
    "VariantSubType": {0: 4},
    "Operator": {1: 4, 2: 4, 4: "*", 5: 1, 7: 1, 8: 4, 12: "*"},
    "Buffer": {0: 1},
    "Metadata": {0: 1},
    "SignatureDef": {0: ["TensorMap"], 1: ["TensorMap"], 2: 1},
    "TensorMap": {0: 1},
}
_REQUIRED = {"Model": {1: "operator codes", 2: "subgraphs", 4: "buffers"}, "SubGraph": {0: "tensors", 3: "operators"}}


class Malformed(Exception):
    """What is wrong, as the end of a sentence."""


def verify(data: bytearray) -> None:
    """Check the structure of a whole file.

    Raises:
        Malformed: with the first rule that the file breaks.
    """
    if len(data) < 8:
        raise Malformed(f"it has only {len(data)} bytes")
    if data[4:8] != IDENTIFIER:
        raise Malformed("it does not carry the identifier TFL3")
    _Walk(data).model()


class _Walk:
    """One walk over one file, with what is left of its budgets."""

    def __init__(self, data: bytearray) -> None:
        self._data = data
        self._tables = _MOST_TABLES
        self._bytes = _MOST_SHARING * len(data) + 65536

    def model(self) -> None:
        position = self._number("<I", 0)
        version_at = self._fields(position).get(0)
        version = self._number("<I", position + version_at) if version_at else 0
        if version != SCHEMA_VERSION:
            raise Malformed(f"its schema version is {version}, and {SCHEMA_VERSION} is known")
        self._table("Model", position)

    def _number(self, code: str, position: int) -> int:
        if not 0 <= position <= len(self._data) - struct.calcsize(code):
            self._outside(position)
        value: int = struct.unpack_from(code, self._data, position)[0]
        return value

    def _outside(self, position: int) -> NoReturn:
        raise Malformed(f"it is cut off or corrupt: an offset points to byte {position} of {len(self._data)}")

    def _fields(self, position: int) -> dict[int, int]:
        """Field number → place within the table, for the fields that are set."""
        vtable = position - self._number("<i", position)
        size, inline = self._number("<H", vtable), self._number("<H", vtable + 2)
        if size < 4 or size % 2 or inline < 4 or vtable + size > len(self._data) or position + inline > len(self._data):
            raise Malformed(f"it is corrupt: there is no table at byte {position}")
        places = struct.unpack_from(f"<{(size - 4) // 2}H", self._data, vtable + 4)
        if any(place and not 4 <= place < inline for place in places):
            raise Malformed(f"it is corrupt: a field of the table at byte {position} lies outside it")
        return {number: place for number, place in enumerate(places) if place}

    def _table(self, name: str, position: int) -> None:
        self._tables -= 1
        if self._tables < 0:
            raise Malformed(f"it is corrupt: it has more than {_MOST_TABLES} tables")
        fields = self._fields(position)
        for number, what in _REQUIRED.get(name, {}).items():
            if number not in fields:
                raise Malformed(f"it has no {what}")
        for number, kind in _TABLES[name].items():
            if number not in fields:
                continue
            at = position + fields[number]
            target = at + self._number("<I", at)
            if isinstance(kind, str):
                self._table(kind, target)
            elif isinstance(kind, int):
                self._vector(target, kind)
            else:
                for place in range(target + 4, target + 4 + 4 * self._vector(target, 4), 4):
                    self._table(kind[0], place + self._number("<I", place))

    def _vector(self, position: int, width: int) -> int:
        """Number of elements."""
        count = self._number("<I", position)
        if position + 4 + count * width > len(self._data):
            self._outside(position + 4 + count * width)
        self._bytes -= count * width
        if self._bytes < 0:
            raise Malformed("it is corrupt: it refers to the same bytes over and over")
        return count
