"""A search as a page shows it: the budget in words, what was chosen, a plot of all trials, and tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from markupsafe import Markup

from edgeexport.analysis import Budget, Search, Trial
from edgeexport.merge import flatten
from edgeexport.report.grid import Column, Grid, folded, number, plain
from edgeexport.report.plots import FORMS, Axis, Mark, Point, scatter
from edgeexport.report.sensitivity_view import costliest
from edgeexport.report.words import MISSING, decibels, format_value, loss, loss_heading, points

WORST = 5
"""Layers that a failed search names."""


@dataclass(frozen=True)
class SearchView:
    """What the template needs.

    Attributes:
        budget: in words.
        met: whether it is kept.
        outcome: whether it was kept, by what, in a sentence.
        costly: the layers that lose most, by path, of a search that failed.
        why: why the search ended there.
        chosen: settings of the chosen trial.
        plots: for each, its caption and its forms.
        marks: the kinds of points in them, and ``front``.
        trials: table of all.
        runs: what was run for it, in a sentence.
    """

    budget: str
    met: bool
    outcome: str
    costly: tuple[str, ...]
    why: str
    chosen: Grid | None
    plots: list[tuple[str, list[Markup]]]
    marks: set[str]
    trials: Grid | None
    runs: str


def view(search: Search) -> SearchView:
    """The search for the template."""
    chosen = chosen_trial(search)
    settings = () if chosen is None else sorted(flatten(chosen.settings).items())
    over = f"{search.choosing:,} samples chose"
    scored = f", {search.scoring:,} others judged the choice once" if search.scoring else ""
    return SearchView(
        budget=budget_words(search.budget, search.metric),
        met=search.met,
        outcome=outcome(search),
        costly=() if search.met else tuple(one.path for one in costliest(search, WORST)),
        why=search.stopped,
        chosen=Grid.of(
            "Settings of the chosen trial",
            (Column("Setting", code=True), Column("Value", code=True)),
            [(key, folded(plain(value))) for key, value in settings],
        ),
        plots=_plots(search),
        marks=_marks(search),
        trials=_trials(search),
        runs=f"{_counted(len(search.trials), 'trial')} on {search.runtime}, {search.device} ({search.evidence}); "
        f"{over}{scored}. "
        f"{_counted(search.evaluations, 'whole evaluation')}, split with seed {search.seed}.",
    )


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def chosen_trial(search: Search) -> Trial | None:
    """The trial whose settings the bundle has."""
    return next((trial for trial in search.trials if trial.number == search.chosen), None)


def budget_words(budget: Budget, metric: str) -> str:
    """Such as ``at most 0.50 points lost, 25.00 MB``."""
    told = []
    if budget.drop is not None:
        told.append(loss(budget.drop, metric))
    if budget.bytes is not None:
        told.append(format_value(budget.bytes, "bytes"))
    if budget.latency_ratio is not None:
        told.append(f"{budget.latency_ratio:g} of float32's time")
    return f"at most {', '.join(told)}" if told else "none"


def outcome(search: Search) -> str:
    """Whether the budget was kept, by what, and what that loses, in sentences."""
    chosen = chosen_trial(search)
    if chosen is None:
        return "No trial keeps the budget."
    title = f"trial {chosen.number} ({chosen.title})"
    score = search.score
    judged = ""
    if score is not None and score.drop is not None:
        judged = f"{loss(score.drop, search.metric)} on the {search.scoring:,} samples that judged it"
    if search.met:
        return f"Kept by {title}, {judged}." if judged else f"Kept by {title}."
    if chosen.kept:
        told = f"T{title[1:]} keeps the budget on the samples that chose, not on those that judged: "
        told += _chose(chosen, search)
        return f"{told}, {judged}." if judged else f"{told}."
    return f"No trial keeps the budget. Closest: {title}, {_chose(chosen, search)}{judged and f', {judged}'}."


def _chose(trial: Trial, search: Search) -> str:
    """What a trial lost on the samples that chose, or on those of them that it was tried on."""
    lost = "no figure" if trial.drop is None else loss(trial.drop, search.metric)
    return f"{lost} on {'the ' if trial.evaluated else ''}{trial.samples:,} samples that chose"


def _measure(search: Search) -> tuple[str, Callable[[Trial], float | None], float | None]:
    """What trials lose: the metric's drop, else unlike answers, else noise; its axis and its limit."""
    if any(trial.drop is not None for trial in search.trials):
        limit = search.budget.drop
        title = "perplexity risen, %" if search.metric == "perplexity" else f"{search.metric} lost, points"
        return (
            title,
            lambda trial: None if trial.drop is None else trial.drop * 100,
            None if limit is None else limit * 100,
        )
    if any(trial.unlike is not None for trial in search.trials):
        return "unlike float32, %", lambda t: None if t.unlike is None else 100 * t.unlike / t.samples, None
    return "noise, dB below the signal", lambda t: None if t.snr_db is None else -t.snr_db, None


def _plots(search: Search) -> list[tuple[str, list[Markup]]]:
    title, loss, limit = _measure(search)
    budget = search.budget
    axes: list[tuple[str, str, Callable[[Trial], float | None], Axis]] = [
        (
            "size",
            "Size against what is lost",
            lambda trial: None if trial.artifact_bytes is None else trial.artifact_bytes / 1e6,
            Axis("MB", None if budget.bytes is None else budget.bytes / 1e6),
        ),
        (
            "latency",
            "Time against what is lost",
            lambda trial: trial.latency_ratio,
            Axis("time to float32", budget.latency_ratio, ratio=True),
        ),
    ]
    found = []
    for name, caption, across, axis in axes:
        placed = []
        for trial in search.trials:
            x, y = across(trial), loss(trial)
            if x is not None and y is not None:
                placed.append(Point(x, y, str(trial.number), _said(trial, search.metric), _mark(trial, search)))
        if len(placed) > 1:
            pictures = [scatter(f"trials-{name}", caption, placed, (axis, Axis(title, limit)), form) for form in FORMS]
            found.append((caption, pictures))
    return found


def _marks(search: Search) -> set[str]:
    marks = [_mark(trial, search) for trial in search.trials if trial.artifact_bytes is not None]
    several = sum(mark != "partial" for mark in marks) > 1
    return {*marks, *(["front"] if several else [])}


def _mark(trial: Trial, search: Search) -> Mark:
    if trial.number == search.chosen:
        return "chosen" if search.met else "closest"
    if not trial.evaluated or trial.kept is None:
        return "partial"
    return "kept" if trial.kept else "failed"


def _said(trial: Trial, metric: str) -> str:
    figures = [format_value(trial.artifact_bytes, "bytes")]
    if trial.drop is not None:
        figures.append(loss(trial.drop, metric))
    if trial.latency_ratio is not None:
        figures.append(f"{trial.latency_ratio:.3f} of float32's time")
    return f"trial {trial.number}, {trial.title}: {', '.join(figures)}"


def _trials(search: Search) -> Grid | None:
    columns = (
        number("Trial"),
        Column("What"),
        number("Bytes"),
        number("Size ratio"),
        number("Time ratio"),
        number(loss_heading(search.metric)),
        number("Unlike"),
        number("SNR, dB"),
        number("Samples"),
        Column("Budget"),
        Column("Note"),
    )
    rows = [
        (
            f"{trial.number} ★" if trial.number == search.chosen else str(trial.number),
            trial.title,
            format_value(trial.artifact_bytes, "bytes"),
            format_value(trial.size_ratio, "ratio"),
            format_value(trial.latency_ratio, "ratio"),
            points(trial.drop),
            MISSING if trial.unlike is None else str(trial.unlike),
            decibels(trial.snr_db),
            f"{trial.samples:,}",
            MISSING if trial.kept is None else "kept" if trial.kept else "broken",
            trial.note,
        )
        for trial in search.trials
    ]
    return Grid.of("Trials in order; ★ is chosen", columns, rows)
