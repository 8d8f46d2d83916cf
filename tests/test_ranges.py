"""From observed values to ranges, against numpy and against brute force."""

import math

import numpy as np
import pytest

from edgeexport.ranges import Histogram, Range, least_error_range, percentile_range, spanning_zero


def seen(*arrays):
    found = Range()
    for array in arrays:
        found.add(np.asarray(array, np.float32))
    return found


def histogram(values, bins=2048):
    made = Histogram(float(values.min()), float(values.max()), np.zeros(bins, np.int64))
    made.add(values)
    return made


def rounding_error(values, low, high):
    step = (high - low) / 255
    rounded = low + np.round((np.clip(values, low, high) - low) / step) * step
    return np.square(values - rounded).mean()


# what is known of an activation


def test_extremes_squares_and_count_are_those_of_all_values():
    generator = np.random.default_rng(0)
    arrays = [generator.normal(number, 1 + number, (3, 5)).astype(np.float32) for number in range(7)]
    found, everything = seen(*arrays), np.concatenate(arrays)
    assert (found.low, found.high, found.count) == (everything.min(), everything.max(), everything.size)
    assert found.squares == pytest.approx(np.square(everything, dtype=np.float64).sum(), rel=1e-12)
    assert found.finite


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_what_is_not_finite_is_noticed_wherever_it_stands(value, place):
    arrays = [np.ones(3, np.float32) for _ in range(3)]
    arrays[place][1] = value
    assert not seen(*arrays).finite


def test_nothing_is_not_finite():
    assert not Range().finite


@pytest.mark.parametrize("kind", ["normal", "uniform", "laplace", "positive", "far from zero"])
def test_signal_to_noise_is_that_of_brute_force(kind):
    generator = np.random.default_rng(1)
    values = {
        "normal": lambda: generator.standard_normal(200_000),
        "uniform": lambda: generator.uniform(-2, 3, 200_000),
        "laplace": lambda: generator.laplace(size=200_000),
        "positive": lambda: np.maximum(generator.standard_normal(200_000), 0),
        "far from zero": lambda: generator.normal(10, 1, 200_000),
    }[kind]().astype(np.float32)
    low, high = min(float(values.min()), 0), max(float(values.max()), 0)
    measured = 10 * math.log10(np.square(values, dtype=np.float64).mean() / rounding_error(values, low, high))
    # Half of the positive values are zero, which rounds without noise.
    assert seen(values).snr_db() == pytest.approx(measured - (10 * math.log10(2) if kind == "positive" else 0), abs=0.1)


def test_one_outlier_takes_the_signal_into_the_noise():
    values = np.random.default_rng(2).standard_normal(100_000).astype(np.float32)
    fine = seen(values).snr_db()
    values[3] = 1000
    coarse = seen(values).snr_db()
    assert fine > 35
    assert coarse == pytest.approx(
        10 * math.log10(np.square(values, dtype=np.float64).mean() * 12 * (255 / 1000) ** 2), abs=0.1
    )


def test_signal_to_noise_does_not_depend_on_the_scale():
    values = np.random.default_rng(3).standard_normal(1000).astype(np.float32)
    assert seen(values * 1024).snr_db() == pytest.approx(seen(values).snr_db())


def test_masks_of_the_smallest_number_are_noise_and_no_silence():
    least = float(np.finfo(np.float32).min)
    found = seen(np.array([least, 1, 2, *[0.5] * 100_000], np.float32))
    assert found.finite
    assert found.snr_db() < 10


@pytest.mark.parametrize("values", [[0, 0, 0], []])
def test_silence_has_no_noise(values):
    assert (seen(values) if values else Range()).snr_db() == math.inf


# histograms


@pytest.mark.parametrize("bins", [128, 1000, 2048])
def test_histograms_equal_numpys(bins):
    values = np.random.default_rng(4).normal(3, 2, 50_000)
    made = histogram(values, bins)
    counts, edges = np.histogram(values, bins, (values.min(), values.max()))
    assert made.counts.sum() == values.size
    assert np.abs(made.counts - counts).sum() <= 4  # values beside an edge
    assert np.array_equal(made.edges, edges)


def test_values_outside_count_at_the_ends():
    made = Histogram(0.0, 4.0, np.zeros(4, np.int64))
    made.add(np.array([[-9.0, 0.5], [4.0, 99.0]]))
    made.add(np.array([1.5]))
    assert made.counts.tolist() == [2, 1, 0, 2]


def test_a_constant_counts_in_one_bin():
    made = Histogram(2.0, 2.0, np.zeros(8, np.int64))
    made.add(np.full(5, 2.0))
    assert made.counts.tolist() == [5, 0, 0, 0, 0, 0, 0, 0]


# percentiles


@pytest.mark.parametrize("percentile", [90, 99, 99.9])
def test_percentile_is_that_of_numpy_to_a_bin(percentile):
    values = np.random.default_rng(5).laplace(1, 2, 100_000)
    low, high = percentile_range(histogram(values, 4096), percentile)
    cut = (100 - percentile) / 200
    expected = np.quantile(values, [cut, 1 - cut], method="inverted_cdf")
    width = (values.max() - values.min()) / 4096
    assert np.mean((values >= low) & (values <= high)) >= percentile / 100 - 1e-9
    assert np.abs(np.array([low, high]) - expected).max() <= 1.01 * width


def test_percentile_100_keeps_everything():
    assert percentile_range(Histogram(-2, 6, np.array([1, 0, 0, 5, 0, 0, 0, 1])), 100) == (-2, 6)


@pytest.mark.parametrize(("percentile", "expected"), [(98, (-1, 3)), (60, (0, 2))])
def test_percentile_cuts_evenly_off_both_ends(percentile, expected):
    assert percentile_range(Histogram(-1, 3, np.array([10, 40, 40, 10])), percentile) == expected


# least squared error


@pytest.mark.parametrize("kind", ["normal", "laplace", "positive", "negative"])
def test_least_error_is_as_good_as_brute_force(kind):
    generator = np.random.default_rng(6)
    values = {
        "normal": lambda: generator.standard_normal(20_000),
        "laplace": lambda: generator.laplace(size=20_000),
        "positive": lambda: np.abs(generator.standard_normal(20_000)) ** 3,
        "negative": lambda: -(np.abs(generator.standard_normal(20_000)) ** 3),
    }[kind]()
    low, high = least_error_range(histogram(values))
    assert values.min() - 1e-9 <= low <= 0 <= high <= values.max() + 1e-9
    shares = np.linspace(1, 0, 40, endpoint=False)
    lows = [values.min() * share for share in shares] if values.min() < 0 else [0.0]
    highs = [values.max() * share for share in shares] if values.max() > 0 else [0.0]
    assert rounding_error(values, low, high) <= 1.1 * min(rounding_error(values, a, b) for a in lows for b in highs)


def test_least_error_keeps_the_whole_range_of_uniform_values():
    assert least_error_range(Histogram(-1.0, 1.0, np.full(2048, 10))) == pytest.approx((-1, 1), abs=0.05)


def test_least_error_of_a_constant_is_it_and_zero():
    counts = np.zeros(128, np.int64)
    counts[0] = 64
    assert least_error_range(Histogram(0.0, 0.0, counts)) == (0, 0)


@pytest.mark.parametrize(("given", "expected"), [((1.0, 2.0), (0, 2)), ((-3.0, -1.0), (-3, 0)), ((-1.0, 1.0), (-1, 1))])
def test_spanning_zero(given, expected):
    assert spanning_zero(given) == expected
