"""By what a search compares trials, and what it adds up over layers."""

from __future__ import annotations

import math
from collections.abc import Iterable

from edgeexport.analysis import Trial

MOST_NOISE = 1e6
"""Of a trial that failed."""


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
