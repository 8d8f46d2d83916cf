"""Activations of neural networks (all since iOS 15)."""

from __future__ import annotations

import torch
from torch.nn import functional

from edgeexport.errors import ModelError
from edgeexport.mil.table import Tensor, op


@op("relu")
def relu(x: Tensor) -> Tensor:
    """max(0, x)."""
    return torch.relu(x)


@op("relu6")
def relu6(x: Tensor) -> Tensor:
    """min(6, max(0, x))."""
    return torch.clamp(x, 0, 6)


@op("sigmoid")
def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + e^-x)."""
    return torch.sigmoid(x)


@op("silu")
def silu(x: Tensor) -> Tensor:
    """x / (1 + e^-x)."""
    return functional.silu(x)


@op("softplus")
def softplus(x: Tensor) -> Tensor:
    """log(1 + e^x)."""
    return torch.logaddexp(x, torch.zeros(()))


@op("softsign")
def softsign(x: Tensor) -> Tensor:
    """x / (1 + |x|)."""
    return x / (1 + torch.abs(x))


@op("clamped_relu")
def clamped_relu(x: Tensor, alpha: float, beta: float) -> Tensor:
    """min(beta, x) where x is not negative, min(beta, alpha·x) elsewhere."""
    return torch.clamp(torch.where(x >= 0, x, alpha * x), max=beta)


@op("elu")
def elu(x: Tensor, alpha: float) -> Tensor:
    """x where it is positive, alpha·(e^x - 1) elsewhere."""
    return torch.where(x > 0, x, alpha * torch.expm1(x))


@op("leaky_relu")
def leaky_relu(x: Tensor, alpha: float) -> Tensor:
    """x where it is not negative, alpha·x elsewhere."""
    return torch.where(x >= 0, x, alpha * x)


@op("linear_activation")
def linear_activation(x: Tensor, alpha: float, beta: float) -> Tensor:
    """alpha·x + beta."""
    return alpha * x + beta


@op("scaled_tanh")
def scaled_tanh(x: Tensor, alpha: float, beta: float) -> Tensor:
    """alpha·tanh(beta·x)."""
    return alpha * torch.tanh(beta * x)


@op("sigmoid_hard")
def sigmoid_hard(x: Tensor, alpha: float, beta: float) -> Tensor:
    """alpha·x + beta, between 0 and 1."""
    return torch.clamp(alpha * x + beta, 0, 1)


@op("thresholded_relu")
def thresholded_relu(x: Tensor, alpha: float) -> Tensor:
    """x where it is at least alpha, 0 elsewhere."""
    return torch.where(x >= alpha, x, torch.zeros(()))


@op("prelu")
def prelu(x: Tensor, alpha: Tensor) -> Tensor:
    """x where it is not negative, alpha·x elsewhere, with one alpha a channel (the second axis)."""
    return torch.where(x >= 0, x, _channels(alpha, x) * x)


@op("softplus_parametric")
def softplus_parametric(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """alpha·log(1 + e^(beta·x)), with alpha and beta of a channel (the second axis)."""
    return _channels(alpha, x) * torch.logaddexp(_channels(beta, x) * x, torch.zeros(()))


@op("gelu")
def gelu(x: Tensor, mode: str = "EXACT") -> Tensor:
    """x·Φ(x), or its approximation by tanh or by a sigmoid of 1.702·x (arXiv:1606.08415)."""
    if mode == "SIGMOID_APPROXIMATION":
        return x * torch.sigmoid(1.702 * x)
    if mode not in ("EXACT", "TANH_APPROXIMATION"):
        raise ModelError(f"there is no mode {mode!r}")
    return functional.gelu(x, approximate="tanh" if mode == "TANH_APPROXIMATION" else "none")


@op("softmax")
def softmax(x: Tensor, axis: int = -1) -> Tensor:
    """e^x over its sum along the axis."""
    return torch.softmax(x, axis)


def _channels(values: Tensor, x: Tensor) -> Tensor:
    return values.reshape([-1] + [1] * (x.dim() - 2))
