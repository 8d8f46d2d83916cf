"""Inner values of TFLite models: which are shown, that showing them changes nothing, and that a fault is found."""

import numpy as np
import pytest
from observing import compare_here
from tflite_models import RELU, Builder, make_settings, normal, save, two_layers, weight

from edgeexport.artifact import Artifact
from edgeexport.errors import ModelError
from edgeexport.formats.tflite import TfliteFormat
from edgeexport.formats.tflite.flatbuffer import read_model, signatures, write_model
from edgeexport.formats.tflite.inspect import read_signature
from edgeexport.formats.tflite.observed import observe

NAMES = ("one", "two", "three", "output.0")


def network(outlier=1.0):
    """Four layers of 48, three with an activation; the second's channel 5 may be larger, made up for by the third."""
    built = Builder()
    built.graph()
    before = x = built.tensor("input.0", (4, 48))
    for number, name in enumerate(NAMES):
        weight = normal(48, 48, seed=number) / 7
        if name == "two":
            weight[5] *= outlier
        if name == "three":
            weight[:, 5] /= outlier
        operands = [before, built.tensor(f"{name}/1", (48, 48), weight)]
        operands.append(built.tensor(f"{name}/2", (48,), np.full(48, 0.01 * (number + 1), np.float32)))
        after = built.tensor(name, (4, 48))
        active = {"fusedActivationFunction": RELU} if name != "output.0" else {}
        before = built.op("FULLY_CONNECTED", operands, after, "FullyConnectedOptions", **active)
    built.signature("main", {"x": x}, {"y": before})
    return built.model


@pytest.fixture
def rows():
    return [{"x": normal(4, 48, seed=100 + seed)} for seed in range(24)]


@pytest.fixture
def both(tmp_path, rows):
    """Paths of a float32 model and of the quantized one, which may be changed."""

    def both(model, settings, change=lambda _: None, samples=rows):
        path, quantized = save(model, tmp_path / "float.tflite"), tmp_path / "quantized.tflite"
        baseline = Artifact("tflite", path, "fp32", read_signature(read_model(path), path.name))
        TfliteFormat().convert(baseline, settings, lambda _: iter(samples), quantized)
        written = read_model(quantized)
        change(written)
        write_model(written, quantized)
        return path, quantized

    return both


def spoil(name, factor=1.5):
    def change(model):
        tensor = weight(model, name)
        if tensor.quantization is None:  # dequantized before the layer
            tensor = weight(model, tensor.name.decode(), 0)
        quantization = tensor.quantization
        quantization.scale = np.asarray(quantization.scale) * np.float32(factor)

    return change


@pytest.mark.parametrize("precision", ["w8a8", "w8a8-dynamic", "w8"])
@pytest.mark.parametrize("spoilt", ["two", "three"])
def test_a_spoilt_scale_is_found(both, rows, tmp_path, precision, spoilt):
    paths = both(network(), make_settings(precision), spoil(spoilt))
    _, result = compare_here(observe, *paths, tmp_path / "o", rows[:8], "litert")
    assert result.worst[0] == spoilt
    error = next(layer for layer in result.layers if layer.path == spoilt)
    assert error.snr_db < 10
    assert min(result.layers[place].snr_db for place in error.reads) > 25


def test_an_outlier_channel_is_found_where_it_is(both, rows, tmp_path):
    paths = both(network(outlier=300.0), make_settings("w8a8"))
    _, result = compare_here(observe, *paths, tmp_path / "o", rows[:8], "litert")
    assert result.worst[0] == "two"
    error = next(layer for layer in result.layers if layer.path == "two")
    assert error.snr_db > 25 > 10 > error.channel_snr_db


def test_figures_are_those_of_the_interpreters_own_tensors(both, rows, tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    paths = both(network(), make_settings("w8a8"))
    _, result = compare_here(observe, *paths, tmp_path / "o", rows[:8], "litert")
    found = []
    for path in paths:
        interpreter = Interpreter(str(path), experimental_preserve_all_tensors=True)
        interpreter.allocate_tensors()
        (detail,) = [one for one in interpreter.get_tensor_details() if one["name"] == "two"]
        scale, zero = detail["quantization"]
        values = []
        for row in rows[:8]:
            interpreter.set_tensor(interpreter.get_input_details()[0]["index"], row["x"])
            interpreter.invoke()
            value = interpreter.get_tensor(detail["index"]).astype(np.float64)
            values.append((value - zero) * scale if scale else value)
        found.append(np.stack(values))
    wanted = 10 * np.log10((found[0] ** 2).sum() / ((found[0] - found[1]) ** 2).sum())
    error = next(layer for layer in result.layers if layer.path == "two")
    assert error.snr_db == pytest.approx(wanted, abs=0.05)
    assert (error.low, error.high) == (pytest.approx(found[0].min(), abs=1e-6), pytest.approx(found[0].max(), rel=1e-5))


def test_showing_them_changes_nothing(both, rows, tmp_path):
    paths = both(network(), make_settings("w8a8"))
    observed, result = compare_here(observe, *paths, tmp_path / "o", rows[:8], "litert")
    assert result.notes == ("layers compared over 8 samples; observing them left the outputs the same to the bit",)
    assert [layer.path for layer in observed.layers] == list(NAMES)
    assert all(layer.integers for layer in observed.layers)
    (entry,) = signatures(read_model(observed.quantized))
    assert set(entry.outputs) == {"y", *(f"layer {name}" for name in NAMES)}
    (entry,) = signatures(read_model(observed.float32))
    assert set(entry.outputs) == {"y", *(f"layer {name}" for name in NAMES[:-1])}


def test_every_signature_shows_the_same(both, tmp_path):
    samples = [{"x": normal(length, 16, seed=seed)} for seed in range(20) for length in (4, 7)]
    paths = both(two_layers((4, 7)), make_settings("w8a8"), samples=samples)
    _, result = compare_here(observe, *paths, tmp_path / "o", samples[:6], "litert")
    assert [(layer.path, layer.samples) for layer in result.layers] == [("first", 6), ("output.0", 6)]
    assert all(layer.snr_db > 25 for layer in result.layers)


def test_another_model_has_nothing_in_common(both, tmp_path):
    path, _ = both(network(), make_settings("w8"))
    built = Builder()
    built.graph()
    x = built.tensor("in", (1, 4))
    operands = [x, built.tensor("w", (4, 4), normal(4, 4)), built.tensor("b", (4,), np.zeros(4, np.float32))]
    y = built.op("FULLY_CONNECTED", operands, built.tensor("other", (1, 4)), "FullyConnectedOptions")
    built.signature("main", {"x": x}, {"y": y})
    with pytest.raises(ModelError, match="no inner value in common"):
        observe(path, save(built.model, tmp_path / "other.tflite"), tmp_path, 8)
