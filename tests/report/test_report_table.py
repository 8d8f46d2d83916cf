"""The terminal's tables."""

import io

import msgspec
import pytest
from rich.console import Console

from edgeexport.analysis import LintFinding
from edgeexport.estimate import Estimate
from edgeexport.report import table
from edgeexport.results import Check, Conditions, Latency, Parity, Report, Run, Size

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


def test_what_is_odd_about_the_calibration_set():
    assert "Calibration set" not in draw(REPORT)
    odd = LintFinding(rule="few-samples", level="warning", evidence="120 samples [of 199]", remedy="Give more.")
    shown = draw(msgspec.structs.replace(REPORT, lint=(odd,)))
    for text in ("Calibration set", "few-samples", "warning", "120 samples [of 199]", "Give more."):
        assert text in shown


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


ESTIMATE = Estimate(
    tool="vela",
    tool_version="5.2.0",
    accelerator="ethos-u55-128",
    cycles=1_234_567,
    milliseconds=6.1728,
    clock_hz=200e6,
    sram_bytes=54_321,
    flash_bytes=234_567,
    npu_share=0.875,
    cpu_ops=("ARG_MAX", "CAST"),
)
ESTIMATED = Run(
    runtime="vela",
    runtime_version="5.2.0",
    device="ethos-u55-128",
    machine="armv8.1-m.main",
    cpu="ethos-u55-128",
    evidence="estimated",
    estimate=ESTIMATE,
)


def rows(shown, word):
    return [line for line in shown.splitlines() if word in line]


def test_an_estimate_has_a_table_of_its_own():
    shown = draw(msgspec.structs.replace(REPORT, runs=(RUN, ESTIMATED)))
    assert "Estimated by a cost model, not measured" in shown
    (row,) = rows(shown, "vela 5.2.0")
    for figure in ("ethos-u55-128", "1,234,567", "6.17", "200", "54,321 B", "0.23 MB", "88%", "ARG_MAX, CAST"):
        assert figure in row
    runs, _, _ = shown.partition("Estimated by")
    assert "onnxruntime 1.22" in runs
    assert "vela" not in runs
    assert "Estimated" not in draw(REPORT)


def test_an_estimate_of_nothing_has_no_figures():
    nothing = msgspec.structs.replace(ESTIMATE, npu_share=0.0, cycles=0, milliseconds=0.0, cpu_ops=("CONV_2D",))
    shown = draw(msgspec.structs.replace(REPORT, runs=(RUN, msgspec.structs.replace(ESTIMATED, estimate=nothing))))
    (row,) = rows(shown, "vela 5.2.0")
    assert [cell.strip() for cell in row.strip("│").split("│")][2:] == [*["–"] * 5, "0%", "CONV_2D"]


def test_an_estimate_that_failed():
    failed = msgspec.structs.replace(ESTIMATED, estimate=None, error="vela crashed\nits log")
    (row,) = rows(draw(msgspec.structs.replace(REPORT, runs=(RUN, failed))), "vela 5.2.0")
    assert "the estimate failed" in row
    assert "ethos-u55-128" in row


def test_columns_that_no_run_fills_are_left_out():
    assert "Memory" in draw(REPORT)
    for heading in (" ms ", "float32 ms", "Arena"):
        assert heading not in draw(REPORT)
    micro = msgspec.structs.replace(RUN, runtime="tflite-micro", arena_bytes=6_864, peak_memory_bytes=None)
    shown = draw(msgspec.structs.replace(REPORT, runs=(micro,)))
    assert "Arena" in shown
    assert "6,864 B" in shown
    assert "Memory" not in shown
    latency = Latency(p50=1.5, p90=2.0, float32_p50=2.5, float32_p90=3.0, count=3, threads=1)
    timed = msgspec.structs.replace(RUN, latency_ms=latency)
    shown = draw(msgspec.structs.replace(REPORT, runs=(timed, micro)))
    assert "float32 ms" in shown
    (row,) = rows(shown, "tflite-micro")
    assert [cell.strip() for cell in row.strip("│").split("│")][-4:] == ["–", "–", "–", "6,864 B"]


@pytest.mark.parametrize(
    ("delegate", "said"),
    [("xnnpack", "litert 2.3 (xnnpack)"), ("none", "litert 2.3 (no delegate)"), (None, "litert 2.3")],
)
def test_what_executes_the_operators(delegate, said):
    run = msgspec.structs.replace(RUN, runtime="litert", runtime_version="2.3", delegate=delegate)
    (row,) = rows(draw(msgspec.structs.replace(REPORT, runs=(run,))), "litert")
    assert row.strip("│").split("│")[0].strip() == said


def test_operators_are_counted():
    check = Check(name="compatibility", measured=2.0, limit=0.0, unit="operators", verdict="fail", where="there")
    (row,) = rows(draw(msgspec.structs.replace(REPORT, checks=(check,))), "compatibility")
    assert [cell.strip() for cell in row.strip("│").split("│")][1:3] == ["2", "0"]


def test_what_stood_in_for_a_runtime_is_named_beside_it():
    run = msgspec.structs.replace(
        RUN, runtime="coreml", runtime_version="", evidence="emulated", stand_in="evaluator of edgeexport 9"
    )
    shown = draw(msgspec.structs.replace(REPORT, runs=(run,)), width=160)
    assert "coreml (evaluator of edgeexport 9)" in shown
    assert "emulated" in shown
    assert "measured" not in shown


TIMED = Latency(
    p50=5.0,
    p90=6.0,
    float32_p50=10.0,
    float32_p90=12.0,
    count=9,
    threads=1,
    before=Conditions(temperature_c=45.25, frequency_mhz=1800.4),
    after=Conditions(temperature_c=61.0),
    energy_j=0.01234,
    float32_energy_j=0.0345,
)


def test_conditions_of_a_timing_are_shown_where_the_board_tells_them():
    report = msgspec.structs.replace(REPORT, runs=(msgspec.structs.replace(RUN, latency_ms=TIMED), RUN))
    shown = " ".join(draw(report, 200).split())
    assert (
        "timed: onnxruntime on local: 45.2 °C before, 61.0 °C after, 1800 MHz before, – MHz after, "
        "0.0123 J a sample, float32 0.0345 J" in shown
    )
    assert shown.count("timed:") == 1


@pytest.mark.parametrize("silent", [{"before": None, "after": None}, {"before": Conditions(), "after": Conditions()}])
def test_conditions_that_are_not_told_are_not_shown(silent):
    latency = msgspec.structs.replace(TIMED, **silent, energy_j=None, float32_energy_j=None)
    report = msgspec.structs.replace(REPORT, runs=(msgspec.structs.replace(RUN, latency_ms=latency),))
    assert "timed:" not in draw(report)
