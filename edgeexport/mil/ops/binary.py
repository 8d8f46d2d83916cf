"""Elementwise operators of two operands, with NumPy's broadcasting (all since iOS 15)."""

from __future__ import annotations

import torch

from edgeexport.mil.memory import claim
from edgeexport.mil.table import Tensor, op


def broadcast(x: Tensor, y: Tensor) -> None:
    """See that the result of broadcasting may be allocated."""
    if x.shape != y.shape:
        claim(torch.broadcast_shapes(x.shape, y.shape))  # type: ignore[no-untyped-call]


def truncated(x: Tensor, y: Tensor) -> Tensor:
    """The quotient of integers rounded towards zero.

    The least integer by -1 has none, wraps around to itself, and would end the process as processors divide.
    """
    opposite = y == -1
    quotient = torch.div(x, torch.where(opposite, torch.ones_like(y), y), rounding_mode="trunc")
    return torch.where(opposite, -x, quotient)


@op("add")
def add(x: Tensor, y: Tensor) -> Tensor:
    """x + y."""
    broadcast(x, y)
    return x + y


@op("sub")
def sub(x: Tensor, y: Tensor) -> Tensor:
    """x - y."""
    broadcast(x, y)
    return x - y


@op("mul")
def mul(x: Tensor, y: Tensor) -> Tensor:
    """x · y."""
    broadcast(x, y)
    return x * y


@op("real_div")
def real_div(x: Tensor, y: Tensor) -> Tensor:
    """x / y; integers give the quotient rounded towards zero, as the integer result type has it."""
    broadcast(x, y)
    return x / y if x.is_floating_point() else truncated(x, y)


@op("floor_div")
def floor_div(x: Tensor, y: Tensor) -> Tensor:
    """The quotient rounded down."""
    broadcast(x, y)
    return torch.div(x, y, rounding_mode="floor")


@op("mod")
def mod(x: Tensor, y: Tensor) -> Tensor:
    """The remainder, with the sign of y."""
    broadcast(x, y)
    return torch.remainder(x, y)


@op("pow")
def power(x: Tensor, y: Tensor) -> Tensor:
    """x to the power of y."""
    broadcast(x, y)
    return torch.pow(x, y)


@op("maximum")
def maximum(x: Tensor, y: Tensor) -> Tensor:
    """The larger."""
    broadcast(x, y)
    return torch.maximum(x, y)


@op("minimum")
def minimum(x: Tensor, y: Tensor) -> Tensor:
    """The smaller."""
    broadcast(x, y)
    return torch.minimum(x, y)


@op("equal")
def equal(x: Tensor, y: Tensor) -> Tensor:
    """x = y."""
    broadcast(x, y)
    return x == y


@op("not_equal")
def not_equal(x: Tensor, y: Tensor) -> Tensor:
    """x ≠ y."""
    broadcast(x, y)
    return x != y


@op("greater")
def greater(x: Tensor, y: Tensor) -> Tensor:
    """x > y."""
    broadcast(x, y)
    return x > y


@op("greater_equal")
def greater_equal(x: Tensor, y: Tensor) -> Tensor:
    """x ≥ y."""
    broadcast(x, y)
    return x >= y


@op("less")
def less(x: Tensor, y: Tensor) -> Tensor:
    """x < y."""
    broadcast(x, y)
    return x < y


@op("less_equal")
def less_equal(x: Tensor, y: Tensor) -> Tensor:
    """x ≤ y."""
    broadcast(x, y)
    return x <= y


@op("logical_and")
def logical_and(x: Tensor, y: Tensor) -> Tensor:
    """Both."""
    broadcast(x, y)
    return torch.logical_and(x, y)


@op("logical_or")
def logical_or(x: Tensor, y: Tensor) -> Tensor:
    """One or both."""
    broadcast(x, y)
    return torch.logical_or(x, y)


@op("logical_xor")
def logical_xor(x: Tensor, y: Tensor) -> Tensor:
    """One and not both."""
    broadcast(x, y)
    return torch.logical_xor(x, y)
