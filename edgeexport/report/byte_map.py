"""The treemap of a model's bytes as inline SVG: one for a desk and one for a phone; a page shows what fits."""

from __future__ import annotations

from markupsafe import Markup

from edgeexport.analysis import ModuleBytes
from edgeexport.report.svg import Box, drawing, element, text_width
from edgeexport.report.treemap import Cell, layout
from edgeexport.report.words import format_value, percent
from edgeexport.results import Component, Size

FORMS = {"wide": (1040.0, 430.0), "narrow": (324.0, 470.0)}
"""Width and height on a desk and on a phone. Both are drawn near their own scale, so that text keeps its size."""

_FONT = 12.0
_LINE = 15.0
_PAD = 5.0
_TOLD = 3
"""Parts of a path that tell a module from others: no further line is added where there are so many."""

KINDS = {
    "integer": "integers of 8 bits or fewer",
    "float": "floating point",
    "wide-integer": "wider integers",
    "scale": "scales and zero points",
    "structure": "structure: operators, names, padding",
}
"""Groups of what is stored, as the legend names them."""


def kind_of(what: str, dtype: str) -> str:
    """The group that a cell is drawn as: its colour and its hatching."""
    if what == "structure" or not dtype:
        return "structure"
    if what == "scale":
        return "scale"
    if "float" in dtype or dtype.startswith(("bf", "fp")):
        return "float"
    digits = "".join(char for char in dtype if char.isdigit())
    return "wide-integer" if digits and int(digits) > 8 else "integer"


def placed(size: Size) -> tuple[ModuleBytes, ...]:
    """Bytes by module; of a report that knows only kinds of operators, by those."""
    if size.modules:
        return size.modules
    return tuple(
        ModuleBytes(
            path=part.name,
            what=_what(part),
            dtype=part.dtype,
            bytes=part.bytes,
        )
        for part in size.components
    )


def _what(part: Component) -> str:
    if not any(char.isalpha() for char in part.dtype):
        return "structure"
    return "scale" if part.name == "scales" else "weight"


def totals(modules: tuple[ModuleBytes, ...]) -> dict[str, int]:
    """Bytes of each kind that there is, in the order of :data:`KINDS`."""
    found = dict.fromkeys(KINDS, 0)
    for one in modules:
        found[kind_of(one.what, one.dtype)] += one.bytes
    return {kind: count for kind, count in found.items() if count}


def draw(modules: tuple[ModuleBytes, ...], form: str) -> Markup:
    """The picture in one of the :data:`FORMS`."""
    width, height = FORMS[form]
    cells, groups = layout(modules, width, height)
    whole = sum(cell.bytes for cell in cells)
    identity = f"bytes-{form}"
    said = "; ".join(f"{KINDS[kind]} {percent(count / whole)}" for kind, count in totals(modules).items())
    return drawing(
        identity,
        width,
        height,
        "Where the bytes of the model are",
        f"Areas in proportion to bytes, by module: {said}. The table below has the figures.",
        _hatching(identity),
        *(_cell(cell, whole, identity) for cell in cells),
        *(_outline(group) for group in groups),
        css=f"plot {form}",
    )


def _hatching(identity: str) -> Markup:
    """Lines over what stayed float, dots over structure: kinds differ without their colours."""
    lines = element(
        "pattern",
        element("path", d="M0 0V8", css="hatch"),
        id=f"{identity}-float",
        width=6,
        height=8,
        patternUnits="userSpaceOnUse",
        patternTransform="rotate(45)",
    )
    dots = element(
        "pattern",
        element("circle", cx=3, cy=3, r=0.9, css="dot"),
        id=f"{identity}-structure",
        width=6,
        height=6,
        patternUnits="userSpaceOnUse",
    )
    return element("defs", lines, dots)


def _cell(cell: Cell, whole: int, identity: str) -> Markup:
    box, kind = cell.box, kind_of(cell.what, cell.dtype)
    stored = f"{cell.what} {cell.dtype}".strip()
    several = f", {cell.modules} modules" if cell.modules > 1 else ""
    title = f"{cell.path}{several}: {stored}, {cell.bytes:,} bytes, {percent(cell.bytes / whole)}"
    shapes = [_rectangle(box, f"cell {kind}")]
    if kind in {"float", "structure"}:
        shapes.append(_rectangle(box, "veil", fill=f"url(#{identity}-{kind})"))
    return element("g", element("title", title), *shapes, *_label(cell, box))


def _rectangle(box: Box, css: str, **more: str) -> Markup:
    return element(
        "rect", x=float(box.x), y=float(box.y), width=float(box.width), height=float(box.height), css=css, **more
    )


def _outline(box: Box) -> Markup:
    return _rectangle(box, "group")


def _label(cell: Cell, box: Box) -> list[Markup]:
    """Name, and figures below it, as far as they fit."""
    room = box.width - 2 * _PAD
    count = int((box.height - _PAD) / _LINE)
    name = path_lines(cell.path, room, min(count - 1, 3) or 1) if count > 0 else []
    if not name:
        return []
    lines = [(part, "label strong") for part in name]
    size = format_value(cell.bytes, "bytes")
    stored = cell.what if kind_of(cell.what, cell.dtype) == "structure" else cell.dtype
    for text in (f"{stored} · {size}", size, stored):
        if text and text_width(text, _FONT) <= room and count > len(lines):
            lines.append((text, "label"))
            break
    return [
        element("text", text, x=box.x + _PAD, y=box.y + _PAD + 10 + number * _LINE, css=css)
        for number, (text, css) in enumerate(lines)
    ]


def path_lines(path: str, room: float, count: int) -> list[str]:
    """The end of a module path, as much as fits into so many lines; a number never begins it.

    Parts are whole, save that one which is too long by itself is cut where others are above it: those tell more.
    """
    parts = path.split(".")
    lines: list[str] = []
    whole = len(parts)
    while parts and len(lines) < count and whole - len(parts) < _TOLD:
        dot = "." if lines else ""
        fits = [
            first
            for first, part in enumerate(parts)
            if not (first and part.isdigit()) and text_width(".".join(parts[first:]) + dot, _FONT) <= room
        ]
        short = [] if fits or (lines and len(parts) == 1) else shortened(parts[-1] + dot, room)
        if not fits and not short:
            break
        lines.insert(0, ".".join(parts[fits[0] :]) + dot if fits else short[0])
        parts = parts[: fits[0]] if fits else parts[:-1]
    return lines


def shortened(name: str, room: float) -> list[str]:
    """The beginning of a name with an ellipsis, where at least five letters of it fit."""
    for length in range(len(name) - 1, 4, -1):
        text = f"{name[:length]}…"
        if text_width(text, _FONT) <= room:
            return [text]
    return []
