"""Sums and other values of an axis, and orders (since iOS 15 where nothing else is said)."""

from __future__ import annotations

import torch

from edgeexport.mil.table import Ints, Tensor, op


def _axes(x: Tensor, axes: Ints | None) -> Ints:
    return list(range(x.dim())) if axes is None else axes


@op("reduce_sum")
def reduce_sum(x: Tensor, axes: Ints | None = None, keep_dims: bool = False) -> Tensor:
    """The sum."""
    return torch.sum(x, _axes(x, axes), keep_dims)


@op("reduce_mean")
def reduce_mean(x: Tensor, axes: Ints | None = None, keep_dims: bool = False) -> Tensor:
    """The mean."""
    return torch.mean(x, _axes(x, axes), keep_dims)


@op("reduce_max")
def reduce_max(x: Tensor, axes: Ints | None = None, keep_dims: bool = False) -> Tensor:
    """The largest."""
    return torch.amax(x, _axes(x, axes), keep_dims)


@op("reduce_min")
def reduce_min(x: Tensor, axes: Ints | None = None, keep_dims: bool = False) -> Tensor:
    """The smallest."""
    return torch.amin(x, _axes(x, axes), keep_dims)


@op("reduce_l1_norm")
def reduce_l1_norm(x: Tensor, axes: Ints | None = None, keep_dims: bool = False) -> Tensor:
    """The sum of magnitudes."""
    return torch.sum(torch.abs(x), _axes(x, axes), keep_dims)


@op("reduce_l2_norm")
def reduce_l2_norm(x: Tensor, axes: Ints | None = None, keep_dims: bool = False) -> Tensor:
    """The square root of the sum of squares."""
    return torch.sqrt(torch.sum(x * x, _axes(x, axes), keep_dims))


@op("reduce_log_sum")
def reduce_log_sum(x: Tensor, axes: Ints | None = None, keep_dims: bool = False) -> Tensor:
    """The logarithm of the sum."""
    return torch.log(torch.sum(x, _axes(x, axes), keep_dims))


@op("reduce_log_sum_exp")
def reduce_log_sum_exp(x: Tensor, axes: Ints | None = None, keep_dims: bool = False) -> Tensor:
    """The logarithm of the sum of e^x."""
    return torch.logsumexp(x, _axes(x, axes), keep_dims)


@op("reduce_sum_square")
def reduce_sum_square(x: Tensor, axes: Ints | None = None, keep_dims: bool = False) -> Tensor:
    """The sum of squares."""
    return torch.sum(x * x, _axes(x, axes), keep_dims)


@op("reduce_prod")
def reduce_prod(x: Tensor, axes: Ints | None = None, keep_dims: bool = False) -> Tensor:
    """The product."""
    for axis in sorted((axis % x.dim() for axis in _axes(x, axes)), reverse=True):
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
    total = torch.cumsum(x, axis, dtype=x.dtype)
    if exclusive:
        total = total - x
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
