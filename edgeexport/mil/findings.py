"""Where values leave the range of float16: at the operator whose operands were still within it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch

from edgeexport.mil import table


@dataclass(frozen=True)
class Finding:
    """A result that left the range of float16, of operands that were within it.

    Attributes:
        op: the operator.
        output: the value's name.
        kind: ``overflow`` or ``nan``.
        count: elements that did, over all runs.
        largest: the largest magnitude before rounding; NaN where the result was.
    """

    op: str
    output: str
    kind: Literal["overflow", "nan"]
    count: int
    largest: float

    @property
    def where(self) -> str:
        """The operator and the value, for a report."""
        return f"{self.op} '{self.output}'"


class Findings:
    """Those of all runs of a program.

    Attributes:
        found: by the name of the value.
    """

    def __init__(self) -> None:
        self.found: dict[str, Finding] = {}

    def note(self, name: str, result: torch.Tensor, rounded: torch.Tensor, op: str, operands: Iterable[Any]) -> None:
        """Note a result that is not finite though every operand is, or NaN though no operand is."""
        # No sum of float16's values leaves float32's range, and what is not finite shows in it.
        if math.isfinite(float(rounded.sum())):
            return
        lost = ~torch.isfinite(rounded)
        nans = torch.isnan(rounded)
        nan = bool(nans.any())
        operands = tuple(operands)
        if not _each(operands, torch.isfinite):
            if not nan or not _each(operands, _no_nan):
                return
            lost = nans  # Infinities that were there before are not this operator's.
        count = int(lost.sum())
        largest = float("nan") if nan else float(result.abs().max())
        known = self.found.get(name)
        if known is not None:
            count += known.count
            nan = nan or known.kind == "nan"
            largest = largest + known.largest if nan else max(largest, known.largest)  # NaN where either is
        self.found[name] = Finding(op, name, "nan" if nan else "overflow", count, largest)


def _each(argument: Any, holds: Callable[[torch.Tensor], torch.Tensor]) -> bool:
    """Whether it holds of all real numbers in an argument, which may be several values, a list, or states."""
    if isinstance(argument, torch.Tensor):
        return not argument.is_floating_point() or bool(holds(argument).all())
    if isinstance(argument, table.Call):
        return _each(tuple(argument.state.values()), holds)
    parts = argument if isinstance(argument, tuple) else getattr(argument, "elements", ())
    return all(_each(part, holds) for part in parts)


def _no_nan(values: torch.Tensor) -> torch.Tensor:
    return ~torch.isnan(values)
