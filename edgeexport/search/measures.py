"""By what a search compares trials, and what it adds up over layers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from edgeexport.analysis import Trial

MOST_NOISE = 1e6
"""Of a trial that failed."""
_LEAST = 1e-3
"""A limit of nothing counts as this where shares of it are taken."""


@dataclass(frozen=True)
class Bounds:
    """What a family's settings hold artifacts to; None is no bound.

    Attributes:
        bytes_by, latency_by: which setting bounds them and who set it, as ``limits.size_ratio (target desktop-x86)``.
    """

    bytes: float | None
    latency_ratio: float | None
    drop: float | None = None
    bytes_by: str = "a limit"
    latency_by: str = "a limit"


def excess(trial: Trial, bounds: Bounds) -> float:
    """How far a trial is beyond its limits, each as a share of it; infinite where its drop is not known."""
    if trial.drop is None:
        return math.inf
    pairs = (
        (trial.drop, bounds.drop),
        (trial.artifact_bytes, bounds.bytes),
        (trial.latency_ratio, bounds.latency_ratio),
    )
    return sum(
        max(0.0, (value - limit) / max(limit, _LEAST))
        for value, limit in pairs
        if value is not None and limit is not None
    )


def quality(trial: Trial) -> tuple[float, float]:
    """By what settings of one precision are compared: signal-to-noise, or a metric of real numbers, which says more.

    Accuracy moves by whole samples and tells little; R² and cosine move with every output, and weigh them as the task
    does.
    """
    if trial.artifact_bytes is None:
        return -math.inf, -math.inf
    snr = math.inf if trial.snr_db is None else trial.snr_db
    return (snr, snr) if _in_classes(trial) else (-(trial.drop or 0.0), snr)


def power(trial: Trial) -> float:
    """Noise over signal, or the drop of a metric of real numbers; both about add up over layers.

    Without a signal-to-noise ratio there was no noise; a failed trial is as noisy as can be.
    """
    if trial.artifact_bytes is None:
        return MOST_NOISE
    if not _in_classes(trial):
        return max(trial.drop or 0.0, 0.0)
    return 0.0 if trial.snr_db is None else float(10 ** (-trial.snr_db / 10))


def _in_classes(trial: Trial) -> bool:
    return trial.unlike is not None or trial.drop is None


def together(powers: Iterable[float]) -> float:
    """Their sum, without those of failed trials: nothing is known of these, and shares of them would hide the rest."""
    return sum(power for power in powers if power < MOST_NOISE)
