"""A search within a budget on a small real model: refusals, the bundle that it leaves, and going on after a stop."""

import json

import msgspec
import numpy as np
import pytest

import edgeexport
from edgeexport.analysis import Budget, Search, Trial
from edgeexport.artifact import file_digest
from edgeexport.errors import ConversionError, RecipeError, SamplesError
from edgeexport.pipeline import laboratory, searching
from edgeexport.pipeline.searching import budget_of, check_of
from edgeexport.results import Report
from edgeexport.verify.harness import verify_on


def test_a_budget():
    assert budget_of(None, None, None) is None
    assert budget_of(0.5, None, None) == Budget(drop=0.005)
    assert budget_of(0.0, 1000, 0.5) == Budget(drop=0.0, bytes=1000, latency_ratio=0.5)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ((None, 1000, None), "Add --max-drop"),
        ((None, None, 0.5), "Add --max-drop"),
        ((-1.0, None, None), "-1.0 is no number of points to lose"),
        ((float("nan"), None, None), "nan is no number of points to lose"),
        ((1.0, None, float("inf")), "inf is no number of latency ratio"),
        ((1.0, None, 0.0), "0.0 is no latency ratio"),
        ((1.0, 0, None), "0 is no number of bytes"),
        ((101.0, None, None), "101.0 points to lose are more than a metric has"),
    ],
)
def test_no_budget(values, told):
    with pytest.raises(RecipeError) as error:
        budget_of(*values)
    assert told in str(error.value)


@pytest.fixture
def export(digits, board, tmp_path, monkeypatch):
    """Export the CNN within a budget of 2 points; keywords as :func:`edgeexport.export` has them."""
    monkeypatch.chdir(tmp_path)
    count = iter(range(10))

    def run(model=digits.model, **changes):
        named = {
            "target": board,
            "calibration": digits.calibration,
            "evaluation": digits.evaluation,
            "output": tmp_path / f"out{next(count)}",
            "max_drop": 2.0,
            **changes,
        }
        return edgeexport.export(model, **named)

    return run


def test_a_task_without_a_metric(export, linear, tmp_path):
    with pytest.raises(RecipeError, match=r"its task is 'generic'\n.*classification, regression or embedding"):
        export(linear.model, calibration=linear.calibration, evaluation=linear.evaluation)


def test_no_evaluation_set(export):
    with pytest.raises(RecipeError, match="--max-drop needs samples"):
        export(evaluation=None)


def test_a_small_evaluation_set(export, digits, tmp_path):
    data = np.load(digits.evaluation)
    np.savez(tmp_path / "few.npz", image=data["image"][:63], label=data["label"][:63])
    with pytest.raises(RecipeError, match="64 samples, and it has 63"):
        export(evaluation=tmp_path / "few.npz")
    with pytest.raises(RecipeError, match="64 samples, and it has 10"):
        export(limit=10)


def test_an_evaluation_set_without_labels(export, digits):
    with pytest.raises(SamplesError, match="without a label"):
        export(evaluation=digits.calibration)


@pytest.mark.parametrize("method", ["qat", "gptq"])
def test_stages_for_one_scheme(export, method, digits):
    stage = {"method": method}
    with pytest.raises(RecipeError, match=f"'{method}' rounds to one integer scheme"):
        export(settings={"compress": [stage]}, train=digits.evaluation if method == "qat" else None)


def test_without_a_report(export):
    with pytest.raises(RecipeError, match="--no-verify"):
        export(verify=False)


def test_a_latency_that_nothing_measures(export):
    with pytest.raises(RecipeError, match="onnxruntime on local is not timed"):
        export(max_latency_ratio=0.9, settings={"timing": {"pairs": 0}})


def test_limits_beside_the_budget(export):
    with pytest.raises(RecipeError, match="contradicts the budget"):
        export(settings={"limits": {"accuracy_drop": 0.5}})


def test_a_runtime_that_is_missing_shows_before_anything_is_tried(export, monkeypatch):
    from edgeexport.devices.local import LocalDevice
    from edgeexport.errors import MissingRequirement

    def check(_self, runtime):
        raise MissingRequirement(f"{runtime} is not here")

    monkeypatch.setattr(LocalDevice, "check", check)
    monkeypatch.setattr(searching, "Laboratory", lambda *_: pytest.fail("it was searched"))
    with pytest.raises(MissingRequirement, match="ort is not here"):
        export()


def test_where_nothing_can_be_tried(export):
    """No floating-point type of ONNX has a palette."""
    with pytest.raises(ConversionError, match=r"no setting of board could be tried: w8: .*palette_bits"):
        export(precision="w8", settings={"quantization": {"palette_bits": 4}})


def test_what_fails_for_one_reason_says_it_once(export):
    with pytest.raises(ConversionError) as error:
        export(settings={"quantization": {"palette_bits": 4}})
    assert str(error.value).count("palette_bits") == 1
    assert "could be tried: fp16, w8, w4, w8a8-dynamic, w8a8: the format onnx has no" in str(error.value)


def read(bundle):
    return Report.read(bundle.report_path), json.loads((bundle.path / "manifest.json").read_text())["recipe"]


def test_what_a_search_leaves(export, digits, cache):
    bundle = export()
    report, recipe = read(bundle)
    found = report.search
    assert (found.choosing, found.scoring, found.seed) == (200, 200, 0)
    assert (found.metric, found.runtime, found.device, found.evidence) == (
        "accuracy",
        "onnxruntime",
        "local",
        "measured",
    )
    assert found.budget == Budget(drop=0.02)
    assert found.evaluations == 1 + sum(trial.evaluated for trial in found.trials)
    chosen = found.trials[found.chosen - 1]
    assert chosen.kept is True
    assert (found.score.number, found.score.title, found.score.samples) == (chosen.number, chosen.title, 200)
    assert found.score.artifact_bytes == bundle.model_path.stat().st_size == chosen.artifact_bytes
    assert found.met is True
    check = report.checks[0]
    assert (check.name, check.verdict, check.limit, check.unit) == ("budget", "pass", 0.02, "share")
    assert check.measured == found.score.drop
    assert "200 samples that chose nothing" in check.where
    assert recipe["settings"]["precision"] == chosen.settings["precision"]
    assert recipe["origins"]["precision"] == "search"
    assert recipe["origins"]["limits.accuracy_drop"] == "command line"
    assert (bundle.path / "report.html").read_text().count("budget") > 0

    # The chosen settings as plain ones give the same bytes.
    plain = export(max_drop=None, settings=dict(chosen.settings), verify=False)
    assert plain.manifest.recipe["settings"]["precision"] == chosen.settings["precision"]
    assert file_digest(plain.model_path) == file_digest(bundle.model_path)

    # The score is that of the samples that chose nothing: the drops of both parts make that of the whole set.
    whole = report.runs[0].accuracy
    assert whole.samples == 400
    expected = whole.reference - whole.value
    assert (chosen.drop + found.score.drop) / 2 == pytest.approx(expected, abs=1e-9)

    # Again, everything is in the cache, and found the same.
    again, _ = read(export())
    assert again.search == found


@pytest.mark.slow
def test_a_budget_that_cannot_be_met(export, cache, command, digits, board, tmp_path):
    bundle = export(max_bytes=100, precision="w8")
    report, _ = read(bundle)
    assert report.search.met is False
    assert report.verdict == "fail"
    check = report.checks[0]
    assert (check.name, check.verdict) == ("budget", "fail")
    assert "artifact_bytes" in check.note
    assert (report.search.evaluations, report.search.trials[0].evaluated) == (1, False)
    assert "more than the 100 bytes that limits.artifact_bytes (command line) allows" in report.search.trials[0].note
    done = command(
        *("export", digits.model, "-t", board, "--precision", "w8", "--evaluation", digits.evaluation, "--calibration"),
        *(digits.calibration, "--max-drop", "2", "--max-size", "100", "--json", "-o", tmp_path / "told"),
    )
    assert done.returncode == 1, done.stderr
    told = json.loads(done.stdout)
    assert told["search"]["met"] is False
    assert told["checks"][0]["name"] == "budget"


def test_an_interrupted_search_goes_on(export, cache, monkeypatch):
    class Interrupted(Exception):
        pass

    def counted(limit=None):
        runs = []

        def run(*arguments):
            if len(runs) == limit:
                raise Interrupted
            runs.append(arguments)
            return verify_on(*arguments)

        monkeypatch.setattr(laboratory, "verify_on", run)
        return runs

    before = counted(limit=3)
    with pytest.raises(Interrupted):
        export()
    assert len(before) == 3
    assert len(list((cache / "trials").iterdir())) == 3
    after = counted()
    report, _ = read(export())
    entries = len(list((cache / "trials").iterdir()))
    assert len(after) == entries - 3
    assert report.search.evaluations < entries <= len(report.search.trials) + report.search.evaluations
    last = counted()
    assert read(export())[0].search == report.search
    assert last == []


def test_a_precision_that_was_asked_for_is_the_only_one_tried(export, cache):
    report, recipe = read(export(precision="w8", settings={"overrides": [{"precision": "fp32", "op_type": "MatMul"}]}))
    assert {trial.settings["precision"] for trial in report.search.trials} == {"w8"}
    assert recipe["settings"]["overrides"][0]["op_type"] == "MatMul"


def search_with(**score):
    trial = Trial(number=1, title="w8", settings={}, evaluated=True, samples=32, **score)
    return Search(
        budget=Budget(drop=0.01),
        metric="accuracy",
        runtime="onnxruntime",
        device="local",
        evidence="measured",
        seed=0,
        choosing=32,
        scoring=32,
        trials=(trial,),
        chosen=1,
        score=trial,
        met=bool(trial.kept),
        sensitivities=(),
        evaluations=2,
        stopped="nothing is left to try",
    )


def test_the_check_says_what_was_broken():
    check = check_of(search_with(drop=0.02, kept=False, note="breaks the limit of accuracy_drop"))
    assert (check.measured, check.limit, check.verdict) == (0.02, 0.01, "fail")
    assert check.note == "breaks the limit of accuracy_drop"
    unmet = msgspec.structs.replace(search_with(drop=0.005, kept=True), met=False)
    assert check_of(unmet).note == "nothing is left to try"
