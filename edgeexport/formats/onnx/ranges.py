"""The range that the integers of each activation span, by the calibration's method."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Sequence
from typing import Any

from edgeexport.calibration import find_intervals, recalled
from edgeexport.conversion import Feeds
from edgeexport.formats.onnx.observe import observe_histograms, observe_ranges
from edgeexport.ranges import Interval
from edgeexport.settings import Calibration


def find_ranges(model: Any, names: Sequence[str], calibration: Calibration, feeds: Feeds) -> dict[str, Interval]:
    """The interval of each named activation, by the calibration's method.

    ``minmax`` takes one pass over the samples, ``percentile`` and ``mse`` two: the second fills histograms between
    the extremes that the first found.
    """
    key = content_key(model)
    seen = recalled(
        feeds, ("ranges", key), names, lambda missing: observe_ranges(model, missing, feeds("activation ranges"))
    )
    return find_intervals(
        seen,
        calibration,
        feeds,
        key,
        lambda ranges: observe_histograms(model, ranges, calibration.bins, feeds("activation histograms")),
    )


def content_key(model: Any) -> Hashable:
    """What a model's tensors are remembered by: all its bytes, as a rewrite or another weight changes them."""
    return hashlib.sha256(model.SerializeToString(deterministic=True)).digest()
