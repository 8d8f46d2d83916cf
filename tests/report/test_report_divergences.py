"""Where layers part from float32, in a terminal."""

import io

import pytest
from rich.console import Console, Group

from edgeexport.analysis import Divergence, LayerError
from edgeexport.report import divergences


def layer(path, snr_db, reads=(), **more):
    values = {"operator": "Add", "clipped": None, "low": -1.5, "high": 221.25, "samples": 16, **more}
    return LayerError(path=path, snr_db=snr_db, reads=reads, **values)


def divergence(*layers, worst=()):
    return Divergence(runtime="litert", device="local", evidence="measured", layers=layers, worst=worst)


def draw(found):
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(Group(*divergences.render(found)))
    return console.export_text()


def test_the_layers_to_blame_follow_what_they_read():
    layers = (layer("a", None), layer("b", 31.26), layer("c", 7.04, (0, 1), clipped=0.0123, channel_snr_db=2.5))
    lines = draw(divergence(*layers, layer("d", 8.0, (2,)), worst=("c",))).splitlines()
    assert "Where it parts from float32: litert on local, measured, 4 layers, 16 samples" in lines[0]
    rows = [line for line in lines if line.startswith("│")]
    assert [row.split("│")[1].strip() for row in rows] == ["reads b", "reads a", "c"]
    assert [cell.strip() for cell in rows[2].split("│")[2:7]] == ["Add", "7.0", "2.5", "1.2 %", "-1.5 … 221"]
    assert "exact" in rows[1]


def test_of_layers_with_one_path_the_one_that_loses_most_is_shown():
    layers = (layer("a", 30.0), layer("a", 5.0, (0,)), layer("a", 4.0, (1,)))
    found = divergence(*layers, worst=("a",))
    assert divergences.blame(found) == [1]


def test_few_are_shown():
    layers = tuple(layer(f"layer{number}", 5.0) for number in range(8))
    shown = draw(divergence(*layers, worst=tuple(one.path for one in layers)))
    assert "layer4" in shown
    assert "layer5" not in shown
    assert "and 3 later layers, which are in the report" in shown
    many = draw(divergence(*layers, layer("sum", 1.0, tuple(range(8))), worst=("sum",)))
    assert many.count("reads") == 3


def test_what_is_no_number_is_said():
    assert "not finite" in draw(divergence(layer("a", None, finite=False), worst=("a",)))


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (divergence(), "no layer could be compared with float32"),
        (divergence(layer("a", 40.0)), "no single layer is to blame (1 layers, 16 samples)"),
    ],
)
def test_without_a_layer_to_blame(found, said):
    assert draw(found).strip() == f"litert on local, measured: {said}"


def test_names_are_not_markup():
    assert "[/red]" in draw(divergence(layer("[/red]", 1.0, operator="[bold]"), worst=("[/red]",)))
