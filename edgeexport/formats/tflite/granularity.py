"""One scale for a whole layer where a scale for each output channel gains nothing.

A channel's scale is stored twice, with the weights and with the biases: eight bytes, beside nine of weights in a
depthwise convolution. Where weights rounded in steps of one size keep ``quantization.one_scale_snr`` decibels, the
layer has one scale: that of the least squared error, down to 0.8 of the one that holds its largest weight. Both
forms are those of https://ai.google.dev/edge/litert/models/quantization_spec, where a bias has the input's scale times
the weight's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeexport.formats.tflite.flatbuffer import constant, dtype_name, op_name, tensor_name

_LAYERS = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}
_LEAST_SHARE = 32
"""Scales that are less than one in so many of a layer's bytes stay."""
_SCALE_BYTES = 8
_SHRINK = np.linspace(1.0, 0.8, 21)
_LARGEST = 127
_ON_GRID_DB = 80.0
"""Weights that a scale a channel represents so well were rounded so before, as by quantization-aware training."""


@dataclass(frozen=True)
class _Reader:
    """An operator that reads a weight."""

    graph: Any
    floats: Any
    operator: Any


def merge_scales(model: Any, original: Any, least_snr: float) -> int:
    """Give layers of static int8 one scale where their weights keep ``least_snr`` decibels.

    Args:
        model: as the quantizer wrote it; changed in place.
        original: the float32 model, whose constants have the same names.
        least_snr: of the rounded weights, 10·log10(Σ w² / Σ (w − ŵ)²); 0 leaves all scales.

    Returns:
        How many weights have one scale now.
    """
    if not least_snr:
        return 0
    count = 0
    for readers in _by_weight(model, original):
        first = readers[0]
        weight = first.graph.tensors[first.operator.inputs[1]]
        values = _float_values(original, first, 1)
        if values is None or not all(_is_static(model, original, reader) for reader in readers):
            continue
        channels = len(weight.quantization.scale)
        if channels * _SCALE_BYTES * _LEAST_SHARE < values.size or _is_rounded(values, weight.quantization):
            continue
        scale, steps, kept = round_with_one_scale(values)
        if kept >= least_snr:
            model.buffers[weight.buffer].data = steps.reshape(-1).view(np.uint8)
            for reader in readers:
                _set_scale(reader.graph.tensors[reader.operator.inputs[1]], scale)
                _round_bias(model, original, reader, scale)
            count += 1
    return count


def round_with_one_scale(values: np.ndarray) -> tuple[np.float32, np.ndarray, float]:
    """The scale of least squared error, the int8 steps, and how many decibels they keep.

    Args:
        values: weights, float32, of any shape.
    """
    widest = max(float(np.abs(values).max()), 1e-30) / _LARGEST
    found: tuple[float, np.float32, np.ndarray] | None = None
    for share in _SHRINK:
        scale = np.float32(widest * share)
        steps = np.rint(values / scale).clip(-_LARGEST, _LARGEST)
        error = float(np.square(steps * scale - values, dtype=np.float64).sum())
        if found is None or error < found[0]:
            found = error, scale, steps
    assert found is not None
    return found[1], found[2].astype(np.int8), _decibels(values, found[0])


def _by_weight(model: Any, original: Any) -> Iterator[list[_Reader]]:
    """The layers with a scale a channel, by the weight that they share."""
    readers: dict[int, list[_Reader]] = {}
    others: set[int] = set()
    for graph, before in zip(model.subgraphs, original.subgraphs, strict=True):
        floats = {tensor_name(tensor): tensor for tensor in before.tensors}
        for operator in graph.operators:
            for place, index in enumerate(operator.inputs):
                buffer = graph.tensors[index].buffer if index >= 0 else 0
                if place == 1 and op_name(model, operator) in _LAYERS and _has_channels(graph.tensors[index]):
                    readers.setdefault(buffer, []).append(_Reader(graph, floats, operator))
                else:
                    others.add(buffer)
    for buffer, found in readers.items():
        if buffer not in others:
            yield found


def _has_channels(tensor: Any) -> bool:
    rules = tensor.quantization
    scales = None if rules is None or rules.details is not None else rules.scale
    return dtype_name(tensor.type) == "int8" and scales is not None and len(scales) > 1


def _is_static(model: Any, original: Any, reader: _Reader) -> bool:
    """Whether a layer reads and writes int8, and has no bias or one that can be rounded again."""
    tensors, operator = reader.graph.tensors, reader.operator
    ends = (operator.inputs[0], operator.outputs[0])
    if any(dtype_name(tensors[index].type) != "int8" for index in ends):
        return False
    if len(operator.inputs) < 3 or operator.inputs[2] < 0:
        return True
    bias = tensors[operator.inputs[2]]
    known = constant(model, bias) is not None and _float_values(original, reader, 2) is not None
    return known and dtype_name(bias.type) == "int32"


def _float_values(original: Any, reader: _Reader, place: int) -> np.ndarray | None:
    """The float32 values of a constant that an operator reads."""
    tensor = reader.floats.get(tensor_name(reader.graph.tensors[reader.operator.inputs[place]]))
    if tensor is None or dtype_name(tensor.type) != "float32":
        return None
    return constant(original, tensor)


def _is_rounded(values: np.ndarray, rules: Any) -> bool:
    shape = [1] * values.ndim
    shape[rules.quantizedDimension] = -1
    scales = np.asarray(rules.scale, np.float32).reshape(shape)
    error = float(np.square(np.rint(values / scales) * scales - values, dtype=np.float64).sum())
    return _decibels(values, error) > _ON_GRID_DB


def _decibels(values: np.ndarray, error: float) -> float:
    power = float(np.square(values, dtype=np.float64).sum())
    return 10 * float(np.log10(power / error)) if power and error else np.inf


def _round_bias(model: Any, original: Any, reader: _Reader, scale: np.float32) -> None:
    if len(reader.operator.inputs) < 3 or reader.operator.inputs[2] < 0:
        return
    values = _float_values(original, reader, 2)
    assert values is not None
    tensors = reader.graph.tensors
    bias, step = (
        tensors[reader.operator.inputs[2]],
        np.float32(tensors[reader.operator.inputs[0]].quantization.scale[0]),
    )
    limits = np.iinfo(np.int32)
    steps = np.rint(values.astype(np.float64) / np.float64(step * scale)).clip(limits.min, limits.max)
    model.buffers[bias.buffer].data = steps.astype(np.int32).view(np.uint8)
    _set_scale(bias, step * scale)


def _set_scale(tensor: Any, scale: np.float32) -> None:
    rules = tensor.quantization
    rules.scale, rules.zeroPoint = np.array([scale], np.float32), np.zeros(1, np.int64)
    rules.quantizedDimension = 0
