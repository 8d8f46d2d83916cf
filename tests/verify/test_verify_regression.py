"""What a report lost since an earlier one."""

import msgspec
import pytest

from edgeexport.results import Accuracy, Latency, Parity, Report, Run, Size
from edgeexport.verify.regression import compare


def run(device="local", right=90, unlike=3, p50=2.0, error=None):
    return Run(
        runtime="onnxruntime",
        runtime_version="1.22",
        device=device,
        machine="x86_64",
        cpu="",
        evidence="measured",
        parity=Parity(
            cosine_mean=1.0,
            cosine_min=1.0,
            max_abs=0.0,
            snr_db=None,
            agreement=1 - unlike / 100,
            unlike=unlike,
            samples=100,
            over="evaluation",
        ),
        accuracy=Accuracy(metric="accuracy", value=right / 100, reference=0.9, samples=100),
        latency_ms=Latency(p50=p50, p90=p50, float32_p50=4.0, float32_p90=4.0, count=9, threads=1),
        error=error,
    )


def size(count):
    return Size(artifact_bytes=count, source_float32_bytes=4000, ratio=count / 4000, components=())


EARLIER = Report(
    target="t",
    model="m",
    precision="w8",
    verdict="pass",
    size=size(1000),
    runs=(run(), run("board")),
    checks=(),
    evaluation="digest",
)


def found(*runs, bytes_=1000, evaluation="digest", earlier=EARLIER):
    return {
        (check.name, check.where.rpartition(" ")[2]): check
        for check in compare(earlier, runs, size(bytes_), evaluation)
    }


def test_the_same_report_passes():
    checks = found(run(), run("board"))
    assert len(checks) == 7
    assert all(check.verdict == "pass" and check.measured == 0 for check in checks.values())


@pytest.mark.parametrize(
    ("change", "name", "measured"),
    [
        ({"right": 89}, "accuracy_drop_since", 0.01),
        ({"unlike": 4}, "agreement_drop_since", 0.01),
        ({"p50": 2.3}, "latency_ratio_since", 0.15),
    ],
)
def test_what_is_worse_on_one_device_fails_there(change, name, measured):
    checks = found(run(), run("board", **change))
    failed = [key for key, check in checks.items() if check.verdict == "fail"]
    assert failed == [(name, "board")]
    assert checks[name, "board"].measured == pytest.approx(measured)


@pytest.mark.parametrize("change", [{"right": 91}, {"unlike": 2}, {"p50": 2.19}, {"p50": 1.0}])
def test_what_is_better_or_within_the_noise_passes(change):
    assert all(check.verdict == "pass" for check in found(run(), run("board", **change)).values())


def test_lower_is_better_where_the_metric_says_so():
    def perplexity(value):
        metric = Accuracy(metric="perplexity", value=value, reference=10.0, samples=100, higher_is_better=False)
        return msgspec.structs.replace(run(), accuracy=metric)

    earlier = msgspec.structs.replace(EARLIER, runs=(perplexity(11.0),))
    assert found(perplexity(10.5), earlier=earlier)["accuracy_drop_since", "local"].verdict == "pass"
    worse = found(perplexity(11.5), earlier=earlier)["accuracy_drop_since", "local"]
    assert (worse.verdict, worse.measured) == ("fail", pytest.approx(0.5))


def test_a_byte_more_fails():
    check = found(run(), run("board"), bytes_=1001)["artifact_bytes_since", "artifact"]
    assert (check.verdict, check.measured) == ("fail", 1)


def test_a_device_that_is_missing_fails():
    check = found(run())["run_since", "board"]
    assert check.verdict == "fail"
    assert "this one does not" in check.note


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"evaluation": "another"}, "another evaluation set"),
        ({"evaluation": None}, "another evaluation set"),
    ],
)
def test_other_samples_are_not_compared(changes, said):
    checks = found(run(right=50), run("board"), **changes)
    for name in ("accuracy_drop_since", "agreement_drop_since"):
        assert checks[name, "local"].verdict == "not run"
        assert said in checks[name, "local"].note


def test_a_part_of_the_set_is_not_compared_with_the_whole():
    fewer = msgspec.structs.replace(
        run(), accuracy=Accuracy(metric="accuracy", value=0.5, reference=0.9, samples=50), parity=None
    )
    checks = found(fewer, run("board"))
    assert checks["accuracy_drop_since", "local"].verdict == "not run"
    assert checks["agreement_drop_since", "local"].verdict == "not run"


def test_a_failed_run_is_judged_elsewhere():
    checks = found(run(error="crashed"), run("board"))
    assert not [key for key in checks if key[1] == "local"]
