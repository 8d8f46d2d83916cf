"""Checks against their limits as small bars: how much of what a limit allows is used, the limit at one place in all."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from edgeexport.report.svg import element
from edgeexport.report.verdict import subject
from edgeexport.report.words import format_value
from edgeexport.results import Check, Report

_FILE = "The file"
_AT_LEAST = ("agreement", "cosine_min")
_LIMIT_AT, _WIDTH, _HEIGHT = 140.0, 200.0, 14.0
_TITLES = {
    "budget": "Metric lost",
    "size_ratio": "Size beside float32",
    "artifact_bytes": "Size",
    "accuracy_drop": "Accuracy lost",
    "agreement": "Same answers",
    "cosine_min": "Least cosine",
    "latency_ratio": "Time beside float32",
    "peak_memory": "Peak memory",
    "peak_memory_arena": "Tensor arena",
    "peak_memory_sram": "SRAM, estimated",
    "perplexity_ratio": "Perplexity beside float32",
    "compatibility": "Operators it lacks",
    "numerics": "Values beyond their type",
}


@dataclass(frozen=True)
class Gauge:
    """One check with a limit.

    Attributes:
        title: what was judged.
        name: of the check.
        figures: measured and limit, in words.
        verdict: pass, fail or not run.
        used: share of what the limit allows; None where nothing was measured.
        bar: its picture; empty likewise.
    """

    title: str
    name: str
    figures: str
    verdict: str
    used: float | None
    bar: Markup


def gauges(report: Report) -> dict[str, list[Gauge]]:
    """By place, the file first: the checks with a limit, save for counts of operators, of which none may be."""
    found: dict[str, list[Gauge]] = {_FILE: []}
    for check in report.checks:
        if check.limit is not None and check.unit != "operators":
            found.setdefault(_FILE if check.where == "artifact" else check.where, []).append(_gauge(check))
    return {place: listed for place, listed in found.items() if listed}


def used(check: Check) -> float | None:
    """How much of what the limit allows is used: above 1 it is broken, 0 is nothing lost.

    For a limit that is to be reached, such as agreement, what may be missing is 1 less the limit.
    """
    if check.measured is None or check.limit is None:
        return None
    spent, allowed = check.measured, check.limit
    if at_least(check):
        spent, allowed = 1 - spent, 1 - allowed
    if allowed <= 0:
        return 0.0 if spent <= allowed else float("inf")
    return max(spent / allowed, 0.0)


def at_least(check: Check) -> bool:
    """Whether the limit is a floor."""
    return check.name in _AT_LEAST or check.name == "agreement_between_devices"


def title_of(name: str) -> str:
    """A check's name for people."""
    return _TITLES.get(name) or name.replace("_", " ").capitalize()


def _gauge(check: Check) -> Gauge:
    share = used(check)
    elsewhere = check.verdict == "fail" and check.note and share is not None and share <= 1
    bound = f"{'at least' if at_least(check) else 'at most'} {format_value(check.limit, check.unit)}"
    measured = "not measured" if check.measured is None else format_value(check.measured, check.unit)
    figures = f"{measured}, {bound}{f'; {check.note}' if elsewhere else ''}"
    bar = Markup("") if share is None else bar_of(share, f"{subject(check.name)}: {figures}", check.verdict)
    return Gauge(title_of(check.name), check.name, figures, check.verdict, share, bar)


def bar_of(share: float, title: str, verdict: str) -> Markup:
    """A bar as long as the share, up to the edge, with the limit as a line across."""
    length = max(min(share * _LIMIT_AT, _WIDTH), 1.5)
    parts = [
        element("title", title),
        element("rect", x=0, y=3, width=_WIDTH, height=8, css="track"),
        element("rect", x=0, y=3, width=length, height=8, css=f"fill {verdict.replace(' ', '-')}"),
        element("line", x1=_LIMIT_AT, x2=_LIMIT_AT, y1=0, y2=_HEIGHT, css="mark-limit"),
    ]
    view = f"0 0 {_WIDTH:g} {_HEIGHT:g}"
    return element("svg", *parts, viewBox=view, preserveAspectRatio="none", role="img", css="gauge")
