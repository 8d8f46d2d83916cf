"""Nested tables."""

import pytest

from edgeexport.merge import flatten, merge, nest


def test_tables_merge_and_values_and_lists_are_replaced():
    base = {"a": {"x": 1, "y": 2}, "list": [1, 2], "kept": 0}
    over = {"a": {"y": 3, "z": {"deep": 4}}, "list": [9]}
    assert merge(base, over) == {"a": {"x": 1, "y": 3, "z": {"deep": 4}}, "list": [9], "kept": 0}


def test_inputs_stay_as_they_are():
    base, over = {"a": {"x": 1}}, {"a": {"y": 2}}
    merge(base, over)["a"]["z"] = 3
    assert (base, over) == ({"a": {"x": 1}}, {"a": {"y": 2}})


@pytest.mark.parametrize(
    ("base", "over", "result"),
    [({"a": 1}, {"a": {"b": 2}}, {"a": {"b": 2}}), ({"a": {"b": 2}}, {"a": 1}, {"a": 1}), ({}, {}, {})],
)
def test_a_table_and_a_value_replace_each_other(base, over, result):
    assert merge(base, over) == result


def test_flatten_and_nest():
    assert flatten({"a": {"b": {"c": 1}, "d": [2]}, "e": None}) == {"a.b.c": 1, "a.d": [2], "e": None}
    assert nest("a.b.c", 1) == {"a": {"b": {"c": 1}}}
    assert nest("a", [1]) == {"a": [1]}
    assert flatten(nest("x.y", 5)) == {"x.y": 5}
