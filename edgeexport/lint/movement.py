"""Ranges that have not settled."""

from __future__ import annotations

import math
from collections.abc import Iterator

from edgeexport.lint._movement import growth
from edgeexport.lint._rule import Found, rule
from edgeexport.lint._view import View

_INPUT = 0.5
_GROWTH, _SHARE, _LAYERS = 0.1, 0.15, 3
_LEAST = 32


@rule("input-range-moves")
def inputs(view: View) -> Iterator[Found]:
    """A range of the model's inputs that is half as wide again over all samples as over half of them."""
    seen = view.calibration
    for name, one in seen.inputs.items():
        if one.integers or len(one.lows) < _LEAST:
            continue
        moved = growth(one.lows, one.highs)
        if moved > _INPUT:
            reach = [max(abs(low), abs(high)) for low, high in zip(one.lows, one.highs, strict=True)]
            far = reach.index(max(reach))
            yield Found(
                "warning",
                f"the range of '{name}' is {_percent(moved)} wider over all {len(one.lows)} samples than over half of "
                f"them; {seen.names[far]} reaches from {one.lows[far]:.4g} to {one.highs[far]:.4g}",
                "Look at that sample; where it is right, add more like it.",
            )


@rule("activation-ranges-move", unless=("input-range-moves",))
def activations(view: View) -> Iterator[Found]:
    """Ranges inside the float32 model that are a tenth wider over all samples than over half, in 15 % of its layers."""
    moved = view.movement
    if moved is None or not moved.growth:
        return
    moving = [path for path, growth in moved.growth.items() if growth > _GROWTH]
    if len(moving) >= _LAYERS and len(moving) > _SHARE * len(moved.growth):
        worst = max(moving, key=lambda path: moved.growth[path])
        yield Found(
            "warning",
            f"the ranges of {len(moving)} of {len(moved.growth)} layers are over {_GROWTH:.0%} wider over "
            f"{moved.samples} samples than over half of them; most in {worst}: {_percent(moved.growth[worst])}",
            "Add samples until ranges stay, or use calibration.method=mse or percentile.",
        )


def _percent(growth: float) -> str:
    return f"{growth:.0%}" if math.isfinite(growth) else "infinitely"
