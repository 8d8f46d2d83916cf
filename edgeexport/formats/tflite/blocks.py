"""Scales of 4-bit weights that lie in blocks: of least squared error, where the quantizer takes the largest value's.

A scale is tried at steps from the one that holds a block's every value down to 0.7 of it, which clips its largest; what
TFLite stores is float16, and so is what is tried. The weights themselves are rounded to the nearest step, -8 to 7.
Blocks that were rounded before the export, with -7 or 7 for the largest, keep the codes they have.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeexport.formats.tflite.flatbuffer import constant, tensor_name

_SHRINK = np.linspace(1.0, 0.7, 16)
_LOWEST, _HIGHEST = -8, 7
_AT_ONCE = 65536
_SMALLEST = 2.0**-14
"""The least float16 with all its bits."""
_ON_GRID = 0.01
"""Steps that a weight rounded before may be off: float16 moves a scale by 2**-11 of itself, so 7 steps by 0.0034."""


def refine_blocks(model: Any, original: Any) -> int:
    """Quantize every block-wise 4-bit weight again, from its float values.

    Args:
        model: as the quantizer wrote it; changed in place.
        original: the float32 model, whose weights have the same names.

    Returns:
        How many weights were quantized again.
    """
    done: set[int] = set()
    for graph, before in zip(model.subgraphs, original.subgraphs, strict=True):
        known = {tensor_name(tensor): tensor for tensor in before.tensors}
        for tensor in graph.tensors:
            blocks = in_blocks(tensor)
            source = known.get(tensor_name(tensor))
            values = None if blocks is None or source is None else constant(original, source)
            if blocks is None or values is None or tensor.buffer in done:
                continue
            scales = graph.tensors[blocks.scales]
            packed, steps = quantize_blocks(values.reshape(-1, blocks.blockSize))
            model.buffers[tensor.buffer].data = packed
            model.buffers[scales.buffer].data = steps.view(np.uint8)
            done.add(tensor.buffer)
    return len(done)


def in_blocks(tensor: Any) -> Any:
    """How a tensor's values lie in blocks with a scale each; None where they do not."""
    return None if tensor.quantization is None else tensor.quantization.details


def quantize_blocks(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Round blocks of values, float32 [blocks, size], to 4 bits.

    Returns:
        Two values a byte, the first in the low bits, uint8 [blocks · size / 2]; and the scales, float16 [blocks].
    """
    packed = np.empty(values.size // 2, np.uint8)
    scales = np.empty(len(values), np.float16)
    half = values.shape[1] // 2
    for start in range(0, len(values), _AT_ONCE):
        part = np.asarray(values[start : start + _AT_ONCE], np.float32)
        found = _least_error(part)
        rounded = _round(part, found).astype(np.int8).view(np.uint8) & 15
        scales[start : start + len(part)] = found
        packed[start * half : (start + len(part)) * half] = (rounded[:, 0::2] | (rounded[:, 1::2] << 4)).reshape(-1)
    return packed, scales


def _least_error(values: np.ndarray) -> np.ndarray:
    """The scale of each block, as float16 has it."""
    widest = np.maximum(values.max(-1) / _HIGHEST, values.min(-1) / _LOWEST)
    best = np.full(len(values), np.inf, np.float32)
    found = np.empty(len(values), np.float32)
    for share in _SHRINK:
        tried = np.maximum(widest * np.float32(share), _SMALLEST).astype(np.float16).astype(np.float32)
        error = np.square(_round(values, tried) * tried[:, None] - values).sum(-1)
        better = error < best
        best[better], found[better] = error[better], tried[better]
    known = np.maximum(np.abs(values).max(-1) / _HIGHEST, _SMALLEST).astype(np.float16).astype(np.float32)
    kept = np.abs(values / known[:, None] - _round(values, known)).max(-1) < _ON_GRID
    return np.where(kept, known, found)


def _round(values: np.ndarray, scales: np.ndarray) -> np.ndarray:
    rounded: np.ndarray = np.rint(values / scales[:, None])
    return rounded.clip(_LOWEST, _HIGHEST)
