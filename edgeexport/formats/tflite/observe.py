"""Activations of a float32 model over calibration samples, gathered in constant memory."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from edgeexport.errors import ConversionError
from edgeexport.formats.tflite.flatbuffer import Entry, signatures, tensor_name
from edgeexport.quiet import native_output
from edgeexport.ranges import Histogram, Range

Feed = Mapping[str, np.ndarray]
Visit = Callable[[str, np.ndarray], None]


class Observer:
    """Runs a float32 model and shows its activations.

    Tensors of later signatures count as those of the first that have the same name after the signature's number: their
    operators are the same, and a length that no calibration sample has would otherwise have no range.

    Args:
        model: as read, with the names of :mod:`edgeexport.formats.tflite.names`.
        content: the same as bytes.
        tensors: names of the activations to observe.
    """

    def __init__(self, model: Any, content: bytes, tensors: Iterable[str]) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._wanted = {common_name(name) for name in tensors}
        with native_output(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # keeping every tensor is what is wanted
            self._interpreter = Interpreter(
                model_content=content, num_threads=1, experimental_preserve_all_tensors=True
            )
        self._model = model
        self._runners = {_shapes(model, entry): (entry, None) for entry in signatures(model)}

    def ranges(self, feeds: Iterable[Feed]) -> dict[str, Range]:
        """The range of each tensor over all samples.

        Raises:
            ConversionError: a value is not finite.
        """
        found = {name: Range() for name in self._wanted}
        for _ in self._visit(feeds, lambda name, values: found[name].add(values)):
            pass
        for name, seen in found.items():
            if seen.count and not seen.finite:
                raise ConversionError(
                    f"calibration: the activation '{name}' is not finite",
                    "Check the calibration samples, and that the float32 model gives finite outputs.",
                )
        return {name: seen for name, seen in found.items() if seen.count}

    def histograms(self, ranges: Mapping[str, Range], bins: int, feeds: Iterable[Feed]) -> dict[str, Histogram]:
        """Counts of each tensor's values in equal bins over its range."""
        found = {name: Histogram(seen.low, seen.high, np.zeros(bins, np.int64)) for name, seen in ranges.items()}

        def count(name: str, values: np.ndarray) -> None:
            if name in found:
                found[name].add(values)

        for _ in self._visit(feeds, count):
            pass
        return found

    def _visit(self, feeds: Iterable[Feed], visit: Visit) -> Iterator[None]:
        for feed in feeds:
            entry, runner = self._runner(feed)
            runner(**feed)
            graph = self._model.subgraphs[entry.subgraph]
            for index, tensor in enumerate(graph.tensors):
                name = common_name(tensor_name(tensor))
                if name in self._wanted:
                    visit(name, self._interpreter.get_tensor(index, entry.subgraph))
            yield

    def _runner(self, feed: Feed) -> tuple[Entry, Any]:
        key = frozenset((name, tuple(array.shape)) for name, array in feed.items())
        entry, runner = self._runners[key]
        if runner is None:
            with native_output():  # the first call says which delegate it creates
                runner = self._interpreter.get_signature_runner(entry.key)
                runner(**feed)
            self._runners[key] = (entry, runner)
        return entry, runner


def common_name(name: str) -> str:
    """A tensor's name without the number of its signature."""
    number, slash, rest = name.partition("/")
    return rest if slash and number.isdigit() else name


def _shapes(model: Any, entry: Entry) -> frozenset[tuple[str, tuple[int, ...]]]:
    tensors = model.subgraphs[entry.subgraph].tensors
    return frozenset((name, tuple(map(int, tensors[index].shape))) for name, index in entry.inputs.items())
