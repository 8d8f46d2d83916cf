"""From observations to ranges, against numpy and against brute force."""

import numpy as np
import pytest

from edgeexport.formats.onnx.ranges import find_ranges
from edgeexport.settings import Calibration


@pytest.fixture
def heavy(normal):
    """Samples for x with a few large values, so that clipping pays."""
    samples = [{"x": normal(4, 4, 16, seed=seed)} for seed in range(30)]
    samples[3]["x"][0, 0, 0] = 60
    samples[7]["x"][1, 1, 1] = -25
    return samples


def found(model, samples, method, **options):
    calibration = Calibration(method=method, minimum_samples=1, **options)
    return find_ranges(model, ["x"], calibration, lambda _title: iter(samples))["x"]


def values_of(samples):
    return np.concatenate([sample["x"].ravel() for sample in samples])


def test_minmax_is_that_of_numpy(chain, heavy):
    values = values_of(heavy)
    assert found(chain(), heavy, "minmax") == (float(values.min()), float(values.max())) == (-25, 60)


@pytest.mark.parametrize("percentile", [90, 99, 99.9])
def test_percentile_is_that_of_numpy_to_a_bin(chain, heavy, percentile):
    values, bins = values_of(heavy), 4096
    low, high = found(chain(), heavy, "percentile", percentile=percentile, bins=bins)
    cut = (100 - percentile) / 2
    width = 85 / bins
    expected = np.quantile(values, [cut / 100, 1 - cut / 100], method="inverted_cdf")
    assert low <= expected[0] + 1e-5
    assert high >= expected[1] - 1e-5
    assert np.abs(np.array([low, high]) - expected).max() <= width * 1.01
    assert np.mean((values >= low) & (values <= high)) >= percentile / 100


def rounding_error(values, low, high):
    step = (high - low) / 255
    rounded = low + np.round((np.clip(values, low, high) - low) / step) * step
    return np.square(values - rounded).mean()


@pytest.mark.parametrize("case", ["heavy", "positive", "negative", "uniform"])
def test_mse_is_as_good_as_brute_force(chain, heavy, normal, case):
    if case == "heavy":
        samples = heavy
    elif case == "uniform":
        samples = [{"x": np.random.default_rng(n).uniform(-1, 1, (4, 4, 16)).astype(np.float32)} for n in range(30)]
    else:
        sign = 1 if case == "positive" else -1
        samples = [{"x": sign * np.abs(normal(4, 4, 16, seed=seed)) ** 3} for seed in range(30)]
    values = values_of(samples).astype(np.float64)
    low, high = found(chain(), samples, "mse")
    assert values.min() - 1e-6 <= low <= 0 <= high <= values.max() + 1e-6
    shares = np.linspace(1, 0, 48, endpoint=False)
    lows = [values.min() * share for share in shares] if values.min() < 0 else [0.0]
    highs = [values.max() * share for share in shares] if values.max() > 0 else [0.0]
    best = min(rounding_error(values, a, b) for a in lows for b in highs)
    assert rounding_error(values, low, high) <= best * 1.1


def test_mse_beats_minmax_on_a_long_tail(chain):
    generator = np.random.default_rng(0)
    samples = [{"x": generator.laplace(size=(64, 4, 16)).astype(np.float32)} for _ in range(20)]
    values = values_of(samples)
    chosen, extremes = found(chain(), samples, "mse"), (float(values.min()), float(values.max()))
    assert rounding_error(values, *chosen) < 0.9 * rounding_error(values, *extremes)
    assert chosen[1] - chosen[0] < 0.9 * (extremes[1] - extremes[0])


@pytest.mark.parametrize(("method", "passes"), [("minmax", 1), ("percentile", 2), ("mse", 2)])
def test_passes_over_the_samples(chain, chain_samples, method, passes):
    started = []

    def feeds(_title):
        started.append(1)
        return iter(chain_samples)

    find_ranges(chain(), ["x", "a"], Calibration(method=method, minimum_samples=1), feeds)
    assert len(started) == passes
