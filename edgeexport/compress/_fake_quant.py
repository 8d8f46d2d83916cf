"""Rounding to a target's integers within a float32 forward, with gradients that pass through it.

The forward gives ``(clamp(round(x / s) + z) − z) s`` (Jacob et al., arXiv:1712.05877); the gradient of ``x`` is that of
the identity within the range and zero outside. With learned ranges, scale and zero point are trained too: step sizes
as in LSQ (Esser et al., arXiv:1902.08153), offsets as in LSQ+ (Bhalgat et al., arXiv:2004.09576).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torchao.quantization.pt2e.fake_quantize import FakeQuantizeBase

from edgeexport.ranges import Histogram, Interval, Range, least_error_range, percentile_range, spanning_zero

if TYPE_CHECKING:
    from edgeexport.settings import Calibration

Mode = Literal["float", "extremes", "histogram", "rounded"]
INTEGERS = {"int8": (-128, 127), "uint8": (0, 255)}
_ENOUGH = 1 << 16
_LEAST_SCALE = float(np.finfo(np.float32).tiny)


def steps(interval: Interval, least: int, most: int) -> tuple[float, int]:
    """Scale and zero point of even steps over an interval widened to hold zero, which is represented exactly."""
    low, high = spanning_zero(interval)
    scale = float(np.float32(max((high - low) / (most - least), _LEAST_SCALE)))
    return scale, int(np.clip(np.rint(least - low / scale), least, most))


def prominence(x: torch.Tensor) -> torch.Tensor:
    """How far a few values stand out of the rest: ``log(‖x‖₈² / ‖x‖₁²)`` of power means, which has no unit.

    Normally distributed values have about 1.6. A kurtosis (arXiv:2002.07686) hardly moves any more where the outliers
    are most of the energy, as they are in the residual of a Transformer; the mean magnitude is still that of the rest.
    """
    # Over the largest: eighth powers of what has been squared before are beyond float32.
    scaled = torch.abs(x) / torch.amax(torch.abs(x.detach())).clamp_min(_LEAST_SCALE)
    eighth = torch.mean(torch.square(torch.square(torch.square(scaled))))
    return torch.log(eighth + _LEAST_SCALE) / 4 - 2 * torch.log(torch.mean(scaled) + _LEAST_SCALE)


class ActivationSteps(FakeQuantizeBase):  # type: ignore[misc]
    """Rounds an activation: asymmetric, one scale.

    Attributes:
        mode: ``float`` passes values through; ``extremes`` and ``histogram`` too, and observe them; ``rounded`` rounds.
        fixed: a range that the format fixes, or None.
        masked: values below this are left as they are; None rounds all. An attention mask is far below every score,
            and takes part in a range only where calibration samples are padded.
        learned: whether scale and zero point are trained.
        pressed: whether :attr:`peak` is taken at each forward that has gradients.
        peak: how far values stand out, see :func:`prominence`.
    """

    pressed = False
    peak: torch.Tensor | None = None

    def __init__(
        self,
        *,
        dtype: torch.dtype,
        quant_min: int,
        quant_max: int,
        fixed: Interval | None = None,
        masked: float | None = None,
        learned: bool = False,
        **_unused: Any,
    ) -> None:
        super().__init__()
        self.dtype, self.quant_min, self.quant_max = dtype, quant_min, quant_max
        self.fixed, self.masked = fixed, masked
        self.learned = learned and fixed is None
        self.mode: Mode = "float"
        self.seen = Range()
        self.histogram: Histogram | None = None
        self.scale = torch.nn.Parameter(torch.ones(1), requires_grad=self.learned)
        self.zero_point = torch.nn.Parameter(torch.zeros(1), requires_grad=self.learned)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x`` by the mode."""
        if self.pressed and x.requires_grad:
            self.peak = prominence(x)
        if self.mode == "rounded":
            rounded = self._round(x)
            return rounded if self.masked is None else torch.where(x < self.masked, x, rounded)
        if self.mode == "extremes":
            self._observe(x.detach())
        elif self.mode == "histogram" and self.histogram is not None:
            self._count(x.detach(), self.histogram)
        return x

    def set_range(self, interval: Interval) -> None:
        """Span this interval."""
        scale, zero = steps(self.fixed or interval, self.quant_min, self.quant_max)
        with torch.no_grad():
            self.scale.fill_(scale)
            self.zero_point.fill_(zero)

    def start_histogram(self, bins: int) -> None:
        """Count values in so many bins over the extremes that were seen."""
        self.histogram = Histogram(self.seen.low, self.seen.high, np.zeros(bins, np.int64))

    def found(self, calibration: Calibration) -> Interval:
        """The range by the calibration's method, from what was observed."""
        if self.histogram is None:
            return self.seen.low, self.seen.high
        if calibration.method == "percentile":
            return percentile_range(self.histogram, calibration.percentile)
        return least_error_range(self.histogram)

    @property
    def interval(self) -> Interval:
        """The range that the integers span."""
        scale, zero = float(self.scale.detach()), round(float(self.zero_point.detach()))
        return (self.quant_min - zero) * scale, (self.quant_max - zero) * scale

    def calculate_qparams(self, **_unused: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Scale and zero point."""
        return self.scale.detach(), self.zero_point.detach().round().to(torch.int32)

    def _round(self, x: torch.Tensor) -> torch.Tensor:
        least, most = self.quant_min, self.quant_max
        if self.learned:
            gradient = 1 / math.sqrt(x.numel() * most) if most > 0 else 1.0
            return torch._fake_quantize_learnable_per_tensor_affine(
                x, self.scale, self.zero_point, least, most, gradient
            )
        zero = self.zero_point.detach().to(torch.int32)
        return torch.fake_quantize_per_tensor_affine(x, self.scale.detach(), zero, least, most)

    def _observe(self, x: torch.Tensor) -> None:
        low, high = torch.aminmax(x)
        some = _some(x).double()
        seen = self.seen
        seen.low, seen.high = min(seen.low, float(low)), max(seen.high, float(high))
        seen.squares += float(torch.dot(some, some))
        seen.count += some.numel()

    @staticmethod
    def _count(x: torch.Tensor, histogram: Histogram) -> None:
        bins = len(histogram.counts)
        low, high = histogram.low, max(histogram.high, math.nextafter(histogram.low, math.inf))
        counts = torch.histc(_some(x).float(), bins, low, high)
        histogram.counts += counts.cpu().numpy().astype(np.int64)


def _some(x: torch.Tensor) -> torch.Tensor:
    """Values spread evenly over a large tensor: what a histogram of tens of thousands shows, more do not change."""
    flat = x.reshape(-1)
    return flat[:: max(1, flat.numel() // _ENOUGH) | 1]


class _Through(torch.autograd.Function):
    """Rounds to whole steps of a scale, with the gradient of the identity.

    torch's own operator for one scale a channel reads a value back from the GPU, which a recorded pass cannot do.
    """

    @staticmethod
    def forward(_context: Any, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return torch.round(x / scale) * scale

    @staticmethod
    def backward(_context: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradients[0], None


def _rounded(x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    through: Any = _Through
    rounded: torch.Tensor = through.apply(x, scale)
    return rounded


class WeightSteps(FakeQuantizeBase):  # type: ignore[misc]
    """Rounds a weight: symmetric, in ``±quant_max`` steps of its largest magnitude now, one scale a channel or in all.

    Attributes:
        axis: of channels; None for one scale.
        mode: ``rounded``, or any other to pass the weight through.
    """

    def __init__(
        self, dtype: torch.dtype, quant_min: int, quant_max: int, axis: int | None = None, **_unused: Any
    ) -> None:
        super().__init__()
        self.dtype, self.quant_min, self.quant_max, self.axis = dtype, quant_min, quant_max, axis
        self.mode: Mode = "float"
        self.learned = False
        self.scale = torch.ones(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x`` by the mode."""
        if self.mode != "rounded":
            return x
        values = x.detach().abs()
        others = [other for other in range(x.ndim) if other != self.axis]
        self.scale = (values.amax(others) / self.quant_max).clamp_min(_LEAST_SCALE).reshape(-1)
        return _rounded(x, self.scale.view([-1 if other == self.axis else 1 for other in range(x.ndim)]))

    def calculate_qparams(self, **_unused: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Scale and zero point."""
        return self.scale, torch.zeros_like(self.scale, dtype=torch.int32)


class ConstantSteps(WeightSteps):
    """Rounds a vector of parameters, such as a bias that is added: asymmetric, over its own extremes now."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x`` by the mode."""
        if self.mode != "rounded":
            return x
        low, high = torch.aminmax(x.detach())
        low, high = low.clamp(max=0), high.clamp(min=0)
        self.scale = ((high - low) / (self.quant_max - self.quant_min)).clamp_min(_LEAST_SCALE).reshape(1)
        zero = (self.quant_min - low / self.scale).round().clamp(self.quant_min, self.quant_max).to(torch.int32)
        return torch.fake_quantize_per_tensor_affine(x, self.scale, zero, self.quant_min, self.quant_max)


class TableSteps(WeightSteps):
    """Rounds rows looked up in an embedding table [..., columns], by one scale for each row or each column of it.

    A row's scale is its own; scales of columns are those of the whole table, which is too large to go through at every
    step: :meth:`look` takes them.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        # In a tuple, so that it is not kept as a parameter of this module too.
        self._table: tuple[torch.Tensor, ...] = ()
        self.columns: torch.Tensor | None = None

    def reads(self, table: torch.Tensor) -> None:
        """Say which table rows come from."""
        self._table = (table,)

    def look(self) -> None:
        """Take the scales of the table as it is now."""
        for table in self._table if self.axis != 0 else ():
            columns = [0] if self.axis == 1 else [0, 1]
            self.columns = (table.detach().abs().amax(columns) / self.quant_max).clamp_min(_LEAST_SCALE)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x`` by the mode."""
        if self.mode != "rounded":
            return x
        values, most = x.detach(), self.quant_max
        scale = self.columns
        if scale is None:
            scale = (values.abs().amax(-1, keepdim=True) / most).clamp_min(_LEAST_SCALE)
        rounded = torch.clamp(torch.round(values / scale), -most, most) * scale
        return x + (rounded - values)
