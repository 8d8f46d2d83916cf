"""Attention masks that int8 can hold."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeexport.formats.tflite.flatbuffer import constant, dtype_name

_LOWEST = -1e30


def raise_masks(model: Any, value: float) -> int:
    """Raise single constants that mask attention, such as float32's minimum, to ``value``; 0 leaves them.

    A range that spans −3.4e38 leaves no int8 step for anything else, and its sums overflow.

    Args:
        model: as read; changed in place.
        value: below which no constant is left.

    Returns:
        How many were raised, each counted once however many operators read it.
    """
    raised: set[int] = set()
    for graph in model.subgraphs if value else ():
        for tensor in graph.tensors:
            values = constant(model, tensor) if dtype_name(tensor.type) == "float32" else None
            if values is not None and values.size == 1 and float(values.reshape(())) < _LOWEST:
                model.buffers[tensor.buffer].data = np.frombuffer(np.float32(value).tobytes(), np.uint8)
                raised.add(tensor.buffer)
    return len(raised)
