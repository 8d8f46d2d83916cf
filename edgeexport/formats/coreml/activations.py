"""Static int8 activations: ranges over all calibration samples, from the evaluator, and coremltools' own passes."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgeexport import tree
from edgeexport.calibration import find_intervals, recalled
from edgeexport.conversion import Feeds
from edgeexport.formats.coreml.library import operations, program_of, quietly, transformed
from edgeexport.formats.coreml.observe import Observer
from edgeexport.formats.coreml.plan import CARRIERS, LAYERS, carry, is_real, live
from edgeexport.ranges import Interval, Range, spanning_zero
from edgeexport.settings import Settings

_SHOWN = 8


def quantize(
    model: Any, path: Path, assigned: Mapping[str, str], settings: Settings, feeds: Feeds
) -> tuple[Any, dict[str, str], list[str]]:
    """Put ``quantize`` and ``dequantize`` before every operator that is static.

    What an operator gives stays float16 unless the next one is static too: between two of them a device sees
    integers, and elsewhere nothing is lost.

    Args:
        model: coremltools' own, in float16.
        path: the same on disk.
        assigned: see :func:`~edgeexport.formats.coreml.plan.assign`.
        settings: complete.
        feeds: calibration samples.

    Returns:
        The model, the precision of each operator after what calibration saw, and notes for the report.

    Raises:
        ConversionError: an activation is not finite.
    """
    every = operations(program_of(model))
    known = [op for op in every if op.op_type in {*LAYERS, *CARRIERS}]
    able = [op for op in known if is_real(op)]
    static = _static(able, carry(every, assigned, settings))
    observed = {value.name for op in static for value in live(op)}
    observer = functools.cache(lambda: Observer(path, observed))
    key = _content_key(path)
    ranges = recalled(feeds, ("ranges", key), sorted(observed), lambda _: observer().ranges(feeds("activation ranges")))
    coarse = _coarse(static, ranges, settings.quantization.minimum_snr)
    unseen = [op.name for op in static if any(value.name not in ranges for value in live(op))]
    left = {**dict.fromkeys(coarse, "w8"), **dict.fromkeys(unseen, "w8")}
    precisions = carry(every, {**assigned, **left}, settings)
    kept = [op for op in _static(able, precisions) if all(value.name in ranges for value in live(op))]
    needed = {value.name for op in kept for value in live(op)}
    seen = {name: ranges[name] for name in sorted(needed)}
    bins = settings.calibration.bins
    intervals = find_intervals(
        seen,
        settings.calibration,
        feeds,
        key,
        lambda wanted: observer().histograms(wanted, bins, feeds("activation histograms")),
    )
    with quietly():
        quantized = transformed(model, _passes(kept, intervals, settings), settings)
    notes = _notes(able, kept, coarse, settings)
    notes += _left_out([op.name for op in known if not is_real(op)], "compute with integers as they are")
    notes += _left_out(unseen, "have float16 activations, for no calibration sample reaches them")
    return quantized, precisions, notes


def _content_key(path: Path) -> bytes:
    """What a package's values are remembered by: program and weights, but no identifiers, which each saving draws."""
    entries = [entry for entry in tree.entries(path) if entry.name != "Manifest.json"]
    return hashlib.sha256(b"".join(hashlib.sha256(entry.read_bytes()).digest() for entry in entries)).digest()


def parameters(interval: Interval, dtype: str) -> tuple[np.float16, Any]:
    """Scale and zero point of 256 even steps over an interval widened to hold zero.

    The scale is float16, as the operators take it; it is the smallest normal one where the interval is a point. Zero
    is represented exactly.
    """
    low, high = spanning_zero(interval)
    limits = np.iinfo(dtype)
    scale = max(np.float16((high - low) / (limits.max - limits.min)), np.finfo(np.float16).tiny)
    point = np.clip(np.rint(limits.min - low / float(scale)), limits.min, limits.max)
    return np.float16(scale), np.dtype(dtype).type(point)


def _static(able: list[Any], precisions: Mapping[str, str]) -> list[Any]:
    return [op for op in able if precisions.get(op.name) == "w8a8"]


def _coarse(static: list[Any], ranges: Mapping[str, Range], least: float) -> dict[str, float]:
    """Layers one of whose activations int8 steps represent too coarsely, with its dB; see ``minimum_snr``."""
    found: dict[str, float] = {}
    for op in static:
        known = [ranges[value.name].snr_db() for value in live(op) if value.name in ranges]
        if op.op_type in LAYERS and known and min(known) < least:
            found[op.name] = min(known)
    return found


def _passes(kept: list[Any], intervals: Mapping[str, Interval], settings: Settings) -> list[Any]:
    import coremltools.optimize.coreml as cto
    from coremltools.converters.mil import Builder
    from coremltools.converters.mil.mil.passes.graph_pass import PassOption
    from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY

    base: Any = type(PASS_REGISTRY["compression::insert_prefix_quantize_dequantize_pair"])
    dtype = settings.quantization.activation_type

    class Prefix(base):  # type: ignore[misc]
        """coremltools computes scales in float16, where a range of a few hundred overflows."""

        def _construct_quant_dequant_op(self, input_var: Any, _dtype: Any, _mode: str) -> Any:
            scale, point = parameters(intervals[input_var.name], dtype)
            integers = Builder.quantize(input=input_var, scale=scale, zero_point=point, output_dtype=dtype)
            return Builder.dequantize(input=integers, scale=scale, zero_point=point)

    linear = cto.OpLinearQuantizerConfig(mode="linear", dtype=dtype)
    config = cto.OptimizationConfig(op_name_configs={op.name: linear for op in kept})
    prefix = Prefix()
    prefix.set_options([PassOption("config", config)])
    return [prefix]


def _notes(able: list[Any], kept: list[Any], coarse: Mapping[str, float], settings: Settings) -> list[str]:
    types = sorted({op.op_type for op in able})
    counts = [(key, sum(op.op_type == key for op in kept), sum(op.op_type == key for op in able)) for key in types]
    notes = ["int8 activations: " + ", ".join(f"{some} of {whole} {key}" for key, some, whole in counts)]
    if coarse:
        worst = [f"{name} ({coarse[name]:.1f})" for name in sorted(coarse, key=lambda name: coarse[name])]
        notes.append(
            f"{len(worst)} layers have float16 activations instead: one of theirs has outliers, below "
            f"{settings.quantization.minimum_snr:g} dB in int8 steps: {_shown(worst)}"
        )
    return notes


def _left_out(names: list[str], why: str) -> list[str]:
    return [f"{len(names)} operators {why}: {_shown(names)}"] if names else []


def _shown(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
