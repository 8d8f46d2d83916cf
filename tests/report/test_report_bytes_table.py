"""Bytes by module on a terminal."""

import io

import msgspec
import pytest
from rich.console import Console

from edgeexport.analysis import ModuleBytes
from edgeexport.report import bytes_table, table
from edgeexport.results import Check, Report, Size

MODULES = tuple(
    ModuleBytes(path=path, what=what, dtype=dtype, bytes=count)
    for path, what, dtype, count in (
        ("bert.encoder.dense", "weight", "int8", 9000),
        ("bert.encoder.dense", "scale", "float32", 120),
        ("head", "weight", "float32", 4000),
        ("", "structure", "", 880),
    )
)
SIZE = Size(artifact_bytes=14_000, source_float32_bytes=40_000, ratio=0.35, components=(), modules=MODULES)


def draw(renderable):
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(renderable)
    return console.export_text()


def rows(shown):
    return [[cell.strip() for cell in line.strip("│┃").split("│")] for line in shown.splitlines() if "│" in line]


def test_modules_with_their_bytes_by_kind_and_a_sum():
    found = rows(draw(bytes_table.modules(SIZE, 1)))
    assert found == [
        ["bert", "9,000", "", "", "120", "", "9,120", "65.1%"],
        ["head", "", "4,000", "", "", "", "4,000", "28.6%"],
        ["(no module)", "", "", "", "", "880", "880", "6.3%"],
        ["all", "9,000", "4,000", "0", "120", "880", "14,000", "100.0%"],
    ]


def test_what_is_beyond_a_quarter():
    shown = draw(bytes_table.excess(SIZE))
    assert "14,000 bytes are 0.3500 of float32; a quarter is 10,000" in shown
    assert ["+3,000", "+0.0750", "float32 weights", "head"] in rows(shown)
    assert ["+880", "+0.0220", "structure", "all"] in rows(shown)
    assert rows(shown)[-1] == ["+4,000", "+0.1000", "all", ""]


def test_more_parts_than_are_told_are_counted():
    many = tuple(ModuleBytes(path=f"m{n:02}", what="scale", dtype="float32", bytes=100 - n) for n in range(30))
    size = msgspec.structs.replace(SIZE, modules=many, artifact_bytes=sum(m.bytes for m in many))
    shown = rows(draw(bytes_table.excess(size)))
    assert ["+100", "+0.0025", "scales and zero points", "m00"] in shown
    others = next(row for row in shown if row[2].endswith("others"))
    told = 12
    assert others[2] == f"{30 - told + 1} others"  # one is what the source has and the artifact has not
    assert int(others[0].replace(",", "")) == sum(100 - n for n in range(told, 30)) - 10_000


def test_a_file_without_a_source_has_no_quarter():
    size = msgspec.structs.replace(SIZE, source_float32_bytes=0, ratio=0.0)
    assert "quarter" not in draw(bytes_table.render(size, 2))


@pytest.mark.parametrize("hostile", ["[/]", "[bold]x"])
def test_paths_are_not_markup(hostile):
    size = msgspec.structs.replace(SIZE, modules=(msgspec.structs.replace(MODULES[2], path=hostile),))
    assert draw(bytes_table.render(size, 0)).count(hostile) == 2


@pytest.mark.parametrize("name", ["size_ratio", "artifact_bytes", "artifact_bytes_since", "artifact_bytes_growth"])
@pytest.mark.parametrize("verdict", ["fail", "pass"])
def test_a_report_says_why_where_a_size_check_failed(name, verdict):
    check = Check(name=name, measured=0.35, limit=0.27, unit="ratio", verdict=verdict, where="artifact")
    report = Report(target="board", model="m", precision="w8", verdict=verdict, size=SIZE, runs=(), checks=(check,))
    assert ("Why not a quarter" in draw(table.render(report))) == (verdict == "fail")
