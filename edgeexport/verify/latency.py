"""Latency, only ever as a comparison of two models timed in turn in one run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeexport.results import Conditions, Latency

_NS_PER_MS = 1e6


def summarize(
    model_ns: Sequence[int],
    float32_ns: Sequence[int],
    threads: int,
    conditions: Sequence[Conditions] = (),
    energy_j: Sequence[float] = (),
) -> Latency:
    """Medians and 90th percentiles, in milliseconds, of nanosecond timings taken in turn.

    Args:
        model_ns, float32_ns: of the two models.
        threads: intra-op.
        conditions: before and after, or nothing.
        energy_j: joules a sample of the two models, or nothing.
    """
    before, after = conditions if len(conditions) == 2 else (None, None)
    joules, float32_joules = energy_j if len(energy_j) == 2 else (None, None)
    model, reference = np.asarray(model_ns) / _NS_PER_MS, np.asarray(float32_ns) / _NS_PER_MS
    return Latency(
        p50=float(np.median(model)),
        p90=float(np.percentile(model, 90)),
        float32_p50=float(np.median(reference)),
        float32_p90=float(np.percentile(reference, 90)),
        count=len(model),
        threads=threads,
        before=before if before != Conditions() else None,
        after=after if after != Conditions() else None,
        energy_j=joules,
        float32_energy_j=float32_joules,
    )
