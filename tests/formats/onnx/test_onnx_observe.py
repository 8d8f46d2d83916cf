"""What is observed of activations, against numpy over the same samples."""

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from edgeexport.errors import ConversionError
from edgeexport.formats.onnx.observe import (
    observe_channel_means,
    observe_channels,
    observe_histograms,
    observe_ranges,
)
from edgeexport.ranges import Histogram

NAMES = ["x", "a", "b", "y"]


@pytest.fixture
def activations(chain, run, chain_samples):
    """Each activation's values over all samples, by numpy."""
    w1, w2 = (np.frombuffer(tensor.raw_data, np.float32).reshape(tensor.dims) for tensor in chain().graph.initializer)
    x = np.stack([sample["x"] for sample in chain_samples])
    a = x @ w1
    b = np.maximum(a, 0)
    return {"x": x, "a": a, "b": b, "y": b @ w2}


def test_ranges_equal_numpy(chain, chain_samples, activations):
    seen = observe_ranges(chain(), NAMES, chain_samples)
    assert list(seen) == NAMES
    for name, values in activations.items():
        assert np.isclose(seen[name].low, values.min(), rtol=1e-5, atol=1e-6)
        assert np.isclose(seen[name].high, values.max(), rtol=1e-5)
        assert np.isclose(seen[name].squares, np.square(values).sum(), rtol=1e-5)


def test_samples_may_differ_in_length(chain, normal):
    samples = [{"x": normal(count, 4, 16, seed=count)} for count in (1, 3, 2)]
    seen = observe_ranges(chain(), ["x"], samples)["x"]
    assert seen.high == max(sample["x"].max() for sample in samples)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 19])
def test_an_activation_that_is_not_finite_is_refused(chain, chain_samples, value, place):
    chain_samples[place]["x"][0, 1, 2] = value
    with pytest.raises(ConversionError, match="the activation 'x' is not finite"):
        observe_ranges(chain(), ["x"], chain_samples)


def test_no_samples_are_refused(chain):
    with pytest.raises(ConversionError, match="not finite"):
        observe_ranges(chain(), ["x"], [])


@pytest.mark.parametrize("opset", [13, 17, 18])
def test_channels_equal_numpy(chain, chain_samples, activations, opset):
    largest = observe_channels(chain(opset), NAMES, chain_samples)
    for name, values in activations.items():
        expected = np.abs(values).reshape(-1, values.shape[-1]).max(axis=0)
        assert largest[name].shape == expected.shape
        assert np.allclose(largest[name], expected, rtol=1e-5)


@pytest.mark.parametrize("opset", [13, 18])
def test_channel_means_equal_numpy(chain, chain_samples, activations, opset):
    """Channels on axis 1, as convolutions have them."""
    means = observe_channel_means(chain(opset), dict.fromkeys(NAMES, 3), chain_samples)
    for name, values in activations.items():
        assert np.allclose(means[name], values[:, 0].mean(axis=(0, 2)), rtol=1e-4, atol=1e-5)


def test_histograms_equal_numpy(chain, chain_samples, activations):
    model = chain()
    seen = observe_ranges(model, NAMES, chain_samples)
    histograms = observe_histograms(model, seen, 256, chain_samples)
    for name, values in activations.items():
        found = histograms[name]
        expected, edges = np.histogram(values, 256, (found.low, found.high))
        assert found.counts.sum() == values.size
        assert np.allclose(found.edges, edges)
        # a value within rounding of an edge may fall on either side of it
        assert np.abs(np.cumsum(found.counts) - np.cumsum(expected)).max() <= 2


def test_a_constant_activation_has_one_full_bin(chain):
    samples = [{"x": np.zeros((1, 4, 16), np.float32)}]
    histograms = observe_histograms(chain(), observe_ranges(chain(), ["x"], samples), 128, samples)
    assert histograms["x"].counts.tolist() == [64] + [0] * 127


def test_edges_are_one_more_than_counts():
    assert Histogram(-1, 1, np.zeros(4)).edges.tolist() == [-1, -0.5, 0, 0.5, 1]


def test_the_model_is_left_as_it_was(chain, chain_samples):
    model = chain()
    before = model.SerializeToString()
    seen = observe_ranges(model, NAMES, chain_samples)
    observe_channels(model, NAMES, chain_samples)
    observe_histograms(model, seen, 128, chain_samples)
    assert model.SerializeToString() == before


def test_numpy_memory_does_not_grow_with_samples(chain, normal):
    def peak(count):
        tracemalloc.start()
        seen = observe_ranges(model, NAMES, ({"x": normal(64, 4, 16, seed=n)} for n in range(count)))
        observe_histograms(model, seen, 2048, ({"x": normal(64, 4, 16, seed=n)} for n in range(count)))
        high = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return high

    model = chain()
    peak(2)
    few, many = peak(20), peak(400)
    sample = 64 * 4 * 16 * 4
    assert many - few < 4 * sample  # kept, the samples alone would be 380 of these


_RSS = """
import resource, sys
import numpy as np
from onnx import helper, numpy_helper
from edgeexport.formats.onnx.observe import observe_histograms, observe_ranges, observe_channels

rng = np.random.default_rng(0)
w = [rng.standard_normal((256, 256)).astype(np.float32) / 16 for _ in range(6)]
nodes = [helper.make_node("MatMul", [f"t{n}", f"w{n}"], [f"t{n + 1}"], name=f"n{n}") for n in range(6)]
graph = helper.make_graph(
    nodes, "g",
    [helper.make_tensor_value_info("t0", 1, [1, "s", 256])], [helper.make_tensor_value_info("t6", 1, [1, "s", 256])],
    [numpy_helper.from_array(array, f"w{n}") for n, array in enumerate(w)],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
names = [f"t{n}" for n in range(7)]

def feeds(count):
    for number in range(count):
        yield {"t0": np.full((1, 16 + number % 100, 256), 0.1 * (number % 7), np.float32)}

seen = observe_ranges(model, names, feeds(100))
observe_channels(model, names, feeds(100))
observe_histograms(model, seen, 2048, feeds(100))
few = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
seen = observe_ranges(model, names, feeds(600))
observe_channels(model, names, feeds(600))
observe_histograms(model, seen, 2048, feeds(600))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - few)
"""


def test_resident_memory_does_not_grow_with_samples():
    """Every length is met in the first 100 samples; 500 more, of half a megabyte of activations each, add nothing."""
    grown = int(subprocess.check_output([sys.executable, "-c", _RSS], text=True))
    assert grown < 16 * 1024  # KiB
