"""Activations of a float program over calibration samples, gathered in constant memory by the evaluator."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeexport import mil
from edgeexport.errors import ConversionError
from edgeexport.ranges import Histogram, Range

if TYPE_CHECKING:
    import torch

Feed = Mapping[str, np.ndarray]


class Observer:
    """Runs a float package and shows its activations.

    coremltools calibrates on a Mac only, and keeps the extremes of the last sample; here every sample counts.

    Args:
        path: the package.
        names: of the values to observe, inputs of the program among them.
    """

    def __init__(self, path: Path, names: Iterable[str]) -> None:
        self._model = mil.load(path)
        self._names = set(names)

    def ranges(self, feeds: Iterable[Feed]) -> dict[str, Range]:
        """The range of each value over all samples.

        Raises:
            ConversionError: a value is not finite.
        """
        found: dict[str, Range] = {}
        self._visit(feeds, lambda name, values: found.setdefault(name, Range()).add(values))
        for name, seen in found.items():
            if not seen.finite:
                raise ConversionError(
                    f"calibration: the activation '{name}' is not finite",
                    "Check the calibration samples, and that the float32 model gives finite outputs.",
                )
        return found

    def histograms(self, ranges: Mapping[str, Range], bins: int, feeds: Iterable[Feed]) -> dict[str, Histogram]:
        """Counts of each value in equal bins over its range."""
        counts = {name: Histogram(seen.low, seen.high, np.zeros(bins, np.int64)) for name, seen in ranges.items()}

        def count(name: str, values: np.ndarray) -> None:
            if name in counts:
                counts[name].add(values)

        self._visit(feeds, count)
        return counts

    def _visit(self, feeds: Iterable[Feed], visit: Callable[[str, np.ndarray], None]) -> None:
        def watch(name: str, tensor: torch.Tensor) -> None:
            if name in self._names and tensor.is_floating_point():
                visit(name, tensor.numpy())

        for feed in feeds:
            for name, array in feed.items():
                if name in self._names and array.dtype.kind == "f":
                    visit(name, array)
            self._model.run(feed, watch=watch)
