"""Where the bytes of a .tflite file are: every one of them.

A flatbuffer is tables, vectors and the gaps between them. Each table and vector is claimed for the operator or tensor
that points to it, the first of several; what a writer filled up lies behind what it wrote last, and goes with that.
Files are read by the schema's field numbers: https://github.com/google-ai-edge/LiteRT/blob/main/tflite/schema/schema.fbs
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from edgeexport.conversion import TensorBytes
from edgeexport.formats.tflite.owners import Owner, Owners

_MODEL = {"codes": 1, "subgraphs": 2, "description": 3, "buffers": 4, "metadata_buffer": 5, "metadata": 6, "defs": 7}
_GRAPH = {"tensors": 0, "inputs": 1, "outputs": 2, "operators": 3, "name": 4}
_TENSOR = {"shape": 0, "name": 3, "quantization": 4, "sparsity": 6, "signature": 7}
_QUANTIZATION = {"low": 0, "high": 1, "scale": 2, "zero": 3, "details": 5}
_OPERATOR = {"inputs": 1, "outputs": 2, "options": 4, "custom": 5, "mutating": 7, "intermediates": 8, "more": 12}
_LARGE_OPTIONS = (9, 10)
_BUFFER = {"data": 0, "offset": 1, "size": 2}
_NOBODY = Owner("graph", "", "", "structure")


@dataclass(frozen=True)
class _Claim:
    end: int
    owner: Owner


class _File:
    """The bytes of a file, and who claims them."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self.claims: dict[int, _Claim] = {0: _Claim(8, _NOBODY)}

    def number(self, code: str, position: int) -> int:
        value: int = struct.unpack_from(code, self._data, position)[0]
        return value

    def target(self, position: int) -> int:
        return position + self.number("<I", position)

    def claim(self, start: int, end: int, owner: Owner) -> None:
        """Whoever comes first has what several point to."""
        self.claims.setdefault(start, _Claim(end, owner))

    def table(self, position: int, owner: Owner) -> dict[int, int]:
        """Claim a table and its list of fields; gives where its fields are, by number."""
        at = position - self.number("<i", position)
        size, inline = self.number("<H", at), self.number("<H", at + 2)
        self.claim(at, at + size, owner)
        self.claim(position, position + inline, owner)
        places = struct.unpack_from(f"<{(size - 4) // 2}H", self._data, at + 4)
        return {number: position + place for number, place in enumerate(places) if place}

    def vector(
        self, fields: dict[int, int], number: int, width: int, owner: Owner, content: Owner | None = None
    ) -> None:
        """Claim a vector of scalars, or a text; its elements for ``content`` where that is another."""
        if number not in fields:
            return
        start = self.target(fields[number])
        first, size = start + 4, self.number("<I", start) * width
        if content is None:
            self.claim(start, first + size, owner)
        else:
            self.claim(start, first, owner)
            self.claim(first, first + size, content)

    def tables(self, fields: dict[int, int], number: int, owner: Owner) -> Iterator[int]:
        """Claim a vector of tables; gives where they are."""
        if number not in fields:
            return
        start = self.target(fields[number])
        count = self.number("<I", start)
        self.claim(start, start + 4 + 4 * count, owner)
        for place in range(start + 4, start + 4 + 4 * count, 4):
            yield self.target(place)

    def frame(self, fields: dict[int, int], number: int, owner: Owner) -> dict[int, int]:
        """Claim a table that a field points to."""
        return self.table(self.target(fields[number]), owner) if number in fields else {}

    def shares(self) -> Iterator[TensorBytes]:
        """The whole file, in order."""
        at, last = 0, _NOBODY
        for start, claim in sorted(self.claims.items(), key=lambda item: item[0]):
            if start > at:
                yield _bytes(last.structure, start - at)
            if claim.end > max(at, start):
                yield _bytes(claim.owner, claim.end - max(at, start))
            at, last = max(at, claim.end), claim.owner
        if len(self._data) > at:
            yield _bytes(last.structure, len(self._data) - at)


def stored_bytes(model: Any, data: memoryview) -> Iterator[TensorBytes]:
    """Every byte of a file with the module that it belongs to.

    Args:
        model: as :func:`edgeexport.formats.tflite.flatbuffer.read_model` gives it.
        data: the file it was read from.
    """
    file, owners = _File(data), Owners(model)
    fields = file.table(file.target(0), _NOBODY)
    graphs = [file.table(at, _NOBODY) for at in file.tables(fields, _MODEL["subgraphs"], _NOBODY)]
    for number, graph in enumerate(graphs):
        _operators(file, graph, number, owners)
        _tensors(file, graph, number, owners)
    for graph in graphs:
        for name in ("inputs", "outputs"):
            file.vector(graph, _GRAPH[name], 4, _NOBODY)
        file.vector(graph, _GRAPH["name"], 1, _NOBODY)
    _buffers(file, fields, owners)
    _rest(file, fields)
    return file.shares()


def _operators(file: _File, graph: dict[int, int], number: int, owners: Owners) -> None:
    for place, at in enumerate(file.tables(graph, _GRAPH["operators"], _NOBODY)):
        owner = Owner("graph", "", owners.operator(number, place), "structure")
        fields = file.table(at, owner)
        for name, width in (("inputs", 4), ("outputs", 4), ("custom", 1), ("mutating", 1), ("intermediates", 4)):
            file.vector(fields, _OPERATOR[name], width, owner)
        for name in ("options", "more"):
            file.frame(fields, _OPERATOR[name], owner)
        start, size = (file.number("<Q", fields[part]) if part in fields else 0 for part in _LARGE_OPTIONS)
        if start > 1:
            file.claim(start, start + size, owner)


def _tensors(file: _File, graph: dict[int, int], number: int, owners: Owners) -> None:
    positions = list(file.tables(graph, _GRAPH["tensors"], _NOBODY))
    for index in owners.order(number):
        owner = Owner("graph", "", owners.tensor(number, index), "structure")
        fields = file.table(positions[index], owner)
        for name, width in (("shape", 4), ("name", 1), ("signature", 4)):
            file.vector(fields, _TENSOR[name], width, owner)
        file.frame(fields, _TENSOR["sparsity"], owner)
        quantization = file.frame(fields, _TENSOR["quantization"], owner)
        for name, width, dtype in (("low", 4, "float32"), ("high", 4, "float32"), ("scale", 4, "float32")):
            file.vector(quantization, _QUANTIZATION[name], width, owner, Owner("scales", dtype, owner.path, "scale"))
        zeros = Owner("scales", "int64", owner.path, "scale")
        file.vector(quantization, _QUANTIZATION["zero"], 8, owner, zeros)
        file.frame(quantization, _QUANTIZATION["details"], owner)


def _buffers(file: _File, fields: dict[int, int], owners: Owners) -> None:
    for number, at in enumerate(file.tables(fields, _MODEL["buffers"], _NOBODY)):
        owner = owners.buffer(number) or _NOBODY
        buffer = file.table(at, owner.structure)
        file.vector(buffer, _BUFFER["data"], 1, owner.structure, owner)
        start, size = (
            file.number("<Q", buffer[_BUFFER[part]]) if _BUFFER[part] in buffer else 0 for part in ("offset", "size")
        )
        if start > 1:
            file.claim(start, start + size, owner)


def _rest(file: _File, fields: dict[int, int]) -> None:
    """What belongs to no operator: codes, signatures, texts."""
    file.vector(fields, _MODEL["description"], 1, _NOBODY)
    file.vector(fields, _MODEL["metadata_buffer"], 4, _NOBODY)
    for kind, texts in (("codes", (1,)), ("metadata", (0,))):
        for at in file.tables(fields, _MODEL[kind], _NOBODY):
            entry = file.table(at, _NOBODY)
            for text in texts:
                file.vector(entry, text, 1, _NOBODY)
    for at in file.tables(fields, _MODEL["defs"], _NOBODY):
        entry = file.table(at, _NOBODY)
        file.vector(entry, 2, 1, _NOBODY)
        for items in (0, 1):
            for place in file.tables(entry, items, _NOBODY):
                file.vector(file.table(place, _NOBODY), 0, 1, _NOBODY)


def _bytes(owner: Owner, size: int) -> TensorBytes:
    return TensorBytes(owner.component, owner.dtype, size, owner.path, owner.what)
