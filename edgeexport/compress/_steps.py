"""Weights on a grid of integers: scales of blocks, and GPTQ's rounding (Frantar et al., arXiv:2210.17323)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

_BATCH = 128
"""Columns whose errors reach the later ones in one product."""
_LEAST_CLIP = 0.7


@dataclass(frozen=True)
class Grid:
    """The integers of a block of weights.

    Attributes:
        bits: of each.
        signed_ends: see :class:`edgeexport.scheme.Scheme`.
    """

    bits: int
    signed_ends: bool

    @property
    def end(self) -> int:
        """The code of a block's largest weight."""
        return -(1 << (self.bits - 1)) if self.signed_ends else self.high

    @property
    def low(self) -> int:
        """The least code; narrow grids do not use the one below it, which a scale of the largest never gives."""
        return self.end if self.signed_ends else -self.end

    @property
    def high(self) -> int:
        """The greatest code."""
        return (1 << (self.bits - 1)) - 1

    def scales(self, weight: torch.Tensor, block: int, importance: torch.Tensor, clips: int) -> torch.Tensor:
        """The scale of each weight [outputs, inputs], the same along a block; never zero.

        Args:
            weight: [outputs, inputs].
            block: weights that share one; the last block of a row may be shorter.
            importance: [inputs], of squared errors.
            clips: how many scales below the one that reaches the largest weight are tried.
        """
        parts = []
        for start in range(0, weight.shape[1], block):
            part = weight[:, start : start + block]
            largest = part.gather(1, part.abs().argmax(1, keepdim=True))
            scale = (largest if self.signed_ends else largest.abs()) / self.end
            scale = torch.where(scale == 0, torch.ones_like(scale), scale)
            parts.append(self._clipped(part, scale, importance[start : start + block], clips).expand_as(part))
        return torch.cat(parts, 1)

    def round(self, weight: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        """The nearest weight on the grid."""
        return torch.round(weight / scale).clamp(self.low, self.high) * scale

    def pinned(self, weight: torch.Tensor, scale: torch.Tensor, block: int) -> torch.Tensor:
        """The end of the grid where a block has its largest weight, NaN elsewhere and in blocks of zeros.

        So the scale can be found again in what the other weights have become.
        """
        ends = torch.full_like(weight, torch.nan)
        for start in range(0, weight.shape[1], block):
            part = weight[:, start : start + block]
            where = part.abs().argmax(1, keepdim=True)
            largest = part.gather(1, where)
            end = self.end * scale[:, start : start + 1]
            if not self.signed_ends:
                end = end * largest.sign()
            ends[:, start : start + block].scatter_(1, where, torch.where(largest == 0, torch.nan, end))
        return ends

    def _clipped(self, part: torch.Tensor, scale: torch.Tensor, importance: torch.Tensor, clips: int) -> torch.Tensor:
        best, least = scale, ((self.round(part, scale) - part) ** 2 @ importance)[:, None]
        for number in range(1, clips + 1):
            tried = scale * (1 - (1 - _LEAST_CLIP) * number / clips)
            error = ((self.round(part, tried) - part) ** 2 @ importance)[:, None]
            best, least = torch.where(error < least, tried, best), torch.minimum(error, least)
        return best


def compensated(
    weight: torch.Tensor, hessian: torch.Tensor, grid: Grid, block: int, *, damping: float, clips: int
) -> torch.Tensor:
    """A layer's weight on the grid, with the least squared error of its output that rounding column by column gives.

    Columns are rounded in the order of their inputs' energy, and the error of each is made up for by those that
    follow. Scales are those of the weight as it was.

    Args:
        weight: [outputs, inputs].
        hessian: [inputs, inputs]: the sum of x xᵀ over the layer's inputs.
        grid: of the codes.
        block: inputs that share a scale.
        damping: of the mean of the diagonal, added to it.
        clips: see :meth:`Grid.scales`.

    Returns:
        The rounded weight, float32. Rounding it to the nearest again, with scales taken from it, leaves it as it is.
    """
    size = weight.shape[1]
    block = min(block, size) or size
    hessian = hessian.double()
    energy = hessian.diagonal()
    scale = grid.scales(weight, block, energy.float(), clips)
    pinned = grid.pinned(weight, scale, block)
    order = torch.argsort(energy, descending=True, stable=True)
    damped = hessian[order][:, order] + torch.eye(size, dtype=torch.double) * max(damping * float(energy.mean()), 1e-12)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    upper = torch.linalg.cholesky(inverse, upper=True).float()
    left, scale, pinned = weight[:, order].clone(), scale[:, order], pinned[:, order]
    for start in range(0, size, _BATCH):
        stop = min(start + _BATCH, size)
        errors = torch.zeros(len(weight), stop - start)
        for column in range(start, stop):
            value = grid.round(left[:, column], scale[:, column])
            value = torch.where(pinned[:, column].isnan(), value, pinned[:, column])
            error = (left[:, column] - value) / upper[column, column]
            left[:, column + 1 : stop] -= error[:, None] * upper[column, column + 1 : stop]
            left[:, column] = value
            errors[:, column - start] = error
        left[:, stop:] -= errors @ upper[start:stop, stop:]
    rounded = torch.empty_like(left)
    rounded[:, order] = left
    return rounded
