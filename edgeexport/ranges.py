"""From what was observed of an activation to the range its integers span."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

Interval = tuple[float, float]

_CANDIDATES = 64
_LEVELS = 255


@dataclass
class Range:
    """What is known of one activation after all samples.

    Attributes:
        low, high: smallest and largest value.
        squares: sum of squared values; NaN as soon as one value is, which comparisons with the extremes pass over.
        count: of values.
    """

    low: float = np.inf
    high: float = -np.inf
    squares: float = 0.0
    count: int = 0

    def add(self, values: np.ndarray) -> None:
        """Count an array in."""
        self.low, self.high = min(self.low, float(values.min())), max(self.high, float(values.max()))
        self.squares += float(np.square(values, dtype=np.float64).sum())
        self.count += values.size

    @property
    def finite(self) -> bool:
        """Whether no value was NaN or infinite, and there was one."""
        return math.isfinite(self.low) and math.isfinite(self.high) and not math.isnan(self.squares)

    def snr_db(self) -> float:
        """Signal to noise of 255 even steps over the range, in dB: 10·log10(mean square / (step² / 12)).

        The noise of rounding to steps is taken as uniform (Bennett, 1948). Infinite where every value is zero.
        """
        low, high = spanning_zero((self.low, self.high))
        step = (high - low) / _LEVELS
        if step == 0 or self.squares == 0:
            return math.inf
        return 10 * math.log10(self.squares / self.count / (step * step / 12))


@dataclass
class Histogram:
    """Counts of values in equal bins over [low, high]."""

    low: float
    high: float
    counts: np.ndarray = field(repr=False)

    def add(self, values: np.ndarray) -> None:
        """Count an array in."""
        bins = len(self.counts)
        width = (self.high - self.low) or 1.0
        positions = ((values.ravel() - self.low) * (bins / width)).astype(np.int64)
        self.counts += np.bincount(np.clip(positions, 0, bins - 1), minlength=bins)

    @property
    def edges(self) -> np.ndarray:
        """Bin edges, one more than there are counts."""
        return np.linspace(self.low, self.high, len(self.counts) + 1)


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
