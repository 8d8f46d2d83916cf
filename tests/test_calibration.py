"""Memory between conversions, and intervals by each method."""

import numpy as np
import pytest

from edgeexport.calibration import RememberedFeeds, find_intervals, recalled
from edgeexport.ranges import Histogram, Range, least_error_range, percentile_range
from edgeexport.settings import Calibration

VALUES = np.random.default_rng(0).laplace(size=5000).astype(np.float32)


def no_samples(_title):
    return iter(())


def seen(name, asked):
    def find(names):
        asked.append(list(names))
        return {each: f"{name} {each}" for each in names if each != "unreached"}

    return find


def test_only_what_nobody_asked_for_is_found():
    asked = []
    feeds = RememberedFeeds(no_samples, {})
    assert recalled(feeds, "graph", ["a", "b", "a"], seen("1", asked)) == {"a": "1 a", "b": "1 b"}
    assert recalled(feeds, "graph", ["b", "c"], seen("2", asked)) == {"b": "1 b", "c": "2 c"}
    assert recalled(feeds, "graph", ["a", "c"], seen("3", asked)) == {"a": "1 a", "c": "2 c"}
    assert asked == [["a", "b"], ["c"]]


def test_another_graph_is_found_anew():
    asked = []
    feeds = RememberedFeeds(no_samples, {})
    recalled(feeds, "graph", ["a"], seen("1", asked))
    assert recalled(feeds, "other", ["a"], seen("2", asked)) == {"a": "2 a"}


def test_what_is_never_reached_is_looked_for_once():
    asked = []
    feeds = RememberedFeeds(no_samples, {})
    for _ in range(2):
        assert recalled(feeds, "graph", ["unreached", "a"], seen("1", asked)) == {"a": "1 a"}
    assert len(asked) == 1


def test_memory_is_shared_and_counts_as_use():
    memo, asked = {}, []
    first, second, third = (RememberedFeeds(no_samples, memo) for _ in range(3))
    recalled(first, "graph", ["a"], seen("1", asked))
    recalled(second, "graph", ["a"], seen("2", asked))
    assert (first.used, second.used, third.used) == (True, True, False)
    assert list(third("a pass")) == [] and third.used
    assert len(asked) == 1


def test_plain_feeds_remember_nothing():
    asked = []
    for _ in range(2):
        recalled(no_samples, "graph", ["a"], seen("1", asked))
    assert asked == [["a"], ["a"]]


@pytest.mark.parametrize(("method", "passes"), [("minmax", 0), ("percentile", 1), ("mse", 1)])
def test_intervals_are_those_of_the_method(method, passes):
    range_, counted = Range(), []
    range_.add(VALUES)

    def count(ranges):
        counted.append(list(ranges))
        found = {name: Histogram(each.low, each.high, np.zeros(2048, np.int64)) for name, each in ranges.items()}
        for histogram in found.values():
            histogram.add(VALUES)
        return found

    calibration = Calibration(method=method, percentile=99.0, bins=2048, minimum_samples=1)
    feeds = RememberedFeeds(no_samples, {})
    for _ in range(2):
        found = find_intervals({"x": range_}, calibration, feeds, "graph", count)
    assert len(counted) == passes
    histogram = count({"x": range_})["x"]
    expected = {
        "minmax": (range_.low, range_.high),
        "percentile": percentile_range(histogram, 99.0),
        "mse": least_error_range(histogram),
    }[method]
    assert found == {"x": expected}
    if method != "minmax":
        assert found["x"][1] - found["x"][0] < 0.99 * (range_.high - range_.low)
