"""Signal to noise by layer: bars as high as their figures, the worst marked."""

from xml.etree import ElementTree

import msgspec
import pytest
import report_samples as samples

from edgeexport.report.layer_plot import FORMS, draw


@pytest.mark.parametrize("form", FORMS)
def test_bars_are_in_proportion(form):
    one = samples.divergence()
    picture = ElementTree.fromstring(draw(one, "d", form))
    bars = [shape for shape in picture.iter("rect") if shape.get("class") in {"bar", "bar worst"}]
    assert len(bars) == len(one.layers)
    scale = float(bars[0].get("height")) / one.layers[0].snr_db
    for bar, layer in zip(bars, one.layers, strict=True):
        assert float(bar.get("height")) == pytest.approx(layer.snr_db * scale, abs=0.02)
    places = [float(bar.get("x")) for bar in bars]
    assert places == sorted(places)
    width, _ = FORMS[form]
    assert places[0] > 0 and places[-1] + float(bars[-1].get("width")) < width


def test_the_worst_are_marked_by_shape_and_number():
    one = samples.divergence()
    picture = ElementTree.fromstring(draw(one, "d", "wide"))
    worst = [shape for shape in picture.iter("rect") if shape.get("class") == "bar worst"]
    marks = [shape for shape in picture.iter("path") if shape.get("class") == "mark worst"]
    numbers = [text.text for text in picture.iter("text") if "strong" in text.get("class")]
    assert len(worst) == len(marks) == 2
    assert numbers == ["1", "2"]


def test_clipping_hangs_below_in_proportion():
    picture = ElementTree.fromstring(draw(samples.divergence(), "d", "wide"))
    bars = [float(shape.get("height")) for shape in picture.iter("rect") if shape.get("class") == "bar clipped"]
    clipped = [layer.clipped for layer in samples.divergence().layers if layer.clipped]
    assert len(bars) == len(clipped)
    assert max(bars) == bars[clipped.index(max(clipped))] == 26
    assert "up to 2.1 %" in "".join(picture.itertext())
    none = tuple(msgspec.structs.replace(layer, clipped=None) for layer in samples.divergence().layers)
    bare = draw(msgspec.structs.replace(samples.divergence(), layers=none), "d", "wide")
    assert "bar clipped" not in bare and "clipped, up to" not in bare


def test_noise_above_the_signal_hangs_below_zero():
    layer = msgspec.structs.replace(samples.divergence().layers[0], snr_db=-6.0)
    one = msgspec.structs.replace(samples.divergence(), layers=(layer, samples.divergence().layers[1]), worst=())
    picture = ElementTree.fromstring(draw(one, "d", "wide"))
    below, above = [shape for shape in picture.iter("rect") if shape.get("class") == "bar"]
    assert float(below.get("y")) == pytest.approx(float(above.get("y")) + float(above.get("height")), abs=0.02)


def bars(picture):
    return [shape for shape in picture.iter("rect") if (shape.get("class") or "").startswith("bar")]


def test_a_median_channel_far_below_has_a_line_at_its_height():
    first, second = samples.divergence().layers[:2]
    layers = (
        msgspec.structs.replace(first, snr_db=20.0, channel_snr_db=5.0, clipped=None),
        msgspec.structs.replace(second, snr_db=20.0, channel_snr_db=15.0, clipped=None),
    )
    one = msgspec.structs.replace(samples.divergence(), layers=layers, worst=())
    picture = ElementTree.fromstring(draw(one, "d", "wide"))
    (line,) = [shape for shape in picture.iter("line") if shape.get("class") == "median"]
    bar = bars(picture)[0]
    top, height = float(bar.get("y")), float(bar.get("height"))
    assert float(line.get("y1")) == pytest.approx(top + height * 0.75, abs=0.02)
    assert float(line.get("x1")) <= float(bar.get("x"))
    assert "20.0 dB, median channel 5.0 dB" in "".join(picture.itertext())


def test_what_is_not_finite_is_a_cross_and_no_bar():
    layer = msgspec.structs.replace(samples.divergence().layers[0], finite=False, snr_db=None, clipped=None)
    one = msgspec.structs.replace(samples.divergence(), layers=(layer, samples.divergence().layers[1]), worst=())
    picture = ElementTree.fromstring(draw(one, "d", "wide"))
    assert [shape.get("class") for shape in picture.iter("path")] == ["mark failed"]
    assert len([bar for bar in bars(picture) if bar.get("class") == "bar"]) == 1
    assert "not finite" in "".join(picture.itertext())


def test_what_only_rounds_does_not_press_the_others_down():
    layers = tuple(
        msgspec.structs.replace(layer, snr_db=snr)
        for layer, snr in zip(samples.divergence().layers, (150.0, 45.0), strict=False)
    )
    one = msgspec.structs.replace(samples.divergence(), layers=layers, worst=())
    high, low = [float(bar.get("height")) for bar in bars(ElementTree.fromstring(draw(one, "d", "wide")))[:2]]
    assert high / low == pytest.approx(2.0, abs=0.01)


def test_little_clipping_is_drawn_little():
    layer = msgspec.structs.replace(samples.divergence().layers[0], clipped=0.0025)
    one = msgspec.structs.replace(samples.divergence(), layers=(layer,), worst=())
    picture = ElementTree.fromstring(draw(one, "d", "wide"))
    (bar,) = [shape for shape in picture.iter("rect") if shape.get("class") == "bar clipped"]
    assert float(bar.get("height")) == pytest.approx(6.5)


def test_no_layers():
    empty = msgspec.structs.replace(samples.divergence(), layers=(), worst=())
    ElementTree.fromstring(draw(empty, "d", "wide"))
