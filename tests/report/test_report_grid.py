"""Tables as data: empty columns, and what a phone has room for."""

from html import unescape

import report_samples as samples
from markupsafe import Markup, escape

from edgeexport.report import grid
from edgeexport.report.grid import Column, Grid, number


def test_columns_that_nothing_fills_are_left_out():
    found = Grid.of("c", (Column("a"), number("b"), Column("d")), [("–", "–", "x"), ("", "", "")])
    assert [column.title for column in found.columns] == ["a", "d"]
    assert found.rows == (("–", "x"), ("", ""))
    assert Grid.of("c", (Column("a"),), []) is None


def test_long_rows_are_stacked_and_long_texts_get_a_line():
    short = Grid.of("c", (Column("kind"), number("bytes")), [("linear", "10.79 MB")])
    assert not short.stacked and short.wide == (False, False)
    long = Grid.of("c", (Column("kind"), Column("path")), [("x", "bert.encoder.layer.0.attention.self")])
    assert long.stacked is False and long.wide == (False, True)
    assert Grid.of("c", (Column("kind"), Column("path")), [("x", "a" * 40)]).stacked
    marked = Grid.of("c", (Column("kind"),), [(Markup('<a href="a long address">x</a>'),)])
    assert marked.wide == (False,)


def test_the_largest_modules_and_the_rest_add_up():
    report = samples.rich()
    found = grid.modules(report, 5)
    ordered = sorted(report.size.modules, key=lambda one: -one.bytes)
    assert [row[0] for row in found.rows] == [*(one.path for one in ordered[:5]), f"{len(ordered) - 5} more"]
    assert found.rows[0] == ("bert.embeddings.word_embeddings", "int8", "11.72 MB", "45.7 %")
    rest = sum(one.bytes for one in ordered[5:])
    assert found.rows[5][2] == f"{rest / 1e6:.2f} MB"
    assert len(grid.modules(report, 1000).rows) == len(ordered)


def test_a_phone_shows_four_short_figures_in_a_row():
    heads = (Column("path", code=True), number("a"), number("b"), number("c"), Column("d"))
    assert Grid.of("c", heads, [("x" * 50, "< 0.01 %", "23.14 MB", "1", "broken")]).compact
    assert not Grid.of("c", heads, [("x" * 50, "< 0.01 %", "23.14 MB", "1", "measured")]).compact
    assert not Grid.of("c", heads, [("x" * 50, "1,234,567", "1", "1", "broken")]).compact
    assert not Grid.of("c", heads[:4], [("x" * 50, "1", "1", "1")]).compact


def test_long_settings_are_folded_and_nothing_is_lost():
    assert grid.folded("a" * 200) == "a" * 200
    pattern = "^(<a>|b)$|" * 30
    found = grid.folded(pattern)
    summary, _, rest = found.partition("</summary>")
    assert summary == "<details><summary>" + str(escape(pattern[:40])) + "… (300 characters)"
    assert unescape(rest.removesuffix("</details>")) == pattern


def test_settings_are_written_as_one_would():
    assert grid.plain(True) == "true"
    assert grid.plain(["a", 1, None]) == "[a, 1, none]"
    assert grid.plain({"a": [0.5]}) == "a=[0.5]"
