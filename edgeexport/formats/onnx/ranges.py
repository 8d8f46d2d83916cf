"""From what was observed of an activation to the range its integers span."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgeexport.formats.onnx.observe import Histogram, observe_histograms, observe_ranges
from edgeexport.settings import Calibration

Interval = tuple[float, float]
Feeds = Callable[[], Iterable[Mapping[str, np.ndarray]]]

_CANDIDATES = 64
_LEVELS = 255


def find_ranges(model: Any, names: Sequence[str], calibration: Calibration, feeds: Feeds) -> dict[str, Interval]:
    """The interval of each named activation, by the calibration's method.

    ``minmax`` takes one pass over the samples, ``percentile`` and ``mse`` two: the second fills histograms between
    the extremes that the first found.
    """
    seen = observe_ranges(model, names, feeds())
    if calibration.method == "minmax":
        return {name: (range_.low, range_.high) for name, range_ in seen.items()}
    histograms = observe_histograms(model, seen, calibration.bins, feeds())
    if calibration.method == "percentile":
        return {name: percentile_range(item, calibration.percentile) for name, item in histograms.items()}
    return {name: least_error_range(item) for name, item in histograms.items()}


def percentile_range(histogram: Histogram, percentile: float) -> Interval:
    """The interval that holds ``percentile`` percent of the values, with the rest cut evenly off both ends."""
    cut = (100 - percentile) / 200
    below = np.cumsum(histogram.counts) / max(1, histogram.counts.sum())
    first = int(np.searchsorted(below, cut, side="right"))
    last = int(np.searchsorted(below, 1 - cut, side="left"))
    edges = histogram.edges
    return float(edges[first]), float(edges[min(last, len(histogram.counts) - 1) + 1])


def least_error_range(histogram: Histogram) -> Interval:
    """The interval with the least squared error of rounding and clipping to 255 steps, over the histogram.

    Each end is moved inwards in turn over 64 candidates, the other end held, until neither moves. Zero stays inside,
    as the integer zero point requires.
    """
    edges = histogram.edges
    centres = (edges[:-1] + edges[1:]) / 2
    counts = histogram.counts.astype(np.float64)
    low, high = min(histogram.low, 0.0), max(histogram.high, 0.0)
    shares = np.linspace(1.0, 0.0, _CANDIDATES, endpoint=False)
    for _ in range(4):
        lows = [low * share for share in shares] if low < 0 else [low]
        new_low = min(lows, key=lambda value: _error(centres, counts, value, high))
        highs = [high * share for share in shares] if high > 0 else [high]
        new_high = min(highs, key=lambda value: _error(centres, counts, new_low, value))
        if (new_low, new_high) == (low, high):
            break
        low, high = new_low, new_high
    return float(low), float(high)


def spanning_zero(interval: Interval) -> Interval:
    """The interval widened to hold zero."""
    return min(interval[0], 0.0), max(interval[1], 0.0)


def _error(centres: np.ndarray, counts: np.ndarray, low: float, high: float) -> float:
    step = (high - low) / _LEVELS
    if step <= 0:
        return float(counts @ centres**2)
    clipped = np.clip(centres, low, high)
    rounded = low + np.rint((clipped - low) / step) * step
    return float(counts @ (centres - rounded) ** 2)
