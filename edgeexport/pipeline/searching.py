"""The search for settings that keep a budget, on real artifacts and a real runtime; see :mod:`edgeexport.search`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from edgeexport.analysis import Budget, Search, Trial
from edgeexport.artifact import REPORT_PAGE, Bundle
from edgeexport.disk import readable_disk_errors, write_whole
from edgeexport.errors import ConversionError, RecipeError
from edgeexport.merge import flatten, merge
from edgeexport.pipeline.exporting import Export
from edgeexport.pipeline.laboratory import SEED, Laboratory, split
from edgeexport.progress import Progress
from edgeexport.report import html
from edgeexport.results import Check, Report, overall
from edgeexport.search import space
from edgeexport.search.strategy import SearchRun
from edgeexport.stages import name_of


@dataclass(frozen=True)
class SearchOptions:
    """What bounds a search, beside the budget.

    Attributes:
        trials: models that are run on a whole part of the evaluation set, at most.
        seconds: after which nothing new is begun.
        sensitivity: measure every layer's even where nothing has to be left out.
        device: where trials run.
        limit: only the first so many samples of the evaluation set choose and score.
    """

    trials: int = 12
    seconds: float | None = None
    sensitivity: bool = False
    device: str = "local"
    limit: int | None = None


def budget_of(points: float | None, count: int | None, latency_ratio: float | None) -> Budget | None:
    """What may be lost, or None where nothing was said of it.

    Args:
        points: of the metric, in hundredths.
        count: bytes.
        latency_ratio: to float32.

    Raises:
        RecipeError: bounds without a drop, or a value that is none.
    """
    for what, value in (("points to lose", points), ("latency ratio", latency_ratio)):
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise RecipeError(f"{value} is no number of {what}", "Give zero or more.")
    if points is not None and points > 100:
        raise RecipeError(f"{points} points to lose are more than a metric has", "Half a point is --max-drop 0.5.")
    if latency_ratio == 0:
        raise RecipeError(f"{latency_ratio} is no latency ratio", "Half of float32's latency is 0.5.")
    if count is not None and count < 1:
        raise RecipeError(f"{count} is no number of bytes", "Give one or more.")
    if points is not None:
        return Budget(drop=points / 100, bytes=count, latency_ratio=latency_ratio)
    if count is not None or latency_ratio is not None:
        raise RecipeError(
            "a size and a latency ratio bound a search for settings, which the points that may be lost begin",
            "Add --max-drop, in points of the metric.",
        )
    return None


def limits_of(budget: Budget) -> dict[str, Any]:
    """The budget as settings, so that the bundle is held to it wherever it is verified."""
    limits: dict[str, Any] = {}
    if budget.drop is not None:
        limits |= {"accuracy_drop": budget.drop, "perplexity_ratio": 1 + budget.drop}
    if budget.bytes is not None:
        limits["artifact_bytes"] = budget.bytes
    if budget.latency_ratio is not None:
        limits["latency_ratio"] = budget.latency_ratio
    return {"limits": limits}


def within_limits(flags: Mapping[str, Any], budget: Budget) -> dict[str, Any]:
    """The command line's settings and the budget's limits.

    Raises:
        RecipeError: they contradict each other.
    """
    limits, given = limits_of(budget), flatten(flags)
    for key, value in flatten(limits).items():
        if given.get(key, value) != value:
            raise RecipeError(
                f"--set {key}={given[key]} contradicts the budget, which sets it to {value:g}", "Leave one of them out."
            )
    return merge(limits, flags)


def search(export: Export, budget: Budget, options: SearchOptions, progress: Progress) -> tuple[Search, dict[str, Any]]:
    """Find settings for an export that keep a budget.

    Args:
        export: opened, with the budget's limits among its flags; its stages are run here.
        budget: what may be lost.
        options: bounds of the search, and where trials run.
        progress: told of every stage.

    Returns:
        What was found, and the settings to export with beside the request's own.

    Raises:
        RecipeError: the sets or the recipe leave nothing to search with.
        EdgeExportError: nothing could be tried.
    """
    _check(export, options)
    export.run_stages()
    lab = Laboratory(export, options.device, progress, options.limit)
    try:
        if budget.latency_ratio is not None and not lab.timed:
            raise RecipeError(
                f"nothing keeps a latency ratio that is not measured: {lab.runtime} on {lab.about.name} is not timed "
                "against float32",
                "Leave --max-latency-ratio out, or name a device that can be timed with --on.",
            )
        settings, origins = export.recipe.settings, export.recipe.origins
        precisions = space.families(export.target.precisions, settings.precision, origins["precision"])
        run = SearchRun(lab, options.trials - 1, options.seconds, options.sensitivity)
        outcome = run.run(precisions)
        if not outcome.chosen:
            raise ConversionError(f"no setting of {export.target.name} could be tried: {_reasons(outcome.trials)}")
        chosen = outcome.trials[outcome.chosen - 1]
        score = lab.scored(chosen)
        found = Search(
            budget=budget,
            metric=lab.metric,
            runtime=lab.runtime,
            device=lab.about.name,
            evidence=lab.evidence,
            seed=SEED,
            choosing=len(lab.choosing),
            scoring=len(lab.scoring),
            trials=tuple(outcome.trials),
            chosen=outcome.chosen,
            score=score,
            met=outcome.kept and bool(score.kept),
            sensitivities=tuple(outcome.sensitivities),
            evaluations=outcome.evaluations + 1,
            stopped=outcome.stopped,
        )
    finally:
        lab.device.close()
    return found, dict(lab.settings_of(chosen))


def _reasons(trials: Iterable[Trial]) -> str:
    """Why each could not be tried, said once for those that failed for the same."""
    titles: dict[str, list[str]] = {}
    for trial in trials:
        titles.setdefault(trial.note, []).append(trial.title)
    return "; ".join(f"{', '.join(those)}: {note}" for note, those in titles.items())


def with_search(bundle: Bundle, report: Report, found: Search) -> Report:
    """The report with what the search found and its check, written into the bundle in the other's place."""
    checks = (check_of(found), *report.checks)
    report = msgspec.structs.replace(report, checks=checks, verdict=overall(checks), search=found)
    with readable_disk_errors(bundle.path):
        report.write(bundle.report_path)
        write_whole(bundle.path / REPORT_PAGE, html.render(report, bundle.manifest).encode())
    return report


def check_of(found: Search) -> Check:
    """The budget as a check: the chosen model on the samples that chose nothing."""
    score = found.score
    assert score is not None
    return Check(
        name="budget",
        measured=score.drop,
        limit=found.budget.drop,
        unit="share",
        verdict="pass" if found.met else "fail",
        where=f"{found.runtime} on {found.device}, {found.scoring} samples that chose nothing",
        note="" if found.met else score.note or found.stopped,
    )


def _check(export: Export, options: SearchOptions) -> None:
    """Refuse what leaves nothing to search with, before anything is converted."""
    task = export.source.task
    if export.evaluation is None:
        raise RecipeError("--max-drop needs samples to measure a drop on", "Give labelled ones with --evaluation.")
    if task == "generic":
        raise RecipeError(
            f"{export.source.name} has no metric that could drop: its task is 'generic'",
            "Say what its outputs are with --set model.task=classification, regression or embedding.",
        )
    split(len(export.evaluation), SEED, options.limit)
    bound = [name_of(stage) for stage in export.recipe.settings.compress if stage.for_target]
    if bound:
        raise RecipeError(
            f"the stage '{bound[0]}' rounds to one integer scheme, and a search tries several",
            "Run it by itself and export its model with --precision, or leave --max-drop out.",
        )
