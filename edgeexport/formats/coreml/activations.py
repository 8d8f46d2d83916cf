"""Static int8 activations: ranges over all calibration samples, from the evaluator, and coremltools' own passes.

coremltools calibrates on a Mac only, and keeps the extremes of the last sample. Here every sample runs through
:mod:`edgeexport.mil`; coremltools then inserts ``quantize`` and ``dequantize`` by these ranges.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeexport import mil
from edgeexport.conversion import Feeds
from edgeexport.errors import ConversionError
from edgeexport.formats.coreml.library import program_of, quietly
from edgeexport.ranges import Histogram, Interval, Range, least_error_range, percentile_range, spanning_zero
from edgeexport.settings import Calibration, Settings

if TYPE_CHECKING:
    import torch

_SUPPORTED = ("conv", "linear", "add", "avg_pool", "max_pool")
"""Operators that coremltools' passes put between integers."""


class Observer:
    """Gathers what is known of activations, in memory that does not grow with the samples.

    Args:
        path: the float package.
        names: of the values to observe, inputs of the program among them.
    """

    def __init__(self, path: Path, names: Iterable[str]) -> None:
        self._model = mil.load(path)
        self._names = set(names)

    def ranges(self, feeds: Iterable[Any]) -> dict[str, Range]:
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

    def intervals(self, ranges: dict[str, Range], calibration: Calibration, feeds: Feeds) -> dict[str, Interval]:
        """The interval that the integers of each value span, by the calibration's method."""
        if calibration.method == "minmax":
            return {name: (seen.low, seen.high) for name, seen in ranges.items()}
        counts = {
            name: Histogram(seen.low, seen.high, np.zeros(calibration.bins, np.int64)) for name, seen in ranges.items()
        }

        def count(name: str, values: np.ndarray) -> None:
            if name in counts:
                counts[name].add(values)

        self._visit(feeds("activation histograms"), count)
        if calibration.method == "percentile":
            return {name: percentile_range(item, calibration.percentile) for name, item in counts.items()}
        return {name: least_error_range(item) for name, item in counts.items()}

    def _visit(self, feeds: Iterable[Any], visit: Any) -> None:
        def watch(name: str, tensor: torch.Tensor) -> None:
            if name in self._names and tensor.is_floating_point():
                visit(name, tensor.numpy())

        for feed in feeds:
            for name, array in feed.items():
                if name in self._names and array.dtype.kind == "f":
                    visit(name, array)
            self._model.run(feed, watch=watch)


def quantize(model: Any, path: Path, settings: Settings, feeds: Feeds) -> tuple[Any, list[str]]:
    """The float16 model with quantize and dequantize around its operators, and notes for the report.

    Args:
        model: coremltools' own.
        path: the same on disk.
        settings: complete.
        feeds: calibration samples.
    """
    from coremltools.models import utils

    program = program_of(model)
    operations = [op for block in program.functions.values() for op in block.operations if op.op_type in _SUPPORTED]
    chosen, integers = _chosen(operations, settings)
    observer = Observer(path, {name for op in chosen for name in _live(op)})
    ranges = observer.ranges(feeds("activation ranges"))
    outliers = {
        op.name: name
        for op in chosen
        for name in _live(op)
        if name in ranges and ranges[name].snr_db() < settings.quantization.minimum_snr
    }
    kept = [op for op in chosen if op.name not in outliers and all(name in ranges for name in _live(op))]
    intervals = observer.intervals(ranges, settings.calibration, feeds)
    passes = _passes(kept, intervals)
    from coremltools.converters.mil.frontend.milproto.load import load

    with quietly():
        quantized = utils._apply_graph_pass(model, passes, spec_version=8, pymil_load_func=load, skip_model_load=True)
    return quantized, _notes(operations, kept, integers, outliers)


def _chosen(operations: list[Any], settings: Settings) -> tuple[list[Any], list[str]]:
    """Operators that the settings quantize, and those left out because they compute with integers."""
    chosen: list[Any] = []
    integers: list[Any] = []
    wanted = {*settings.quantization.op_types, *settings.quantization.carried_op_types}
    for op in operations:
        precision = settings.precision if "*" in wanted or op.op_type in wanted else "fp16"
        for override in settings.overrides:
            matches = override.op_type in (None, op.op_type)
            if matches and (override.name is None or re.search(override.name, op.name)):
                precision = override.precision
        if precision != "w8a8":
            continue
        (integers if "int" in str(op.outputs[0].dtype) else chosen).append(op)
    return chosen, [op.name for op in integers]


def _live(op: Any) -> list[str]:
    """Names of the activations an operator takes."""
    names = [op.inputs["x"], *([op.inputs["y"]] if op.op_type == "add" else [])]
    return [value.name for value in names if value.op is None or not value.op.op_type.startswith("const")]


def _passes(kept: list[Any], intervals: dict[str, Interval]) -> list[Any]:
    import coremltools.optimize.coreml as cto
    from coremltools.converters.mil.mil.passes.graph_pass import PassOption
    from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY

    linear = cto.OpLinearQuantizerConfig(mode="linear", dtype="int8")
    config = cto.OptimizationConfig(op_name_configs={op.name: linear for op in kept})
    spans = {name: spanning_zero(interval) for name, interval in intervals.items()}
    stats = {name: {"rmin": np.float32(low), "rmax": np.float32(high)} for name, (low, high) in spans.items()}
    prefix = PASS_REGISTRY["compression::insert_prefix_quantize_dequantize_pair"]
    prefix.set_options([PassOption("config", config), PassOption("activation_stats", stats)])
    return [prefix, PASS_REGISTRY["common::dequantize_quantize_pair_elimination"]]


def _notes(operations: list[Any], kept: list[Any], integers: list[str], outliers: dict[str, str]) -> list[str]:
    counts: dict[str, int] = {}
    for op in kept:
        counts[op.op_type] = counts.get(op.op_type, 0) + 1
    notes = [
        f"int8 activations: {len(kept)} of {len(operations)} operators ("
        + ", ".join(f"{counts[key]} {key}" for key in sorted(counts))
        + ")"
    ]
    if integers:
        notes.append(f"left out, they compute with integers: {', '.join(integers)}")
    if outliers:
        notes.append(
            "left out, outliers in their activations: " + ", ".join(f"{op} ('{name}')" for op, name in outliers.items())
        )
    return notes
