"""Bars: how much of a limit is used."""

import math
from xml.etree import ElementTree

import msgspec
import pytest
import report_samples as samples

from edgeexport.report.gauges import gauges, title_of, used


@pytest.mark.parametrize(
    ("name", "measured", "limit", "share"),
    [
        ("size_ratio", 0.27, 0.3, 0.9),
        ("accuracy_drop", -0.01, 0.01, 0.0),
        ("accuracy_drop", 0.005, 0.01, 0.5),
        ("agreement", 0.985, 0.97, 0.5),
        ("agreement", 0.94, 0.97, 2.0),
        ("cosine_min", 0.99, 0.9, 0.1),
        ("agreement_between_devices", 0.97, 0.97, 1.0),
        ("agreement_drop_since", 0.0, 0.0, 0.0),
        ("artifact_bytes_since", 3.0, 0.0, math.inf),
        ("latency_ratio", None, 0.6, None),
        ("peak_memory", 5.0, None, None),
    ],
)
def test_the_share_of_a_limit(name, measured, limit, share):
    found = used(samples.check(name, measured, limit))
    assert found == (share if share is None else pytest.approx(share))


def test_bars_are_as_long_as_their_share_and_limits_at_one_place():
    found = gauges(samples.rich())
    assert list(found) == ["The file", "onnxruntime on local", "onnxruntime on emulated:raspberry-pi-4"]
    limits = set()
    for one in (gauge for listed in found.values() for gauge in listed if gauge.used is not None):
        picture = ElementTree.fromstring(one.bar)
        (fill,) = [shape for shape in picture.iter("rect") if "fill" in shape.get("class")]
        (line,) = picture.iter("line")
        limits.add(line.get("x1"))
        length, at = float(fill.get("width")), float(line.get("x1"))
        assert (length > at) == (one.verdict == "fail")
        if 0.02 < one.used < 1.4:
            assert length == pytest.approx(one.used * at, abs=0.01)
    assert len(limits) == 1


def test_what_was_not_measured_has_no_bar():
    (unproved,) = [one for one in gauges(samples.rich())["onnxruntime on emulated:raspberry-pi-4"] if one.used is None]
    assert unproved.bar == "" and unproved.figures == "not measured, at most 0.6000"


def test_names_for_people():
    assert title_of("size_ratio") == "Size beside float32"
    assert title_of("run_since") == "Run since"


def test_what_fails_within_its_limit_says_why():
    def figures(**changes):
        check = samples.check("budget", 0.0023, 0.003, "share", "fail", note="breaks the limit of latency_ratio")
        check = msgspec.structs.replace(check, **changes)
        ((found,),) = gauges(samples.rich(checks=(check,))).values()
        return found.figures

    assert figures() == "0.0023, at most 0.0030; breaks the limit of latency_ratio"
    assert figures(measured=0.004) == "0.0040, at most 0.0030"
    assert figures(verdict="pass") == "0.0023, at most 0.0030"
