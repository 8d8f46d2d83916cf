"""Tables as data: a caption, columns and rows, which the template lays out for a desk and stacks on a phone."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from edgeexport.analysis import ModuleBytes
from edgeexport.report.words import (
    MISSING,
    decibels,
    executed,
    format_value,
    metric_title,
    percent,
    runtime_name,
)
from edgeexport.results import Check, Report, Run

_SHORT = 11
_COMPACT = 8
_LETTERS = 2
_LINE = 40
_LONG = 200
"""Characters that a phone 360 pixels wide shows in a third of its width; digits in a quarter of it, and how many fewer
letters; characters in all of it between columns; and those of a cell that is not folded."""


@dataclass(frozen=True)
class Column:
    """Attributes: title; number: aligned to the right; code: a name of the model's, which may break anywhere."""

    title: str
    number: bool = False
    code: bool = False


@dataclass(frozen=True)
class Grid:
    """A table.

    Attributes:
        caption: what it lists.
        columns: the first heads each row.
        rows: a text or markup for each column.
    """

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def wide(self) -> tuple[bool, ...]:
        """For each column, whether its texts are too long for a part of a phone's width."""
        return tuple(length > _SHORT for length in self._lengths())

    @property
    def stacked(self) -> bool:
        """Whether a phone has no room for a row in one line."""
        return sum(max(len(head.title), own) for head, own in zip(self.columns, self._lengths(), strict=True)) > _LINE

    @property
    def compact(self) -> bool:
        """Whether four of its figures fit beside each other on a phone."""
        short = [
            own if head.number else own + _LETTERS
            for head, own, wide in zip(self.columns, self._lengths(), self.wide, strict=True)
            if not wide and not head.code
        ]
        return len(short) > 3 and max(short) <= _COMPACT

    def _lengths(self) -> list[int]:
        """Of the longest text in each column."""
        return [max(len(_words(row[place])) for row in self.rows) for place in range(len(self.columns))]

    @classmethod
    def of(cls, caption: str, columns: Iterable[Column], rows: Iterable[Iterable[str]]) -> Grid | None:
        """The table without columns that hold nothing but dashes; None where there is no row."""
        listed, heads = [tuple(row) for row in rows], tuple(columns)
        if not listed:
            return None
        kept = [
            place for place in range(len(heads)) if place == 0 or any(row[place] not in {MISSING, ""} for row in listed)
        ]
        return cls(
            caption, tuple(heads[place] for place in kept), tuple(tuple(row[place] for place in kept) for row in listed)
        )


def _words(cell: str) -> str:
    """What a reader sees of a cell; a drawing takes about as much room as a dozen letters."""
    if not isinstance(cell, Markup):
        return cell
    drawn = "_" * 12 * cell.count("<svg")
    return drawn + re.sub(r"<svg.*?</svg>|<[^>]*>", "", cell)


def number(title: str) -> Column:
    """A column of figures."""
    return Column(title, number=True)


def checks(report: Report, verdicts: tuple[str, ...]) -> Grid | None:
    """Those with such a verdict."""
    columns = (
        Column("Check", code=True),
        number("Measured"),
        number("Limit"),
        Column("Verdict"),
        Column("Where"),
        Column("Note"),
    )
    rows = [_check(check) for check in report.checks if check.verdict in verdicts]
    return Grid.of("Every check, by name as in report.json", columns, rows)


def _check(check: Check) -> tuple[str, ...]:
    limit = format_value(check.limit, check.unit)
    return check.name, format_value(check.measured, check.unit), limit, check.verdict, check.where, check.note


def answers(report: Report) -> Grid | None:
    """What came out of each runtime beside what float32 gives, estimates left out."""
    listed = executed(report)
    columns = (
        Column("Runtime"),
        Column("Device"),
        Column("Evidence"),
        number(metric_title(listed)),
        number("of float32"),
        number("Unlike float32"),
        number("Least cosine"),
        number("SNR, dB"),
    )
    return Grid.of("Answers, beside float32's", columns, [_answer(run) for run in listed])


def _answer(run: Run) -> tuple[str, ...]:
    accuracy, parity = run.accuracy, run.parity
    return (
        runtime_name(run),
        _device(run),
        run.evidence,
        format_value(accuracy.value if accuracy else None, "share"),
        format_value(accuracy.reference if accuracy else None, "share"),
        f"{parity.unlike} of {parity.samples}" if parity and parity.unlike is not None else MISSING,
        format_value(parity.cosine_min if parity else None, ""),
        decibels(parity.snr_db if parity else None),
    )


def costs(report: Report) -> Grid | None:
    """Time and memory of each runtime that told any."""
    columns = (
        Column("Runtime"),
        Column("Device"),
        Column("Evidence"),
        number("Median, ms"),
        number("of float32"),
        number("90 %, ms"),
        number("of float32"),
        number("Timed"),
        number("Threads"),
        number("Peak memory"),
        number("Tensor arena"),
    )
    rows = [_cost(run) for run in executed(report)]
    return Grid.of("Time and memory", columns, [row for row in rows if set(row[3:]) - {MISSING}])


def _cost(run: Run) -> tuple[str, ...]:
    latency = run.latency_ms
    times: tuple[str, ...] = (MISSING,) * 6
    if latency is not None:
        times = (
            *(f"{value:.2f}" for value in (latency.p50, latency.float32_p50, latency.p90, latency.float32_p90)),
            f"{latency.count} times",
            str(latency.threads),
        )
    memory = (format_value(run.peak_memory_bytes, "bytes"), format_value(run.arena_bytes, "bytes"))
    return runtime_name(run), run.device, run.evidence, *times, *memory


def _device(run: Run) -> str:
    return f"{run.device}, {run.cpu or run.machine}"


def estimates(listed: list[Run]) -> Grid | None:
    """What cost models say."""
    columns = (
        Column("Cost model"),
        Column("Accelerator"),
        number("Cycles"),
        number("ms"),
        number("at MHz"),
        number("SRAM"),
        number("Flash"),
        number("Operators on it"),
        Column("Left to the CPU, and not counted"),
    )
    return Grid.of(
        "Computed by a cost model; nothing was run on that hardware", columns, [_estimate(run) for run in listed]
    )


def _estimate(run: Run) -> tuple[str, ...]:
    said = run.estimate
    if said is None:
        return runtime_name(run), run.device, *[MISSING] * 6, run.error or ""
    figures: tuple[str, ...] = (MISSING,) * 5
    if said.npu_share > 0:
        figures = (
            f"{said.cycles:,}",
            f"{said.milliseconds:.3g}",
            f"{said.clock_hz / 1e6:g}",
            format_value(said.sram_bytes, "bytes"),
            format_value(said.flash_bytes, "bytes"),
        )
    left = ", ".join(said.cpu_ops) or "nothing"
    return runtime_name(run), said.accelerator, *figures, f"{said.npu_share:.0%}", left


def components(report: Report) -> Grid | None:
    """Bytes by kind of operator."""
    whole = report.size.artifact_bytes
    rows = [
        (
            part.name,
            part.dtype.strip("-") or "structure",
            format_value(part.bytes, "bytes"),
            percent(part.bytes / whole),
        )
        for part in sorted(report.size.components, key=lambda part: -part.bytes)
    ]
    columns = (Column("Operators", code=True), Column("Stored as"), number("Bytes"), number("Share"))
    return Grid.of("Bytes by kind of operator", columns, rows)


def modules(report: Report, count: int) -> Grid | None:
    """The largest by module of the source, and what all others come to."""
    whole = report.size.artifact_bytes
    ordered = sorted(report.size.modules, key=lambda one: -one.bytes)
    shown = [(one.path or "no module", _stored(one), one.bytes) for one in ordered[:count]]
    rest = ordered[count:]
    if rest:
        shown.append((f"{len(rest)} more", MISSING, sum(one.bytes for one in rest)))
    rows = [(path, stored, format_value(size, "bytes"), percent(size / whole)) for path, stored, size in shown]
    columns = (Column("Module", code=True), Column("Stored"), number("Bytes"), number("Share"))
    return Grid.of(f"The {min(count, len(ordered))} largest places", columns, rows)


def _stored(one: ModuleBytes) -> str:
    """The element type; of what is no weight, what it is too."""
    return one.dtype if one.what == "weight" and one.dtype else f"{one.dtype} {one.what}".strip()


def folded(text: str) -> str:
    """A text that is too long for a table behind its beginning, such as a pattern of many layers' names."""
    if len(text) <= _LONG:
        return text
    return Markup("<details><summary>{}… ({:,} characters)</summary>{}</details>").format(text[:_LINE], len(text), text)


def plain(value: Any) -> str:
    """A setting as one would write it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return "[" + ", ".join(plain(each) for each in value) + "]"
    if isinstance(value, dict):
        return ", ".join(f"{key}={plain(each)}" for key, each in value.items())
    return "none" if value is None else str(value)
