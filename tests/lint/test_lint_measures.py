"""The numbers that rules compare, against their definitions."""

import math

import numpy as np
import pytest

from edgeexport.lint import _measures as measures


def test_neighbours_are_pearsons_correlation_along_each_axis():
    array = np.random.default_rng(0).random((3, 40, 50)).cumsum(2)
    along = measures.neighbours(array)
    assert math.isnan(along[0]), "three colours have no neighbours"
    centred = array - array.mean(axis=(1, 2), keepdims=True)
    for axis in (1, 2):
        first, second = np.delete(centred, -1, axis).ravel(), np.delete(centred, 0, axis).ravel()
        expected = (first * second).sum() / np.sqrt((first**2).sum() * (second**2).sum())
        assert along[axis] == pytest.approx(expected, rel=1e-12)
    assert along[2] > 0.9


def test_white_noise_has_no_neighbours_however_bright_its_channels():
    array = np.random.default_rng(0).normal(size=(3, 64, 64)) + np.array([0, 50, 100])[:, None, None]
    assert max(map(abs, measures.neighbours(array)[1:])) < 4 / 64


def test_of_long_axes_the_middle_counts():
    array = np.random.default_rng(0).normal(size=(300, 131))
    assert measures.neighbours(array) == measures.neighbours(array[86:214, 1:129])
    assert measures.neighbours(array[:128, :127]) == measures.neighbours(array[:128, :127].copy())


def test_neighbours_of_a_constant_and_of_short_axes_are_unknown():
    assert all(map(math.isnan, measures.neighbours(np.ones((8, 8)))))
    assert all(map(math.isnan, measures.neighbours(np.zeros((3, 2)))))


@pytest.mark.parametrize(("shape", "axis"), [((3, 8, 8), 0), ((8, 8, 3), 2), ((1, 8, 8), None), ((3,), None)])
def test_channel_axis(shape, axis):
    assert measures.channel_axis(shape) == axis


def test_channel_means_and_spread_are_by_colour():
    array = np.zeros((3, 4, 4), np.float32) + np.array([1, 5, 9], np.float32)[:, None, None]
    array[1, 0, 0] = 7
    assert measures.channel_means(array).tolist() == [1, 5.125, 9]
    assert measures.spread(array) == 2
    assert measures.spread(array.transpose(1, 2, 0)) == 2
    assert measures.spread(array[0, 0]) == 0
    assert measures.channel_means(array[:2]) is None


def test_flatness_of_noise_and_of_a_tone():
    source = np.random.default_rng(0)
    assert measures.flatness(source.normal(size=20_000)) > 0.95
    assert measures.flatness(np.sin(np.arange(4000) / 5)) < 1e-3
    assert measures.flatness(source.normal(size=40)) > 0, "shorter than a frame"


def test_tokens_as_likely_as_each_other_score_one():
    ids = np.random.default_rng(0).integers(0, 500, 100_000)
    even = dict(zip(*(part.tolist() for part in np.unique(ids, return_counts=True)), strict=True))
    assert measures.likeness_of_tokens(even) == pytest.approx(1, abs=0.02)
    assert measures.likeness_of_tokens({1: 2, 2: 2}) == pytest.approx(2 * (2 + 2) / (4 * 3))
    assert math.isnan(measures.likeness_of_tokens({1: 1}))


@pytest.mark.parametrize(
    ("shape", "wanted", "axes"),
    [
        ((1, 8, 8, 3), ("batch", 3, 8, 8), (0, 3, 1, 2)),
        ((1, 3, 8, 6), ("batch", 3, 6, 8), (0, 1, 3, 2)),
        ((1, 8, 8, 3), ("batch", 1, 8, 8), None),
        ((1, 8), ("batch", 3, 8), None),
    ],
)
def test_transposed(shape, wanted, axes):
    assert measures.transposed(shape, wanted) == axes
