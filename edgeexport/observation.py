"""Which values of a float32 and a quantized artifact are compared, and what a format gives for it.

A format writes both artifacts once more with the same inner values as outputs, matched by name; they run like any
other model, on any device.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Grid:
    """The even steps that a tensor's integers stand for: ``real = scale * (integer - zero_point)``.

    Attributes:
        least, most: integers of the type.
    """

    scale: float
    zero_point: int
    least: int
    most: int

    @property
    def low(self) -> float:
        """The least number that is represented."""
        return self.scale * (self.least - self.zero_point)

    @property
    def high(self) -> float:
        """The largest one."""
        return self.scale * (self.most - self.zero_point)

    def real(self, integers: np.ndarray) -> np.ndarray:
        """What integers stand for, in float64."""
        import numpy as np

        return (integers.astype(np.float64) - self.zero_point) * self.scale

    def clips(self, values: np.ndarray) -> np.ndarray:
        """Which real values lie beyond the range by more than rounding, half a step."""
        half = self.scale / 2
        clipped: np.ndarray = (values < self.low - half) | (values > self.high + half)
        return clipped


@dataclass(frozen=True)
class Step:
    """One float value that the float32 artifact computes, in the order of execution.

    Attributes:
        value: its name there.
        path: the module in the source where that is known, else the operator's name.
        operator: by the format's own name.
        reads: names of the values that it is computed from, constants left out.
        weighted: whether the operator has a constant weight or table.
        moves: whether the operator gives the same numbers in another order or shape, or some of them.
        axis: of its channels; the second of images, else the last.
    """

    value: str
    path: str
    operator: str
    reads: tuple[str, ...]
    weighted: bool
    moves: bool
    axis: int = -1


@dataclass(frozen=True)
class Held:
    """How the quantized artifact holds a value.

    Attributes:
        output: the tensor in the quantized artifact that shows it.
        plain: whether it is float32, as in the float32 artifact.
        grid: of integers, also where ``output`` is what they stand for; None of floats.
        integers: whether ``output`` holds integers.
    """

    output: str
    plain: bool
    grid: Grid | None = None
    integers: bool = False


@dataclass(frozen=True)
class Layer:
    """One value that is compared.

    Attributes:
        path, operator, axis: see :class:`Step`.
        reference: the output of the observed float32 artifact that has it.
        output: that of the observed quantized one.
        reads: which layers before this one it is computed from, by their places; none of what reads inputs alone.
        own: whether the quantized artifact computes it otherwise than the float32 one does, so that an error may
            begin here; what is not only passes on, or amplifies, the errors of what it reads.
        grid, integers: see :class:`Held`.
    """

    path: str
    operator: str
    reference: str
    output: str
    reads: tuple[int, ...]
    own: bool
    grid: Grid | None
    integers: bool
    axis: int = -1


@dataclass(frozen=True)
class Observed:
    """Both artifacts with inner values as further outputs.

    Attributes:
        float32, quantized: as written.
        layers: in the order of execution.
        left_out: how many more there would be.
    """

    float32: Path
    quantized: Path
    layers: tuple[Layer, ...]
    left_out: int


class Observing(Protocol):
    """Writes both artifacts with the same inner values as outputs: ``observe`` of a format's module ``observed``."""

    def __call__(self, float32: Path, quantized: Path, folder: Path, most: int) -> Observed:
        """Write them.

        Args:
            float32: as :meth:`edgeexport.conversion.Format.baseline` wrote it.
            quantized: made from it.
            folder: where to write; empty.
            most: values to show at most; those of operators with weights first.

        Raises:
            ModelError: one of them is damaged, or they have no inner value in common.
        """


def choose(steps: Iterable[Step], held: Mapping[str, Held], most: int) -> tuple[list[Layer], int]:
    """The values to compare, and how many are left out.

    Those are compared in which an error may begin (an operator with weights, or a result that is not float32 in the
    quantized artifact), and what these read.

    Args:
        steps: of the float32 artifact, in order.
        held: of the values that the quantized artifact has too.
        most: values at most; with weights first, then in order.
    """
    merged = _merged(list(steps), held)
    by_value = {step.value: step for step in merged}
    shown = [step for step in merged if step.value in held and not step.moves]
    own = [step for step in shown if step.weighted or not held[step.value].plain]
    read = {name for step in own for name in _sources(step, by_value, set(held))}
    able = own + [step for step in shown if step.value in read and step not in own]
    ranked = sorted(able, key=lambda step: (not step.weighted, held[step.value].plain))
    chosen = {step.value for step in ranked[:most]}
    places: dict[str, int] = {}
    layers: list[Layer] = []
    for step in merged:
        if step.value in chosen:
            found = held[step.value]
            reads = tuple(sorted(places[name] for name in _sources(step, by_value, chosen)))
            places[step.value] = len(layers)
            layers.append(
                Layer(
                    path=step.path,
                    operator=step.operator,
                    reference=step.value,
                    output=found.output,
                    reads=reads,
                    own=step.weighted or not found.plain,
                    grid=found.grid,
                    integers=found.integers,
                    axis=step.axis,
                )
            )
    return layers, len(able) - len(layers)


def _merged(steps: list[Step], held: Mapping[str, Held]) -> list[Step]:
    """Steps under the name of the layer that they were fused into.

    A quantizer folds a normalization or an activation into the layer before it: the layer's own result is gone, and
    what followed has the layer's error.
    """
    readers: dict[str, int] = {}
    for step in steps:
        for name in set(step.reads):
            readers[name] = readers.get(name, 0) + 1
    found: dict[str, Step] = {}
    for step in steps:
        taken = step
        if len(set(step.reads)) == 1 and not step.weighted:
            before = found.get(step.reads[0])
            if before is not None and before.weighted and before.value not in held and readers[before.value] == 1:
                taken = replace(before, value=step.value)
        found[step.value] = taken
    return list(found.values())


def _sources(step: Step, by_value: Mapping[str, Step], known: set[str]) -> list[str]:
    """The nearest values among ``known`` that a step is computed from, through those that are not."""
    found: dict[str, None] = {}
    pending, seen = list(step.reads), set(step.reads)
    while pending:
        name = pending.pop(0)
        before = by_value.get(name)
        if before is None:
            continue
        if name in known and not before.moves:
            found[name] = None
            continue
        fresh = [other for other in before.reads if other not in seen]
        seen.update(fresh)
        pending += fresh
    return list(found)
