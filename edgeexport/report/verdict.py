"""The outcome of a verification in one sentence that a person understands."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from edgeexport.report.words import executed
from edgeexport.results import Check, Report, Run

_SUBJECTS = {
    "budget": "the budget",
    "size_ratio": "size",
    "artifact_bytes": "size",
    "accuracy_drop": "accuracy",
    "perplexity": "perplexity",
    "agreement": "agreement with float32",
    "cosine_min": "likeness of outputs",
    "latency_ratio": "speed",
    "peak_memory": "memory",
    "compatibility": "operators",
    "numerics": "values beyond their type",
    "run": "running at all",
}
_FRACTIONS = ((1 / 2, "half the size"), (1 / 3, "a third of the size"), (1 / 4, "a quarter of the size"))
_NEAR = 0.02
"""Relative distance within which a fraction has its name: .2546 is called a quarter, .2708 is not."""


def sentence(report: Report) -> str:
    """Verdict, accuracy, size and speed, such as ``Passes: 781 of 872 right (float32 781), a quarter of the size``.

    Figures of several runtimes are given as a span. Speed is only of runs on hardware, never of emulated ones.
    """
    told = [text for text in (_right(report), size_words(report.size.ratio), _speed(report)) if text]
    return f"{_outcome(report)}: {', '.join(told)}."


def subject(name: str) -> str:
    """What a check is about, in a word."""
    return next((word for prefix, word in _SUBJECTS.items() if name.startswith(prefix)), name.replace("_", " "))


def size_words(ratio: float) -> str:
    """A share of the float32 parameters' bytes, in words."""
    named = next((words for share, words in _FRACTIONS if abs(ratio / share - 1) <= _NEAR), None)
    if named is not None:
        return named
    if abs(ratio - 1) <= _NEAR:
        return "the same size"
    return f"{ratio * 100:.3g} % of the size" if ratio < 1 else f"{ratio:.2f} times the size"


def _outcome(report: Report) -> str:
    if report.verdict == "pass":
        return "Passes"
    if report.verdict == "incomplete":
        return f"Not proved, {subjects(report.checks, 'not run') or 'a check'} unchecked"
    return f"Fails on {subjects(report.checks, 'fail') or 'a check'}"


def subjects(checks: Iterable[Check], verdict: str) -> str:
    """What the checks with that verdict are about, each once, as a list in words; empty where there is none."""
    words = list(dict.fromkeys(subject(check.name) for check in checks if check.verdict == verdict))
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _right(report: Report) -> str:
    """Right answers of how many, or the task's metric, or unlike predictions, beside float32's."""
    runs = [run for run in executed(report) if run.accuracy is not None]
    if not runs or runs[0].accuracy is None:
        return _unlike(executed(report))
    first = runs[0].accuracy
    alike = [run.accuracy for run in runs if run.accuracy is not None and run.accuracy.samples == first.samples]
    values = [one.value for one in alike if one.metric == first.metric]
    if first.metric == "accuracy":
        reference = "" if first.reference is None else f" (float32 {round(first.reference * first.samples):,})"
        return f"{_span([value * first.samples for value in values], _count)} of {first.samples:,} right{reference}"
    reference = "" if first.reference is None else f" (float32 {first.reference:.4g})"
    return f"{first.metric} {_span(values, lambda value: f'{value:.4g}')}{reference}"


def _unlike(runs: list[Run]) -> str:
    known = [run.parity for run in runs if run.parity is not None]
    counted = [one.unlike for one in known if one.unlike is not None]
    if counted:
        return f"{_span([float(one) for one in counted], _count)} of {known[0].samples:,} answers unlike float32"
    if known:
        return f"outputs at least {min(one.cosine_min for one in known):.4f} like float32's (cosine)"
    return ""


def _speed(report: Report) -> str:
    ratios = [
        run.latency_ms.p50 / run.latency_ms.float32_p50
        for run in report.runs
        if run.latency_ms is not None and run.evidence == "measured" and run.latency_ms.float32_p50 > 0
    ]
    return speed_words(ratios)


def speed_words(ratios: list[float]) -> str:
    """Latency to float32's in words; of several, their span."""
    if not ratios:
        return ""
    fast = sorted(1 / ratio for ratio in ratios)
    if all(abs(factor - 1) < 0.05 for factor in fast):
        return "as fast as float32"
    if fast[0] >= 1:
        return f"{_span(fast, lambda value: f'{value:.1f}')} times as fast"
    if fast[-1] <= 1:
        return f"{_span(ratios, lambda value: f'{value:.1f}')} times as slow"
    return f"{_span(fast, lambda value: f'{value:.2f}')} times as fast"


def _span(values: list[float], say: Callable[[float], str]) -> str:
    low, high = say(min(values)), say(max(values))
    return low if low == high else f"{low} to {high}"


def _count(value: float) -> str:
    return f"{round(value):,}"
