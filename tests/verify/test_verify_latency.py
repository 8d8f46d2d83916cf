"""Latencies as medians and percentiles."""

import pytest

from edgeexport.verify.latency import summarize


def test_milliseconds():
    latency = summarize([1_000_000, 3_000_000, 2_000_000], [4_000_000, 8_000_000, 6_000_000], threads=2)
    assert (latency.p50, latency.float32_p50, latency.count, latency.threads) == (2, 6, 3, 2)
    assert latency.p90 == pytest.approx(2.8)
    assert latency.float32_p90 == pytest.approx(7.6)


def test_one_slow_run_does_not_move_the_median():
    assert summarize([1_000_000] * 9 + [10**12], [2_000_000] * 10, threads=1).p50 == 1
