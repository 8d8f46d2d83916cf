"""Quantizing and dequantizing activations (since iOS 17)."""

from __future__ import annotations

import torch

from edgeexport.errors import ModelError
from edgeexport.mil.table import Tensor, op

_TYPES = {"int8": torch.int8, "uint8": torch.uint8}


@op("quantize", since=17)
def quantize(
    input: Tensor,
    scale: Tensor,
    output_dtype: str,
    zero_point: Tensor | None = None,
    axis: int | None = None,
) -> Tensor:
    """clip(round(input / scale) + zero_point), half to even, by tensor or along the axis (since iOS 17)."""
    kind = _TYPES.get(output_dtype)
    if kind is None:
        raise ModelError(f"values are quantized to int8 or uint8, not to {output_dtype}")
    values = torch.round(input / along(scale, input, axis))
    if zero_point is not None:
        values = values + along(zero_point.float(), input, axis)
    limits = torch.iinfo(kind)
    return values.nan_to_num(0.0, torch.inf, -torch.inf).clamp_(limits.min, limits.max).to(kind)


@op("dequantize", since=17)
def dequantize(
    input: Tensor,
    scale: Tensor,
    zero_point: Tensor | None = None,
    axis: int | None = None,
) -> Tensor:
    """scale · (input - zero_point), by tensor or along the axis (since iOS 17)."""
    values = input.float()
    if zero_point is not None:
        values = values - along(zero_point.float(), input, axis)
    return values * along(scale, input, axis)


def along(parameter: Tensor, data: Tensor, axis: int | None) -> Tensor:
    """A scale or zero point in a shape that broadcasts against the data: one value, or one for each index of axis."""
    if parameter.dim() == 0 or (axis is None and parameter.numel() == 1):
        return parameter.reshape(())
    if axis is None:
        raise ModelError("a vector of scales or zero points, and no axis")
    if not -data.dim() <= axis < data.dim():
        raise ModelError(f"an axis {axis} of a tensor of rank {data.dim()}")
    if parameter.dim() != 1 or parameter.numel() not in (1, data.shape[axis]):
        raise ModelError(f"{list(parameter.shape)} scales or zero points for an axis of {data.shape[axis]}")
    shape = [1] * data.dim()
    shape[axis] = -1
    return parameter.reshape(shape)
