"""The scatter: the front is right, points are where they belong, and marks differ in shape."""

import itertools
import random
import re
from xml.etree import ElementTree

import pytest

from edgeexport.report.plots import FORMS, Axis, Point, pareto_front, scatter
from edgeexport.report.svg import log_ticks, ticks


@pytest.mark.parametrize(
    ("points", "front"),
    [
        ([], []),
        ([(1, 1)], [0]),
        ([(1, 3), (2, 2), (3, 1)], [0, 1, 2]),
        ([(1, 1), (2, 2)], [0]),
        ([(2, 2), (1, 1)], [1]),
        ([(1, 2), (1, 1)], [1]),
        ([(1, 1), (2, 1)], [0]),
        ([(1, 1), (1, 1)], [0]),
        ([(3, 0), (1, 4), (2, 2), (2, 3), (4, 0), (2.5, 2)], [1, 2, 0]),
        ([(1, -1), (0, 0), (2, -1)], [1, 0]),
    ],
)
def test_the_front_of_a_table_of_points(points, front):
    assert pareto_front(points) == front


@pytest.mark.parametrize("seed", range(5))
def test_the_front_is_what_nothing_beats(seed):
    chance = random.Random(seed)
    points = [(chance.randint(0, 9), chance.randint(0, 9)) for _ in range(30)]
    front = pareto_front(points)

    def beaten(one):
        return any(all(a <= b for a, b in zip(other, one, strict=True)) and other != one for other in points)

    assert {points[index] for index in front} == {point for point in points if not beaten(point)}


@pytest.mark.parametrize(
    ("low", "high", "count", "found"),
    [
        (0, 10, 5, [0, 2, 4, 6, 8, 10]),
        (0.1, 0.52, 5, [0.1, 0.2, 0.3, 0.4, 0.5]),
        (-0.3, 0.3, 4, [-0.2, 0, 0.2]),
        (3, 3, 5, [3]),
        (17.3, 34.9, 5, [20, 25, 30]),
    ],
)
def test_ticks_are_round(low, high, count, found):
    assert ticks(low, high, count) == pytest.approx(found)


POINTS = [
    Point(10, 4, "1", "first", "failed"),
    Point(20, 1, "2", "second", "chosen"),
    Point(30, 0.5, "3", "third", "kept"),
    Point(25, 3, "4", "fourth", "partial"),
]


def drawn(form="wide", points=POINTS):
    return ElementTree.fromstring(scatter("s", "title", points, (Axis("MB", 28.0), Axis("lost", 2.0)), form))


def test_points_are_in_order_on_both_axes():
    circles = {
        group.find("title").text: group.find("circle")
        for group in drawn().iter("g")
        if group.find("circle") is not None
    }
    third, fourth = circles["third"], circles["fourth"]
    assert float(third.get("cx")) > float(fourth.get("cx"))
    assert float(third.get("cy")) > float(fourth.get("cy"))


def test_every_kind_of_point_has_its_shape():
    shapes = {group.find("title").text: group[1] for group in drawn().iter("g")}
    assert shapes["first"].tag == shapes["second"].tag == "path"
    assert shapes["first"].get("d").count("l") == 2
    assert shapes["second"].get("d").endswith("Z")
    assert float(shapes["third"].get("r")) > float(shapes["fourth"].get("r"))


@pytest.mark.parametrize("form", FORMS)
def test_everything_is_inside(form):
    width, height = FORMS[form]
    picture = drawn(form)
    for text in picture.iter("text"):
        assert 0 <= float(text.get("x")) <= width and 0 < float(text.get("y")) < height
    (limit,) = {
        line.get("x1")
        for line in picture.iter("line")
        if line.get("class") == "limit" and line.get("x1") == line.get("x2")
    }
    assert 0 < float(limit) < width


def test_the_front_passes_what_was_only_partly_run():
    (front,) = [path for path in drawn().iter("path") if path.get("class") == "front"]
    assert len(re.findall("H", front.get("d"))) == 2
    assert "first; second; third." in drawn().find("desc").text


def test_labels_do_not_meet():
    close = [Point(10 + index / 100, 1 + index / 100, str(index), f"p{index}", "kept") for index in range(12)]
    picture = drawn("narrow", close)
    boxes = [
        (float(text.get("x")), float(text.get("y")))
        for text in picture.iter("text")
        if "strong" in text.get("class", "")
    ]
    assert boxes
    for (x, y), (other, below) in itertools.combinations(boxes, 2):
        assert abs(x - other) > 6 or abs(y - below) > 10


def test_a_single_point_and_equal_points():
    for points in (POINTS[:1], [POINTS[0]] * 3, [Point(0, 0, "1", "zero", "kept")]):
        assert "nan" not in scatter("s", "t", points, (Axis("x"), Axis("y")), "wide")


def test_sizes_that_hardly_differ_are_drawn_as_equal():
    points = [Point(23.1435, 4, "1", "first", "failed"), Point(23.1445, 2, "2", "second", "closest")]
    picture = ElementTree.fromstring(scatter("p", "t", points, (Axis("MB"), Axis("lost")), "wide"))
    paths = {shape.get("class"): shape.get("d") for shape in picture.iter("path")}
    cross, star = (float(re.match(r"M([\d.]+)", paths[f"mark {mark}"])[1]) for mark in ("failed", "closest"))
    assert cross + 5 == pytest.approx(star, abs=1)


@pytest.mark.parametrize(
    ("low", "high", "found"),
    [(0.4, 30, [0.5, 1, 2, 5, 10, 20]), (1, 10, [1, 2, 5, 10]), (0.02, 700, [0.1, 1, 10, 100])],
)
def test_ticks_of_logarithms(low, high, found):
    assert log_ticks(low, high, 5) == pytest.approx(found)


def test_ratios_far_apart_are_drawn_by_their_logarithms():
    points = [Point(x, 1, str(x), str(x), "kept") for x in (0.5, 2, 8)]

    def places(axis):
        picture = ElementTree.fromstring(scatter("p", "t", points, (axis, Axis("lost")), "wide"))
        return [float(shape.get("cx")) for shape in picture.iter("circle")], "".join(picture.itertext())

    (first, second, third), told = places(Axis("time", ratio=True))
    assert second - first == pytest.approx(third - second, abs=0.02)
    assert "time, logarithmic" in told
    (first, second, third), told = places(Axis("time"))
    assert (third - second) / (second - first) == pytest.approx(4, abs=0.01)
    assert "logarithmic" not in told
