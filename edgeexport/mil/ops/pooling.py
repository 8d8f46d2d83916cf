"""Pooling over one, two or three spatial dimensions."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812

from edgeexport.mil.memory import claim
from edgeexport.mil.ops.convolution import flat, padding, per_dimension, spatial
from edgeexport.mil.table import Ints, Tensor, op

_AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
_MAXIMUM = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}


@op("avg_pool")
def avg_pool(
    x: Tensor,
    kernel_sizes: Ints,
    pad_type: str,
    *,
    strides: Ints | None = None,
    pad: Ints | None = None,
    ceil_mode: bool = False,
    exclude_padding_from_average: bool = False,
) -> Tensor:
    """The mean of each window; padding counts as zeros unless it is excluded."""
    window = _Window(x, kernel_sizes, strides=strides, pad_type=pad_type, pad=pad, ceil_mode=ceil_mode)
    if window.even and not window.beyond:
        pads = [before for before, _ in window.pads]
        included = not exclude_padding_from_average
        return _AVERAGE[window.rank](x, window.kernel, window.strides, pads, False, included)
    if not window.beyond and not exclude_padding_from_average:
        return window.mean(window.padded(x, 0.0))
    # How much of each window counts, from one image for all.
    ones = x.new_ones(1, 1, *x.shape[2:])
    if not exclude_padding_from_average:
        ones = F.pad(ones, flat(window.pads), value=1.0)
        share = window.mean(F.pad(ones, flat([(0, end) for end in window.ends])))
    else:
        share = window.mean(window.padded(ones, 0.0))
    return window.mean(window.padded(x, 0.0)) / share.clamp_(min=0.5 / math.prod(kernel_sizes))


@op("l2_pool")
def l2_pool(
    x: Tensor,
    kernel_sizes: Ints,
    pad_type: str,
    *,
    strides: Ints | None = None,
    pad: Ints | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """√Σx² over each window."""
    window = _Window(x, kernel_sizes, strides=strides, pad_type=pad_type, pad=pad, ceil_mode=ceil_mode)
    return (window.mean(window.padded(x * x, 0.0)) * math.prod(kernel_sizes)).sqrt_()


@op("max_pool")
def max_pool(
    x: Tensor,
    kernel_sizes: Ints,
    pad_type: str,
    *,
    strides: Ints | None = None,
    pad: Ints | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    """The largest element of each window; padding never is."""
    window = _Window(x, kernel_sizes, strides=strides, pad_type=pad_type, pad=pad, ceil_mode=ceil_mode)
    if window.even and not window.beyond:
        return _MAXIMUM[window.rank](x, kernel_sizes, window.strides, [before for before, _ in window.pads])
    return _MAXIMUM[window.rank](window.padded(x, -torch.inf), kernel_sizes, window.strides)


class _Window:
    """Where windows lie.

    Attributes:
        pads: elements before and after each spatial dimension.
        ends: further ones that windows reach into where the count of windows is rounded up.
        beyond: whether any reaches further.
        even: whether PyTorch can pad by itself: alike on both ends, by half a window at most.
    """

    def __init__(
        self, x: Tensor, kernel: Ints, *, strides: Ints | None, pad_type: str, pad: Ints | None, ceil_mode: bool
    ) -> None:
        self.rank = spatial(x, len(kernel) + 2)
        self.kernel = per_dimension(kernel, self.rank, "kernel_sizes")
        self.strides = per_dimension(strides, self.rank, "strides")
        self.pads = padding(pad_type, x.shape[2:], self.kernel, self.strides, pad)
        out, self.ends = [], []
        for size, k, s, (before, after) in zip(x.shape[2:], self.kernel, self.strides, self.pads, strict=True):
            free = size + before + after - k
            count = (free + (s - 1 if ceil_mode else 0)) // s + 1
            # A window that would begin in the padding behind is none.
            if ceil_mode and before + after > 0 and (count - 1) * s >= size + before:
                count -= 1
            out.append(count)
            self.ends.append(max((count - 1) * s - free, 0))
        padded = [n + sum(p) + e for n, p, e in zip(x.shape[2:], self.pads, self.ends, strict=True)]
        claim([*x.shape[:2], *padded])
        claim([*x.shape[:2], *out])
        self.pads_any = any(max(pair) for pair in self.pads)
        self.beyond = any(self.ends)
        self.even = all(a == b and 2 * a <= k for (a, b), k in zip(self.pads, self.kernel, strict=True))

    def padded(self, x: Tensor, value: float) -> Tensor:
        """x with the padding, and what windows reach beyond it."""
        if not self.pads_any and not self.beyond:
            return x
        pads = [(before, after + end) for (before, after), end in zip(self.pads, self.ends, strict=True)]
        return F.pad(x, flat(pads), value=value)

    def mean(self, x: Tensor) -> Tensor:
        """The mean of each window of a padded x."""
        return _AVERAGE[self.rank](x, self.kernel, self.strides)
