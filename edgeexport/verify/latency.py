"""Latency, only ever as a comparison of two models timed in turn in one run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeexport.results import Latency

_NS_PER_MS = 1e6


def summarize(model_ns: Sequence[int], float32_ns: Sequence[int], threads: int) -> Latency:
    """Medians and 90th percentiles, in milliseconds, of nanosecond timings taken in turn."""
    model, reference = np.asarray(model_ns) / _NS_PER_MS, np.asarray(float32_ns) / _NS_PER_MS
    return Latency(
        p50=float(np.median(model)),
        p90=float(np.percentile(model, 90)),
        float32_p50=float(np.median(reference)),
        float32_p90=float(np.percentile(reference, 90)),
        count=len(model),
        threads=threads,
    )
