"""Activations and their ranges, against numpy."""

import numpy as np
import pytest
from tflite_models import Builder, normal, save, two_layers, values, weight

from edgeexport.errors import ConversionError
from edgeexport.formats.tflite.observe import Observer, common_name
from edgeexport.ranges import Histogram

NAMES = ["input.0", "first", "output.0"]


def activations(model, x):
    """What the two layers compute, by numpy."""
    w1, b1 = values(model, weight(model, "first")), values(model, weight(model, "first", 2))
    w2, b2 = values(model, weight(model, "output.0")), values(model, weight(model, "output.0", 2))
    hidden = np.maximum(x @ w1.T + b1, 0)
    return {"input.0": x, "first": hidden, "output.0": hidden @ w2.T + b2}


@pytest.fixture
def observe(tmp_path):
    def make(model, names=NAMES):
        return Observer(model, save(model, tmp_path / "model.tflite").read_bytes(), names)

    return make


@pytest.fixture
def samples():
    """Of different sizes, so that an average of extremes is far from the extremes."""
    return [{"x": normal(4, 16, seed=seed, scale=1 + seed)} for seed in range(12)]


def test_ranges_are_the_extremes_over_all_samples(observe, samples):
    model = two_layers()
    expected = [activations(model, sample["x"]) for sample in samples]
    found = observe(model).ranges(samples)
    assert set(found) == set(NAMES)
    for name, seen in found.items():
        everything = np.concatenate([layer[name] for layer in expected])
        assert seen.low == pytest.approx(everything.min(), rel=1e-5)
        assert seen.high == pytest.approx(everything.max(), rel=1e-5)
        assert seen.squares == pytest.approx(np.square(everything, dtype=np.float64).sum(), rel=1e-4)
        assert seen.count == everything.size
    assert (found["input.0"].low, found["input.0"].high) == (
        min(float(sample["x"].min()) for sample in samples),
        max(float(sample["x"].max()) for sample in samples),
    )


@pytest.mark.parametrize("place", [0, 5, 11])
def test_one_extreme_sample_counts_wherever_it_stands(observe, samples, place):
    samples[place]["x"] = samples[place]["x"].copy()
    samples[place]["x"][2, 7] = 1000
    assert observe(two_layers()).ranges(samples)["input.0"].high == 1000


def test_only_what_is_asked_for_is_observed(observe, samples):
    assert set(observe(two_layers(), ["first"]).ranges(samples)) == {"first"}


def test_signatures_share_ranges_by_common_name(observe):
    model = two_layers((4, 8))
    feeds = [{"x": normal(4, 16, seed=1)}, {"x": normal(8, 16, seed=2, scale=3)}, {"x": normal(4, 16, seed=3)}]
    expected = [activations(model, feed["x"])["first"] for feed in feeds]
    found = observe(model, ["first", "1/first"]).ranges(feeds)
    assert set(found) == {"first"}
    assert found["first"].count == (4 + 8 + 4) * 32
    assert found["first"].high == pytest.approx(max(array.max() for array in expected), rel=1e-5)


@pytest.mark.parametrize("length", [4, 8])
def test_a_signature_that_no_sample_reaches_has_the_others_ranges(observe, length):
    model = two_layers((4, 8))
    feeds = [{"x": normal(length, 16, seed=seed)} for seed in range(5)]
    expected = np.concatenate([activations(model, feed["x"])["output.0"] for feed in feeds])
    found = observe(model, ["output.0", "1/output.0"]).ranges(feeds)
    assert found["output.0"].low == pytest.approx(expected.min(), rel=1e-5)
    assert found["output.0"].high == pytest.approx(expected.max(), rel=1e-5)


def test_no_samples_give_no_ranges(observe):
    assert observe(two_layers()).ranges([]) == {}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_by_name(observe, samples, value):
    samples[3]["x"][1, 1] = value
    with pytest.raises(ConversionError, match=r"the activation 'input\.0' is not finite"):
        observe(two_layers(), ["input.0"]).ranges(samples)


def test_an_activation_that_overflows_is_refused(observe):
    built = Builder()
    built.graph()
    x = built.tensor("input.0", (4,))
    exp = built.op("EXP", [x], built.tensor("power", (4,)))
    built.signature("main", {"x": x}, {"y": exp})
    with pytest.raises(ConversionError, match="the activation 'power' is not finite"):
        observe(built.model, ["input.0", "power"]).ranges([{"x": np.full(4, 200, np.float32)}])


def test_histograms_equal_numpys(observe, samples):
    model = two_layers()
    observer = observe(model)
    ranges = observer.ranges(samples)
    found = observer.histograms(ranges, 256, samples)
    for name, histogram in found.items():
        everything = np.concatenate([activations(model, sample["x"])[name].ravel() for sample in samples])
        counts, _ = np.histogram(everything, 256, (ranges[name].low, ranges[name].high))
        assert histogram.counts.sum() == everything.size
        assert np.abs(np.cumsum(histogram.counts) - np.cumsum(counts)).max() <= 3  # values beside an edge


def test_two_passes_count_the_same(observe, samples):
    observer = observe(two_layers())
    first, second = (observer.ranges(samples) for _ in range(2))
    assert first == second
    one, other = (observer.histograms(first, 128, samples) for _ in range(2))
    assert isinstance(one["first"], Histogram)
    assert all(np.array_equal(one[name].counts, other[name].counts) for name in NAMES)


@pytest.mark.parametrize(
    ("given", "expected"),
    [("3/encoder.dense", "encoder.dense"), ("encoder.dense", "encoder.dense"), ("a/3", "a/3"), ("12/x/1", "x/1")],
)
def test_common_names_have_no_number(given, expected):
    assert common_name(given) == expected
