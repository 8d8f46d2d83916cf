"""Distance between a runtime's outputs and the float32 source's, gathered one sample at a time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal

import msgspec
import numpy as np

from edgeexport.results import Parity


class ParityMeter:
    """Compares outputs sample by sample in constant memory.

    Args:
        classes: whether the last axis of the first output holds one score a class.
    """

    def __init__(self, classes: bool) -> None:
        self._classes = classes
        self._samples = 0
        self._cosines = 0.0
        self._cosine_min = 1.0
        self._max_abs = 0.0
        self._signal = 0.0
        self._noise = 0.0
        self._unlike = 0

    def add(self, reference: Mapping[str, np.ndarray], output: Mapping[str, np.ndarray]) -> None:
        """Compare one sample's outputs, by name. A NaN or infinity counts as cosine −1 and an unlike prediction."""
        expected = _flat(reference, list(reference))
        actual = _flat(output, list(reference))
        similarity = cosine(expected, actual)
        difference = np.abs(expected - actual)
        self._samples += 1
        self._cosines += similarity
        self._cosine_min = min(self._cosine_min, similarity)
        self._max_abs = max(self._max_abs, float(difference.max(initial=0.0)) if _finite(actual) else math.inf)
        self._signal += float(expected @ expected)
        self._noise += float(difference @ difference) if _finite(actual) else math.inf
        if self._classes:
            first = next(iter(reference))
            self._unlike += not same_class(reference[first], output[first])

    def result(self, over: Literal["evaluation", "golden"]) -> Parity:
        """The figures so far; at least one sample must have been added."""
        return Parity(
            cosine_mean=self._cosines / self._samples,
            cosine_min=self._cosine_min,
            max_abs=self._max_abs if math.isfinite(self._max_abs) else None,
            snr_db=self._snr(),
            agreement=1 - self._unlike / self._samples if self._classes else None,
            unlike=self._unlike if self._classes else None,
            samples=self._samples,
            over=over,
        )

    def _snr(self) -> float | None:
        if self._noise == 0 or self._signal == 0 or not math.isfinite(self._noise + self._signal):
            return None
        return 10 * math.log10(self._signal / self._noise)


class TokenParityMeter(ParityMeter):
    """Compares a language model's answers on texts: every likeliest token, and the logits after the last."""

    def __init__(self) -> None:
        super().__init__(classes=False)
        self._tokens = 0

    def add(self, reference: Mapping[str, np.ndarray], output: Mapping[str, np.ndarray]) -> None:
        """Compare one text's ``token`` and ``logits``."""
        super().add({"logits": reference["logits"]}, output)
        self._tokens += reference["token"].size
        self._unlike += int((reference["token"] != output["token"]).sum())

    def result(self, over: Literal["evaluation", "golden"]) -> Parity:
        """The figures so far; ``samples`` are tokens."""
        found = super().result(over)
        agreement = 1 - self._unlike / self._tokens
        return msgspec.structs.replace(found, agreement=agreement, unlike=self._unlike, samples=self._tokens)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Cosine similarity of two flat arrays; 1 where both are zero, −1 where one is not finite."""
    if not (_finite(a) and _finite(b)):
        return -1.0
    if not (a.any() and b.any()):
        return 1.0 if not a.any() and not b.any() else 0.0
    a, b = a / np.abs(a).max(), b / np.abs(b).max()  # squares of float64 outputs may overflow
    return float(np.clip(float(a @ b) / (np.linalg.norm(a) * np.linalg.norm(b)), -1.0, 1.0))


def same_class(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether both score arrays have their maximum at the same class, in every row."""
    if not (_finite(a) and _finite(b)):
        return False
    return bool(np.array_equal(a.argmax(-1), b.argmax(-1)))


def _flat(arrays: Mapping[str, np.ndarray], names: list[str]) -> np.ndarray:
    return np.concatenate([np.asarray(arrays[name], np.float64).ravel() for name in names])


def _finite(array: np.ndarray) -> bool:
    return bool(np.isfinite(array).all())
