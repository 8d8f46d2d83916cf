"""Figures and names for people, the same on a page and on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from edgeexport.analysis import LayerError
from edgeexport.results import Conditions, Latency, Report, Run

MISSING = "–"


def metric_title(runs: Iterable[Run]) -> str:
    """The column of the task's metric: its name, with an arrow where lower is better."""
    found = [run.accuracy for run in runs if run.accuracy is not None]
    if not found or any(one.metric != found[0].metric for one in found):
        return "Accuracy"
    return found[0].metric.capitalize() + ("" if found[0].higher_is_better else " ↓")


def executed(report: Report) -> list[Run]:
    """The runs in which a runtime computed something, here or emulated."""
    return [run for run in report.runs if run.evidence != "estimated"]


def estimated(report: Report) -> list[Run]:
    """Those that a cost model only described: never in one table with the others."""
    return [run for run in report.runs if run.evidence == "estimated"]


def conditions(report: Report) -> list[str]:
    """What boards told of themselves around a timing, a line for each run of which anything is known."""
    lines = []
    for run in report.runs:
        told = [] if run.latency_ms is None else list(_told(run.latency_ms))
        if told:
            lines.append(f"{run.place}: {', '.join(told)}")
    return lines


def _told(latency: Latency) -> Iterator[str]:
    before, after = latency.before or Conditions(), latency.after or Conditions()
    for values, unit in (
        ((before.temperature_c, after.temperature_c), "°C"),
        ((before.frequency_mhz, after.frequency_mhz), "MHz"),
    ):
        known = [None if value is None else f"{value:.1f}" if unit == "°C" else f"{value:.0f}" for value in values]
        if any(known):
            yield f"{known[0] or '–'} {unit} before, {known[1] or '–'} {unit} after"
    if latency.energy_j is not None and latency.float32_energy_j is not None:
        yield f"{latency.energy_j:.3g} J a sample, float32 {latency.float32_energy_j:.3g} J"


def runtime_name(run: Run) -> str:
    """Runtime and version, what stood in for it, and what executes its operators where it has a choice."""
    name = f"{run.runtime} {run.runtime_version}".strip()
    delegate = "no delegate" if run.delegate == "none" else run.delegate
    about = ", ".join(text for text in (run.stand_in, delegate) if text)
    return f"{name} ({about})" if about else name


def format_value(value: float | None, unit: str) -> str:
    """A figure for people; a dash where there is none."""
    if value is None:
        return MISSING
    if unit == "bytes":
        return f"{value / 1e6:,.2f} MB" if abs(value) >= 1e5 else f"{value:,.0f} B"
    if unit == "operators":
        return f"{value:,.0f}"
    return f"{value:.4f}"


def decibels(value: float | None) -> str:
    """Of a signal-to-noise ratio."""
    return MISSING if value is None else f"{value:.1f}"


def layer_ratio(layer: LayerError) -> str:
    """A layer's signal to noise in decibels, or why that is no number."""
    if not layer.finite:
        return "not finite"
    return "exact" if layer.snr_db is None else f"{layer.snr_db:.1f}"


def percent(share: float | None) -> str:
    """Of a share, with as many digits as tell it from nothing and from all."""
    if share is None:
        return MISSING
    if share < 0:
        return f"-{percent(-share)}"
    if share == 0 or share >= 0.0995:
        return f"{share * 100:.3g} %"
    return f"{share * 100:.2g} %" if share >= 1e-4 else "< 0.01 %"


def points(drop: float | None) -> str:
    """A change of a metric that is a share, in points of 100."""
    if drop is None:
        return MISSING
    rounded = f"{drop * 100:.2f}"
    return "0.00" if rounded == "-0.00" else rounded


def loss(drop: float | None, metric: str) -> str:
    """What was lost of a metric: points of a share, percent of a perplexity, which rises."""
    gained = drop is not None and points(drop).startswith("-")
    figure = points(drop).removeprefix("-")
    if metric == "perplexity":
        return f"{figure} % {'less' if gained else 'more'} perplexity"
    return f"{figure} points {'gained' if gained else 'lost'}"


def loss_heading(metric: str) -> str:
    """The column of such losses, in points or percent."""
    return "Risen, %" if metric == "perplexity" else "Points lost"
