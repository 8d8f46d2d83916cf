"""How much memory an evaluation may take: asked before anything is allocated whose size a program decides."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

from edgeexport.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULT_BYTES = 4 << 30
"""The largest tensor allowed where nothing else is said: one an order above any that a phone holds."""

OBJECT = 512
"""About what a tensor takes beside its elements, where a program decides how many there are."""

_TOGETHER = 4
"""How many tensors of the largest size all values of a program that are alive may come to."""

_limit: ContextVar[int] = ContextVar("largest tensor, in bytes", default=DEFAULT_BYTES)


@contextmanager
def limited(largest: int) -> Iterator[None]:
    """Allow tensors of ``largest`` bytes within."""
    token = _limit.set(largest)
    try:
        yield
    finally:
        _limit.reset(token)


def together() -> int:
    """Bytes that all values of a program that are alive may take."""
    return _TOGETHER * _limit.get()


def claim(shape: Iterable[int], itemsize: int = 4) -> None:
    """See that a tensor may be allocated; every operator whose result can outgrow its operands asks first.

    A dimension of 0 counts as one of 1: a tensor without elements may still be taken apart along another dimension.

    Raises:
        ModelError: it is larger than allowed, or a dimension is negative.
    """
    sizes = list(shape)
    count = itemsize
    for size in sizes:
        if size < 0:
            raise ModelError(f"a tensor would have the negative dimension {size}")
        count *= max(size, 1)
    limit = _limit.get()
    if count > limit:
        raise ModelError(f"a tensor of shape {sizes} would take {count / 1e9:.3g} GB; {limit / 1e9:.3g} GB are allowed")
