"""The whole road for two small models: six precisions, figures against a recomputation, and the same bytes again."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import edgeexport
from edgeexport.artifact import load_bundle
from edgeexport.results import Report
from edgeexport.runtimes import tensors
from edgeexport.target import load_target

LEAST_AGREEMENT = {"fp32": 1.0, "fp16": 0.99, "w8": 0.99, "w4": 0.9, "w8a8-dynamic": 0.97, "w8a8": 0.95}
LEAST_COSINE = {"fp32": 0.999999, "fp16": 0.9999, "w8": 0.999, "w4": 0.95, "w8a8-dynamic": 0.99, "w8a8": 0.95}


def content(folder, reports=False):
    """Bytes of the files of a bundle by path; reports hold timings, so they are left out."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and (reports or not path.name.startswith("report."))
    }


@pytest.fixture(scope="session")
def export_once(common, board):
    """Export a model at a precision to the session's folder, once."""

    def export(name, trained, precision):
        folder = common / "road" / f"{os.environ.get('PYTEST_XDIST_WORKER', '')}-{name}-{precision}"
        if not folder.exists():
            edgeexport.export(
                trained.model,
                target=board,
                precision=precision,
                calibration=trained.calibration,
                evaluation=trained.evaluation,
                output=folder,
            )
        return load_bundle(folder)

    return export


def digits_reference(trained):
    """Inputs, labels and the float32 outputs by plain torch."""
    import digits
    import torch

    data = np.load(trained.evaluation)
    with torch.inference_mode():
        scores = digits.factory().eval()(torch.from_numpy(data["image"])).numpy()
    return [{"image": image[None]} for image in data["image"]], data["label"], scores


def bert_reference(trained):
    """The same by plain transformers, tokenizer and all."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    records = [json.loads(line) for line in trained.evaluation.read_text().splitlines()]
    tokenizer = AutoTokenizer.from_pretrained(trained.model)
    model = AutoModelForSequenceClassification.from_pretrained(trained.model).eval()
    feeds, scores = [], []
    for record in records:
        encoded = tokenizer(record["text"], return_tensors="np", truncation=True, max_length=32)
        feeds.append({name: np.asarray(encoded[name], np.int64) for name in ("input_ids", "attention_mask")})
        with torch.inference_mode():
            tensors_ = {name: torch.from_numpy(array) for name, array in feeds[-1].items()}
            scores.append(model(**tensors_).logits[0].numpy())
    return feeds, np.array([("bad", "good").index(record["label"]) for record in records]), np.stack(scores)


@pytest.fixture(scope="session")
def reference(request):
    """Inputs, labels and float32 outputs of a model's evaluation set, computed without edgeexport."""
    known = {}

    def find(name):
        if name not in known:
            trained = request.getfixturevalue(name)
            known[name] = (digits_reference if name == "digits" else bert_reference)(trained)
        return known[name]

    return find


@pytest.mark.parametrize("precision", load_target("desktop-x86").precisions)
@pytest.mark.parametrize("name", ["digits", "tiny_bert"])
def test_every_figure_is_that_of_a_recomputation(request, export_once, reference, name, precision):
    bundle = export_once(name, request.getfixturevalue(name), precision)
    report = Report.read(bundle.report_path)
    feeds, labels, expected = reference(name)
    session = onnxruntime.InferenceSession(str(bundle.model_path), providers=["CPUExecutionProvider"])
    wanted = [spec.name for spec in session.get_inputs()]
    feeds = [{key: feed.get(key, np.zeros_like(next(iter(feed.values())))) for key in wanted} for feed in feeds]
    found = np.concatenate([session.run(None, feed)[0] for feed in feeds])
    unlike = int((found.argmax(1) != expected.argmax(1)).sum())
    a, b = expected.astype(np.float64), found.astype(np.float64)
    cosines = (a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1))

    (run,) = report.runs
    assert run.error is None
    assert (run.runtime, run.evidence, run.runtime_version) == ("onnxruntime", "measured", onnxruntime.__version__)
    assert (run.parity.samples, run.parity.over) == (len(labels), "evaluation")
    assert (run.parity.unlike, run.parity.agreement) == (unlike, 1 - unlike / len(labels))
    assert run.parity.cosine_mean == pytest.approx(cosines.mean(), abs=1e-5)
    assert run.parity.cosine_min == pytest.approx(cosines.min(), abs=1e-4)
    assert run.parity.max_abs == pytest.approx(np.abs(a - b).max(), abs=1e-3)
    assert run.accuracy.value == (found.argmax(1) == labels).mean()
    assert run.accuracy.reference == (expected.argmax(1) == labels).mean() > 0.9
    assert run.parity.agreement >= LEAST_AGREEMENT[precision]
    assert run.parity.cosine_mean >= LEAST_COSINE[precision]
    assert report.size.artifact_bytes == bundle.model_path.stat().st_size
    assert sum(part.bytes for part in report.size.components) == report.size.artifact_bytes
    assert report.size.ratio == report.size.artifact_bytes / report.size.source_float32_bytes
    if precision == "fp32":
        assert run.latency_ms is None
    else:
        assert (run.latency_ms.count, run.latency_ms.threads) == (3, 1)
    assert 20e6 < run.peak_memory_bytes < 1e9
    checks = {check.name: check for check in report.checks}
    assert checks["accuracy_drop"].measured == pytest.approx(run.accuracy.reference - run.accuracy.value)
    assert report.verdict == ("fail" if any(check.verdict == "fail" for check in report.checks) else "pass")


@pytest.mark.parametrize("name", ["digits", "tiny_bert"])
def test_golden_outputs_are_the_float32_sources(request, export_once, reference, name):
    bundle = export_once(name, request.getfixturevalue(name), "w8a8")
    feeds, _, expected = reference(name)
    golden = [list(tensors.Reader(str(bundle.path / "golden" / part))) for part in ("inputs", "outputs")]
    for number, (inputs, outputs) in enumerate(zip(*golden, strict=True)):
        for key, array in inputs.items():
            if key in feeds[number]:
                assert np.array_equal(array, feeds[number][key])
        np.testing.assert_allclose(outputs["logits"][0], expected[number], atol=2e-5)


@pytest.mark.parametrize("name", ["digits", "tiny_bert"])
def test_integers_make_it_small(request, export_once, name):
    sizes = {
        precision: export_once(name, request.getfixturevalue(name), precision).model_path.stat().st_size
        for precision in load_target("desktop-x86").precisions
    }
    assert sizes["fp16"] < 0.65 * sizes["fp32"]
    assert sizes["w8"] < 0.5 * sizes["fp32"]
    assert sizes["w4"] < sizes["w8"]
    assert sizes["w8a8"] < 0.5 * sizes["fp32"]


@pytest.fixture(scope="module")
def one_export(tiny_bert, board, once):
    """A BERT export through the command, in a cache of its own, with what ONNX Runtime reports left as it comes."""

    def run_in(base, output, cache="cache", *more):
        (base / "tmp").mkdir(exist_ok=True)
        arguments = ["export", tiny_bert.model, "-t", board, "--precision", "w8a8", "--output", output, *more]
        arguments += ["--calibration", tiny_bert.calibration, "--evaluation", tiny_bert.evaluation]
        environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
        environment.update(EDGEEXPORT_CACHE=str(base / cache), TMPDIR=str(base / "tmp"), PYTHONPROFILEIMPORTTIME="1")
        done = subprocess.run(
            [str(Path(sys.executable).with_name("edgeexport")), *map(str, arguments)],
            cwd=base,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        imported = set(re.findall(r"^import time:.*\| +([\w.]+)$", done.stderr, re.MULTILINE))
        stages = [line for line in done.stderr.splitlines() if not line.startswith(("import time:", "  done in"))]
        assert done.returncode == 0, stages
        return imported, stages

    def fill(folder):
        imported, stages = run_in(folder, "first")
        (folder / "first.json").write_text(json.dumps([sorted(imported), stages]))

    base = once("one-export", fill)

    def run(*arguments):
        return run_in(base, *arguments)

    run.base = base
    imported, stages = json.loads((base / "first.json").read_text())
    run.first = set(imported), stages
    return run


def test_a_second_export_is_the_same_bytes_without_torch_or_a_run(one_export):
    imported, stages = one_export.first
    assert any(name.startswith("torch.") for name in imported)  # torch itself is loaded where its chatter is kept off
    assert any(line.startswith("calibrating") for line in stages)
    imported, stages = one_export("second")
    assert not imported & {"torch", "transformers", "optimum", "onnx"}
    told = [line for line in stages if not line.startswith("calibration: ")]  # what the set's judge found is told again
    assert told == ["verified earlier: same bytes, devices and samples (--no-cache runs it again)"]
    assert content(one_export.base / "second", reports=True) == content(one_export.base / "first", reports=True)


def test_another_cache_gives_the_same_bytes(one_export):
    one_export("third", "another-cache")
    assert content(one_export.base / "third") == content(one_export.base / "first")


def test_the_api_gives_the_same_bytes_as_the_command(one_export, tiny_bert, board, cache):
    """In a process of its own: what else ran here may have changed the number of torch's threads, and with it the
    last bits of the float32 outputs."""
    named = {
        "target": board,
        "precision": "w8a8",
        "calibration": str(tiny_bert.calibration),
        "evaluation": str(tiny_bert.evaluation),
        "output": str(one_export.base / "api"),
    }
    code = f"import edgeexport; print(edgeexport.export({tiny_bert.model!r}, **{named!r}).path)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{one_export.base / 'api'}\n"
    assert content(one_export.base / "api") == content(one_export.base / "first")
    mine, theirs = (Report.read(one_export.base / name / "report.json") for name in ("api", "first"))
    assert mine.runs[0].parity == theirs.runs[0].parity
    assert mine.runs[0].accuracy == theirs.runs[0].accuracy
    assert mine.size == theirs.size


def test_nothing_is_left_in_the_temporary_folder_and_nothing_reported(one_export):
    """ONNX Runtime's telemetry would leave its identifier ``.ses`` there."""
    assert list((one_export.base / "tmp").iterdir()) == []


def test_a_bundle_verifies_again_elsewhere(one_export, tiny_bert, command):
    moved = shutil.copytree(one_export.base / "first", command.folder / "moved")
    done = command("verify", "moved", "--evaluation", tiny_bert.evaluation, "--json", EDGEEXPORT_CACHE="none")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    before = json.loads((one_export.base / "first" / "report.json").read_text())
    assert report["runs"][0]["parity"] == before["runs"][0]["parity"]
    assert report["runs"][0]["accuracy"] == before["runs"][0]["accuracy"]
    assert report["runs"][0]["latency_ms"] is None
    assert content(moved) == content(one_export.base / "first")


@pytest.mark.slow
def test_on_an_emulated_board(request, export_once, tmp_path):
    """The digits CNN on an emulated Cortex-A72 predicts what it predicts here."""
    from edgeexport.errors import MissingRequirement

    bundle = export_once("digits", request.getfixturevalue("digits"), "w8a8")
    copy = shutil.copytree(bundle.path, tmp_path / "copy")
    try:
        report = edgeexport.verify(copy, on=["local", "emulated:raspberry-pi-4"])
    except MissingRequirement as missing:
        pytest.skip(f"{missing.what}: {missing.hint}")
    _, there = report.runs
    assert (there.evidence, there.machine, there.latency_ms, there.peak_memory_bytes) == (
        "emulated",
        "aarch64",
        None,
        None,
    )
    assert there.parity.cosine_min > 0.99
    (check,) = [check for check in report.checks if check.name == "agreement_between_devices"]
    assert check.measured == 1
