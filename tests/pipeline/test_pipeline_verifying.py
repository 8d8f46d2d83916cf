"""Verification: figures against a recomputation, other places and sets, and broken bundles."""

import json
import shutil
from dataclasses import replace

import msgspec
import numpy as np
import onnx
import onnxruntime
import pytest

import edgeexport
from edgeexport.errors import BundleError, DeviceError, ModelError, SamplesError
from edgeexport.progress import Progress
from edgeexport.results import Report


@pytest.fixture(scope="module")
def packed(linear, board, tmp_path_factory):
    """A bundle of the small ONNX model, with a report."""
    folder = tmp_path_factory.mktemp("packed") / "out"
    edgeexport.export(
        linear.model,
        target=board,
        precision="w8a8",
        calibration=linear.calibration,
        evaluation=linear.evaluation,
        output=folder,
    )
    return folder


@pytest.fixture
def bundle(packed, tmp_path):
    return shutil.copytree(packed, tmp_path / "bundle")


@pytest.fixture(scope="module")
def classifier(digits, board, tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier") / "out"
    edgeexport.export(
        digits.model,
        target=board,
        precision="w8",
        calibration=digits.calibration,
        evaluation=digits.evaluation,
        output=folder,
    )
    return folder


def outputs(model, samples, name):
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    return np.stack([session.run(None, {name: sample[None]})[0][0] for sample in samples]).astype(np.float64)


def edit(bundle, change):
    path = bundle / "manifest.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def pack_again(bundle):
    """Give an altered bundle the hashes of its files, as a forger would."""
    from edgeexport.artifact import Manifest, write_manifest

    manifest = msgspec.json.decode((bundle / "manifest.json").read_bytes(), type=Manifest)
    write_manifest(bundle, manifest)


def checks(report):
    return {check.name: check for check in report.checks}


def test_parity_is_that_of_a_recomputation(bundle, linear):
    report = edgeexport.verify(bundle, evaluation=linear.evaluation)
    samples = np.load(linear.evaluation)["x"]
    a, b = outputs(linear.model, samples, "x"), outputs(bundle / "model.onnx", samples, "x")
    cosines = (a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1))
    (run,) = report.runs
    assert (run.parity.samples, run.parity.over) == (40, "evaluation")
    assert run.parity.cosine_mean == pytest.approx(cosines.mean(), abs=1e-9)
    assert run.parity.cosine_min == pytest.approx(cosines.min(), abs=1e-9)
    assert run.parity.max_abs == pytest.approx(np.abs(a - b).max(), rel=1e-6)
    assert run.parity.snr_db == pytest.approx(10 * np.log10((a**2).sum() / ((a - b) ** 2).sum()), abs=1e-4)
    assert run.parity.agreement is None
    assert report.evaluation
    assert Report.read(bundle / "report.json") == report
    assert "report" not in (bundle / "manifest.json").read_text().partition('"files"')[2]


def test_without_a_set_the_golden_samples_count(bundle):
    report = edgeexport.verify(bundle)
    assert (report.runs[0].parity.samples, report.runs[0].parity.over) == (8, "golden")
    assert "parity over 8 golden samples (evaluation)" in report.notes
    assert report.evaluation is None


@pytest.mark.parametrize(("limit", "samples"), [(1, 1), (39, 39), (40, 40), (10_000, 40)])
def test_limit(bundle, linear, limit, samples):
    report = edgeexport.verify(bundle, evaluation=linear.evaluation, limit=limit)
    assert report.runs[0].parity.samples == samples
    assert (f"the first {samples} of 40 evaluation samples" in report.notes) == (samples < 40)


def test_accuracy_is_that_of_a_recomputation(classifier, digits):
    report = Report.read(classifier / "report.json")
    data = np.load(digits.evaluation)
    predicted = outputs(classifier / "model.onnx", data["image"], "image").argmax(1)
    (run,) = report.runs
    assert (run.accuracy.metric, run.accuracy.samples) == ("accuracy", 400)
    assert run.accuracy.value == (predicted == data["label"]).mean()
    assert 0.9 < run.accuracy.reference <= 1
    drop = run.accuracy.reference - run.accuracy.value
    assert checks(report)["accuracy_drop"].measured == pytest.approx(drop)


def test_another_set_elsewhere_has_accuracy_and_no_reference(classifier, digits, tmp_path):
    copy = shutil.copytree(classifier, tmp_path / "elsewhere")
    data = np.load(digits.evaluation)
    np.savez(tmp_path / "other.npz", image=data["image"][:50], label=data["label"][:50])
    report = edgeexport.verify(copy, evaluation=tmp_path / "other.npz")
    (run,) = report.runs
    predicted = outputs(copy / "model.onnx", data["image"][:50], "image").argmax(1)
    assert run.accuracy.value == (predicted == data["label"][:50]).mean()
    assert (run.accuracy.reference, run.accuracy.samples) == (None, 50)
    assert (run.parity.samples, run.parity.over) == (8, "golden")
    check = checks(report)["accuracy_drop"]
    assert (check.verdict, check.note) == ("not run", "the float32 source's outputs on this set are not in the bundle")
    assert report.verdict == "incomplete"


def test_a_set_of_the_same_content_elsewhere_has_its_reference(classifier, digits, tmp_path):
    copy = shutil.copy(digits.evaluation, tmp_path)
    report = edgeexport.verify(shutil.copytree(classifier, tmp_path / "elsewhere"), evaluation=copy)
    assert report.runs[0].accuracy.reference is not None


def test_labels_that_do_not_fit_leave_the_report_as_it_was(classifier, digits, tmp_path):
    copy = shutil.copytree(classifier, tmp_path / "copy")
    before = (copy / "report.json").read_bytes()
    data = np.load(digits.evaluation)
    for labels, said in (
        ({"label": np.where(np.arange(400) == 399, 10, data["label"])}, r"evaluation\.npz\[399\]: label 10"),
        ({}, "has samples without a label"),
    ):
        np.savez(tmp_path / "evaluation.npz", image=data["image"], **labels)
        with pytest.raises(SamplesError, match=said):
            edgeexport.verify(copy, evaluation=tmp_path / "evaluation.npz")
    assert (copy / "report.json").read_bytes() == before
    assert not list(copy.glob("*.partial"))


def test_an_embedding_is_compared_by_cosine(digits, board, tmp_path, monkeypatch):
    (tmp_path / "embedding_of_digits.py").write_text(
        "import digits\n"
        "def factory():\n"
        "    module = digits.factory()\n"
        "    module.task, module.labels, module.output_names = 'embedding', None, ['vector']\n"
        "    return module\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    data = np.load(digits.evaluation)
    np.savez(tmp_path / "unlabelled.npz", image=data["image"][:30])
    bundle = edgeexport.export(
        "embedding_of_digits:factory",
        target=board,
        precision="w8",
        evaluation=tmp_path / "unlabelled.npz",
        output=tmp_path / "out",
    )
    assert bundle.manifest.task == "embedding"
    (run,) = Report.read(bundle.report_path).runs
    assert (run.accuracy.metric, run.accuracy.reference, run.accuracy.samples) == ("cosine", 1, 30)
    assert run.accuracy.value == pytest.approx(run.parity.cosine_mean)
    np.savez(tmp_path / "other.npz", image=data["image"][30:40])
    report = edgeexport.verify(bundle.path, evaluation=tmp_path / "other.npz")
    assert (report.runs[0].accuracy, report.runs[0].parity.samples) == (None, 8)
    assert edgeexport.verify(bundle.path).runs[0].accuracy is None


def test_several_devices_are_compared_with_the_first(classifier):
    report = edgeexport.verify(classifier, on=["local", "local"])
    assert len(report.runs) == 2
    check = checks(report)["agreement_between_devices"]
    assert (check.measured, check.note) == (1, "0 of 8 unlike")


def test_latency_against_a_float32_model_that_is_named(bundle, linear):
    report = edgeexport.verify(bundle, float32=linear.model)
    latency = report.runs[0].latency_ms
    assert (latency.count, latency.threads) == (3, 1)
    assert checks(report)["latency_ratio"].measured == pytest.approx(latency.p50 / latency.float32_p50)
    with pytest.raises(ModelError, match="no float32 model at"):
        edgeexport.verify(bundle, float32="nowhere.onnx")


def test_the_float32_model_is_taken_from_the_cache_if_it_is_there(bundle, cache):
    report = edgeexport.verify(bundle)
    assert report.runs[0].latency_ms is None
    assert checks(report)["latency_ratio"].verdict == "not run"


def test_a_model_that_the_runtime_refuses_is_a_failed_check_with_its_log(bundle):
    model = onnx.load(bundle / "model.onnx")
    model.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(model, bundle / "model.onnx")
    pack_again(bundle)
    report = edgeexport.verify(bundle)
    assert report.verdict == "fail"
    check = checks(report)["run"]
    assert "exit status 1" in check.note
    assert "NoSuchOperator" in check.note
    assert report.runs[0].error == check.note
    assert Report.read(bundle / "report.json") == report
    assert "NoSuchOperator" in (bundle / "report.html").read_text()


def test_a_model_that_gives_nan_fails_and_its_report_can_be_read(bundle):
    model = onnx.load(bundle / "model.onnx")
    last = model.graph.node[-1]
    name = last.output[0]
    last.output[0] = "before"
    model.graph.node.append(onnx.helper.make_node("Log", ["negative"], [name]))
    model.graph.node.insert(len(model.graph.node) - 1, onnx.helper.make_node("Abs", ["before"], ["positive"]))
    model.graph.node.insert(len(model.graph.node) - 1, onnx.helper.make_node("Neg", ["positive"], ["negative"]))
    onnx.save(model, bundle / "model.onnx")
    pack_again(bundle)
    report = edgeexport.verify(bundle)
    assert report.verdict == "fail"
    assert (report.runs[0].parity.cosine_min, report.runs[0].parity.max_abs) == (-1, None)
    assert Report.read(bundle / "report.json") == report
    json.loads((bundle / "report.json").read_text(), parse_constant=pytest.fail)


def test_a_runtime_older_than_the_target_needs_fails(bundle):
    edit(bundle, lambda data: data["target"]["runtimes"][0].update(minimum="99.1"))
    report = edgeexport.verify(bundle)
    check = next(check for check in report.checks if check.name == "run")
    assert check.note == f"the device has onnxruntime {onnxruntime.__version__}; the target needs 99.1"
    assert report.verdict == "fail"


class StandIn:
    """This machine, but what it says of every runtime is that something stood in for it."""

    def __init__(self):
        self._device = edgeexport.pipeline.open_device("local")

    def run(self, job, folder, progress=None):
        return replace(self._device.run(job, folder, progress), version="", stand_in="evaluator of tests", findings=())

    def __getattr__(self, name):
        return getattr(self._device, name)


def test_a_stand_in_is_not_timed_and_has_no_version_that_could_be_too_old(bundle, linear, monkeypatch):
    monkeypatch.setattr("edgeexport.pipeline.verifying.open_device", lambda name: StandIn())
    report = edgeexport.verify(bundle, evaluation=linear.evaluation, float32=linear.model)
    (run,) = report.runs
    assert (run.evidence, run.stand_in, run.runtime_version) == ("emulated", "evaluator of tests", "")
    assert (run.latency_ms, run.peak_memory_bytes) == (None, None)
    assert run.parity.samples == 40
    found = checks(report)
    assert "run" not in found
    assert found["numerics"].verdict == "pass"
    late = found["latency_ratio"]
    assert (late.verdict, late.where, late.measured) == ("not run", "onnxruntime on local, emulated", None)
    assert late.note == "not timed: the times of an evaluator of tests say nothing about a device"
    assert report.verdict == "incomplete"
    assert sum("onnxruntime itself does not run on this system" in note for note in report.notes) == 1


def forge(path, value):
    def change(data):
        *parents, last = path.split(".")
        for key in parents:
            data = data[key]
        data[last] = value

    return change


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("target", {}, "target or recipe is not one that this version reads"),
        ("target.precisions", ["w9"], "target or recipe"),
        ("recipe", {}, "target or recipe"),
        ("recipe.settings.limits", {"typo": 1}, "target or recipe"),
        ("recipe.settings.timing.pairs", -1, "target or recipe"),
        ("preprocess", {"kind": "spells"}, "preprocess does not validate"),
        ("task", "magic", "is not a manifest"),
    ],
)
def test_a_manifest_that_was_forged(bundle, path, value, said):
    before = (bundle / "report.json").read_bytes()
    edit(bundle, forge(path, value))
    with pytest.raises(BundleError, match=said):
        edgeexport.verify(bundle)
    assert (bundle / "report.json").read_bytes() == before


def test_a_manifest_with_an_unknown_format(bundle):
    edit(bundle, forge("format", "../onnx"))
    with pytest.raises(ModelError, match="there is no format"):
        edgeexport.verify(bundle)


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("golden/inputs/index.json", b"{", "is not a tensor stream"),
        ("golden/inputs/0.bin", b"", "is not a tensor stream"),
        ("golden/outputs/index.json", b'{"names": ["y"], "dtypes": ["O"], "shapes": []}', "is not a tensor stream"),
        ("golden/inputs/index.json", b'{"names": [], "dtypes": [], "shapes": []}', "has 0 inputs and 8 outputs"),
    ],
)
def test_golden_data_that_was_forged(bundle, name, data, said):
    (bundle / name).write_bytes(data)
    with pytest.raises(BundleError, match="was altered"):
        edgeexport.verify(bundle)
    pack_again(bundle)
    with pytest.raises(BundleError, match=said):
        edgeexport.verify(bundle)


def test_reference_outputs_that_are_too_few(bundle, linear):
    for part in ("0.bin", "index.json"):
        shutil.copy(bundle / "golden" / "outputs" / part, bundle / "golden" / "evaluation" / part)
    pack_again(bundle)
    with pytest.raises(BundleError, match="has 8 outputs for 40 samples"):
        edgeexport.verify(bundle, evaluation=linear.evaluation)


@pytest.mark.parametrize("name", ["", "toaster", "local:x", "_root", "emulated:nope", "local "])
def test_broken_device_names(bundle, name):
    from edgeexport.errors import TargetError

    with pytest.raises((DeviceError, TargetError)):
        edgeexport.verify(bundle, on=[name])


def test_samples_of_another_kind(bundle, tiny_bert):
    with pytest.raises(SamplesError):
        edgeexport.verify(bundle, evaluation=tiny_bert.evaluation)


class Said(Progress):
    def __init__(self):
        self.lines = []

    def stage(self, title, total=None):
        self.lines.append(title)
        return super().stage(title, total)

    def say(self, text):
        self.lines.append(text)


def test_a_report_is_taken_from_the_cache_for_the_same_bytes_devices_and_samples(linear, board, cache, tmp_path):
    def export(**changes):
        progress = Said()
        named = {"target": board, "precision": "w8", "evaluation": linear.evaluation, "output": tmp_path / "out"}
        bundle = edgeexport.export(linear.model, **{**named, **changes}, progress=progress)
        ran = any(line.startswith("running onnxruntime") for line in progress.lines)
        assert ran != any(line.startswith("verified earlier") for line in progress.lines)
        return ran, (bundle.path / "report.json").read_bytes()

    assert export()[0]
    ran, report = export()
    assert not ran
    assert export(output=tmp_path / "other") == (False, report)
    assert export(limit=5)[0]
    assert export(settings={"timing": {"pairs": 4}})[0]
    assert export(cache=False)[0]
    assert not export()[0]


def test_a_failed_check_is_kept_but_for_what_the_machine_may_have_caused(linear, board, cache, tmp_path):
    def ran(limits):
        progress = Said()
        edgeexport.export(
            linear.model,
            target=board,
            precision="w8",
            settings={"limits": limits},
            output=tmp_path / "out",
            progress=progress,
        )
        assert Report.read(tmp_path / "out" / "report.json").verdict == "fail"
        return any(line.startswith("running onnxruntime") for line in progress.lines)

    assert [ran({"size_ratio": 0.01}) for _ in range(2)] == [True, False]
    assert [ran({"latency_ratio": 0.0001}) for _ in range(2)] == [True, True]


def test_against_its_own_report_nothing_is_lost(bundle, linear):
    report = edgeexport.verify(bundle, evaluation=linear.evaluation, against=bundle / "report.json")
    since = {check.name: check for check in report.checks if check.name.endswith("_since")}
    assert since["artifact_bytes_since"].measured == 0
    assert report.verdict != "fail" or [c.name for c in report.checks if c.verdict == "fail"] == ["latency_ratio_since"]


def test_against_a_smaller_bundle_the_bytes_fail(bundle, tmp_path):
    earlier = json.loads((bundle / "report.json").read_text())
    earlier["size"]["artifact_bytes"] -= 7
    path = tmp_path / "earlier.json"
    path.write_text(json.dumps(earlier))
    report = edgeexport.verify(bundle, against=path)
    check = next(check for check in report.checks if check.name == "artifact_bytes_since")
    assert (check.measured, check.verdict, report.verdict) == (7, "fail", "fail")


def test_against_what_is_no_report(bundle, tmp_path):
    (tmp_path / "earlier.json").write_text("[]")
    with pytest.raises(BundleError, match="is no report"):
        edgeexport.verify(bundle, against=tmp_path / "earlier.json")
