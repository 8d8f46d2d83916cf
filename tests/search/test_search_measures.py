"""By what trials are compared."""

import math

import pytest

from edgeexport.analysis import Trial
from edgeexport.search.measures import MOST_NOISE, Bounds, excess, power, quality, together


def trial(**figures):
    given = {"artifact_bytes": 1000, **figures}
    return Trial(number=1, title="", settings={}, evaluated=True, samples=100, **given)


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ({"drop": 0.004}, 0.0),
        ({"drop": 0.01}, 1.0),
        ({"drop": 0.005, "artifact_bytes": 1500}, 0.5),
        ({"drop": 0.005, "latency_ratio": 0.6}, 0.2),
        ({"drop": 0.01, "artifact_bytes": 1500, "latency_ratio": 0.6}, 1.7),
        ({"drop": None}, math.inf),
    ],
)
def test_excess_adds_up_shares_of_limits(figures, expected):
    bounds = Bounds(bytes=1000, latency_ratio=0.5, drop=0.005)
    assert excess(trial(**figures), bounds) == pytest.approx(expected)


def test_no_limit_is_never_passed():
    assert excess(trial(drop=0.5, latency_ratio=9.0), Bounds(None, None)) == 0


def test_a_limit_of_nothing_still_tells_how_far():
    bounds = Bounds(None, None, 0.0)
    assert 0 < excess(trial(drop=0.001), bounds) < excess(trial(drop=0.002), bounds)


def test_classes_are_compared_by_signal_to_noise_and_numbers_by_their_metric():
    assert quality(trial(drop=0.02, unlike=2, snr_db=30.0)) > quality(trial(drop=0.0, unlike=0, snr_db=20.0))
    assert quality(trial(drop=0.0, snr_db=20.0)) > quality(trial(drop=0.02, snr_db=30.0))
    assert quality(trial(drop=0.0, unlike=0, snr_db=None)) > quality(trial(drop=0.0, unlike=0, snr_db=99.0))
    assert quality(trial(artifact_bytes=None)) < quality(trial(drop=0.9, unlike=90, snr_db=-5.0))


def test_noise_is_a_power_or_a_drop():
    assert power(trial(unlike=0, drop=0.0, snr_db=20.0)) == pytest.approx(0.01)
    assert power(trial(unlike=0, drop=0.0, snr_db=None)) == 0
    assert power(trial(drop=0.03, snr_db=20.0)) == 0.03
    assert power(trial(drop=-0.03, snr_db=20.0)) == 0
    assert power(trial(artifact_bytes=None)) == MOST_NOISE


def test_what_failed_does_not_hide_the_rest():
    assert together([0.25, MOST_NOISE, 0.5]) == 0.75
