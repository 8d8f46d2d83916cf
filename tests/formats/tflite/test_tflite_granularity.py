"""One scale for a layer: where it is enough, and what becomes of weights and biases."""

import numpy as np
import pytest
from tflite_models import Builder, by_name, make_settings, run

from edgeexport.formats.tflite.flatbuffer import constant, dtype_name, read_model, tensor_name
from edgeexport.formats.tflite.granularity import round_with_one_scale
from edgeexport.formats.tflite.quantize import quantize

RANGES = {"input.0": (-4, 4), "deep": (-8, 8), "output.0": (-8, 8)}


def depthwise(spread=0.0, channels=32, seed=3, grid=False):
    """A depthwise and a pointwise convolution; channels of the first differ by ``spread`` powers of ten in size."""
    draw = np.random.default_rng(seed)
    weights = draw.uniform(-0.5, 0.5, (1, 3, 3, channels)) * 10 ** np.linspace(-spread, 0, channels)
    if grid:
        largest = np.abs(weights).max((0, 1, 2)) / 127
        weights = np.rint(weights / largest) * largest
    built = Builder()
    built.graph()
    x = built.tensor("input.0", (1, 6, 6, channels))
    w = built.tensor("deep/1", weights.shape, weights.astype(np.float32))
    b = built.tensor("deep/2", (channels,), draw.normal(0, 0.3, channels).astype(np.float32))
    deep = built.tensor("deep", (1, 6, 6, channels))
    built.op("DEPTHWISE_CONV_2D", [x, w, b], deep, "DepthwiseConv2DOptions", depthMultiplier=1, strideW=1, strideH=1)
    w = built.tensor("output.0/1", (64, 1, 1, channels), draw.normal(0, 0.1, (64, 1, 1, channels)).astype(np.float32))
    b = built.tensor("output.0/2", (64,), draw.normal(0, 0.1, 64).astype(np.float32))
    y = built.tensor("output.0", (1, 6, 6, 64))
    built.op("CONV_2D", [deep, w, b], y, "Conv2DOptions", strideW=1, strideH=1)
    built.signature("main", {"x": x}, {"y": y})
    return built.model


@pytest.fixture
def quantized(tmp_path):
    def write(model, precision="w8a8", **rules):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.tflite"
        names = dict.fromkeys(["deep", "output.0"], precision)
        quantize(model, names, RANGES, make_settings(precision, **rules), path)
        return path

    return write


def layer(path, name):
    """Weight and bias of the layer that writes ``name``."""
    model = read_model(path)
    graph = model.subgraphs[0]
    for operator in graph.operators:
        if tensor_name(graph.tensors[operator.outputs[0]]) == name:
            return model, *(graph.tensors[index] for index in operator.inputs[1:3])
    raise AssertionError(name)


def test_off_by_default(quantized):
    _, weight, bias = layer(quantized(depthwise()), "deep")
    assert (len(weight.quantization.scale), len(bias.quantization.scale)) == (32, 32)


def test_a_layer_of_even_channels_has_one_scale(quantized):
    model = depthwise()
    written, weight, bias = layer(quantized(model, one_scale_snr=42.0), "deep")
    values = constant(model, by_name(model)["deep/1"])
    (scale,) = weight.quantization.scale
    steps = constant(written, weight)
    assert steps.dtype == np.int8
    assert np.abs(steps * scale - values).max() <= scale * 0.5 * 1.01 or np.abs(steps).max() == 127
    noise = np.square(steps * scale - values).sum()
    assert 10 * np.log10(np.square(values).sum() / noise) >= 42
    source = constant(model, by_name(model)["deep/2"])
    (step,) = bias.quantization.scale
    assert step == np.float32(np.float32(8 / 255) * scale)  # the input's scale times the weight's
    assert np.abs(constant(written, bias) * step - source).max() <= step
    assert (dtype_name(bias.type), weight.quantization.zeroPoint.tolist()) == ("int32", [0])


def test_uneven_channels_keep_their_scales(quantized):
    _, weight, _ = layer(quantized(depthwise(spread=2.0), one_scale_snr=42.0), "deep")
    assert len(weight.quantization.scale) == 32


def test_scales_that_are_few_beside_the_weights_stay(quantized):
    path = quantized(depthwise(channels=288), one_scale_snr=1.0)
    assert len(layer(path, "deep")[1].quantization.scale) == 1
    assert len(layer(path, "output.0")[1].quantization.scale) == 64  # 8 bytes beside 288 of weights


def test_weights_that_were_rounded_before_keep_their_scales(quantized):
    _, weight, _ = layer(quantized(depthwise(grid=True), one_scale_snr=20.0), "deep")
    assert len(weight.quantization.scale) == 32


@pytest.mark.parametrize("precision", ["w8", "w8a8-dynamic"])
def test_layers_with_float_activations_keep_their_scales(quantized, precision):
    model = read_model(quantized(depthwise(), precision, one_scale_snr=1.0))
    stored = [tensor for tensor in model.subgraphs[0].tensors if dtype_name(tensor.type) == "int8"]
    assert {len(tensor.quantization.scale) for tensor in stored} == {32, 64}


def test_the_file_is_smaller_and_as_good(quantized):
    model = depthwise()
    apart, one = quantized(model), quantized(model, one_scale_snr=42.0)
    assert apart.stat().st_size - one.stat().st_size >= 2 * 4 * 31
    draw = np.random.default_rng(8)
    weights = [constant(model, by_name(model)[f"{name}/{place}"]) for name in ("deep", "output.0") for place in (1, 2)]
    errors = {apart: [], one: []}
    for _ in range(5):
        x = draw.uniform(-3, 3, (1, 6, 6, 32)).astype(np.float32)
        inner = np.lib.stride_tricks.sliding_window_view(np.pad(x[0], ((1, 1), (1, 1), (0, 0))), (3, 3), axis=(0, 1))
        deep = np.einsum("hwcij,ijc->hwc", inner, weights[0][0]) + weights[1]
        expected = np.einsum("hwc,oc->hwo", deep, weights[2][:, 0, 0]) + weights[3]
        for path, found in errors.items():
            found.append(np.square(run(path, {"x": x}, "main")["y"][0] - expected).mean())
    assert np.mean(errors[one]) < 1.1 * np.mean(errors[apart])


def test_the_scale_of_least_error_is_taken():
    values = np.append(np.random.default_rng(1).normal(0, 0.1, 4000), 0.6).astype(np.float32)
    scale, steps, kept = round_with_one_scale(values)
    widest = np.float32(0.6 / 127)
    plain = np.square(np.rint(values / widest) * widest - values).sum()
    assert np.square(steps * scale - values).sum() < plain
    assert 0.8 * widest <= scale < widest
    assert kept == pytest.approx(
        10 * np.log10(np.square(values, dtype=float).sum() / np.square(steps * scale - values, dtype=float).sum()),
        abs=1e-3,
    )


def test_weights_of_zero():
    scale, steps, kept = round_with_one_scale(np.zeros((2, 3), np.float32))
    assert scale > 0
    assert not steps.any()
    assert kept == np.inf
