"""Channels whose scales are bound to each other: a union-find over them, with signs."""

from __future__ import annotations

import numpy as np

ZERO = 0
"""The channel of a value that is always zero, such as padding: every scale leaves it as it is."""


class Channels:
    """Numbered channels, each with an unknown positive scale.

    Two channels may be tied to the same scale or to inverse ones; a channel may be fixed to a scale of 1, for a reason.
    In logarithms a scale is ±1 times that of the channel's root, and 0 where the root is fixed.
    """

    def __init__(self) -> None:
        self._parent = np.zeros(1, np.int64)
        self._sign = np.ones(1, np.int64)
        self._reasons: dict[str, int] = {}
        self._fixed = {ZERO}
        self._names: dict[int, str] = {ZERO: "zero"}

    def __len__(self) -> int:
        return len(self._parent)

    def fresh(self, count: int) -> np.ndarray:
        """Numbers of ``count`` new channels: int64 [count]."""
        first = len(self._parent)
        numbers = np.arange(first, first + count, dtype=np.int64)
        self._parent = np.concatenate([self._parent, numbers])
        self._sign = np.concatenate([self._sign, np.ones(count, np.int64)])
        return numbers

    def constant(self, reason: str) -> int:
        """The channel that is fixed for this reason."""
        if reason not in self._reasons:
            number = int(self.fresh(1)[0])
            self._reasons[reason] = number
            self._fixed.add(number)
            self._names[number] = reason
        return self._reasons[reason]

    def find(self, channels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Roots and signs, of the same shape as ``channels``."""
        roots, signs = self._parent[channels], self._sign[channels]
        while not np.array_equal(upper := self._parent[roots], roots):
            signs, roots = signs * self._sign[roots], upper
        self._parent[channels], self._sign[channels] = roots, signs
        return roots, signs

    def free(self, channels: np.ndarray) -> np.ndarray:
        """Which of them may have another scale than 1: bool, of the same shape."""
        return ~np.isin(self.find(channels)[0], list(self._fixed))

    def reason(self, channel: int) -> str:
        """Why a channel is fixed."""
        return self._names[int(self.find(np.asarray([channel]))[0][0])]

    def tie(self, first: np.ndarray, second: np.ndarray, sign: int = 1) -> None:
        """Give each channel of ``first`` the scale of its partner in ``second``, or with a sign of −1 its inverse.

        A channel tied to its own inverse is fixed.
        """
        left, right = _compact(*np.broadcast_arrays(first, second))
        differ = (left != ZERO) & (right != ZERO)
        if sign == 1:
            differ &= left != right
        pairs = np.unique(left[differ] * len(self) + right[differ])  # one number a pair sorts ten times as fast
        (left, left_signs), (right, right_signs) = self.find(pairs // len(self)), self.find(pairs % len(self))
        edges = set(zip(left.tolist(), right.tolist(), (left_signs * right_signs * sign).tolist(), strict=True))
        for one, other, relation in sorted(edges):
            self._join(one, other, relation)

    def fix(self, channels: np.ndarray, reason: str) -> None:
        """Hold channels at a scale of 1; one that is held already keeps its reason."""
        self.tie(np.unique(channels), np.asarray(self.constant(reason)))

    def _join(self, one: int, other: int, relation: int) -> None:
        one, sign = self._root(one)
        other, other_sign = self._root(other)
        relation *= sign * other_sign
        if one == other:
            if relation == -1 and one not in self._fixed:
                self._hang(one, self.constant("tied to its own inverse"), 1)
        elif one not in self._fixed:
            self._hang(one, other, relation)
        elif other not in self._fixed:
            self._hang(other, one, relation)

    def _hang(self, root: int, under: int, sign: int) -> None:
        self._parent[root], self._sign[root] = under, sign

    def _root(self, channel: int) -> tuple[int, int]:
        sign = 1
        while (upper := int(self._parent[channel])) != channel:
            sign *= int(self._sign[channel])
            channel = upper
        return channel, sign


def _compact(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """Arrays of one shape, with a length of 1 on the axes along which all of them were broadcast."""
    steps = zip(*(array.strides for array in arrays), strict=True)
    first = tuple(slice(0, 1) if not any(step) else slice(None) for step in steps)
    return tuple(array[first] for array in arrays)
