"""Why a model is not a quarter of its float32 source, as tables of a page: the reasons, then the modules."""

from __future__ import annotations

from edgeexport.excess import explain
from edgeexport.report.grid import Column, Grid, number
from edgeexport.results import Size

_NOWHERE = "no module"


def tables(size: Size) -> tuple[Grid | None, Grid | None]:
    """What is beyond a quarter by reason, with the sum, and by module; none where bytes or source are unknown."""
    if not size.modules or not size.source_float32_bytes:
        return None, None
    found = explain(size)
    figures = (number("Bytes"), number("of float32"))
    reasons = [(reason, *_figures(count, size)) for reason, count in found.by_reason()]
    caption = f"Beyond a quarter, which is {found.quarter:,} bytes"
    modules = [(part.path or _NOWHERE, part.reason, *_figures(part.bytes, size)) for part in found.parts]
    return (
        Grid.of(caption, (Column("What"), *figures), [*reasons, ("all", *_figures(found.bytes, size))]),
        Grid.of("Beyond a quarter, by module", (Column("Module", code=True), Column("What"), *figures), modules),
    )


def _figures(count: int, size: Size) -> tuple[str, str]:
    return f"{count:+,}", f"{count / size.source_float32_bytes:+.4f}"
