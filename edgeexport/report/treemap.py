"""Where bytes are, as areas: a squarified treemap over module paths, rolled up so that labels stay legible.

Bruls, Huizing, van Wijk: Squarified Treemaps (2000), https://doi.org/10.1007/978-3-7091-6783-0_4.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from edgeexport.analysis import ModuleBytes
from edgeexport.report.svg import Box

STRUCTURE = "the file's own structure"
_LEGIBLE = 8000.0
"""Area that holds a label of a module's name and a figure, in square units of the drawing."""
_DOMINANT = 0.8
"""A part with this share of its module's bytes says nothing as a rectangle: what is below it is shown in its place."""
_REST = "others"
_OUTLINED = 2


@dataclass(frozen=True)
class Cell:
    """One rectangle.

    Attributes:
        path: of the module, or of what was rolled up.
        what: as in :class:`~edgeexport.analysis.ModuleBytes`.
        dtype: as stored; empty for structure.
        bytes: its area is in proportion to these.
        modules: how many modules of the source it stands for.
        box: where it is.
    """

    path: str
    what: str
    dtype: str
    bytes: int
    modules: int
    box: Box


@dataclass
class _Node:
    path: str
    own: dict[tuple[str, str], int] = field(default_factory=dict)
    below: dict[str, _Node] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        return sum(self.own.values()) + sum(node.bytes for node in self.below.values())

    @property
    def modules(self) -> int:
        return bool(self.own) + sum(node.modules for node in self.below.values())

    def kinds(self) -> dict[tuple[str, str], int]:
        """Bytes by what they are and how they are stored."""
        found = dict(self.own)
        for node in self.below.values():
            for kind, count in node.kinds().items():
                found[kind] = found.get(kind, 0) + count
        return found


def squarify(sizes: Sequence[float], box: Box) -> list[Box]:
    """Rectangles of areas in proportion to ``sizes`` that fill ``box`` and are as square as their row allows.

    Args:
        sizes: above 0, in any order.
        box: to fill.

    Returns:
        One for each size, in the order given.
    """
    order = sorted(range(len(sizes)), key=lambda index: -sizes[index])
    scale = box.width * box.height / sum(sizes) if sizes else 0.0
    areas = [sizes[index] * scale for index in order]
    placed: list[Box] = []
    start = 0
    while start < len(areas):
        side = min(box.width, box.height)
        end = start + 1
        while end < len(areas) and _worst(areas[start : end + 1], side) <= _worst(areas[start:end], side):
            end += 1
        row, box = _row(areas[start:end], box)
        placed += row
        start = end
    found = dict(zip(order, placed, strict=True))
    return [found[index] for index in range(len(sizes))]


def layout(modules: Iterable[ModuleBytes], width: float, height: float) -> tuple[list[Cell], list[Box]]:
    """The cells of a treemap of that size, and the outlines of its upper parts.

    A module is divided into those below it while most of its area goes to parts that hold a label; the smaller ones
    become one cell, and one place is divided by what is stored there and how. Nothing of the bytes is left out.
    """
    root = _tree(modules)
    cells: list[Cell] = []
    groups: list[Box] = []
    if root.bytes:
        _place(root, Box(0.0, 0.0, width, height), cells, groups, depth=0)
    return cells, groups


def _tree(modules: Iterable[ModuleBytes]) -> _Node:
    root = _Node("")
    for one in modules:
        if one.bytes <= 0:
            continue
        node = root
        if one.path:
            for part in one.path.split("."):
                node = node.below.setdefault(part, _Node(f"{node.path}.{part}" if node.path else part))
        else:
            node = node.below.setdefault("", _Node(STRUCTURE))
        kind = (one.what, one.dtype)
        node.own[kind] = node.own.get(kind, 0) + one.bytes
    return root


def _place(node: _Node, box: Box, cells: list[Cell], groups: list[Box], depth: int) -> None:
    parts = _parts(node)
    scale = box.width * box.height / node.bytes
    large = [part for part in parts if part.bytes * scale >= _LEGIBLE]
    if not parts or (depth and sum(part.bytes for part in large) < node.bytes / 2):
        _leaf(node, node.modules, box, cells)
        return
    small = [part for part in parts if part.bytes * scale < _LEGIBLE]
    if len(small) > 1 or (small and small[0].below):
        rest = _Node(f"{node.path}.{_REST}" if node.path else _REST, below={part.path: part for part in small})
    else:
        rest = None
        large += small
    shown = [*large, *([rest] if rest else [])]
    for part, place in zip(shown, squarify([part.bytes for part in shown], box), strict=True):
        if depth < _OUTLINED:
            groups.append(place)
        if part is rest:
            _leaf(part, part.modules, place, cells)
        else:
            _place(part, place, cells, groups, depth + 1)


def _parts(node: _Node) -> list[_Node]:
    """What a node is divided into; none of a leaf."""
    parts = list(node.below.values())
    if parts and node.own:
        parts.append(_Node(node.path, node.own))
    while (largest := max(parts, key=lambda part: part.bytes, default=None)) is not None:
        if largest.bytes < _DOMINANT * node.bytes or not largest.below:
            break
        parts.remove(largest)
        parts += _parts(largest)
    return parts


def _leaf(node: _Node, modules: int, box: Box, cells: list[Cell]) -> None:
    found = node.kinds()
    for ((what, dtype), count), place in zip(found.items(), squarify(list(found.values()), box), strict=True):
        cells.append(Cell(node.path, what, dtype, count, modules, place))


def _worst(row: Sequence[float], side: float) -> float:
    """The largest ratio of sides in a row of such areas along ``side``."""
    total = sum(row)
    return max(side * side * max(row) / (total * total), total * total / (side * side * min(row)))


def _row(row: Sequence[float], box: Box) -> tuple[list[Box], Box]:
    """The areas side by side along the shorter side, and what is left of the box."""
    total = sum(row)
    placed = []
    if box.width >= box.height:
        thick, at = total / box.height, box.y
        for area in row:
            placed.append(Box(box.x, at, thick, area / thick))
            at += area / thick
        return placed, Box(box.x + thick, box.y, max(box.width - thick, 0.0), box.height)
    thick, at = total / box.width, box.x
    for area in row:
        placed.append(Box(at, box.y, area / thick, thick))
        at += area / thick
    return placed, Box(box.x, box.y + thick, box.width, max(box.height - thick, 0.0))
