"""Values against limits."""

import msgspec
import pytest

from edgeexport.results import Accuracy, Finding, Latency, Parity, Run, Size
from edgeexport.settings import Limits
from edgeexport.verify.budget import judge, run_checks, size_checks

RUN = Run(runtime="onnxruntime", runtime_version="1", device="local", machine="x86_64", cpu="c", evidence="measured")
PARITY = Parity(
    cosine_mean=0.99, cosine_min=0.9, max_abs=1.0, snr_db=20.0, agreement=0.98, unlike=2, samples=100, over="evaluation"
)
LATENCY = Latency(p50=3.0, p90=4.0, float32_p50=6.0, float32_p90=7.0, count=9, threads=1)


def with_(**changes):
    return msgspec.structs.replace(RUN, **changes)


def checks(run, limits, **named):
    return {check.name: check for check in run_checks(run, limits, **named)}


@pytest.mark.parametrize(
    ("measured", "limit", "at_least", "verdict"),
    [
        (1.0, 1.0, False, "pass"),
        (1.0001, 1.0, False, "fail"),
        (1.0, 1.0, True, "pass"),
        (0.9999, 1.0, True, "fail"),
        (5.0, None, False, "pass"),
        (None, 1.0, False, "not run"),
        (float("nan"), 1.0, False, "fail"),
        (float("nan"), 1.0, True, "fail"),
    ],
)
def test_judge(measured, limit, at_least, verdict):
    check = judge("name", measured, limit, "share", "here", at_least=at_least, note="why")
    assert (check.verdict, check.limit, check.unit, check.where, check.note) == (verdict, limit, "share", "here", "why")


def test_sizes():
    size = Size(artifact_bytes=100, source_float32_bytes=400, ratio=0.25, components=())
    assert [(c.name, c.verdict) for c in size_checks(size, Limits(size_ratio=0.2))] == [("size_ratio", "fail")]
    found = list(size_checks(size, Limits(artifact_bytes=100)))
    assert [(c.name, c.measured, c.limit, c.verdict) for c in found] == [
        ("size_ratio", 0.25, None, "pass"),
        ("artifact_bytes", 100, 100, "pass"),
    ]


def test_a_failed_run_is_one_failed_check_with_its_log():
    (check,) = run_checks(with_(error="it crashed\nthe log"), Limits(agreement=0.9, size_ratio=0.1))
    assert (check.name, check.verdict, check.where) == ("run", "fail", "onnxruntime on local")
    assert check.note == "it crashed\nthe log"


def test_classes_are_judged_by_agreement_and_the_rest_by_cosine():
    limits = Limits(cosine_min=0.95, agreement=0.97)
    found = checks(with_(parity=PARITY), limits)
    assert (found["cosine_min"].limit, found["cosine_min"].verdict) == (None, "pass")
    assert (found["agreement"].measured, found["agreement"].verdict) == (0.98, "pass")
    assert found["agreement"].note == "2 of 100 unlike float32"
    numbers = msgspec.structs.replace(PARITY, agreement=None, unlike=None)
    found = checks(with_(parity=numbers), limits)
    assert (found["cosine_min"].limit, found["cosine_min"].verdict) == (0.95, "fail")
    assert "agreement" not in found


def test_regression_is_judged_by_r2_and_by_cosine_where_that_is_not_known():
    numbers = msgspec.structs.replace(PARITY, agreement=None, unlike=None)
    limits = Limits(cosine_min=0.95, accuracy_drop=0.01)
    r2 = Accuracy(metric="r2", value=0.979, reference=0.98, samples=100)
    found = checks(with_(parity=numbers, accuracy=r2), limits)
    assert (found["cosine_min"].limit, found["cosine_min"].verdict) == (None, "pass")
    assert (found["accuracy_drop"].measured, found["accuracy_drop"].verdict) == (0.001, "pass")
    unknown = msgspec.structs.replace(r2, reference=None)
    found = checks(with_(parity=numbers, accuracy=unknown), limits)
    assert (found["cosine_min"].limit, found["cosine_min"].verdict) == (0.95, "fail")


@pytest.mark.parametrize(
    ("value", "reference", "better", "drop", "verdict"),
    [
        (0.89, 0.90, True, 0.01, "pass"),
        (0.88, 0.90, True, 0.02, "fail"),
        (0.92, 0.90, True, -0.02, "pass"),
        (12.0, 11.0, False, 1.0, "fail"),
        (11.0, 12.0, False, -1.0, "pass"),
    ],
)
def test_drop_of_accuracy(value, reference, better, drop, verdict):
    accuracy = Accuracy(metric="m", value=value, reference=reference, samples=9, higher_is_better=better)
    check = checks(with_(accuracy=accuracy), Limits(accuracy_drop=0.0101))["accuracy_drop"]
    assert check.measured == pytest.approx(drop)
    assert check.verdict == verdict


def test_a_drop_of_as_much_as_the_limit_allows_passes_whatever_binary_makes_of_it():
    """1 - 0.98 is 0.020000000000000018. Every loss of 4 in 200 is 0.02."""
    for right in range(4, 201):
        accuracy = Accuracy(metric="accuracy", value=(right - 4) / 200, reference=right / 200, samples=200)
        for limit, verdict in ((0.02, "pass"), (0.0199, "fail")):
            check = checks(with_(accuracy=accuracy), Limits(accuracy_drop=limit))["accuracy_drop"]
            assert (check.measured, check.verdict) == (0.02, verdict)


def test_what_has_a_limit_and_no_figure_is_not_run_and_says_why():
    limits = Limits(accuracy_drop=0.01, latency_ratio=0.5)
    found = checks(RUN, limits, missing_accuracy="no set", missing_latency="no float32")
    assert {name: (c.verdict, c.measured, c.note) for name, c in found.items()} == {
        "accuracy_drop": ("not run", None, "no set"),
        "latency_ratio": ("not run", None, "no float32"),
    }
    assert checks(RUN, limits) == {}
    accuracy = Accuracy(metric="m", value=0.5, reference=None, samples=9)
    assert checks(with_(accuracy=accuracy), limits, missing_accuracy="why")["accuracy_drop"].verdict == "not run"


def test_latency_is_a_ratio_and_says_where_it_was_taken():
    found = checks(with_(latency_ms=LATENCY), Limits(latency_ratio=0.5), machine="aarch64")["latency_ratio"]
    assert (found.measured, found.verdict, found.note) == (0.5, "pass", "timed on x86_64; the target is aarch64")
    found = checks(with_(latency_ms=LATENCY), Limits(latency_ratio=0.49), machine="x86_64")["latency_ratio"]
    assert (found.verdict, found.note) == ("fail", "")


def test_memory():
    found = checks(with_(peak_memory_bytes=100), Limits(peak_memory=99))["peak_memory"]
    assert (found.measured, found.limit, found.verdict) == (100, 99, "fail")
    assert checks(with_(peak_memory_bytes=None), Limits(peak_memory=99)) == {}


def finding(number, kind="overflow"):
    return Finding(operator="exp", output=f"v{number}", kind=kind, count=1200, where=f"block.{number}")


def test_values_beyond_a_type_fail_and_are_named():
    found = checks(with_(findings=(finding(0), finding(1, "nan"))), Limits())["numerics"]
    assert (found.measured, found.limit, found.unit, found.verdict) == (2, 0, "operators", "fail")
    assert found.note == "exp at block.0: 1,200 values beyond its type; exp at block.1: 1,200 values NaN"
    assert found.where == "onnxruntime on local"


def test_no_findings_pass_and_runtimes_that_do_not_look_have_no_such_check():
    found = checks(with_(findings=()), Limits())["numerics"]
    assert (found.measured, found.verdict, found.note) == (0, "pass", "")
    assert "numerics" not in checks(RUN, Limits())


def test_many_findings_are_counted_and_not_all_told():
    found = checks(with_(findings=tuple(finding(number) for number in range(9))), Limits())["numerics"]
    assert found.measured == 9
    assert found.note.count("exp at") == 5
    assert found.note.endswith("; and 4 more")


def test_checks_of_a_stand_in_say_so():
    found = checks(with_(stand_in="evaluator", evidence="emulated", findings=()), Limits())
    assert found["numerics"].where == "onnxruntime on local, emulated"
