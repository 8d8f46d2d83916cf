"""What a search may try: whole-model schemes, and units of layers that can be left out of one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeexport.conversion import Layer
from edgeexport.merge import flatten, nest
from edgeexport.settings import STATIC

_MOST_UNITS = 48
_BITS = {"w4": 4, "w8": 8, "w8a8-dynamic": 8, "w8a8": 8, "w8a16": 8, "fp16": 16, "fp32": 32}
_STATIC_ONLY = ("calibration.method", "quantization.minimum_snr", "compress")
_INTEGER_ACTIVATIONS_ONLY = ("quantization.smoothing",)
_FLOAT_ACTIVATIONS = ("fp32", "fp16", "w8", "w4")


@dataclass(frozen=True)
class Unit:
    """Layers that get a precision together.

    Attributes:
        path: the module that they share.
        layers: in the order of execution.
    """

    path: str
    layers: tuple[Layer, ...]

    @property
    def weights(self) -> int:
        """How many weights they have."""
        return sum(layer.weights for layer in self.layers)

    @property
    def macs(self) -> int:
        """Multiplications by them."""
        return sum(layer.macs for layer in self.layers)

    @property
    def alternatives(self) -> tuple[str, ...]:
        """Precisions that its layers with weights may have instead, or all where none has any; the cheapest first."""
        first, *others = (layer.alternatives for layer in self._deciding())
        return tuple(precision for precision in first if all(precision in other for other in others))

    def overrides(self, precision: str, base: str) -> list[dict[str, str]]:
        """Overrides that give it a precision: what of it has no such form computes in float then.

        Args:
            precision: one of :attr:`alternatives`, or ``base``.
            base: what its layers have without overrides.
        """
        able = [layer for layer in self.layers if precision in (base, *layer.alternatives)]
        left = [layer for layer in self.layers if layer not in able]
        kinds = ((precision, able), ("fp32", left))
        return [{"precision": kind, "name": _pattern(layers)} for kind, layers in kinds if layers]

    def _deciding(self) -> tuple[Layer, ...]:
        return tuple(layer for layer in self.layers if layer.weights) or self.layers

    def others(self) -> str:
        """One that matches every layer but these."""
        return f"^(?!({'|'.join(re.escape(layer.name) for layer in self.layers)})$)"


def group(layers: Iterable[Layer]) -> list[Unit]:
    """Layers by module, in the order of execution; by ever larger modules where there would be too many units."""
    known = list(layers)
    depth = max((layer.path.count(".") + 1 for layer in known), default=1)
    while True:
        units: dict[str, list[Layer]] = {}
        for layer in known:
            units.setdefault(".".join(layer.path.split(".")[:depth]), []).append(layer)
        if len(units) <= _MOST_UNITS or depth == 1:
            return [Unit(path, tuple(found)) for path, found in units.items()]
        depth -= 1


def _pattern(layers: Iterable[Layer]) -> str:
    """A regular expression that an override matches these layers by, and no other."""
    return f"^({'|'.join(re.escape(layer.name) for layer in layers)})$"


def bytes_of(weights: int, precision: str) -> int:
    """Bytes of so many weights, their scales left out."""
    return weights * _BITS[precision] // 8


def computes_in_float(precision: str) -> bool:
    """Whether a layer of that precision multiplies floats, and takes the time of float32."""
    return precision in _FLOAT_ACTIVATIONS


def families(precisions: Sequence[str], asked: str, origin: str) -> list[str]:
    """The precisions to try: the one that somebody asked for, or all that the target executes."""
    if not origin.startswith("target"):
        return [asked]
    return [precision for precision in precisions if precision != "fp32"]


def variations(
    knobs: Mapping[str, Sequence[Any]], settings: Mapping[str, Any], origins: Mapping[str, str]
) -> list[tuple[str, dict[str, Any]]]:
    """One setting changed at a time, with a title each; those that somebody chose are left alone.

    Args:
        knobs: values worth trying, by dotted key.
        settings: as they are, nested.
        origins: see :class:`edgeexport.recipe.Recipe`.
    """
    current = flatten(settings)
    precision = str(settings["precision"])
    idle: tuple[str, ...] = () if precision in STATIC else _STATIC_ONLY
    if computes_in_float(precision):
        idle += _INTEGER_ACTIVATIONS_ONLY
    return [
        (f"{key.rpartition('.')[2]} {_named(value)}", nest(key, value))
        for key, values in knobs.items()
        if origins.get(key, "default").startswith(("target", "default")) and key not in idle
        for value in values
        if value != current.get(key)
    ]


def _named(value: Any) -> str:
    """For a title: the methods of stages, or the value itself."""
    return ", ".join(stage["method"] for stage in value) if isinstance(value, list) else str(value)
