"""The terminal's tables."""

import io

import msgspec
import pytest
from rich.console import Console

from edgeexport.report import table
from edgeexport.results import Check, Parity, Report, Run, Size

RUN = Run(
    runtime="onnxruntime",
    runtime_version="1.22",
    device="local",
    machine="x86_64",
    cpu="c",
    evidence="measured",
    peak_memory_bytes=55_000_000,
    parity=Parity(
        cosine_mean=1.0, cosine_min=1.0, max_abs=0.0, snr_db=None, agreement=0.9, unlike=1, samples=10, over="golden"
    ),
)
REPORT = Report(
    target="board",
    model="m",
    precision="w8",
    verdict="incomplete",
    size=Size(artifact_bytes=500, source_float32_bytes=2_000_000, ratio=0.25, components=()),
    runs=(RUN,),
    checks=(
        Check(name="agreement", measured=0.9, limit=0.97, unit="share", verdict="fail", where="there", note="1 of 10"),
        Check(name="latency_ratio", measured=None, limit=0.5, unit="ratio", verdict="not run", where="there"),
    ),
)


def draw(report, width=120):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(table.render(report))
    return console.export_text()


def test_every_figure_is_there():
    shown = draw(REPORT)
    for text in ("m for board, w8", "onnxruntime 1.22", "local (x86_64)", "1/10", "55.00 MB", "0.9000", "0.9700"):
        assert text in shown
    assert "INCOMPLETE: 500 B, 0.2500 of 2.00 MB float32" in shown
    assert "1 of 10" in shown


@pytest.mark.parametrize("hostile", ["[/]", "[bold]x", "[/red]", "a[b]c"])
def test_names_are_not_markup(hostile):
    run = msgspec.structs.replace(RUN, device=hostile, runtime_version=hostile)
    checks = (msgspec.structs.replace(REPORT.checks[0], where=hostile, note=hostile),)
    report = msgspec.structs.replace(REPORT, model=hostile, target=hostile, runs=(run,), checks=checks)
    assert draw(report).count(hostile) >= 5


def test_a_narrow_terminal_loses_no_check():
    shown = draw(REPORT, width=60)
    assert "INCOMPLETE" in shown
    assert shown.count("agreement") + shown.count("agreemen") >= 1
