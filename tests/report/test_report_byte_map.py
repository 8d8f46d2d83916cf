"""The treemap's drawing: kinds, labels that fit, and totals."""

import re
from xml.etree import ElementTree

import pytest
import report_samples as samples

from edgeexport.report import byte_map
from edgeexport.report.svg import text_width
from edgeexport.results import Component, Size


@pytest.mark.parametrize(
    ("what", "dtype", "kind"),
    [
        ("weight", "int8", "integer"),
        ("weight", "uint4", "integer"),
        ("weight", "float16", "float"),
        ("weight", "bfloat16", "float"),
        ("constant", "int64", "wide-integer"),
        ("weight", "int32", "wide-integer"),
        ("scale", "float32", "scale"),
        ("structure", "", "structure"),
        ("constant", "", "structure"),
        ("weight", "palette", "integer"),
    ],
)
def test_kinds(what, dtype, kind):
    assert byte_map.kind_of(what, dtype) == kind


def test_totals_are_all_bytes():
    totals = byte_map.totals(samples.modules())
    assert sum(totals.values()) == samples.size().artifact_bytes
    assert totals["structure"] == 152_406
    assert totals["scale"] == sum(one.bytes for one in samples.modules() if one.what == "scale")


@pytest.mark.parametrize("form", byte_map.FORMS)
def test_the_drawing_has_every_cell_with_its_figures(form):
    picture = ElementTree.fromstring(byte_map.draw(samples.modules(), form))
    cells = [group for group in picture.iter("g") if group.find("rect") is not None]
    width, height = byte_map.FORMS[form]
    whole = samples.size().artifact_bytes
    total = 0
    for cell in cells:
        told = int(re.search(r"([\d,]+) bytes", cell.find("title").text)[1].replace(",", ""))
        shape = cell.find("rect")
        area = float(shape.get("width")) * float(shape.get("height"))
        assert area == pytest.approx(told / whole * width * height, rel=0.02, abs=3)  # two digits are written
        total += told
    assert total == whole


def test_floats_are_hatched_and_not_only_coloured():
    picture = ElementTree.fromstring(byte_map.draw(samples.modules(), "wide"))
    for group in picture.iter("g"):
        shapes = group.findall("rect")
        if shapes and shapes[0].get("class") == "cell float":
            assert shapes[1].get("fill") == "url(#bytes-wide-float)"


def test_paths_are_cut_at_their_dots():
    path = "bert.encoder.layer.0.attention.self"
    assert byte_map.path_lines(path, 1000, 1) == [path]
    assert byte_map.path_lines(path, 110, 1) == ["attention.self"]
    assert byte_map.path_lines("encoder.layer.0", 60, 1) == ["layer.0"]
    assert byte_map.path_lines(path, 80, 2) == ["attention.", "self"]
    assert byte_map.path_lines("features.0", 30, 1) == []
    assert byte_map.path_lines("embeddings", 60, 1) == ["embed…"]
    assert byte_map.path_lines("embeddings", 20, 1) == []
    long = "bert.encoder.layer.0.intermediate.dense"
    assert byte_map.path_lines(long, 72, 3) == ["layer.0.", "intermed…", "dense"]
    deep = "mobilenet_v2.layer.11.expand_1x1.convolution"
    assert byte_map.path_lines(deep, 70, 3) == ["layer.11.", "expand_…", "convolut…"]
    assert byte_map.path_lines("mobilenet_v2.layer.9", 70, 3) == ["layer.9"]
    for room in range(10, 200, 7):
        assert all(text_width(line, 12) <= room for line in byte_map.path_lines(path, room, 3))


def test_a_report_of_an_earlier_version_is_drawn_by_its_components():
    parts = (
        Component(name="linear", bytes=75, dtype="int8"),
        Component(name="graph", bytes=20, dtype="-"),
        Component(name="scales", bytes=5, dtype="float32"),
    )
    size = Size(artifact_bytes=100, source_float32_bytes=400, ratio=0.25, components=parts)
    placed = byte_map.placed(size)
    assert byte_map.totals(placed) == {"integer": 75, "scale": 5, "structure": 20}
