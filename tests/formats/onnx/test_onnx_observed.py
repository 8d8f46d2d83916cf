"""Inner values of ONNX models: which are shown, that showing them changes nothing, and that a fault is found."""

import numpy as np
import onnx
import pytest
from observing import compare_here
from onnx import helper, numpy_helper

from edgeexport.errors import ModelError
from edgeexport.formats.onnx.observed import observe

NAMES = ("one", "two", "three", "four")


def network(build, normal, outlier=1.0):
    """Four layers of 48, three with an activation; the second's channel 5 may be larger, made up for by the third."""
    nodes, constants = [], {}
    before = "x"
    for number, name in enumerate(NAMES):
        weight = normal(48, 48, seed=number) / 7
        if name == "two":
            weight[:, 5] *= outlier
        if name == "three":
            weight[5] /= outlier
        constants[f"{name}.weight"] = weight
        nodes.append(helper.make_node("MatMul", [before, f"{name}.weight"], [f"{name}_y"], name=f"/net/{name}/MatMul"))
        before = f"{name}_y"
        if name != "four":
            nodes.append(helper.make_node("Relu", [before], [f"{name}_r"], name=f"/net/act_{name}/Relu"))
            before = f"{name}_r"
    nodes[-1].output[0] = "y"
    return build(nodes, constants, {"x": ("float32", ["n", 4, 48])}, {"y": ("float32", ["n", 4, 48])})


@pytest.fixture
def samples(normal):
    return [{"x": normal(1, 4, 48, seed=100 + seed)} for seed in range(24)]


def spoil(model, name, factor=1.5):
    """Make the scale of one layer's weight too large; the name of what was changed."""
    found = [one for one in model.graph.initializer if one.name.startswith(f"{name}.weight") and "scale" in one.name]
    (scale,) = found
    scale.CopyFrom(numpy_helper.from_array((numpy_helper.to_array(scale) * factor).astype(np.float32), scale.name))


def both(tmp_path, model, changed):
    paths = tmp_path / "float.onnx", tmp_path / "changed.onnx"
    onnx.save(model, str(paths[0]))
    onnx.save(changed, str(paths[1]))
    return paths


FORMS = {
    "static": ("w8a8", {"float_outputs": ()}),
    "static, float outputs": ("w8a8", {}),
    "every operator": ("w8a8", {"float_outputs": (), "op_types": ("*",)}),
    "dynamic": ("w8a8-dynamic", {}),
    "4 bits": ("w4", {"block_size": 16}),
}


@pytest.mark.parametrize(
    ("form", "spoilt"), [("static", "two"), ("static", "four"), *((form, "three") for form in FORMS)]
)
def test_a_spoilt_scale_is_found(build, normal, convert, settings, samples, tmp_path, form, spoilt):
    precision, rules = FORMS[form]
    model = network(build, normal)
    changed, _ = convert(model, settings(precision, **rules), samples)
    spoil(changed, spoilt)
    paths = both(tmp_path, model, changed)
    _, result = compare_here(observe, *paths, tmp_path / "o", samples[:8], "ort")
    assert result.worst[0] == f"net.{spoilt}"
    error = next(layer for layer in result.layers if layer.path == f"net.{spoilt}")
    # The scale is 1.5 times what it was: the noise is a quarter of the signal.
    assert error.snr_db == pytest.approx(20 * np.log10(2), abs=1.0)
    before = [result.layers[place].snr_db for place in error.reads]
    assert min(before) > 20 if precision != "w4" else min(before) > 12


def test_nothing_is_blamed_where_nothing_was_spoilt(build, normal, convert, settings, samples, tmp_path):
    model = network(build, normal)
    changed, _ = convert(model, settings("w8"), samples)
    _, result = compare_here(observe, *both(tmp_path, model, changed), tmp_path / "o", samples[:8], "ort")
    assert result.worst == ()
    assert len(result.layers) >= 4


def test_an_outlier_channel_is_found_where_it_is(build, normal, convert, settings, samples, tmp_path):
    model = network(build, normal, outlier=300.0)
    changed, _ = convert(model, settings("w8a8", float_outputs=()), samples)
    _, result = compare_here(observe, *both(tmp_path, model, changed), tmp_path / "o", samples[:8], "ort")
    assert result.worst[0] == "net.two"
    error = next(layer for layer in result.layers if layer.path == "net.two")
    assert error.snr_db > 25 > 10 > error.channel_snr_db


def test_a_range_too_narrow_is_found_and_counted(build, normal, convert, settings, samples, tmp_path):
    model = network(build, normal)
    changed, _ = convert(model, settings("w8a8", float_outputs=()), samples)
    scale = next(one for one in changed.graph.initializer if one.name == "three_y_scale")
    scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) / np.float32(4), scale.name))
    _, result = compare_here(observe, *both(tmp_path, model, changed), tmp_path / "o", samples[:8], "ort")
    assert result.worst[0] == "net.three"
    error = next(layer for layer in result.layers if layer.path == "net.three")
    assert 0.1 < error.clipped < 0.9
    assert all(layer.clipped in (None, pytest.approx(0, abs=0.02)) for layer in result.layers if layer is not error)


def test_figures_are_those_of_the_graphs_own_values(build, normal, convert, settings, samples, run, tmp_path):
    model = network(build, normal)
    changed, _ = convert(model, settings("w8a8", float_outputs=()), samples)
    _, result = compare_here(observe, *both(tmp_path, model, changed), tmp_path / "o", samples[:8], "ort")
    signal = noise = 0.0
    for graph in (model, changed):
        shown = "two_y" if graph is model else "two_y_DequantizeLinear_Output"
        graph.graph.output.append(onnx.ValueInfoProto(name=shown))
    for sample in samples[:8]:
        (a,), (b,) = run(model, sample, ["two_y"]), run(changed, sample, ["two_y_DequantizeLinear_Output"])
        signal += float((a.astype(np.float64) ** 2).sum())
        noise += float(((a.astype(np.float64) - b) ** 2).sum())
    error = next(layer for layer in result.layers if layer.path == "net.two")
    assert error.snr_db == pytest.approx(10 * np.log10(signal / noise), abs=0.1)
    assert error.samples == 8


def test_integers_are_shown_and_kernels_stay(build, normal, convert, settings, samples, tmp_path):
    model = network(build, normal)
    changed, _ = convert(model, settings("w8a8", float_outputs=(), op_types=("*",)), samples)
    observed, result = compare_here(observe, *both(tmp_path, model, changed), tmp_path / "o", samples[:8], "ort")
    assert [layer.integers for layer in observed.layers] == [True] * len(observed.layers)
    assert result.notes == ("layers compared over 8 samples; observing them left the outputs the same to the bit",)
    plain, shown = len(changed.graph.output), onnx.load(str(observed.quantized)).graph.output
    assert len(shown) == plain + len(observed.layers)


def test_as_many_as_asked_for(build, normal, convert, settings, samples, tmp_path):
    model = network(build, normal)
    changed, _ = convert(model, settings("w8a8", float_outputs=()), samples)
    paths = both(tmp_path, model, changed)
    (tmp_path / "two").mkdir()
    observed = observe(*paths, tmp_path / "two", 2)
    assert [layer.path for layer in observed.layers] == ["net.one", "net.two"]
    assert observed.left_out > 0


def test_another_model_has_nothing_in_common(build, normal, tmp_path):
    other = build(
        [helper.make_node("MatMul", ["a", "b"], ["c"])],
        {"b": normal(4, 4)},
        {"a": ("float32", [1, 4])},
        {"c": ("float32", [1, 4])},
    )
    with pytest.raises(ModelError, match="no inner value in common"):
        observe(*both(tmp_path, network(build, normal), other), tmp_path, 8)
