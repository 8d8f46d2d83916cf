"""Elementwise operators of one operand (since iOS 15 where nothing else is said)."""

from __future__ import annotations

from typing import Any

import torch

from edgeexport.errors import ModelError
from edgeexport.mil.dtypes import BY_NAME
from edgeexport.mil.table import Tensor, op

_CASTS = ("bool", "fp16", "fp32", "int8", "int16", "int32", "uint8", "uint16")


@op("abs")
def abs_(x: Tensor) -> Tensor:
    """|x|."""
    return torch.abs(x)


@op("acos")
def acos(x: Tensor) -> Tensor:
    """The arc cosine."""
    return torch.acos(x)


@op("asin")
def asin(x: Tensor) -> Tensor:
    """The arc sine."""
    return torch.asin(x)


@op("atan")
def atan(x: Tensor) -> Tensor:
    """The arc tangent."""
    return torch.atan(x)


@op("ceil")
def ceil(x: Tensor) -> Tensor:
    """Rounded up."""
    return torch.ceil(x)


@op("cos")
def cos(x: Tensor) -> Tensor:
    """The cosine."""
    return torch.cos(x)


@op("cosh")
def cosh(x: Tensor) -> Tensor:
    """The hyperbolic cosine."""
    return torch.cosh(x)


@op("erf")
def erf(x: Tensor) -> Tensor:
    """The error function."""
    return torch.erf(x)


@op("exp")
def exp(x: Tensor) -> Tensor:
    """e to the power of x."""
    return torch.exp(x)


@op("exp2")
def exp2(x: Tensor) -> Tensor:
    """2 to the power of x; integers give the integer that it is cut off to."""
    return torch.exp2(x).to(x.dtype)


@op("floor")
def floor(x: Tensor) -> Tensor:
    """Rounded down."""
    return torch.floor(x)


@op("logical_not")
def logical_not(x: Tensor) -> Tensor:
    """Not x."""
    return torch.logical_not(x)


@op("round")
def round_(x: Tensor) -> Tensor:
    """The nearest integer, ties to even."""
    return torch.round(x)


@op("sign")
def sign(x: Tensor) -> Tensor:
    """-1, 0 or 1."""
    return torch.sign(x)


@op("sin")
def sin(x: Tensor) -> Tensor:
    """The sine."""
    return torch.sin(x)


@op("sinh")
def sinh(x: Tensor) -> Tensor:
    """The hyperbolic sine."""
    return torch.sinh(x)


@op("sqrt")
def sqrt(x: Tensor) -> Tensor:
    """The square root."""
    return torch.sqrt(x)


@op("square")
def square(x: Tensor) -> Tensor:
    """x²."""
    return x * x


@op("tan")
def tan(x: Tensor) -> Tensor:
    """The tangent."""
    return torch.tan(x)


@op("tanh")
def tanh(x: Tensor) -> Tensor:
    """The hyperbolic tangent."""
    return torch.tanh(x)


@op("atanh")
def atanh(x: Tensor) -> Tensor:
    """The inverse hyperbolic tangent."""
    return torch.atanh(x)


@op("identity")
def identity(x: Any) -> Any:
    """x itself, a tensor or a list."""
    return x


@op("cast")
def cast(x: Tensor, dtype: str) -> Tensor:
    """x in another type; a fraction is cut off, what is not zero is true, and integers wrap around (8, 16: iOS 17)."""
    if dtype not in _CASTS:
        raise ModelError(f"there is no type {dtype!r} to cast to")
    if dtype == "uint16":
        # A wider type holds it, which would not wrap around by itself.
        return x.to(torch.int32) & 0xFFFF
    return x.to(BY_NAME[dtype].held)


@op("clip")
def clip(x: Tensor, alpha: float, beta: float) -> Tensor:
    """x, between alpha and beta."""
    return torch.clamp(x, alpha, beta)


@op("inverse")
def inverse(x: Tensor, epsilon: float = 1e-4) -> Tensor:
    """1 / (x + epsilon)."""
    return torch.reciprocal(x + epsilon)


@op("log")
def log(x: Tensor, epsilon: float = 1e-45) -> Tensor:
    """The natural logarithm of x + epsilon."""
    return torch.log(x + epsilon)


@op("rsqrt")
def rsqrt(x: Tensor, epsilon: float = 1e-12) -> Tensor:
    """1 / √(x + epsilon)."""
    return torch.rsqrt(x + epsilon)


@op("threshold")
def threshold(x: Tensor, alpha: float) -> Tensor:
    """The larger of x and alpha."""
    return torch.clamp(x, min=alpha if x.is_floating_point() else int(alpha))
