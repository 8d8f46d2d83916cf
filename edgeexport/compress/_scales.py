"""Choose the scales of channels by the ranges of what they multiply.

In logarithms the range of a channel in a tensor is r + σ L, with the channel's scale L and σ = ±1, and each tensor asks
for ranges as large as the largest R that it had. The least squares over a channel's tensors, with weights ω, have

    L = − Σ ω σ (r − R) / Σ ω

With an activation (ω = α) and the weights that read it (1 − α) this is SmoothQuant (Xiao et al., arXiv:2211.10438);
with a weight that makes the channel and one that reads it, cross-layer equalization (Nagel et al., arXiv:1906.04721);
with all three, both. Ranges of one kind count by their largest. A factor that all channels of a tensor share may differ
from the papers': no integer scheme sees it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from edgeexport.compress._channels import Channels
from edgeexport.compress._tracer import Traced

_LEAST = 1e-3
"""Of a tensor's largest range: a channel below it counts as this large, or scales would follow what is never there."""
_SWEEPS = 40
_SETTLED = 1e-3


@dataclass(frozen=True)
class Range:
    """One tensor's view of channels.

    Attributes:
        kind: ``made`` by a weight, ``folded`` where a norm does so behind it, ``read`` by a weight, or ``value``, an
            activation.
        name: of the weight.
        channels: [count].
        sizes: the largest magnitude of each, float64 [count].
        inverse: whether the scale divides what has the range.
    """

    kind: str
    name: str
    channels: np.ndarray
    sizes: np.ndarray
    inverse: bool


class Scales:
    """Logarithms of scales, found by :meth:`settle`.

    Args:
        traced: what may be scaled.
        state: the model's parameters and buffers.
        values: for each weight, the largest magnitude of each channel of its layer's input over all samples, float64
            [in]; a weight that has none counts without.
        alpha: see :mod:`edgeexport.stages`.
        cross_layer: likewise.
    """

    def __init__(
        self,
        traced: Traced,
        state: Mapping[str, torch.Tensor],
        values: Mapping[str, np.ndarray],
        alpha: float,
        cross_layer: bool,
    ) -> None:
        self._traced, self._state, self._values = traced, state, values
        self._alpha, self._cross_layer = alpha, cross_layer
        self._channels: Channels = traced.channels
        self._logarithms = np.zeros(len(self._channels))
        self._movable = self._find_movable()
        self._matrices = [name for name, edit in traced.edits.items() if edit.role == "layer" and self._moves(name)]
        # Those of the unscaled model: were they taken anew, a whole group's scale would drift from sweep to sweep.
        self._largest = {(one.kind, one.name): float(one.sizes.max(initial=0)) for one in self.ranges()}

    def settle(self) -> int:
        """Sweep until no scale moves by a thousandth; give the number of sweeps."""
        sweeps, largest = 0, np.inf
        while sweeps < _SWEEPS and largest >= _SETTLED:
            step = self._step()
            self._logarithms += step
            sweeps, largest = sweeps + 1, np.abs(step).max(initial=0)
        return sweeps

    def logarithm(self, channels: np.ndarray) -> np.ndarray:
        """Of the scales of channels, of the same shape."""
        roots, signs = self._channels.find(channels)
        found: np.ndarray = self._logarithms[roots] * signs
        return found

    def factor(self, name: str) -> np.ndarray:
        """What a parameter is multiplied by, float64, broadcastable to its shape."""
        edit = self._traced.edits[name]
        total = np.zeros(())
        for channels, sign in ((edit.gives, 1), (edit.takes, -1)):
            if channels is not None:
                total = total + sign * self.logarithm(channels)
        return np.exp(total)

    def ranges(self) -> Iterator[Range]:
        """Every tensor's view of its channels, as scaled so far."""
        norms = {folded.weight: norm for norm, folded in self._traced.folded.items()}
        for name in self._matrices:
            edit, weight = self._traced.edits[name], self._weight(name)
            for kind, channels in (("made", edit.gives), ("read", edit.takes)):
                if channels is not None:
                    yield Range(kind, name, channels.reshape(-1), _along(weight, channels), kind == "read")
            if edit.inputs is not None and name in self._values:
                sizes = self._values[name] * np.exp(self.logarithm(edit.inputs))
                yield Range("value", name, edit.inputs, sizes, False)
            norm = self._traced.edits.get(norms.get(name, ""))
            if norm is not None and norm.gives is not None:
                yield Range("folded", name, norm.gives, self._folded(norms[name], weight), False)

    def movable(self, channels: np.ndarray) -> np.ndarray:
        """Which channels can be scaled, if the samples allow: bool, of the same shape."""
        found: np.ndarray = self._movable[self._channels.find(channels)[0]]
        return found

    @property
    def moved(self) -> np.ndarray:
        """Roots of the channels that have been scaled."""
        return np.flatnonzero(self._logarithms)

    def _moves(self, name: str) -> bool:
        """Whether a channel of a weight can be scaled, or of the norm that is folded into it."""
        edits = [self._traced.edits[name]]
        edits += [self._traced.edits[norm] for norm, folded in self._traced.folded.items() if folded.weight == name]
        return any(side is not None and self.movable(side).any() for edit in edits for side in (edit.gives, edit.takes))

    def _weight(self, name: str) -> np.ndarray:
        return np.asarray(np.abs(self._state[name].double().numpy()) * self.factor(name))

    def _folded(self, norm: str, weight: np.ndarray) -> np.ndarray:
        """Ranges of a convolution's rows once the norm behind it is folded into them."""
        folded = self._traced.folded[norm]
        rows = weight.reshape(len(weight), -1).max(1)
        deviation = np.sqrt(self._state[folded.variance].double().numpy() + folded.epsilon)
        gain = np.abs(self._state[norm].double().numpy()) * self.factor(norm)
        return np.asarray(rows * gain / deviation)

    def _find_movable(self) -> np.ndarray:
        """Roots with a parameter on both sides: where there is one only, its output is never read."""
        sides = np.zeros((2, len(self._channels)), bool)
        for edit in self._traced.edits.values():
            for channels, inverse in ((edit.gives, 1), (edit.takes, -1)):
                if channels is not None:
                    roots, signs = self._channels.find(channels.reshape(-1))
                    sides[(signs * inverse < 0).astype(int), roots] = True
        return np.asarray(sides.all(0) & self._channels.free(np.arange(len(self._channels))))

    def _step(self) -> np.ndarray:
        count = len(self._channels)
        largest: dict[tuple[str, int], np.ndarray] = {}
        for one in self.ranges():
            most = self._largest[one.kind, one.name]
            if most == 0:
                continue
            roots, signs = self._channels.find(one.channels)
            sizes = np.log(np.maximum(one.sizes / most, _LEAST))
            kind = "made" if one.kind == "folded" else one.kind
            for sign in (1, -1):
                chosen = signs * (-1 if one.inverse else 1) == sign
                kept = largest.setdefault((kind, sign), np.full(count, -np.inf))
                np.maximum.at(kept, roots[chosen], sizes[chosen])
        seen = np.zeros(count, bool)
        for (kind, _), sizes in largest.items():
            seen |= (kind == "value") & np.isfinite(sizes)
        total, weights, terms = np.zeros(count), np.zeros(count), np.zeros(count, int)
        for (kind, sign), sizes in largest.items():
            there = np.isfinite(sizes)
            weight = np.where(there, self._importance(kind, seen), 0)
            total += weight * sign * np.where(there, sizes, 0)
            weights += weight
            terms += weight > 0
        usable = self._movable & (terms > 1)
        return np.where(usable, -total / np.where(usable, weights, 1), 0)

    def _importance(self, kind: str, seen: np.ndarray) -> np.ndarray:
        if kind == "value":
            return np.full(len(seen), self._alpha)
        if kind == "made" and not self._cross_layer:
            return np.zeros(len(seen))
        return np.where(seen, 1 - self._alpha, 1.0)


def _along(weight: np.ndarray, channels: np.ndarray) -> np.ndarray:
    """The largest of a weight's magnitudes for each of the channels that broadcast to its shape, flat."""
    axes = tuple(axis for axis, length in enumerate(channels.shape) if length == 1)
    return np.asarray(weight.max(axes, keepdims=True).reshape(-1))
