"""Normalizations (all since iOS 15)."""

from __future__ import annotations

import torch
from torch.nn import functional

from edgeexport.errors import ModelError
from edgeexport.mil.table import Ints, Tensor, op


@op("batch_norm")
def batch_norm(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: float = 1e-5,
) -> Tensor:
    """(x - mean) / √(variance + epsilon)·gamma + beta, by channel (the second axis)."""
    return functional.batch_norm(x, mean, variance, gamma, beta, False, 0.0, epsilon)


@op("instance_norm")
def instance_norm(x: Tensor, gamma: Tensor | None = None, beta: Tensor | None = None, epsilon: float = 1e-5) -> Tensor:
    """As batch_norm, with the mean and variance of each sample's channel."""
    axes = list(range(2, x.dim()))
    variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
    shape = [-1] + [1] * (x.dim() - 2)
    x = (x - mean) * torch.rsqrt(variance + epsilon)
    if gamma is not None:
        x = x * gamma.reshape(shape)
    return x if beta is None else x + beta.reshape(shape)


@op("l2_norm")
def l2_norm(x: Tensor, epsilon: float = 1e-6) -> Tensor:
    """x / √(sum of squares over the last three axes + epsilon)."""
    axes = list(range(-min(3, x.dim()), 0))
    return x * torch.rsqrt(torch.sum(x * x, axes, keepdim=True) + epsilon)


@op("layer_norm")
def layer_norm(
    x: Tensor, axes: Ints | None = None, gamma: Tensor | None = None, beta: Tensor | None = None, epsilon: float = 1e-5
) -> Tensor:
    """(x - mean) / √(variance + epsilon)·gamma + beta, with the mean and variance over the axes."""
    chosen = sorted(axis % x.dim() for axis in (range(x.dim()) if axes is None else axes))
    if not chosen:
        raise ModelError("there is no axis to normalize over")
    if chosen == list(range(x.dim() - len(chosen), x.dim())):
        return functional.layer_norm(x, x.shape[-len(chosen) :], gamma, beta, epsilon)
    variance, mean = torch.var_mean(x, chosen, correction=0, keepdim=True)
    shape = [x.shape[axis] if axis in chosen else 1 for axis in range(x.dim())]
    x = (x - mean) * torch.rsqrt(variance + epsilon)
    if gamma is not None:
        x = x * gamma.reshape(shape)
    return x if beta is None else x + beta.reshape(shape)


@op("local_response_norm")
def local_response_norm(x: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    """x / (k + alpha / size·sum of squares of the ``size`` channels around)^beta."""
    return functional.local_response_norm(x, size, alpha, beta, k)
