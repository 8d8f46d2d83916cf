"""Operators that take tensors apart and put them together: slices, windows, parts, copies."""

from __future__ import annotations

import torch

from edgeexport.errors import ModelError
from edgeexport.mil.memory import OBJECT, claim
from edgeexport.mil.ops.shape import axis_of
from edgeexport.mil.table import Bools, Ints, Tensor, Tensors, op


@op("slice_by_index")
def slice_by_index(
    x: Tensor,
    *,
    begin: Ints,
    end: Ints,
    stride: Ints | None = None,
    begin_mask: Bools | None = None,
    end_mask: Bools | None = None,
    squeeze_mask: Bools | None = None,
) -> Tensor:
    """x[begin:end:stride] as in Python; a mask leaves an end open, or takes the one index begin and drops the axis."""
    view, backwards = _forward(x, _places(x, begin, end, stride, (begin_mask, end_mask, squeeze_mask)))
    view = view.flip(backwards) if backwards else view
    return view.squeeze(_dropped(squeeze_mask))


@op("slice_update", since=18)
def slice_update(
    x: Tensor,
    *,
    update: Tensor,
    begin: Ints,
    end: Ints,
    stride: Ints | None = None,
    begin_mask: Bools | None = None,
    end_mask: Bools | None = None,
    squeeze_mask: Bools | None = None,
) -> Tensor:
    """x with update in the place that slice_by_index takes (since iOS 18)."""
    result = x.clone()
    view, backwards = _forward(result, _places(x, begin, end, stride, (begin_mask, end_mask, squeeze_mask)))
    wanted = view.squeeze(_dropped(squeeze_mask)).shape
    if update.shape != wanted:
        raise ModelError(f"an update of shape {list(update.shape)} for a slice of shape {list(wanted)}")
    update = update.reshape(view.shape)
    view.copy_(update.flip(backwards) if backwards else update)
    return result


@op("slice_by_size")
def slice_by_size(x: Tensor, begin: Ints, size: Ints) -> Tensor:
    """x[begin:begin + size]; a size of -1 is all that follow, a negative begin counts from the end."""
    if not len(begin) == len(size) == x.dim():
        raise ModelError(f"begins {begin} and sizes {size} for a tensor of rank {x.dim()}")
    for axis, whole in enumerate(x.shape):
        first = begin[axis] + whole if begin[axis] < 0 else begin[axis]
        count = whole - first if size[axis] == -1 else size[axis]
        if first < 0 or count < 0 or first + count > whole:
            raise ModelError(f"{count} elements from {first} on, of {whole}")
        x = x.narrow(axis, first, count)
    return x


def _places(
    x: Tensor, begin: Ints, end: Ints, stride: Ints | None, masks: tuple[Bools | None, Bools | None, Bools | None]
) -> list[range]:
    """The indices that a slice takes, by axis."""
    rank = x.dim()
    steps = [1] * rank if stride is None else stride
    open_begin, open_end, single = (mask or [False] * rank for mask in masks)
    if {len(part) for part in (begin, end, steps, open_begin, open_end, single)} - {rank}:
        raise ModelError(f"a slice from {begin} to {end} by {steps}, or its masks, for a tensor of rank {rank}")
    places = []
    for axis, size in enumerate(x.shape):
        first = None if open_begin[axis] else begin[axis]
        if single[axis]:
            first = first or 0
            if not -size <= first < size:
                raise ModelError(f"the index {first} into a dimension of {size}")
            places.append(range(first % size, first % size + 1))
            continue
        if steps[axis] == 0:
            raise ModelError("a slice with a stride of 0")
        last = None if open_end[axis] else end[axis]
        places.append(range(size)[first : last : steps[axis]])
    return places


def _forward(x: Tensor, places: list[range]) -> tuple[Tensor, Ints]:
    """A view of the places in rising order, and the axes along which they fall."""
    backwards = []
    for axis, taken in enumerate(places):
        place = taken if taken.step > 0 else taken[::-1]
        if taken.step < 0:
            backwards.append(axis)
        index = slice(place.start, max(place.stop, place.start), place.step)
        x = x[(slice(None),) * axis + (index,)]
    return x, backwards


def _dropped(squeeze_mask: Bools | None) -> tuple[int, ...]:
    return tuple(axis for axis, single in enumerate(squeeze_mask or ()) if single)


@op("sliding_windows")
def sliding_windows(x: Tensor, axis: int, size: int, stride: int = 1) -> Tensor:
    """All windows of size along the axis, stride apart; the new axis of size follows."""
    axis = axis_of(axis, x.dim())
    if size < 1 or stride < 1 or size > x.shape[axis]:
        raise ModelError(f"windows of {size}, {stride} apart, along {x.shape[axis]} elements")
    count = (x.shape[axis] - size) // stride + 1
    claim((*x.shape[:axis], count, size, *x.shape[axis + 1 :]), x.element_size())
    return x.unfold(axis, size, stride).movedim(-1, axis + 1).contiguous()


@op("concat")
def concat(values: Tensors, axis: int, interleave: bool = False) -> Tensor:
    """The values one after another along the axis, or, interleaved, their first elements, their second, ..."""
    if not values:
        raise ModelError("no values")
    # Scalars become a vector, as coremltools writes the shapes that it computes.
    parts = [value.reshape(1) if value.dim() == 0 else value for value in values]
    axis = axis_of(axis, parts[0].dim())
    if len({(part.shape[:axis], part.shape[axis + 1 :], part.dtype) for part in parts}) > 1:
        raise ModelError(f"values of the shapes {[list(part.shape) for part in parts]} along the axis {axis}")
    claim((sum(part.numel() for part in parts),), parts[0].element_size())
    if not interleave:
        return torch.cat(parts, axis)
    if len({part.shape for part in parts}) > 1:
        raise ModelError(f"values of the shapes {[list(part.shape) for part in parts]} cannot be interleaved")
    return torch.stack(parts, axis + 1).flatten(axis, axis + 1)


@op("stack")
def stack(values: Tensors, axis: int) -> Tensor:
    """The values along a new axis."""
    if not values:
        raise ModelError("no values")
    axis = axis_of(axis, values[0].dim() + 1)
    if len({(value.shape, value.dtype) for value in values}) > 1:
        raise ModelError(f"values of the shapes {[list(value.shape) for value in values]} cannot be stacked")
    claim((len(values), *values[0].shape), values[0].element_size())
    return torch.stack(values, axis)


@op("split")
def split(x: Tensor, axis: int, num_splits: int | None = None, split_sizes: Ints | None = None) -> Tensors:
    """x in parts along the axis, of split_sizes, or num_splits of the same size."""
    axis = axis_of(axis, x.dim())
    whole = x.shape[axis]
    if split_sizes is None:
        if num_splits is None or num_splits < 1 or whole % num_splits:
            raise ModelError(f"{whole} elements in {num_splits} parts of the same size")
        claim((num_splits,), OBJECT)
        split_sizes = [whole // num_splits] * num_splits
    elif num_splits not in (None, len(split_sizes)):
        raise ModelError(f"{num_splits} parts, and {len(split_sizes)} sizes")
    if sum(split_sizes) != whole or min(split_sizes, default=-1) < 0:
        raise ModelError(f"parts of {split_sizes} of {whole} elements")
    return torch.split(x, split_sizes, axis)


@op("tile")
def tile(x: Tensor, reps: Ints) -> Tensor:
    """x repeated reps[i] times along the axis i."""
    if len(reps) != x.dim():
        raise ModelError(f"repetitions {reps} of a tensor of rank {x.dim()}")
    if min(reps, default=1) < 1:
        raise ModelError(f"repetitions {reps}; at least 1 is needed")
    claim((size * count for size, count in zip(x.shape, reps, strict=True)), x.element_size())
    return x.repeat(reps)
