"""A report as tables for a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgeexport.report.html import format_value
from edgeexport.results import Report

_STYLES = {"pass": "green", "fail": "bold red", "not run": "yellow", "incomplete": "yellow"}


def render(report: Report) -> RenderableType:
    """Runs, then checks, then the verdict."""
    return Group(_runs(report), _checks(report), _verdict(report))


def _runs(report: Report) -> Table:
    table = Table(title=Text(f"{report.model} for {report.target}, {report.precision}"), title_justify="left")
    for heading in ("Runtime", "Device", "Evidence"):
        table.add_column(heading)
    for heading in ("Accuracy", "float32", "Unlike", "ms", "float32 ms", "Memory"):
        table.add_column(heading, justify="right")
    for run in report.runs:
        accuracy, parity, latency = run.accuracy, run.parity, run.latency_ms
        unlike = f"{parity.unlike}/{parity.samples}" if parity and parity.unlike is not None else "–"
        table.add_row(
            Text(f"{run.runtime} {run.runtime_version}"),  # Text: names are not markup
            Text(f"{run.device} ({run.machine})"),
            run.evidence,
            format_value(accuracy.value, "share") if accuracy else "–",
            format_value(accuracy.reference, "share") if accuracy else "–",
            unlike,
            f"{latency.p50:.2f}" if latency else "–",
            f"{latency.float32_p50:.2f}" if latency else "–",
            format_value(run.peak_memory_bytes, "bytes"),
        )
    return table


def _checks(report: Report) -> Table:
    table = Table()
    table.add_column("Check")
    table.add_column("Measured", justify="right")
    table.add_column("Limit", justify="right")
    table.add_column("Verdict")
    table.add_column("Where", overflow="fold")
    for check in report.checks:
        where = f"{check.where}\n{check.note}" if check.note else check.where
        table.add_row(
            check.name,
            format_value(check.measured, check.unit),
            format_value(check.limit, check.unit),
            Text(check.verdict, _STYLES[check.verdict]),
            Text(where),
        )
    return table


def _verdict(report: Report) -> Text:
    size = format_value(report.size.artifact_bytes, "bytes")
    return Text.assemble(
        (report.verdict.upper(), _STYLES[report.verdict]),
        f": {size}, {report.size.ratio:.4f} of {format_value(report.size.source_float32_bytes, 'bytes')} float32",
    )
