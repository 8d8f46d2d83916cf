"""Sums and other values of an axis, and orders (since iOS 15 where nothing else is said)."""

from __future__ import annotations

from collections.abc import Callable

import torch

from edgeexport.mil.table import Ints, Tensor, op


def _over(x: Tensor, axes: Ints | None) -> tuple[Tensor, Ints]:
    """The operand and the axes to reduce: all where none are said, and none where the list is empty."""
    if axes == []:
        # PyTorch takes an empty list for all axes.
        return x.unsqueeze(0), [0]
    return x, list(range(x.dim())) if axes is None else axes


def _real(x: Tensor, axes: Ints | None, keep_dims: bool, reduce: Callable[[Tensor, Ints, bool], Tensor]) -> Tensor:
    """A reduction that is computed in real numbers; for integers it is cut off."""
    # Float64 holds every int32.
    operand, chosen = _over(x if x.is_floating_point() else x.double(), axes)
    result = reduce(operand, chosen, keep_dims and axes != [])
    return result.to(x.dtype)


def _whole(x: Tensor, axes: Ints | None, keep_dims: bool, reduce: Callable[[Tensor, Ints, bool], Tensor]) -> Tensor:
    """A reduction of integers to integers."""
    operand, chosen = _over(x, axes)
    return reduce(operand, chosen, keep_dims and axes != [])


@op("reduce_sum")
def reduce_sum(x: Tensor, axes: Ints | None = None, keep_dims: bool = False) -> Tensor:
    """The sum."""
    return _whole(x, axes, keep_dims, torch.sum)


@op("reduce_mean")
def reduce_mean(x: Tensor, axes: Ints | None = None, keep_dims: bool = False) -> Tensor:
    """The mean."""
    return _real(x, axes, keep_dims, torch.mean)


@op("reduce_max")
def reduce_max(x: Tensor, axes: Ints | None = None, keep_dims: bool = False) -> Tensor:
    """The largest."""
    return _whole(x, axes, keep_dims, torch.amax)


@op("reduce_min")
def reduce_min(x: Tensor, axes: Ints | None = None, keep_dims: bool = False) -> Tensor:
    """The smallest."""
    return _whole(x, axes, keep_dims, torch.amin)


@op("reduce_l1_norm")
def reduce_l1_norm(x: Tensor, axes: Ints | None = None, keep_dims: bool = False) -> Tensor:
    """The sum of magnitudes."""
    return _whole(torch.abs(x), axes, keep_dims, torch.sum)


@op("reduce_l2_norm")
def reduce_l2_norm(x: Tensor, axes: Ints | None = None, keep_dims: bool = False) -> Tensor:
    """The square root of the sum of squares."""
    return _real(x, axes, keep_dims, lambda v, over, keep: torch.sqrt(torch.sum(v * v, over, keep)))


@op("reduce_log_sum")
def reduce_log_sum(x: Tensor, axes: Ints | None = None, keep_dims: bool = False) -> Tensor:
    """The logarithm of the sum."""
    return _real(x, axes, keep_dims, lambda v, over, keep: torch.log(torch.sum(v, over, keep)))


@op("reduce_log_sum_exp")
def reduce_log_sum_exp(x: Tensor, axes: Ints | None = None, keep_dims: bool = False) -> Tensor:
    """The logarithm of the sum of e^x."""
    return _real(x, axes, keep_dims, torch.logsumexp)


@op("reduce_sum_square")
def reduce_sum_square(x: Tensor, axes: Ints | None = None, keep_dims: bool = False) -> Tensor:
    """The sum of squares."""
    return _whole(x * x, axes, keep_dims, torch.sum)


@op("reduce_prod")
def reduce_prod(x: Tensor, axes: Ints | None = None, keep_dims: bool = False) -> Tensor:
    """The product."""
    for axis in sorted((axis % x.dim() for axis in (range(x.dim()) if axes is None else axes)), reverse=True):
        x = torch.prod(x, axis, keep_dims)
    return x


def _arg(x: Tensor, axis: int, keep_dims: bool, largest: bool) -> Tensor:
    """The first place of the extreme."""
    extreme = x.amax(axis, keepdim=True) if largest else x.amin(axis, keepdim=True)
    return torch.argmax((x == extreme).to(torch.int32), axis, keepdim=keep_dims)


@op("reduce_argmax")
def reduce_argmax(x: Tensor, axis: int = -1, keep_dims: bool = False) -> Tensor:
    """The first place of the largest."""
    return _arg(x, axis, keep_dims, largest=True)


@op("reduce_argmin")
def reduce_argmin(x: Tensor, axis: int = -1, keep_dims: bool = False) -> Tensor:
    """The first place of the smallest."""
    return _arg(x, axis, keep_dims, largest=False)


@op("reduce_argmax", since=17)
def reduce_argmax_typed(x: Tensor, axis: int = -1, keep_dims: bool = False, output_dtype: str = "int32") -> Tensor:
    """As before iOS 17; the type of the result is chosen."""
    return _arg(x, axis, keep_dims, largest=True)


@op("reduce_argmin", since=17)
def reduce_argmin_typed(x: Tensor, axis: int = -1, keep_dims: bool = False, output_dtype: str = "int32") -> Tensor:
    """As before iOS 17; the type of the result is chosen."""
    return _arg(x, axis, keep_dims, largest=False)


@op("argsort")
def argsort(x: Tensor, axis: int = -1, ascending: bool = False) -> Tensor:
    """Places in order of their values."""
    return torch.argsort(x, dim=axis, descending=not ascending, stable=True)


@op("cumsum")
def cumsum(x: Tensor, axis: int = 0, exclusive: bool = False, reverse: bool = False) -> Tensor:
    """Sums from the start of the axis (the end, in reverse) to each element, or to the one before it."""
    if reverse:
        x = x.flip(axis)
    if exclusive:
        # Moved by one and not subtracted: a large element would take the sum before it along.
        first = torch.zeros_like(x.narrow(axis, 0, min(1, x.shape[axis])))
        x = torch.cat((first, x.narrow(axis, 0, max(0, x.shape[axis] - 1))), axis)
    total = torch.cumsum(x, axis, dtype=x.dtype)
    return total.flip(axis) if reverse else total


def _topk(x: Tensor, k: int, axis: int, ascending: bool, sort: bool) -> tuple[Tensor, Tensor]:
    # Any order is right where none is asked for.
    k = x.shape[axis] if k == -1 else k
    places = torch.argsort(x, dim=axis, descending=not ascending, stable=True).narrow(axis, 0, k)
    return torch.gather(x, axis, places), places


@op("topk")
def topk(x: Tensor, k: int = 1, axis: int = -1, ascending: bool = False) -> tuple[Tensor, Tensor]:
    """The k largest (smallest, ascending) and their places, in order."""
    return _topk(x, k, axis, ascending, True)


@op("topk", since=16)
def topk_unsorted(
    x: Tensor, k: int = 1, axis: int = -1, ascending: bool = False, sort: bool = True, return_indices: bool = True
) -> tuple[Tensor, ...]:
    """As before iOS 16; places may be left out."""
    values, places = _topk(x, k, axis, ascending, sort)
    return (values, places) if return_indices else (values,)


@op("topk", since=17)
def topk_typed(
    x: Tensor,
    k: int = 1,
    axis: int = -1,
    ascending: bool = False,
    sort: bool = True,
    return_indices: bool = True,
    output_indices_dtype: str = "int32",
) -> tuple[Tensor, ...]:
    """As before iOS 17; the type of places is chosen."""
    values, places = _topk(x, k, axis, ascending, sort)
    return (values, places) if return_indices else (values,)
