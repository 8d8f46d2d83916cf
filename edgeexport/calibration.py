"""What passes over a calibration set find: kept from one conversion to the next, and made into intervals."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from edgeexport.conversion import Feeds
from edgeexport.ranges import Histogram, Interval, Range, least_error_range, percentile_range
from edgeexport.settings import Calibration

if TYPE_CHECKING:
    import numpy as np

Found = TypeVar("Found")


class RememberedFeeds:
    """:data:`Feeds` for several conversions of one model: what one pass over the samples found, the next need not find.

    Args:
        start: starts a pass.
        memo: shared by feeds of the same samples; see :func:`recalled`.

    Attributes:
        used: whether a conversion took anything from the samples.
    """

    def __init__(self, start: Feeds, memo: dict[Hashable, dict[str, Any]]) -> None:
        self._start = start
        self.memo = memo
        self.used = False

    def __call__(self, title: str) -> Iterator[Mapping[str, np.ndarray]]:
        """Start a pass."""
        self.used = True
        return self._start(title)


def recalled(
    feeds: Feeds, key: Hashable, names: Iterable[str], find: Callable[[list[str]], Mapping[str, Found]]
) -> dict[str, Found]:
    """What a pass over the samples finds of each named tensor; ``find`` gets those names that none has yet asked for.

    Args:
        feeds: remember where they are :class:`RememberedFeeds`.
        key: what decides the finding beside the samples: the graph, and what is looked for in it.
        names: in the order of the answer; those that ``find`` gives nothing for are missing there.
        find: takes a pass.
    """
    wanted = list(dict.fromkeys(names))
    if not isinstance(feeds, RememberedFeeds):
        return dict(find(wanted))
    feeds.used = True
    known = feeds.memo.setdefault(key, {})
    missing = [name for name in wanted if name not in known]
    if missing:
        known.update(dict.fromkeys(missing) | dict(find(missing)))
    return {name: known[name] for name in wanted if known[name] is not None}


def find_intervals(
    ranges: Mapping[str, Range],
    calibration: Calibration,
    feeds: Feeds,
    key: Hashable,
    count: Callable[[dict[str, Range]], Mapping[str, Histogram]],
) -> dict[str, Interval]:
    """The interval that the integers of each activation span, by the calibration's method.

    ``minmax`` is the ranges themselves, true extremes over all samples; ``percentile`` and ``mse`` take one more pass,
    which fills histograms between those extremes.

    Args:
        ranges: what the first pass found.
        calibration: method and bins.
        feeds: calibration samples.
        key: of the graph; see :func:`recalled`.
        count: takes that pass, for the activations of these ranges.
    """
    if calibration.method == "minmax":
        return {name: (seen.low, seen.high) for name, seen in ranges.items()}
    histograms = recalled(
        feeds,
        ("histograms", calibration.bins, key),
        ranges,
        lambda missing: count({name: ranges[name] for name in missing}),
    )
    if calibration.method == "percentile":
        return {name: percentile_range(item, calibration.percentile) for name, item in histograms.items()}
    return {name: least_error_range(item) for name, item in histograms.items()}
