"""Which unit gets which precision: an integer program over noise, bytes and time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Choice:
    """One precision of one unit.

    Attributes:
        noise: power of the error at the model's outputs, over the outputs' own; what units add is taken to add up.
        bytes: of the weights.
        time: share of the float32 model's latency.
    """

    noise: float
    bytes: int
    time: float


@dataclass(frozen=True)
class Allocation:
    """The cheapest choice for every unit.

    Attributes:
        precisions: by the unit's path.
        noise, bytes, time: of all units together.
    """

    precisions: Mapping[str, str]
    noise: float
    bytes: int
    time: float


def allocate(
    units: Mapping[str, Mapping[str, Choice]],
    noise: float | None,
    *,
    weight_of_bytes: float,
    most_bytes: float | None = None,
    most_time: float | None = None,
) -> Allocation | None:
    """Minimise time and bytes under bounds, by ``scipy.optimize.milp``.

    Args:
        units: for each unit's path, its choices by precision.
        noise: the sum of noise, at most; None asks for the least that the other bounds allow.
        weight_of_bytes: what a byte counts beside a share of latency.
        most_bytes, most_time: bounds on the sums; None is no bound.

    Returns:
        None where no allocation keeps the bounds.
    """
    import numpy as np
    from scipy.optimize import Bounds, LinearConstraint, milp  # type: ignore[import-untyped, unused-ignore]

    names = [(path, precision) for path, choices in units.items() for precision in choices]
    picked = [units[path][precision] for path, precision in names]
    if not names:
        return Allocation({}, 0.0, 0, 0.0)
    noises, sizes, times = (np.array([getattr(choice, key) for choice in picked]) for key in ("noise", "bytes", "time"))
    one_each = np.array([[path == name for name, _ in names] for path in units], float)
    constraints = [LinearConstraint(one_each, 1, 1)]
    allowed = np.ones(len(names))
    for values, bound in ((noises, noise), (sizes, most_bytes), (times, most_time)):
        if bound is not None:
            # The solver's tolerances are absolute: what alone is beyond a bound must not set the scale of the others.
            over = values > bound
            allowed[over] = 0
            within = np.where(over, 0.0, values)
            scale = max(float(np.abs(within).max()), abs(bound), 1e-300)
            constraints.append(LinearConstraint(within / scale, -np.inf, bound / scale))
    heard = noises * allowed
    spent, loud = times + weight_of_bytes * sizes, heard / max(float(heard.max()), 1e-300)
    # The other one decides between equals, so that the answer does not hang on the solver's order.
    cost = loud + 1e-6 * spent if noise is None else spent + 1e-6 * loud
    found = milp(
        cost,
        constraints=constraints,
        integrality=np.ones(len(names)),
        bounds=Bounds(0, allowed),
        options={"mip_rel_gap": 0.0},
    )
    if found.x is None:
        return None
    chosen = [number for number, share in enumerate(found.x) if share > 0.5]
    return Allocation(
        precisions=_precisions(names, chosen),
        noise=float(noises[chosen].sum()),
        bytes=int(sizes[chosen].sum()),
        time=float(times[chosen].sum()),
    )


def _precisions(names: Sequence[tuple[str, str]], chosen: Sequence[int]) -> dict[str, str]:
    return {names[number][0]: names[number][1] for number in chosen}
