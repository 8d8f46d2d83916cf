"""Reading and writing elements at computed indices.

Up to iOS 16 an index may be negative and counts from the end. From iOS 17 on it may not. What a device then does with
an index out of range is defined only where ``validate_indices`` is set, and is an error; here it always is one.
"""

from __future__ import annotations

import math

import torch

from edgeexport.errors import ModelError
from edgeexport.mil.memory import claim
from edgeexport.mil.ops.binary import truncated
from edgeexport.mil.ops.shape import axis_of
from edgeexport.mil.table import Tensor, op


def _checked(indices: Tensor, size: int, negative: bool) -> Tensor:
    """Indices into a dimension, counted from its begin."""
    claim(indices.shape, 8)
    found = indices.long()
    if found.numel():
        low, high = int(found.min()), int(found.max())
        least = -size if negative else 0
        if low < least or high >= size:
            wrong = low if low < least else high
            raise ModelError(f"the index {wrong} is out of range; a dimension of {size} has {least} to {size - 1}")
        if low < 0:
            found = torch.where(found < 0, found + size, found)
    return found


# Gather.


@op("gather", since=15)
def gather(x: Tensor, indices: Tensor, axis: int = 0) -> Tensor:
    """x[..., indices, ...] at the axis; a negative index counts from the end (iOS 15)."""
    return _gather(x, indices, axis, 0, True)


@op("gather", since=16)
def gather_batched(x: Tensor, indices: Tensor, axis: int = 0, batch_dims: int = 0) -> Tensor:
    """As in iOS 15, for each index of the first batch_dims axes, which both have (iOS 16)."""
    return _gather(x, indices, axis, batch_dims, True)


@op("gather", since=17)
def gather_validated(
    x: Tensor,
    indices: Tensor,
    axis: int = 0,
    batch_dims: int = 0,
    validate_indices: bool = False,
) -> Tensor:
    """As in iOS 16, without negative indices (since iOS 17)."""
    return _gather(x, indices, axis, batch_dims, False)


def _gather(x: Tensor, indices: Tensor, axis: int, batch_dims: int, negative: bool) -> Tensor:
    axis = axis_of(axis, x.dim())
    _batch(x, indices, batch_dims, min(axis, indices.dim()))
    claim((*x.shape[:axis], *indices.shape[batch_dims:], *x.shape[axis + 1 :]), x.element_size())
    shape = (*x.shape[:axis], *indices.shape[batch_dims:], *x.shape[axis + 1 :])
    found = _checked(indices, x.shape[axis], negative)
    if batch_dims == 0:
        return x.index_select(axis, found.reshape(-1)).reshape(shape)
    batch, before = math.prod(x.shape[:batch_dims]), math.prod(x.shape[batch_dims:axis])
    after, count = math.prod(x.shape[axis + 1 :]), math.prod(indices.shape[batch_dims:])
    places = found.reshape(batch, 1, count, 1).expand(batch, before, count, after)
    return torch.gather(x.reshape(batch, before, x.shape[axis], after), 2, places).reshape(shape)


def _batch(x: Tensor, indices: Tensor, batch_dims: int, most: int) -> None:
    if not 0 <= batch_dims <= most or x.shape[:batch_dims] != indices.shape[:batch_dims]:
        raise ModelError(
            f"{batch_dims} axes of batches for a tensor of shape {list(x.shape)} and indices {list(indices.shape)}"
        )


@op("gather_along_axis", since=15)
def gather_along_axis(x: Tensor, indices: Tensor, axis: int = 0) -> Tensor:
    """x[p, indices[p, i, q], q] at [p, i, q]; a negative index counts from the end (iOS 15 and 16)."""
    return _gather_along_axis(x, indices, axis, True)


@op("gather_along_axis", since=17)
def gather_along_axis_validated(
    x: Tensor,
    indices: Tensor,
    axis: int = 0,
    validate_indices: bool = False,
) -> Tensor:
    """As in iOS 15, without negative indices (since iOS 17)."""
    return _gather_along_axis(x, indices, axis, False)


def _gather_along_axis(x: Tensor, indices: Tensor, axis: int, negative: bool) -> Tensor:
    axis = axis_of(axis, x.dim())
    _alike(x, indices, axis)
    claim(indices.shape, x.element_size())
    return torch.gather(x, axis, _checked(indices, x.shape[axis], negative))


def _alike(x: Tensor, indices: Tensor, axis: int) -> None:
    """See that indices have the shape of x but for the axis."""
    sizes, others = list(x.shape), list(indices.shape)
    if len(sizes) != len(others) or sizes[:axis] + sizes[axis + 1 :] != others[:axis] + others[axis + 1 :]:
        raise ModelError(f"indices of shape {others} along the axis {axis} of a tensor of shape {sizes}")


@op("gather_nd", since=15)
def gather_nd(x: Tensor, indices: Tensor) -> Tensor:
    """x[indices[i]] at [i], an index a vector along the last axis; a negative one counts from the end (iOS 15)."""
    return _gather_nd(x, indices, 0, True)


@op("gather_nd", since=16)
def gather_nd_batched(x: Tensor, indices: Tensor, batch_dims: int = 0) -> Tensor:
    """As in iOS 15, for each index of the first batch_dims axes, which both have (iOS 16)."""
    return _gather_nd(x, indices, batch_dims, True)


@op("gather_nd", since=17)
def gather_nd_validated(
    x: Tensor,
    indices: Tensor,
    batch_dims: int = 0,
    validate_indices: bool = False,
) -> Tensor:
    """As in iOS 16, without negative indices (since iOS 17)."""
    return _gather_nd(x, indices, batch_dims, False)


def _gather_nd(x: Tensor, indices: Tensor, batch_dims: int, negative: bool) -> Tensor:
    _batch(x, indices, batch_dims, min(x.dim(), indices.dim() - 1))
    depth = indices.shape[-1]
    rest = x.shape[batch_dims + depth :]
    claim((*indices.shape[:-1], *rest), x.element_size())
    batch = math.prod(x.shape[:batch_dims])
    places = _linear(x.shape[batch_dims:], indices, negative).reshape(batch, -1)
    within = math.prod(x.shape[batch_dims : batch_dims + depth])
    places = places + torch.arange(batch).unsqueeze(1) * within
    rows = x.reshape(batch * within, math.prod(rest))
    return rows.index_select(0, places.reshape(-1)).reshape(*indices.shape[:-1], *rest)


def _linear(shape: torch.Size, indices: Tensor, negative: bool) -> Tensor:
    """Vectors of indices along the last axis, as indices into the flattened first dimensions of shape."""
    depth = indices.shape[-1]
    if depth > len(shape):
        raise ModelError(f"indices of {depth} numbers into {len(shape)} dimensions")
    claim(indices.shape[:-1], 8)
    places = torch.zeros(indices.shape[:-1], dtype=torch.int64)
    for number in range(depth):
        places = places * shape[number] + _checked(indices[..., number], shape[number], negative)
    return places


# Scatter.


@op("scatter", since=15)
def scatter(data: Tensor, indices: Tensor, updates: Tensor, axis: int = 0, mode: str = "add") -> Tensor:
    """data with updates brought in at indices of the axis by the mode; negative ones count from the end (iOS 15)."""
    return _scatter(data, indices, updates, axis, mode, negative=True)


@op("scatter", since=17)
def scatter_validated(
    data: Tensor,
    *,
    indices: Tensor,
    updates: Tensor,
    axis: int = 0,
    mode: str = "add",
    validate_indices: bool = False,
) -> Tensor:
    """As in iOS 15, without negative indices (since iOS 17)."""
    return _scatter(data, indices, updates, axis, mode, negative=False)


def _scatter(data: Tensor, indices: Tensor, updates: Tensor, axis: int, mode: str, *, negative: bool) -> Tensor:
    axis = axis_of(axis, data.dim())
    _updates(updates, (*data.shape[:axis], *indices.shape, *data.shape[axis + 1 :]))
    before, size, after = math.prod(data.shape[:axis]), data.shape[axis], math.prod(data.shape[axis + 1 :])
    places = _checked(indices, size, negative).reshape(-1)
    # Rows are indices of the axis.
    rows = data.reshape(before, size, after).movedim(1, 0).reshape(size, before * after)
    new = updates.reshape(before, places.numel(), after).movedim(1, 0).reshape(places.numel(), before * after)
    result = _bring_in(rows, places, new, mode)
    return result.reshape(size, before, after).movedim(0, 1).reshape(data.shape)


@op("scatter_along_axis", since=15)
def scatter_along_axis(data: Tensor, indices: Tensor, updates: Tensor, axis: int = 0, mode: str = "add") -> Tensor:
    """data with updates[p, i, q] brought in at [p, indices[p, i, q], q] by the mode (iOS 15 and 16)."""
    return _scatter_along_axis(data, indices, updates, axis, mode, negative=True)


@op("scatter_along_axis", since=17)
def scatter_along_axis_validated(
    data: Tensor,
    *,
    indices: Tensor,
    updates: Tensor,
    axis: int = 0,
    mode: str = "add",
    validate_indices: bool = False,
) -> Tensor:
    """As in iOS 15, without negative indices (since iOS 17)."""
    return _scatter_along_axis(data, indices, updates, axis, mode, negative=False)


def _scatter_along_axis(
    data: Tensor, indices: Tensor, updates: Tensor, axis: int, mode: str, *, negative: bool
) -> Tensor:
    axis = axis_of(axis, data.dim())
    _alike(data, indices, axis)
    _updates(updates, tuple(indices.shape))
    before, size, after = math.prod(data.shape[:axis]), data.shape[axis], math.prod(data.shape[axis + 1 :])
    places = _checked(indices, size, negative).reshape(before, indices.shape[axis], after)
    places = (places + torch.arange(before).reshape(-1, 1, 1) * size) * after + torch.arange(after)
    return _bring_in(data.reshape(-1, 1), places.reshape(-1), updates.reshape(-1, 1), mode).reshape(data.shape)


@op("scatter_nd", since=15)
def scatter_nd(data: Tensor, indices: Tensor, updates: Tensor, mode: str = "add") -> Tensor:
    """data with updates[i] brought in at indices[i], a vector along the last axis, by the mode (iOS 15 and 16)."""
    return _scatter_nd(data, indices, updates, mode, True)


@op("scatter_nd", since=17)
def scatter_nd_validated(
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    mode: str = "add",
    validate_indices: bool = False,
) -> Tensor:
    """As in iOS 15, without negative indices (since iOS 17)."""
    return _scatter_nd(data, indices, updates, mode, False)


def _scatter_nd(data: Tensor, indices: Tensor, updates: Tensor, mode: str, negative: bool) -> Tensor:
    if indices.dim() == 0:
        raise ModelError("indices have no axis")
    places = _linear(data.shape, indices, negative).reshape(-1)
    depth = indices.shape[-1]
    rest = data.shape[depth:]
    _updates(updates, (*indices.shape[:-1], *rest))
    rows = data.reshape(math.prod(data.shape[:depth]), math.prod(rest))
    return _bring_in(rows, places, updates.reshape(places.numel(), math.prod(rest)), mode).reshape(data.shape)


def _updates(updates: Tensor, wanted: tuple[int, ...]) -> None:
    if tuple(updates.shape) != wanted:
        raise ModelError(f"updates of shape {list(updates.shape)}, and {list(wanted)} are needed")


def _bring_in(rows: Tensor, places: Tensor, updates: Tensor, mode: str) -> Tensor:
    """Rows with updates brought in at places; where places repeat, all of them count, and the last by ``update``."""
    if mode == "add":
        return rows.index_add(0, places, updates)
    if mode == "sub":
        return rows.index_add(0, places, updates, alpha=-1)
    if mode == "mul":
        return rows.index_reduce(0, places, updates, "prod")
    if mode == "max":
        return rows.index_reduce(0, places, updates, "amax")
    if mode == "min":
        return rows.index_reduce(0, places, updates, "amin")
    if mode == "div":
        divisor = torch.ones_like(rows).index_reduce_(0, places, updates, "prod")
        return rows / divisor if rows.is_floating_point() else truncated(rows, divisor)
    if mode != "update":
        raise ModelError(f"the mode {mode!r}; update, add, sub, mul, div, max and min are known")
    # PyTorch leaves open which of several updates of a place stays.
    claim((rows.shape[0],), 8)
    last = torch.full((rows.shape[0],), -1).scatter_reduce_(0, places, torch.arange(places.numel()), "amax")
    result = rows.clone()
    written = last >= 0
    result[written] = updates[last[written]]
    return result
