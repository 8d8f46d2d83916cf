"""Statistics of activations over calibration samples, gathered in the graph and in constant memory.

Ranges and sums come from reduction nodes that are added to the graph, so that only a few numbers a tensor leave the
runtime for each sample; histograms need the values themselves, one sample at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime
from onnx import helper

from edgeexport.errors import ConversionError
from edgeexport.formats.onnx.graph import FLOAT, copy_model
from edgeexport.ranges import Histogram, Range

Feed = Mapping[str, np.ndarray]


def observe_ranges(model: Any, names: Sequence[str], feeds: Iterable[Feed]) -> dict[str, Range]:
    """Range of each named float tensor over all samples."""
    reductions = ("ReduceMin", "ReduceMax", "ReduceSumSquare")
    probed = _probe(model, [(op, name) for name in names for op in reductions], keepdims=0)
    outputs = [f"{name}__{op}" for name in names for op in reductions]
    ranges = {name: Range() for name in names}
    for values in _run(probed, outputs, feeds):
        for seen, start in zip(ranges.values(), range(0, len(values), 3), strict=True):
            low, high, squares = (value.item() for value in values[start : start + 3])
            seen.low, seen.high = min(seen.low, low), max(seen.high, high)
            seen.squares += squares
    for name, seen in ranges.items():
        if not (np.isfinite(seen.low) and np.isfinite(seen.high)) or np.isnan(seen.squares):
            raise ConversionError(
                f"calibration: the activation '{name}' is not finite",
                "Check the calibration samples, and that the float32 model gives finite outputs.",
            )
    return ranges


def observe_channels(model: Any, names: Sequence[str], feeds: Iterable[Feed]) -> dict[str, np.ndarray]:
    """Largest magnitude of each channel (last axis) of each named tensor over all samples."""
    probed = copy_model(model)
    for name in names:
        for node in (
            helper.make_node("Abs", [name], [f"{name}__Abs"]),
            helper.make_node("Flatten", [f"{name}__Abs"], [f"{name}__Flat"], axis=-1),
        ):
            probed.graph.node.append(node)
    inputs, attributes = _axes(probed, [0])
    for name in names:
        largest = helper.make_node(
            "ReduceMax", [f"{name}__Flat", *inputs], [f"{name}__Largest"], keepdims=0, **attributes
        )
        _add_output(probed, largest, dtype=FLOAT, shape=None)
    largest_seen: dict[str, np.ndarray] = {}
    for values in _run(probed, [f"{name}__Largest" for name in names], feeds):
        for name, value in zip(names, values, strict=True):
            largest_seen[name] = np.maximum(largest_seen[name], value) if name in largest_seen else value
    return largest_seen


def observe_channel_means(model: Any, ranks: Mapping[str, int], feeds: Iterable[Feed]) -> dict[str, np.ndarray]:
    """Mean of each channel (axis 1) of each named tensor over all samples and positions, by the tensors' ranks."""
    probed = copy_model(model)
    axes = {rank: _axes(probed, [0, *range(2, rank)]) for rank in sorted(set(ranks.values()))}
    for name, rank in ranks.items():
        inputs, attributes = axes[rank]
        node = helper.make_node("ReduceMean", [name, *inputs], [f"{name}__Mean"], keepdims=0, **attributes)
        _add_output(probed, node, dtype=FLOAT, shape=None)
    sums = {name: np.zeros(1) for name in ranks}
    count = 0
    for values in _run(probed, [f"{name}__Mean" for name in ranks], feeds):
        count += 1
        for name, value in zip(ranks, values, strict=True):
            sums[name] = sums[name] + value.astype(np.float64)
    return {name: (total / max(1, count)).astype(np.float32) for name, total in sums.items()}


def observe_histograms(
    model: Any, ranges: Mapping[str, Range], bins: int, feeds: Iterable[Feed]
) -> dict[str, Histogram]:
    """Counts of each named tensor's values in ``bins`` equal bins over its range."""
    probed = copy_model(model)
    known = {value.name for value in probed.graph.output}
    for name in ranges:
        if name not in known:
            probed.graph.output.append(helper.make_tensor_value_info(name, FLOAT, None))
    histograms = {name: Histogram(seen.low, seen.high, np.zeros(bins, np.int64)) for name, seen in ranges.items()}
    for values in _run(probed, list(ranges), feeds):
        for histogram, value in zip(histograms.values(), values, strict=True):
            histogram.add(value)
    return histograms


def _probe(model: Any, reductions: Sequence[tuple[str, str]], keepdims: int) -> Any:
    probed = copy_model(model)
    for op, name in reductions:
        node = helper.make_node(op, [name], [f"{name}__{op}"], keepdims=keepdims)
        _add_output(probed, node, dtype=FLOAT)
    return probed


def _axes(model: Any, axes: list[int]) -> tuple[list[str], dict[str, Any]]:
    """Axes as ReduceMax and ReduceMean take them: an input since opset 18, an attribute before."""
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if opset < 18:
        return [], {"axes": axes}
    tensor = helper.make_tensor(f"observe__axes_{len(axes)}", 7, [len(axes)], axes)
    model.graph.initializer.append(tensor)
    return [tensor.name], {}


def _add_output(model: Any, node: Any, dtype: int, shape: Sequence[int] | None = ()) -> None:
    model.graph.node.append(node)
    model.graph.output.append(helper.make_tensor_value_info(node.output[0], dtype, shape))


def _run(model: Any, outputs: Sequence[str], feeds: Iterable[Feed]) -> Iterator[list[np.ndarray]]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1  # the last bits of a sum must not depend on how many cores a machine has
    # The memory arena keeps a block for every shape it meets, and with it memory would grow with the samples.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for feed in feeds:
        yield session.run(list(outputs), dict(feed))
