"""Where outputs part, as a page has it: the layers to blame below what they read."""

import re

from edgeexport.analysis import Divergence, LayerError
from edgeexport.report.divergence_view import views


def layer(path, snr_db, reads=(), **more):
    values = {"operator": "Add", "clipped": None, "low": -1.5, "high": 221.25, "samples": 16, **more}
    return LayerError(path=path, snr_db=snr_db, reads=reads, **values)


def shown(*layers, worst=()):
    (view,) = views((Divergence(runtime="litert", device="local", evidence="measured", layers=layers, worst=worst),))
    return view


def texts(grid):
    return [tuple(re.sub(r"<[^>]*>", "", cell) for cell in row) for row in grid.rows]


def test_layers_to_blame_follow_the_worst_that_they_read():
    read = (layer("a", None), layer("b", 31.26), layer("c", 28.0))
    view = shown(*read, layer("d", 17.98, (0, 1, 2), channel_snr_db=2.14, clipped=0.0123), worst=("d",))
    assert [column.title for column in view.worst.columns] == [
        *("Layer", "Operator", "SNR, dB", "Median channel", "Clipped", "Lowest", "Highest"),
    ]
    assert [row[0] for row in texts(view.worst)] == ["reads c", "reads b", "▼ 1 d"]
    assert texts(view.worst)[2][1:] == ("Add", "18.0", "2.1", "1.2 %", "-1.5", "221.2")
    assert [row[2] for row in texts(view.layers)] == ["exact", "31.3", "28.0", "18.0"]
    assert view.apart and view.infinite == 0 and view.told == "4 layers over 16 samples."


def test_of_layers_with_one_path_the_one_that_loses_most_is_blamed():
    view = shown(layer("a", 30.0), layer("a", 5.0, (0,)), worst=("a",))
    assert [row[2] for row in texts(view.worst)] == ["30.0", "5.0"]


def test_what_is_not_finite_is_said():
    view = shown(layer("a", None, finite=False), layer("b", 8.0), worst=("a",))
    assert view.infinite == 1
    assert texts(view.worst)[0][:3] == ("▼ 1 a", "Add", "not finite")


def test_where_none_is_to_blame_there_is_no_table():
    view = shown(layer("a", 30.0))
    assert view.worst is None and not view.apart
    assert view.told.endswith("No single layer stands out: the loss comes about little by little.")
    assert shown().told == "No layer could be compared with float32."
