"""Golden inputs through the model here, against the outputs of the float32 source that travel in the bundle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from bundle import Bundle
from engine import Engine

COSINE = 0.95
"""Over all golden outputs as one vector. Integer models have above 0.99; inputs in a wrong order, a wrong layout or a
runtime that computes something else are far below."""


@dataclass(frozen=True)
class SelfTest:
    """What a self-test found.

    Attributes:
        samples: how many golden samples there are.
        unlike: how many are predicted unlike the float32 source; 0 where the model has no classes.
        cosine: the least of the outputs' cosines, each over all samples as one vector.
        difference: the greatest between two values.
    """

    samples: int
    unlike: int
    cosine: float
    difference: float

    @property
    def passed(self) -> bool:
        """Near enough to float32; one sample in eight may fall on the other side of a close decision."""
        return self.samples > 0 and self.unlike <= self.samples // 8 and self.cosine >= COSINE

    def __str__(self) -> str:
        verdict = "PASS" if self.passed else "FAIL"
        return (
            f"{verdict}: {self.samples} golden samples, {self.unlike} predicted unlike float32, "
            f"cosine {self.cosine:.4f}, greatest difference {self.difference:.4g}"
        )


def self_test(bundle: Bundle, engine: Engine) -> SelfTest:
    """Run every golden sample; the first output's largest value is the prediction of a classifier."""
    classifier = bundle.manifest["task"] == "classification"
    first = next(iter(bundle.specs("outputs")))
    count = unlike = 0
    expected: dict[str, list[np.ndarray]] = {}
    found: dict[str, list[np.ndarray]] = {}
    for inputs, wanted in zip(bundle.golden("inputs"), bundle.golden("outputs"), strict=True):
        outputs = engine.run_raw(inputs)
        count += 1
        unlike += int(classifier and int(outputs[first].argmax()) != int(wanted[first].argmax()))
        for name, array in wanted.items():
            expected.setdefault(name, []).append(array.ravel().astype(np.float64))
            found.setdefault(name, []).append(outputs[name].ravel().astype(np.float64))
    pairs = [(np.concatenate(expected[name]), np.concatenate(found[name])) for name in expected]
    return SelfTest(
        count,
        unlike,
        min((_cosine(a, b) for a, b in pairs), default=0.0),
        max((float(np.abs(a - b).max(initial=0)) for a, b in pairs), default=float("inf")),
    )


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Between two vectors; 0 where the second is not finite, so that NaN never passes."""
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norms if norms > 0 and np.isfinite(norms) else 0.0
