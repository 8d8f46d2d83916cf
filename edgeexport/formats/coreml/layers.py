"""The operators of a float program that settings would compress, with what each weighs and costs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from edgeexport.conversion import Layer
from edgeexport.formats.coreml.plan import LAYERS, assign, common_name, is_constant
from edgeexport.formats.coreml.weights import LEAST_ELEMENTS
from edgeexport.settings import STATIC, Settings


def find_layers(operations: Iterable[Any], settings: Settings) -> Iterator[Layer]:
    """Every operator with a weight, or with integers between others, that ``settings`` would compress, in order."""
    every = list(operations)
    chosen = assign(every, settings)
    for operation in every:
        precision = chosen.get(operation.name)
        weights = _weights(operation)
        if precision in (None, "fp32") or not (weights >= LEAST_ELEMENTS or precision in STATIC):
            continue
        yield Layer(
            name=common_name(operation),
            path=common_name(operation),
            operator=operation.op_type,
            weights=weights,
            macs=weights * _positions(operation) if operation.op_type in LAYERS else 0,
            alternatives=("w8", "fp32") if precision in STATIC and weights else ("fp32",),
        )


def _weights(operation: Any) -> int:
    value = operation.inputs.get("weight", operation.inputs.get("x") if operation.op_type == "gather" else None)
    if value is None or not is_constant(value):
        return 0
    return int(np.prod(value.shape))


def _positions(operation: Any) -> int:
    if operation.op_type != "conv":
        return 1
    return int(np.prod([size if isinstance(size, int) else 1 for size in operation.outputs[0].shape[2:]]))
