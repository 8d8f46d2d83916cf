"""A report as tables for a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edgeexport.report import bytes_table
from edgeexport.report.explain import explanations
from edgeexport.report.words import conditions, estimated, executed, format_value, metric_title, runtime_name
from edgeexport.results import Report, Run

_STYLES = {"pass": "green", "fail": "bold red", "not run": "yellow", "incomplete": "yellow"}
_STYLES |= {"error": "bold red", "warning": "yellow"}
_MISSING = "–"


def render(report: Report) -> RenderableType:
    """Runs with the conditions of their timing, estimates, what explains them, then checks, then the verdict; before
    that, where a size check failed, why it is not a quarter."""
    title = f"{report.model} for {report.target}, {report.precision}" if report.target else report.model
    estimates = [_estimates(report)] if estimated(report) else []
    timed = [Text(f"timed: {line}") for line in conditions(report)]
    runs = [_runs(report)] if report.runs else []
    above: list[RenderableType] = [Text(title, "italic"), *runs, *timed, *estimates, *explanations(report)]
    reasons = [bytes_table.excess(report.size)] if _too_large(report) else []
    return Group(*above, _checks(report), *reasons, _verdict(report))


def _too_large(report: Report) -> bool:
    """Whether a size check failed, and the report says where the bytes are."""
    names = {"size_ratio", "artifact_bytes", "artifact_bytes_since", "artifact_bytes_growth"}
    failed = any(check.name in names and check.verdict == "fail" for check in report.checks)
    return failed and bool(report.size.modules and report.size.source_float32_bytes)


def _runs(report: Report) -> Table:
    """What runtimes did. A column of times or bytes that no run fills is left out: there is nothing to compare."""
    runs = executed(report)
    table = Table()
    for heading in ("Runtime", "Device", "Evidence"):
        table.add_column(heading)
    figures = {
        heading: column
        for heading, column in _figures(runs).items()
        if heading in {metric_title(runs), "float32", "Unlike"} or set(column) - {_MISSING}
    }
    for heading in figures:
        table.add_column(heading, justify="right")
    for number, run in enumerate(runs):
        table.add_row(
            Text(runtime_name(run)),  # Text: names are not markup
            Text(f"{run.device} ({run.machine})"),
            run.evidence,
            *(column[number] for column in figures.values()),
        )
    return table


def _figures(runs: list[Run]) -> dict[str, list[str]]:
    """Every column of numbers by its heading, a cell for each run."""
    return {
        metric_title(runs): [format_value(run.accuracy.value if run.accuracy else None, "share") for run in runs],
        "float32": [format_value(run.accuracy.reference if run.accuracy else None, "share") for run in runs],
        "Unlike": [
            f"{run.parity.unlike}/{run.parity.samples}" if run.parity and run.parity.unlike is not None else _MISSING
            for run in runs
        ],
        "ms": [f"{run.latency_ms.p50:.2f}" if run.latency_ms else _MISSING for run in runs],
        "float32 ms": [f"{run.latency_ms.float32_p50:.2f}" if run.latency_ms else _MISSING for run in runs],
        "Memory": [format_value(run.peak_memory_bytes, "bytes") for run in runs],
        "Arena": [format_value(run.arena_bytes, "bytes") for run in runs],
    }


def _estimates(report: Report) -> Table:
    """What cost models say, apart from what was run."""
    table = Table(title=Text("Estimated by a cost model, not measured"), title_justify="left")
    for heading in ("Estimator", "Accelerator"):
        table.add_column(heading)
    for heading in ("Cycles", "ms", "at MHz", "SRAM", "Flash", "On NPU"):
        table.add_column(heading, justify="right")
    table.add_column("Left to the CPU, not counted", overflow="fold")
    for run in estimated(report):
        said = run.estimate
        counted = said is not None and said.npu_share > 0
        table.add_row(
            Text(runtime_name(run)),
            Text(said.accelerator if said else run.device),
            f"{said.cycles:,}" if said and counted else _MISSING,
            f"{said.milliseconds:.3g}" if said and counted else _MISSING,
            f"{said.clock_hz / 1e6:g}" if said and counted else _MISSING,
            format_value(said.sram_bytes if said and counted else None, "bytes"),
            format_value(said.flash_bytes if said and counted else None, "bytes"),
            f"{said.npu_share:.0%}" if said else _MISSING,
            Text(", ".join(said.cpu_ops) or "nothing") if said else Text("the estimate failed"),
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
    if not report.size.source_float32_bytes:
        return Text.assemble((report.verdict.upper(), _STYLES[report.verdict]), f": {size}")
    return Text.assemble(
        (report.verdict.upper(), _STYLES[report.verdict]),
        f": {size}, {report.size.ratio:.4f} of {format_value(report.size.source_float32_bytes, 'bytes')} float32",
    )
