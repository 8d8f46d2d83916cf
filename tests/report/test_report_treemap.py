"""The treemap: areas in proportion to bytes, nothing left out, nothing twice, nothing outside."""

import random

import pytest
import report_samples as samples

from edgeexport.analysis import ModuleBytes
from edgeexport.report.svg import Box
from edgeexport.report.treemap import layout, squarify


def area(box):
    return box.width * box.height


def common(one, other):
    across = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
    down = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
    return max(across, 0.0) * max(down, 0.0)


def check_filled(boxes, width, height):
    for box in boxes:
        assert box.x >= -1e-6 and box.x + box.width <= width + 1e-6
        assert box.y >= -1e-6 and box.y + box.height <= height + 1e-6
    assert sum(map(area, boxes)) == pytest.approx(width * height)
    for index, one in enumerate(boxes):
        assert all(common(one, other) < 1e-6 for other in boxes[:index])


@pytest.mark.parametrize("seed", range(8))
def test_rectangles_fill_the_box_in_proportion(seed):
    chance = random.Random(seed)
    sizes = [chance.paretovariate(0.8) for _ in range(chance.randint(1, 40))]
    boxes = squarify(sizes, Box(0, 0, 300, 200))
    check_filled(boxes, 300, 200)
    for size, box in zip(sizes, boxes, strict=True):
        assert area(box) == pytest.approx(size / sum(sizes) * 60_000)


def test_the_example_of_the_paper():
    boxes = squarify([6, 6, 4, 3, 2, 2, 1], Box(0, 0, 6, 4))
    expected = [
        *((0, 0, 3, 2), (0, 2, 3, 2), (3, 0, 12 / 7, 7 / 3), (33 / 7, 0, 9 / 7, 7 / 3)),
        *((3, 7 / 3, 1.2, 5 / 3), (4.2, 7 / 3, 1.2, 5 / 3), (5.4, 7 / 3, 0.6, 5 / 3)),
    ]
    for box, place in zip(boxes, expected, strict=True):
        assert (box.x, box.y, box.width, box.height) == pytest.approx(place)


def test_nothing_to_place():
    assert squarify([], Box(0, 0, 1, 1)) == []
    assert layout([], 10, 10) == ([], [])
    assert layout([ModuleBytes(path="a", what="weight", dtype="int8", bytes=0)], 10, 10) == ([], [])


@pytest.mark.parametrize(("width", "height"), [(1040, 430), (324, 470), (40, 30)])
def test_areas_of_a_model_are_in_proportion_to_bytes(width, height):
    modules = samples.modules()
    cells, groups = layout(modules, width, height)
    whole = sum(one.bytes for one in modules)
    assert sum(cell.bytes for cell in cells) == whole
    check_filled([cell.box for cell in cells], width, height)
    for cell in cells:
        assert area(cell.box) == pytest.approx(cell.bytes / whole * width * height)
    for dtype in ("int8", "float32", "int64", ""):
        drawn = sum(area(cell.box) for cell in cells if cell.dtype == dtype)
        stored = sum(one.bytes for one in modules if one.dtype == dtype)
        assert drawn == pytest.approx(stored / whole * width * height)
    assert groups


def test_what_is_small_is_rolled_up_and_what_is_large_stands_alone():
    cells, _ = layout(samples.modules(), 1040, 430)
    embedding = [cell for cell in cells if cell.path == "bert.embeddings.word_embeddings" and cell.dtype == "int8"]
    assert [cell.bytes for cell in embedding] == [samples.VOCABULARY * samples.HIDDEN]
    many, _ = layout(samples.modules(), 3000, 2000)
    few, _ = layout(samples.modules(), 120, 90)
    assert len(few) < len(cells) < len(many)
    assert any(cell.modules > 1 for cell in few)


def test_a_module_with_bytes_of_its_own_beside_those_below_it():
    modules = [
        ModuleBytes(path="a", what="weight", dtype="int8", bytes=500),
        ModuleBytes(path="a.b", what="weight", dtype="int8", bytes=300),
        ModuleBytes(path="c", what="weight", dtype="float32", bytes=200),
    ]
    cells, _ = layout(modules, 1000, 1000)
    assert {(cell.path, cell.bytes) for cell in cells} == {("a", 500), ("a.b", 300), ("c", 200)}
