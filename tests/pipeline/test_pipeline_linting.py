"""An export looks at its calibration set first: errors stop it, warnings travel with the bundle into the report."""

import json

import numpy as np
import pytest

import edgeexport
from edgeexport.artifact import load_bundle
from edgeexport.cache import Cache
from edgeexport.errors import LintError, RecipeError, SamplesError
from edgeexport.pipeline import LintRequest, linting, run_lint
from edgeexport.pipeline.compressing import Sets
from edgeexport.pipeline.opening import open_source
from edgeexport.progress import Progress
from edgeexport.results import Report
from edgeexport.samples import open_samples
from edgeexport.source import SourceOptions


class Said(Progress):
    def __init__(self):
        self.titles, self.said = [], []

    def stage(self, title, total=None):
        self.titles.append(title)
        return super().stage(title, total)

    def say(self, text):
        self.said.append(text)


@pytest.fixture
def export(linear, board, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(calibration=linear.evaluation, precision="w8a8", **more):
        given = {"verify": False, "output": tmp_path / "out", "evaluation": linear.evaluation, **more}
        calibration_settings = {"minimum_samples": 10, **given.pop("calibration_settings", {})}
        return edgeexport.export(
            linear.model,
            target=board,
            calibration=calibration,
            precision=precision,
            settings={"calibration": calibration_settings},
            **given,
        )

    return run


def rules(bundle):
    return [(one.rule, one.level) for one in bundle.manifest.lint]


@pytest.mark.parametrize("precision", ["w8a8", "w8a8-dynamic"])
def test_an_error_stops_before_anything_is_converted(export, cache, tmp_path, precision):
    progress = Said()
    with pytest.raises(LintError, match=r"all of 40 samples are in the evaluation set too \[evaluation-overlap\]"):
        export(precision=precision, progress=progress)
    assert not (tmp_path / "out").exists()
    assert progress.titles == ["judging the calibration set evaluation.npz"]


def test_findings_are_in_the_manifest_and_in_the_report(export, linear, cache):
    bundle = export(linear.calibration, verify=True)
    (one,) = load_bundle(bundle.path).manifest.lint
    assert (one.rule, one.level) == ("few-samples", "warning")
    assert one.evidence.startswith("120 samples")
    report = Report.read(bundle.report_path)
    assert report.lint == (one,)
    assert json.loads(bundle.report_path.read_text())["lint"][0]["rule"] == "few-samples"
    assert edgeexport.verify(bundle.path).lint == (one,), "a later verification knows them, too"


@pytest.mark.parametrize("given", [{"lint": "warn"}, {"ignore": ["evaluation-overlap"]}])
def test_an_overruled_error_is_reported(export, cache, given):
    bundle = export(calibration_settings=given)
    assert sorted(rules(bundle)) == [("evaluation-overlap", "warning"), ("few-samples", "warning")]
    (one,) = [one for one in bundle.manifest.lint if one.rule == "evaluation-overlap"]
    assert "overruled by calibration." in one.evidence
    assert bundle.manifest.recipe["origins"][f"calibration.{next(iter(given))}"] == "command line"


def test_off_is_reported_and_looks_at_nothing(export, cache):
    progress = Said()
    bundle = export(calibration_settings={"lint": "off"}, progress=progress)
    assert rules(bundle) == [("lint-off", "warning")]
    assert not any("judging" in title for title in progress.titles)


def test_an_unknown_rule_is_refused(export, cache):
    with pytest.raises(RecipeError, match="names no rule 'overlap'"):
        export(calibration_settings={"ignore": ["overlap"]})


@pytest.mark.parametrize(("precision", "judged"), [("fp32", False), ("w8", False), ("w8a8", True)])
def test_only_what_may_learn_from_the_set_is_judged(export, linear, cache, precision, judged):
    assert bool(export(linear.calibration, precision).manifest.lint) == judged


def test_the_settings_of_lint_do_not_convert_again(export, linear, cache):
    export(linear.calibration)
    progress = Said()
    export(linear.calibration, calibration_settings={"ignore": ["few-samples"]}, progress=progress)
    assert not [title for title in progress.titles if title.startswith(("judging", "quantizing", "exporting"))]


def test_it_looks_again_at_other_sets_and_models(linear, cache, tmp_path):
    def titles(calibration=linear.calibration, **more):
        progress = Said()
        run_lint(LintRequest(linear.model, calibration, **more), {}, progress)
        return [title for title in progress.titles if title.startswith("judging")]

    assert titles()
    assert not titles()
    assert titles(evaluation=linear.evaluation)
    assert not titles(evaluation=linear.evaluation)
    np.savez(tmp_path / "more.npz", x=np.load(linear.calibration)["x"] * 2)
    assert titles(tmp_path / "more.npz")


def test_another_kind_of_samples_is_refused(linear, tiny_bert, cache):
    with pytest.raises(SamplesError, match="the model takes arrays"):
        run_lint(LintRequest(linear.model, tiny_bert.calibration), {}, Progress())


@pytest.mark.parametrize("trained", ["digits", "tiny_bert"])
def test_ranges_inside_a_torch_model_are_taken(trained, request):
    trained = request.getfixturevalue(trained)
    source = open_source(trained.model, SourceOptions())
    samples = open_samples(trained.calibration)
    preprocess = source.preprocess.bind(next(iter(samples))) if samples.kind == "text" else source.preprocess
    settings = linting.resolve(linting.load_target("desktop-x86")).settings
    subject = linting._subject(source, preprocess, settings)
    seen = linting._movement(samples, source, subject)
    assert seen.samples == len(samples)
    last = {"digits": "head.3", "tiny_bert": "model.classifier"}[request.node.callspec.params["trained"]]
    outputs = [
        source.reference(arrays)[source.signature.outputs[0].name]
        for _, arrays in linting.feeds(samples, preprocess, subject.signature, source.assets)
    ]
    lows, highs = ([float(pick(one)) for one in outputs] for pick in (np.min, np.max))
    from edgeexport.lint._movement import growth

    assert seen.growth[last] == pytest.approx(growth(lows, highs), abs=1e-4)


def test_an_onnx_file_has_no_modules_to_look_into(linear):
    source = open_source(linear.model, SourceOptions())
    settings = linting.resolve(linting.load_target("desktop-x86")).settings
    subject = linting._subject(source, source.preprocess, settings)
    assert linting._movement(open_samples(linear.calibration), source, subject) is None


def test_the_longest_text_is_what_the_shortest_bound_allows(tiny_bert):
    source = open_source(tiny_bert.model, SourceOptions())
    target = linting.load_target("desktop-x86")
    for lengths, longest in (((), 32), ((16, 24), 24), ((64,), 32)):
        settings = linting.resolve(target, flags={"interface": {"lengths": list(lengths)}}).settings
        assert linting._subject(source, source.preprocess, settings).longest == longest


@pytest.mark.parametrize("learns", [True, False])
def test_a_search_judges_its_set_whatever_precision_it_starts_from(linear, cache, learns):
    settings = linting.resolve(linting.load_target("desktop-x86"), flags={"precision": "w8"}).settings
    sets = Sets(calibration=open_samples(linear.calibration), evaluation=open_samples(linear.evaluation))
    source = open_source(linear.model, SourceOptions())
    found = linting.lint_export(sets, source, settings, Cache(cache), Progress(), learns=learns)
    assert [one.rule for one in found] == (["few-samples"] if learns else [])
