"""One page over several bundles, such as those of one model for several targets: verdict, answers, size and speed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

from markupsafe import Markup

from edgeexport.artifact import REPORT_PAGE
from edgeexport.report.grid import Column, Grid, number
from edgeexport.report.html import page
from edgeexport.report.plots import FORMS, Axis, Mark, Point, scatter
from edgeexport.report.search_view import outcome
from edgeexport.report.svg import element
from edgeexport.report.verdict import sentence
from edgeexport.report.words import MISSING, executed, format_value, metric_title, percent, points, runtime_name
from edgeexport.results import Report, Run

Listed = tuple[Path, Report]
_MARKS: dict[str, Mark] = {"pass": "kept", "fail": "failed", "incomplete": "partial"}


def render(bundles: Sequence[Listed], folder: Path | None = None) -> str:
    """The page, with every text escaped.

    Times of different bundles are never set beside each other: they were not taken in turn. What is shown is the ratio
    to float32 on the same runtime, which was.

    Args:
        bundles: each bundle's folder and its report, at least one.
        folder: where the page will lie, for its links; None is the folder that holds all bundles.
    """
    place = folder_of([path for path, _ in bundles]) if folder is None else folder
    models = list(dict.fromkeys(report.model for _, report in bundles))
    passed = sum(report.verdict == "pass" for _, report in bundles)
    return page(
        "comparison.html",
        models=models,
        sentence=_passing(passed, len(bundles)),
        outcome="pass" if passed == len(bundles) else "fail" if _any(bundles, "fail") else "incomplete",
        cards=[
            {
                "number": at,
                "report": report,
                "sentence": sentence(report),
                "link": link(path, place),
                "search": "" if report.search is None else outcome(report.search),
            }
            for at, (path, report) in enumerate(bundles, 1)
        ],
        table=_table(bundles, place, several=len(models) > 1),
        pictures=_plot(bundles),
        marks={_MARKS[report.verdict] for _, report in bundles},
    )


def _passing(passed: int, whole: int) -> str:
    if passed == whole:
        return f"All {whole} targets pass." if whole > 1 else "The target passes."
    return f"{passed or 'None'} of {whole} targets {'pass' if passed > 1 else 'passes'}."


def folder_of(paths: Sequence[Path]) -> Path:
    """The folder beside whose entries the bundles are, however deep."""
    return Path(os.path.commonpath([path.absolute().parent for path in paths]))


def link(bundle: Path, folder: Path) -> str:
    """From a page in ``folder`` to the bundle's own page, as a relative URL."""
    return quote(Path(os.path.relpath(bundle.absolute() / REPORT_PAGE, folder.absolute())).as_posix())


def _any(bundles: Sequence[Listed], verdict: str) -> bool:
    return any(report.verdict == verdict for _, report in bundles)


def _table(bundles: Sequence[Listed], folder: Path, *, several: bool) -> Grid | None:
    runs = [run for _, report in bundles for run in executed(report)]
    columns = (
        Column("Target"),
        Column("Model"),
        Column("Verdict"),
        Column("Evidence"),
        Column("Runtime and device"),
        number(metric_title(runs)),
        number("of float32"),
        number("Unlike float32"),
        number("Size"),
        number("Size ratio"),
        number("Time ratio"),
    )
    rows = [
        (
            Markup("{} {}").format(at, element("a", report.target, href=link(path, folder))),
            report.model if several else "",
            report.verdict,
            *cells,
        )
        for at, (path, report) in enumerate(bundles, 1)
        for cells in _runs(report)
    ]
    return Grid.of("Targets, a row for each runtime on each device", columns, rows)


def _runs(report: Report) -> Iterator[tuple[str, ...]]:
    """Figures of every run; of a report without runs, its size."""
    size = format_value(report.size.artifact_bytes, "bytes"), format_value(report.size.ratio, "ratio")
    for run in report.runs:
        accuracy, parity = run.accuracy, run.parity
        yield (
            run.evidence,
            f"{runtime_name(run)} on {run.device}",
            format_value(accuracy.value if accuracy else None, "share"),
            format_value(accuracy.reference if accuracy else None, "share"),
            f"{parity.unlike} of {parity.samples}" if parity and parity.unlike is not None else MISSING,
            *size,
            format_value(_time_ratio(run), "ratio"),
        )
    if not report.runs:
        yield MISSING, MISSING, MISSING, MISSING, MISSING, *size, MISSING


def _time_ratio(run: Run) -> float | None:
    latency = run.latency_ms
    return None if latency is None or latency.float32_p50 <= 0 else latency.p50 / latency.float32_p50


def _drop(report: Report) -> float | None:
    """Of the run that loses most."""
    drops = [
        (run.accuracy.reference - run.accuracy.value) * (1 if run.accuracy.higher_is_better else -1)
        for run in executed(report)
        if run.accuracy is not None and run.accuracy.reference is not None
    ]
    return max(drops, default=None)


def _unlike(report: Report) -> float | None:
    shares = [
        run.parity.unlike / run.parity.samples
        for run in executed(report)
        if run.parity is not None and run.parity.unlike is not None
    ]
    return max(shares, default=None)


def _plot(bundles: Sequence[Listed]) -> list[Markup]:
    """Size against what is lost, where at least two bundles have both by the same measure."""
    metrics = {run.accuracy.metric for _, report in bundles for run in executed(report) if run.accuracy is not None}
    drops = [_drop(report) for _, report in bundles]
    shown = len(metrics) == 1 and "perplexity" not in metrics and sum(drop is not None for drop in drops) > 1
    lost = drops if shown else [_unlike(report) for _, report in bundles]
    title = f"{metrics.pop()} lost, points" if shown else "unlike float32, %"
    placed = []
    for at, ((_, report), loss) in enumerate(zip(bundles, lost, strict=True), 1):
        if loss is not None:
            size = report.size.artifact_bytes
            said = f"{points(loss)} points lost" if shown else f"{percent(loss)} unlike float32"
            told = f"{report.target}: {format_value(size, 'bytes')}, {said}, {report.verdict}"
            placed.append(Point(size / 1e6, loss * 100, str(at), told, _MARKS[report.verdict]))
    if len(placed) < 2:
        return []
    axes = Axis("MB"), Axis(title)
    return [scatter("targets", "Size against what is lost, by target", placed, axes, form) for form in FORMS]
