"""Latencies as medians and percentiles."""

import pytest

from edgeexport.results import Conditions
from edgeexport.verify.latency import summarize


def test_milliseconds():
    latency = summarize([1_000_000, 3_000_000, 2_000_000], [4_000_000, 8_000_000, 6_000_000], threads=2)
    assert (latency.p50, latency.float32_p50, latency.count, latency.threads) == (2, 6, 3, 2)
    assert latency.p90 == pytest.approx(2.8)
    assert latency.float32_p90 == pytest.approx(7.6)


def test_one_slow_run_does_not_move_the_median():
    assert summarize([1_000_000] * 9 + [10**12], [2_000_000] * 10, threads=1).p50 == 1


def test_what_the_board_told_is_kept():
    cool, hot = Conditions(temperature_c=41.5, frequency_mhz=1500), Conditions(temperature_c=72.0, frequency_mhz=1000)
    latency = summarize([1], [2], 1, (cool, hot), (0.5, 2.0))
    assert (latency.before, latency.after) == (cool, hot)
    assert (latency.energy_j, latency.float32_energy_j) == (0.5, 2.0)


def test_a_board_that_tells_nothing():
    latency = summarize([1], [2], 1, (Conditions(), Conditions()))
    assert (latency.before, latency.after, latency.energy_j) == (None, None, None)
