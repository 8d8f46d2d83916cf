"""Bias correction against plain sums, and what it does to a quantized convolution's mean."""

import numpy as np
import pytest
from onnx import helper

from edgeexport.formats.onnx.bias import mean_shift
from edgeexport.formats.onnx.graph import Graph, copy_model
from edgeexport.formats.onnx.integer import assign, quantize_static


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_the_shift_is_the_sum_over_inputs_and_kernel(normal, groups):
    error, means = normal(8, 4 // groups, 3, 3, seed=1), normal(4, seed=2)
    expected = np.zeros(8)
    for output in range(8):
        first = output // (8 // groups) * (4 // groups)
        for number in range(4 // groups):
            expected[output] += error[output, number].sum() * means[first + number]
    assert mean_shift(error, means, groups) == pytest.approx(expected, rel=1e-5)


def one_conv(build, normal):
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["y"], name="conv")]
    constants = {"w": normal(4, 16, 1, 1, seed=3), "b": normal(4, seed=4)}
    shapes = {"x": ("float32", [1, 16, 8, 8])}, {"y": ("float32", [1, 4, 8, 8])}
    return build(nodes, constants, *shapes)


def test_the_mean_of_every_channel_comes_nearer(build, normal, run, settings):
    """Inputs of mean 3 make the rounding of the weights a shift; 7-bit weights make it large."""
    model = one_conv(build, normal)
    feeds = [{"x": np.abs(normal(1, 16, 8, 8, seed=seed)) + 3} for seed in range(20)]
    errors = {}
    for corrected in (False, True):
        rules = settings("w8a8", method="mse", bias_correction=corrected, reduce_range=True)
        graph = Graph(copy_model(model))
        names = list(assign(graph, rules, "w8a8"))
        quantized = quantize_static(graph, names, rules, lambda _title: iter(feeds))
        differences = [run(quantized, feed)[0] - run(model, feed)[0] for feed in feeds]
        errors[corrected] = np.abs(np.mean(differences, axis=(0, 1, 3, 4)))
    assert errors[True].max() < 0.4 * errors[False].max()


def test_the_stem_stays_float(build, normal, settings):
    """A convolution on 3 channels and the depthwise one behind its Relu; one behind an integer convolution does not."""
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Conv", ["b", "w2"], ["c"], name="depthwise", group=8),
        helper.make_node("Conv", ["c", "w3"], ["d"], name="pointwise"),
        helper.make_node("Conv", ["d", "w4"], ["y"], name="later", group=8),
    ]
    constants = {
        "w1": normal(8, 3, 1, 1),
        "w2": normal(8, 1, 1, 1),
        "w3": normal(8, 8, 1, 1),
        "w4": normal(8, 1, 1, 1),
    }
    model = build(nodes, constants, {"x": ("float32", [1, 3, 4, 4])}, {"y": ("float32", [1, 8, 4, 4])})
    rules = {"carried_op_types": ("Relu",)}
    assert list(assign(Graph(model), settings(least_channels=8, **rules), "w8a8")) == ["pointwise", "later"]
    everything = ["first", "relu", "depthwise", "pointwise", "later"]
    assert list(assign(Graph(model), settings(least_channels=1, **rules), "w8a8")) == everything
