"""Operators that make tensors: filled, counted, padded, masked."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from edgeexport.errors import ModelError
from edgeexport.mil.memory import claim
from edgeexport.mil.ops.shape import axis_of
from edgeexport.mil.table import Ints, Tensor, op


@op("fill")
def fill(shape: Ints, value: Tensor | None = None) -> Tensor:
    """The value everywhere, 0.0 where none is given."""
    return _filled(shape, value)


@op("fill_like", since=16)
def fill_like(ref_tensor: Tensor, value: Tensor | None = None) -> Tensor:
    """The value everywhere in the shape of ref_tensor, 0.0 where none is given (since iOS 16)."""
    return _filled(list(ref_tensor.shape), value)


def _filled(shape: Ints, value: Tensor | None) -> Tensor:
    value = torch.zeros(()) if value is None else _scalar(value)
    claim(shape, value.element_size())
    return torch.full(shape, value.item(), dtype=value.dtype)


def _scalar(value: Tensor) -> Tensor:
    if value.numel() != 1:
        raise ModelError(f"one number is needed, and the program has a tensor of shape {list(value.shape)}")
    return value.reshape(())


@op("range_1d")
def range_1d(end: Tensor, start: Tensor, step: Tensor) -> Tensor:
    """start, start + step, ... before end; ceil((end - start) / step) numbers, divided in float32."""
    start, end, step = _scalar(start), _scalar(end), _scalar(step)
    if start.is_floating_point():
        # As many as coremltools declares: it divides in the program's type.
        ratio = ((end - start) / step).item()
        if not math.isfinite(ratio):
            raise ModelError(f"a range from {start.item()} to {end.item()} by {step.item()}")
        count = max(math.ceil(ratio), 0)
    else:
        if step.item() == 0:
            raise ModelError(f"a range from {start.item()} to {end.item()} by 0")
        count = max(-((int(start) - int(end)) // int(step)), 0)
    claim((count,), 8)
    kind = torch.float64 if start.is_floating_point() else torch.int64
    return (torch.arange(count, dtype=kind) * step.to(kind) + start.to(kind)).to(start.dtype)


@op("one_hot")
def one_hot(
    indices: Tensor,
    one_hot_vector_size: int,
    axis: int = -1,
    on_value: Tensor | None = None,
    off_value: Tensor | None = None,
) -> Tensor:
    """on_value where the place along a new axis is the index, off_value elsewhere, and for indices out of range."""
    axis = axis_of(axis, indices.dim() + 1)
    on = torch.ones((), dtype=torch.int32) if on_value is None else _scalar(on_value)
    off = torch.zeros((), dtype=torch.int32) if off_value is None else _scalar(off_value)
    claim((*indices.shape, one_hot_vector_size), max(on.element_size(), 8))
    places = torch.arange(one_hot_vector_size).reshape([-1] + [1] * (indices.dim() - axis))
    return torch.where(indices.unsqueeze(axis) == places, on, off.to(on.dtype))


@op("pad")
def pad(x: Tensor, pad: Ints, mode: str = "constant", constant_val: Tensor | None = None) -> Tensor:
    """x with pad[2i] and pad[2i + 1] elements at the edges of its last axes: a constant, a reflection, or the edge."""
    axes = len(pad) // 2
    if len(pad) % 2 or axes > x.dim() or min(pad, default=0) < 0:
        raise ModelError(f"the padding {pad} of a tensor of rank {x.dim()}")
    first = x.dim() - axes
    edges = {first + i: (pad[2 * i], pad[2 * i + 1]) for i in range(axes)}
    claim((size + sum(edges.get(axis, (0, 0))) for axis, size in enumerate(x.shape)), x.element_size())
    if mode == "constant":
        value = 0 if constant_val is None else _scalar(constant_val).item()
        pairs = [size for axis in reversed(edges) for size in edges[axis]]
        return functional.pad(x, pairs, value=value)
    if mode not in ("reflect", "replicate"):
        raise ModelError(f"padding by {mode!r}; constant, reflect and replicate are known")
    # Along one axis after another: PyTorch pads so only some axes of some ranks.
    for axis, (before, after) in edges.items():
        size = x.shape[axis]
        if before + after == 0:
            continue
        if size == 0 or (mode == "reflect" and max(before, after) >= size):
            raise ModelError(f"{before} and {after} elements by {mode} at the edges of {size}")
        places = torch.arange(-before, size + after)
        if mode == "reflect":
            places = (size - 1) - ((size - 1) - places.abs()).abs()
        x = x.index_select(axis, places.clamp_(0, size - 1))
    return x


@op("band_part")
def band_part(x: Tensor, lower: int = -1, upper: int = -1) -> Tensor:
    """The last two axes' diagonals, from lower below the main one to upper above (negative: all), and 0 elsewhere."""
    if x.dim() < 2:
        raise ModelError(f"a tensor of rank {x.dim()}; matrices are needed")
    rows, columns = x.shape[-2:]
    claim((rows, columns), 8)
    below = torch.arange(rows).unsqueeze(1) - torch.arange(columns)
    outside = torch.zeros((rows, columns), dtype=torch.bool)
    if lower >= 0:
        outside |= below > lower
    if upper >= 0:
        outside |= -below > upper
    return x.masked_fill(outside, 0)


@op("non_zero")
def non_zero(x: Tensor) -> Tensor:
    """The indices of elements that are not 0, a row each, in their order."""
    claim((int(torch.count_nonzero(x)), x.dim()), 8)
    return torch.nonzero(x)
