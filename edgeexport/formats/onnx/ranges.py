"""The range that the integers of each activation span, by the calibration's method."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from edgeexport.formats.onnx.observe import observe_histograms, observe_ranges
from edgeexport.ranges import Interval, least_error_range, percentile_range
from edgeexport.settings import Calibration

Feeds = Callable[[], Iterable[Mapping[str, np.ndarray]]]


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
