"""Reports as files, and the verdict."""

import json
import math

import msgspec
import pytest

from edgeexport.errors import BundleError
from edgeexport.results import Accuracy, Check, Component, Latency, Parity, Report, Run, Size, overall


def check(verdict, **changes):
    fields = {"name": "agreement", "measured": 0.5, "limit": 0.4, "unit": "share", "where": "here", **changes}
    return Check(verdict=verdict, **fields)


def report(**changes):
    run = Run(
        runtime="onnxruntime",
        runtime_version="1.22",
        device="local",
        machine="x86_64",
        cpu="some",
        evidence="measured",
        parity=Parity(
            cosine_mean=0.99,
            cosine_min=0.9,
            max_abs=None,
            snr_db=None,
            agreement=0.5,
            unlike=1,
            samples=2,
            over="golden",
        ),
        accuracy=Accuracy(metric="accuracy", value=0.5, reference=1.0, samples=2),
        latency_ms=Latency(p50=1.0, p90=2.0, float32_p50=2.0, float32_p90=3.0, count=3, threads=1),
        peak_memory_bytes=1000,
    )
    fields = {
        "target": "board",
        "model": "m",
        "precision": "w8",
        "verdict": "pass",
        "size": Size(
            artifact_bytes=10,
            source_float32_bytes=40,
            ratio=0.25,
            components=(Component(name="graph", bytes=10, dtype="-"),),
        ),
        "runs": (run,),
        "checks": (check("pass"),),
        **changes,
    }
    return Report(**fields)


@pytest.mark.parametrize(
    ("verdicts", "result"),
    [
        ([], "pass"),
        (["pass", "pass"], "pass"),
        (["pass", "not run"], "incomplete"),
        (["not run", "fail", "pass"], "fail"),
    ],
)
def test_the_verdict_that_follows(verdicts, result):
    assert overall(tuple(check(verdict) for verdict in verdicts)) == result


def test_a_file_comes_back_equal(tmp_path):
    path = tmp_path / "report.json"
    report().write(path)
    assert Report.read(path) == report()
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.json"]


def test_the_fields_that_others_rely_on(tmp_path):
    report().write(tmp_path / "report.json")
    data = json.loads((tmp_path / "report.json").read_text(), parse_constant=pytest.fail)
    assert {"schema_version", "target", "model", "precision", "verdict", "size", "runs", "checks"} <= set(data)
    assert set(data["size"]) == {"artifact_bytes", "source_float32_bytes", "ratio", "components", "modules"}
    assert {"name", "bytes", "dtype"} == set(data["size"]["components"][0])
    run = data["runs"][0]
    assert {"runtime", "runtime_version", "device", "machine", "evidence", "peak_memory_bytes"} <= set(run)
    assert {"cosine_mean", "cosine_min", "max_abs", "agreement"} <= set(run["parity"])
    assert {"metric", "value", "reference", "samples"} <= set(run["accuracy"])
    assert {"p50", "p90", "count", "threads"} <= set(run["latency_ms"])
    assert {"name", "measured", "limit", "unit", "verdict", "where"} <= set(data["checks"][0])


def test_fields_of_a_later_version_are_passed_over(tmp_path):
    path = tmp_path / "report.json"
    path.write_text(json.dumps({**report().to_dict(), "later": {"x": 1}}))
    assert Report.read(path) == report()


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b'{"verdict": "great"}', b"\xff"])
def test_what_is_no_report(tmp_path, data):
    path = tmp_path / "report.json"
    path.write_bytes(data)
    with pytest.raises(BundleError, match="is no report"):
        Report.read(path)


def test_a_missing_report_says_what_writes_one(tmp_path):
    with pytest.raises(BundleError, match="is missing") as caught:
        Report.read(tmp_path / "report.json")
    assert "edgeexport verify" in caught.value.hint
    (tmp_path / "report.json").mkdir()
    with pytest.raises(BundleError, match="cannot be read: Is a directory"):
        Report.read(tmp_path / "report.json")


def test_json_has_no_infinity():
    """Why figures are None where they are not finite: the encoder writes null, and a float cannot be read from it."""
    assert msgspec.json.encode(math.inf) == b"null"
