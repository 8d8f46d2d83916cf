"""A flatbuffer's builder that writes what is equal once.

A flatbuffer may point to one vector, text or table from many places. A network has few shapes and few sets of options,
and hundreds of tensors and operators that repeat them; each signature repeats them all.

Rules:
    1. a vector is shared with one of the same bytes, width and alignment, unless its elements are offsets, which mean
       something else at another place;
    2. a table is shared with one of the same fields and bytes, unless one of them is an offset;
    3. a text is shared with the same text.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from edgeexport.formats.tflite.flatbuffer import schema

if TYPE_CHECKING:
    Base: Any = object
else:
    Base = schema().flatbuffers.Builder

_SHORT = 64


class SharingBuilder(Base):  # type: ignore[misc]
    """See the module. Offsets are counted from the end of the file, so they hold when the builder grows."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._known: dict[tuple[Any, ...], int] = {}
        self._before = 0
        self._width = 0
        self._alignment = 0
        self._points = False

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> int:  # noqa: N802, N803
        """See the base."""
        self._before, self._width, self._alignment, self._points = self.Offset(), elemSize, alignment, False
        return int(super().StartVector(elemSize, numElems, alignment))

    def EndVector(self, numElems: int | None = None) -> int:  # noqa: N802, N803
        """See the base; the place of an equal vector where there is one."""
        size = 4 + self._width * self.vectorNumElems
        at = int(super().EndVector(numElems))
        if not self._width or self._points:
            return at
        kind = "vector", self._width, self._alignment
        self._width = 0
        return self._shared((*kind, _key(self._content(at, size))), at)

    def CreateString(self, s: Any, encoding: str = "utf-8", errors: str = "strict") -> int:  # noqa: N802
        """See the base; the place of an equal text where there is one."""
        self._before, self._width = self.Offset(), 0
        text = s.encode(encoding, errors) if isinstance(s, str) else bytes(s)
        return self._shared(("text", text), int(super().CreateString(text)))

    def StartObject(self, numfields: int) -> None:  # noqa: N802
        """See the base."""
        self._before, self._points = self.Offset(), False
        super().StartObject(numfields)

    def EndObject(self) -> int:  # noqa: N802
        """See the base; the place of an equal table where there is one and neither points anywhere."""
        fields, before = list(self.current_vtable), self._before
        at = int(super().EndObject())
        if self._points:
            return at
        places = tuple(at - place if place else 0 for place in fields)
        return self._shared(("table", places, self._content(at, at - before)[4:]), at)

    def PrependUOffsetTRelative(self, off: int) -> None:  # noqa: N802
        """See the base."""
        self._points = True
        super().PrependUOffsetTRelative(off)

    def _content(self, at: int, size: int) -> bytes:
        start = len(self.Bytes) - at
        return bytes(self.Bytes[start : start + size])

    def _shared(self, key: tuple[Any, ...], at: int) -> int:
        """Where the first of equals is; what was just written again is taken back."""
        known = self._known.setdefault(key, at)
        if known != at:
            self.head = len(self.Bytes) - self._before
        return known


def _key(content: bytes) -> bytes:
    return content if len(content) <= _SHORT else hashlib.sha256(content).digest()
