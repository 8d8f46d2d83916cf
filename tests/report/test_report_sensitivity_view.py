"""What layers cost: the worst first, each once, bars in proportion."""

import re

import msgspec
import pytest
import report_samples as samples

from edgeexport.analysis import Sensitivity
from edgeexport.report.sensitivity_view import costliest, noise, tables


def one(path, snr_db, precision="w8a8", **changes):
    fields = {"unlike": 3, "samples": 24, "bytes": 1000, "macs": 0.25, **changes}
    return Sensitivity(layer=path, path=path, precision=precision, snr_db=snr_db, **fields)


def search(*listed):
    return msgspec.structs.replace(samples.search(), sensitivities=listed)


def test_twenty_decibels_are_a_tenth():
    assert noise(one("a", 20.0)) == pytest.approx(0.1)
    assert noise(one("a", None)) == 0


def test_each_layer_is_there_once_in_the_precision_that_was_chosen():
    listed = (
        *(one("a", 10.0, "w8a16"), one("b", 40.0, "w8a16")),
        *(one("a", 30.0), one("b", 20.0), one("c", None), one("d", 20.0, unlike=9), one("a", 60.0, "w8a8-dynamic")),
    )
    found = costliest(search(*listed), 5)
    assert [(own.path, own.precision, own.snr_db) for own in found] == [
        *(("d", "w8a8", 20.0), ("b", "w8a8", 20.0), ("a", "w8a8", 30.0)),
    ]
    assert costliest(search(*listed), 1) == [listed[5]]
    assert costliest(search(*listed[:2]), 5) == list(listed[:2])


def test_a_row_has_its_figures_and_those_of_the_alternatives():
    top, rest = tables(search(one("a", 20.0), one("b", 26.0), one("a", 46.0, "w8a8-dynamic"), one("a", 66.0, "w8")))
    assert rest is None and top.caption.endswith("each quantized alone, in w8a8")
    assert [column.title for column in top.columns][-1] == "Otherwise"
    assert top.rows[0][0] == "a" and top.rows[0][2:] == (
        *("20.0", "3 of 24", "1,000 B", "25 %", "w8a8-dynamic 0.5 %, w8 0.05 %"),
    )
    assert top.rows[1][-1] == ""
    widths = [float(re.search(r'width="([\d.]+)"', row[1])[1]) for row in top.rows]
    assert widths == pytest.approx([100, 50.1], abs=0.1)


def test_of_many_layers_twelve_are_shown_and_the_others_folded():
    top, rest = tables(samples.search())
    assert len(top.rows) == 12 and len(rest.rows) == 24
    shares = [float(row[2]) for row in (*top.rows, *rest.rows)]
    assert shares == sorted(shares)


def test_layers_in_several_precisions_say_which():
    top, _ = tables(search(one("a", 20.0), one("b", 26.0, "w8a16")))
    assert [row[2] for row in top.rows] == ["w8a8", "w8a16"]
