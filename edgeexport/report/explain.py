"""What explains a report, for a terminal: the search, the calibration set's findings, the layers where outputs part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from edgeexport.analysis import LintFinding, Search, Trial
from edgeexport.report import divergences
from edgeexport.report.search_view import WORST, budget_words, outcome
from edgeexport.report.sensitivity_view import costliest, noise
from edgeexport.report.words import MISSING, decibels, format_value, loss_heading, percent, points
from edgeexport.results import Report

_KEPT = {True: ("kept", "green"), False: ("broken", "bold red"), None: (MISSING, "")}


def explanations(report: Report) -> Iterator[RenderableType]:
    """A table of each that the report has, in text that is never markup."""
    if report.search is not None:
        yield from _search(report.search)
    if report.lint:
        yield lint_table(report.lint)
    for one in report.divergences:
        yield from divergences.render(one)


def _search(search: Search) -> Iterator[RenderableType]:
    table = _table(f"Search on {search.runtime}, {search.device}; budget: {budget_words(search.budget, search.metric)}")
    table.add_column("Trial", overflow="fold")
    for heading in ("Bytes", loss_heading(search.metric), "Unlike", "Time ratio"):
        table.add_column(heading, justify="right")
    table.add_column("Budget")
    for trial in search.trials:
        table.add_row(*_trial(trial, chosen=trial.number == search.chosen))
    yield table
    yield Text(f"{outcome(search)} Why it ended there: {search.stopped}")
    if not search.met:
        yield from _costliest(search)


def _costliest(search: Search) -> Iterator[RenderableType]:
    """The layers that lose most, for who must find out what broke the budget."""
    worst = costliest(search, WORST)
    if not worst:
        return
    table = _table(f"Layers that cost most of {len({one.path for one in search.sensitivities})}, each quantized alone")
    table.add_column("Layer", overflow="fold")
    table.add_column("As")
    for heading in ("Noise of the signal", "SNR dB", "Unlike", "Bytes", "Work"):
        table.add_column(heading, justify="right")
    for one in worst:
        unlike = MISSING if one.unlike is None else f"{one.unlike}/{one.samples}"
        figures = (percent(noise(one)), decibels(one.snr_db), unlike, format_value(one.bytes, "bytes"))
        table.add_row(Text(one.path), one.precision, *figures, percent(one.macs))
    yield table


def _trial(trial: Trial, *, chosen: bool) -> Iterator[Text]:
    mark = "★ " if chosen else ""
    yield Text(f"{mark}{trial.number} {trial.title}" + (f"\n{trial.note}" if trial.note else ""))
    yield Text(format_value(trial.artifact_bytes, "bytes"))
    yield Text(points(trial.drop))
    yield Text(MISSING if trial.unlike is None else f"{trial.unlike}/{trial.samples}")
    yield Text(format_value(trial.latency_ratio, "ratio"))
    yield Text(*_KEPT[trial.kept])


def lint_table(findings: Iterable[LintFinding]) -> Table:
    """What is odd about a calibration set."""
    table = _table("Calibration set")
    for heading in ("Rule", "Level", "Seen, and what to do"):
        table.add_column(heading, overflow="fold")
    for one in findings:
        style = "bold red" if one.level == "error" else "yellow"
        table.add_row(Text(one.rule), Text(one.level, style), Text(f"{one.evidence}\n{one.remedy}"))
    return table


def _table(title: str) -> Table:
    return Table(title=Text(title), title_justify="left")
