"""Random numbers of ML Programs: their distribution, and that they are the same in every run."""

import numpy as np
import pytest

from tests.mil import harness

_DRAWS = {
    "random_uniform": {"low": -1.0, "high": 3.0},
    "random_normal": {"mean": 2.0, "stddev": 0.5},
    "random_bernoulli": {"prob": 0.3},
}


def _draw(op, folder, ios=17, **parameters):
    def build(mb, x):
        return getattr(mb, op)(shape=x, **parameters)

    return _run(harness.Case(op, "", build, {"x": np.int32([200, 100])}, (), ios), folder)[0]


def _run(case, folder):
    return harness.evaluate(case, folder)


@pytest.mark.parametrize("ios", [15, 17])
def test_uniform(tmp_path, ios):
    drawn = _draw("random_uniform", tmp_path, ios, low=-1.0, high=3.0, seed=1)
    assert drawn.shape == (200, 100)
    assert drawn.dtype == np.float32
    assert drawn.min() >= -1
    assert drawn.max() < 3
    assert abs(drawn.mean() - 1) < 0.05
    assert abs(drawn.var() - 16 / 12) < 0.05
    # As many in each tenth.
    assert np.abs(np.histogram(drawn, 10, (-1, 3))[0] - 2000).max() < 200


def test_uniform_by_default(tmp_path):
    drawn = _draw("random_uniform", tmp_path)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert abs(drawn.mean() - 0.5) < 0.02


def test_normal(tmp_path):
    drawn = _draw("random_normal", tmp_path, mean=2.0, stddev=0.5, seed=1)
    assert abs(drawn.mean() - 2) < 0.02
    assert abs(drawn.std() - 0.5) < 0.02
    assert abs((np.abs(drawn - 2) < 0.5).mean() - 0.683) < 0.02


def test_normal_by_default(tmp_path):
    drawn = _draw("random_normal", tmp_path)
    assert abs(drawn.mean()) < 0.03
    assert abs(drawn.std() - 1) < 0.03


@pytest.mark.parametrize(("given", "share"), [({"prob": 0.3}, 0.3), ({}, 0.5), ({"prob": 0.0}, 0)])
def test_bernoulli(tmp_path, given, share):
    drawn = _draw("random_bernoulli", tmp_path, seed=1, **given)
    assert set(np.unique(drawn)) <= {0, 1}
    assert abs(drawn.mean() - share) < 0.02


@pytest.mark.parametrize("mode", ["logits", "probs"])
def test_categorical(tmp_path, mode):
    shares = np.float32([[0.1, 0.2, 0.7], [0.5, 0.5, 0]])
    given = np.log(np.maximum(shares, 1e-30)) + 3 if mode == "logits" else shares * 2

    def build(mb, x):
        return mb.random_categorical(x=x, mode=mode, size=10000, seed=4)

    drawn = _run(harness.Case("", "", build, {"x": given.astype(np.float32)}, (), 17), tmp_path)[0]
    assert drawn.shape == (2, 10000)
    assert drawn.dtype == np.float32
    for row, expected in zip(drawn, shares, strict=True):
        assert np.abs(np.bincount(row.astype(int), minlength=3) / 10000 - expected).max() < 0.02


@pytest.mark.parametrize("op", _DRAWS)
def test_a_seed_gives_the_same_numbers(tmp_path, op):
    first = _draw(op, tmp_path, seed=7, **_DRAWS[op])
    np.testing.assert_array_equal(_draw(op, tmp_path, seed=7, **_DRAWS[op]), first)
    assert (_draw(op, tmp_path, seed=8, **_DRAWS[op]) != first).any()


@pytest.mark.parametrize("op", _DRAWS)
def test_without_a_seed_operations_differ_and_runs_do_not(tmp_path, op):
    def build(mb, x):
        return getattr(mb, op)(shape=x, name="one"), getattr(mb, op)(shape=x, name="other")

    case = harness.Case(op, "", build, {"x": np.int32([100, 10])}, (), 17)
    one, other = _run(case, tmp_path)
    assert (one != other).any()
    again = _run(case, tmp_path)
    np.testing.assert_array_equal(one, again[0])
    np.testing.assert_array_equal(other, again[1])
