"""The page: every figure, nothing executed."""

import re
from html.parser import HTMLParser

import msgspec
import pytest

from edgeexport.estimate import Estimate
from edgeexport.report import html
from edgeexport.results import Accuracy, Check, Component, Conditions, Latency, Parity, Report, Run, Size


def report(**changes):
    run = Run(
        runtime="onnxruntime",
        runtime_version="1.22",
        device="local",
        machine="x86_64",
        cpu="a cpu",
        evidence="measured",
        parity=Parity(
            cosine_mean=1.0,
            cosine_min=1.0,
            max_abs=0.0,
            snr_db=None,
            agreement=0.97,
            unlike=3,
            samples=100,
            over="golden",
        ),
        accuracy=Accuracy(metric="accuracy", value=0.8811, reference=0.8922, samples=100),
        latency_ms=Latency(p50=1.234, p90=2.0, float32_p50=5.678, float32_p90=3.0, count=3, threads=1),
        peak_memory_bytes=123_456_789,
    )
    check = Check(name="size_ratio", measured=0.2512, limit=0.25, unit="ratio", verdict="fail", where="artifact")
    part = Component(name="embedding", bytes=11_700_000, dtype="int8")
    size = Size(artifact_bytes=22_800_000, source_float32_bytes=90_900_000, ratio=0.2508, components=(part,))
    fields = {
        "target": "board",
        "model": "m",
        "precision": "w8",
        "verdict": "fail",
        "size": size,
        "runs": (run,),
        "checks": (check,),
        "notes": ("a note",),
    }
    return Report(**{**fields, **changes})


def text(page):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))


def test_every_figure_is_there():
    shown = text(html.render(report()))
    for figure in (
        *("0.2512", "0.2500", "fail", "0.8811", "0.8922", "3 of 100", "1.23", "5.68", "123.46 MB"),
        *("22.80 MB", "90.90 MB", "0.2508", "11.70 MB", "embedding", "a note", "measured"),
    ):
        assert figure in shown


def test_a_metric_that_is_better_when_lower_is_named():
    (run,) = report().runs
    told = Accuracy(metric="perplexity", value=11.85, reference=11.83, samples=9, higher_is_better=False)
    worded = html.render(report(runs=(msgspec.structs.replace(run, accuracy=told),)))
    assert "<th>Perplexity ↓</th>" in worded and "11.8500" in worded
    assert "<th>Accuracy</th>" in html.render(report())
    mixed = (run, msgspec.structs.replace(run, accuracy=told))
    assert html.metric_title(mixed) == html.metric_title(()) == "Accuracy"


def test_conditions_of_a_timing_are_there_and_escaped():
    (run,) = report().runs
    latency = msgspec.structs.replace(
        run.latency_ms, before=Conditions(temperature_c=40.0), after=Conditions(temperature_c=71.5), energy_j=0.5
    )
    told = msgspec.structs.replace(run, device="<board>", latency_ms=latency)
    page = html.render(report(runs=(told,)))
    assert "<li>onnxruntime on &lt;board&gt;: 40.0 °C before, 71.5 °C after</li>" in page
    assert "While it was timed" not in html.render(report())


def test_a_run_without_figures_is_dashes_and_its_log():
    run = Run(
        runtime="onnxruntime", runtime_version="", device="d", machine="m", cpu="c", evidence="emulated", error="boom"
    )
    check = Check(name="run", measured=None, limit=None, unit="", verdict="fail", where="there", note="boom\nlog")
    shown = text(html.render(report(runs=(run,), checks=(check,))))
    assert "boom log" in shown
    assert shown.count("–") >= 8


def estimated(**changes):
    estimate = Estimate(
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
    run = Run(
        runtime="vela",
        runtime_version="5.2.0",
        device="ethos-u55-128",
        machine="armv8.1-m.main",
        cpu="ethos-u55-128",
        evidence="estimated",
        estimate=estimate,
    )
    return msgspec.structs.replace(run, **changes)


def test_an_estimate_stands_apart():
    page = html.render(report(runs=(*report().runs, estimated())))
    before, heading, after = page.partition("<h2>Estimated</h2>")
    assert heading
    assert "vela" not in before
    shown = text(after)
    for figure in ("vela 5.2.0", "1,234,567", "6.17", "200", "54,321 B", "0.23 MB", "88%", "ARG_MAX, CAST"):
        assert figure in shown
    assert "<h2>Estimated</h2>" not in html.render(report())


def test_an_estimate_of_nothing_and_one_that_failed():
    nothing = msgspec.structs.replace(
        estimated().estimate, npu_share=0.0, cycles=0, milliseconds=0.0, cpu_ops=("CONV_2D",)
    )
    _, _, after = html.render(report(runs=(estimated(estimate=nothing),))).partition("<h2>Estimated</h2>")
    assert "– – – – – 0% CONV_2D" in text(after)
    _, _, after = html.render(report(runs=(estimated(estimate=None, error="vela crashed"),))).partition(
        "Estimated</h2>"
    )
    assert "– – – – – – vela crashed" in text(after)


def test_arena_and_delegate():
    run = msgspec.structs.replace(report().runs[0], arena_bytes=6_864, delegate="xnnpack")
    shown = text(html.render(report(runs=(run, report().runs[0]))))
    assert "Tensor arena" in shown
    assert "6,864 B" in shown
    assert "onnxruntime 1.22 (xnnpack)" in shown
    assert "Tensor arena" not in html.render(report())


def test_markup_in_names_is_text():
    hostile = "<script>alert(1)</script>{{ 7 * 7 }}"
    run = msgspec.structs.replace(report().runs[0], device=hostile, cpu=hostile, runtime_version=hostile)
    check = msgspec.structs.replace(report().checks[0], note=hostile, name=hostile, where=hostile)
    estimate = msgspec.structs.replace(estimated().estimate, accelerator=hostile, cpu_ops=(hostile,))
    runs = (run, estimated(estimate=estimate, runtime_version=hostile), estimated(estimate=None, error=hostile))
    page = html.render(report(model=hostile, target=hostile, runs=runs, checks=(check,), notes=(hostile,)))
    assert "<script" not in page
    assert "49" not in text(page).replace("0.49", "")
    assert page.count("&lt;script&gt;") >= 13


def test_nothing_is_fetched_and_every_element_is_closed():
    class Watch(HTMLParser):
        open = ()

        def handle_starttag(self, tag, attributes):
            assert tag not in {"script", "link", "img", "iframe"}
            assert not {"src", "href", "onload"} & {name for name, _ in attributes}
            if tag not in {"meta", "br"}:
                self.open += (tag,)

        def handle_endtag(self, tag):
            *self.open, last = self.open
            assert last == tag
            self.open = tuple(self.open)

    watch = Watch()
    watch.feed(html.render(report(runs=(*report().runs, estimated(), estimated(estimate=None, error="x")))))
    assert watch.open == ()


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (None, "bytes", "–"),
        (99_999, "bytes", "99,999 B"),
        (100_000, "bytes", "0.10 MB"),
        (1_234_567_890, "bytes", "1,234.57 MB"),
        (0.25, "ratio", "0.2500"),
        (3.0, "operators", "3"),
        (-0.0123, "share", "-0.0123"),
    ],
)
def test_figures_for_people(value, unit, shown):
    assert html.format_value(value, unit) == shown


def test_what_stood_in_for_a_runtime_is_named_beside_it():
    (run,) = report().runs
    run = msgspec.structs.replace(
        run, runtime="coreml", runtime_version="", evidence="emulated", stand_in="evaluator of edgeexport 9"
    )
    shown = text(html.render(report(runs=(run,))))
    assert "coreml (evaluator of edgeexport 9) local" in shown
    assert "emulated" in shown.partition("“measured”")[0]
    assert "measured" not in shown.partition("“measured”")[0].replace("Measured", "")


@pytest.mark.parametrize(
    ("version", "stand_in", "delegate", "name"),
    [
        ("2.3", None, None, "r 2.3"),
        ("2.3", None, "xnnpack", "r 2.3 (xnnpack)"),
        ("2.3", None, "none", "r 2.3 (no delegate)"),
        ("", "evaluator", None, "r (evaluator)"),
        ("18 (macOS 15.1)", None, "9 on CPU", "r 18 (macOS 15.1) (9 on CPU)"),
        ("", "evaluator", "cpu", "r (evaluator, cpu)"),
    ],
)
def test_the_name_of_a_runtime(version, stand_in, delegate, name):
    (run,) = report().runs
    run = msgspec.structs.replace(run, runtime="r", runtime_version=version, stand_in=stand_in, delegate=delegate)
    assert html.runtime_name(run) == name
