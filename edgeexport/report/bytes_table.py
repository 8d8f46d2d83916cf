"""Where an artifact's bytes are, as tables for a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgeexport.excess import KINDS, explain, rolled_up
from edgeexport.results import Size

_HEADINGS = {"int8": "int8 or less", "float": "float", "other": "other", "scale": "scales", "structure": "structure"}
_NOWHERE = "(no module)"
_TOLD = 12


def render(size: Size, depth: int) -> RenderableType:
    """Bytes by module, and what is beyond a quarter where the source's size is known."""
    tables: list[RenderableType] = [modules(size, depth)]
    if size.source_float32_bytes:
        tables.append(excess(size))
    return Group(*tables)


def modules(size: Size, depth: int) -> Table:
    """A row for each module down to ``depth``, 0 for all, and their sum, which is the artifact's bytes."""
    table = Table()
    table.add_column("Module", overflow="fold")
    for kind in KINDS:
        table.add_column(_HEADINGS[kind], justify="right")
    table.add_column("Bytes", justify="right")
    table.add_column("Share", justify="right")
    branches = rolled_up(size.modules, depth)
    for branch in branches:
        cells = [f"{branch.kinds[kind]:,}" if branch.kinds[kind] else "" for kind in KINDS]
        share = branch.bytes / size.artifact_bytes if size.artifact_bytes else 0.0
        table.add_row(Text(branch.path or _NOWHERE), *cells, f"{branch.bytes:,}", f"{share:.1%}")
    sums = [f"{sum(branch.kinds[kind] for branch in branches):,}" for kind in KINDS]
    table.add_section()
    table.add_row("all", *sums, f"{sum(branch.bytes for branch in branches):,}", "100.0%")
    return table


def excess(size: Size) -> Table:
    """Why it is not a quarter: what is beyond by reason, then the largest parts by module, and the rest in one row."""
    found = explain(size)
    more = f"{size.artifact_bytes:,} bytes are {size.ratio:.4f} of float32; a quarter is {found.quarter:,}"
    table = Table(title=Text(f"Why not a quarter: {more}"), title_justify="left")
    table.add_column("Beyond a quarter", justify="right")
    table.add_column("of float32", justify="right")
    table.add_column("What")
    table.add_column("Module", overflow="fold")
    for reason, count in found.by_reason():
        table.add_row(*_figures(count, size), Text(reason), "all")
    table.add_section()
    told = [part for part in found.parts[:_TOLD] if part.bytes > 0]
    for part in told:
        table.add_row(*_figures(part.bytes, size), Text(part.reason), Text(part.path or _NOWHERE))
    rest = found.parts[len(told) :]
    if rest:
        table.add_row(
            *_figures(sum(part.bytes for part in rest), size),
            "1 other" if len(rest) == 1 else f"{len(rest)} others",
            "",
        )
    table.add_section()
    table.add_row(*_figures(found.bytes, size), "all", "")
    return table


def _figures(count: int, size: Size) -> tuple[str, str]:
    return f"{count:+,}", f"{count / size.source_float32_bytes:+.4f}"
