"""A regression through ONNX Runtime and LiteRT: R² as scikit-learn has it, budgets, labels that are refused."""

import csv
import json
import shutil

import numpy as np
import pytest
from sklearn import metrics

import edgeexport
from edgeexport.errors import RecipeError, SamplesError
from edgeexport.results import Report
from edgeexport.runtimes import tensors

MODEL = "gauge:factory"


@pytest.fixture(scope="module")
def gauge(once):
    """The folder with weights and sets."""
    import gauge as module
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = once("gauge", module.train)
    torch.set_num_threads(threads)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEEXPORT_GAUGE", str(folder))
        yield folder


@pytest.fixture
def export(gauge, board, tmp_path):
    """Export the gauge, or another form of it."""

    def run(model=MODEL, target=board, evaluation=gauge / "evaluation.npz", precision="w8a8", **settings):
        return edgeexport.export(
            model,
            target=target,
            calibration=gauge / "calibration.npz",
            evaluation=evaluation,
            precision=precision,
            output=tmp_path / "out",
            settings=settings,
        )

    return run


def r2_score(labels, found):
    """By scikit-learn, in float64: it computes in what it is given."""
    return metrics.r2_score(labels.astype(np.float64), found.astype(np.float64))


def sets(gauge):
    with np.load(gauge / "evaluation.npz") as data:
        return data["x"], data["labels"]


def float32(x):
    import gauge as module
    import torch

    with torch.inference_mode():
        return module.factory().eval()(torch.from_numpy(x)).numpy()


def by_onnx_runtime(path, x):
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"x": row[None]})[0] for row in x])


def by_litert(path, x):
    from ai_edge_litert.interpreter import Interpreter

    run = Interpreter(model_path=str(path), num_threads=1).get_signature_runner()
    return np.concatenate([run(x=row[None])["values"] for row in x])


def check(bundle, gauge, compute):
    """The report's R² and parity, from the model's outputs as they are computed here."""
    x, labels = sets(gauge)
    found, expected = compute(bundle.model_path, x), float32(x)
    run = Report.read(bundle.report_path).runs[0]
    assert run.error is None
    assert bundle.manifest.task == "regression"
    assert (run.accuracy.metric, run.accuracy.samples, run.accuracy.higher_is_better) == ("r2", 300, True)
    assert run.accuracy.value == pytest.approx(r2_score(labels, found), abs=1e-9)
    assert run.accuracy.reference == pytest.approx(r2_score(labels, expected), abs=1e-6)
    assert run.accuracy.reference > 0.9
    assert (run.parity.agreement, run.parity.unlike, run.parity.over) == (None, None, "evaluation")
    noise = ((expected.astype(np.float64) - found) ** 2).sum()
    assert run.parity.snr_db == pytest.approx(10 * np.log10((expected.astype(np.float64) ** 2).sum() / noise), abs=1e-3)
    return run.accuracy


def judged(bundle):
    return next(one for one in Report.read(bundle.report_path).checks if one.name == "accuracy_drop")


def test_onnx_runtime(export, gauge):
    accuracy = check(export(limits={"accuracy_drop": 1e-9}), gauge, by_onnx_runtime)
    assert accuracy.value != accuracy.reference


@pytest.mark.slow
def test_litert(export, gauge):
    pytest.importorskip("litert_torch", reason="converts to TFLite: pip install 'edgeexport[litert]'")
    free = {"size_ratio": 1000.0, "latency_ratio": 1000.0}
    found = check(export(target="android-arm64-litert", limits=free), gauge, by_litert)
    # One tensor of 8 bits for both outputs: the small one keeps a step or two.
    assert found.reference - found.value > 0.05
    kept = check(export(target="android-arm64-litert", precision="w8a16", limits=free), gauge, by_litert)
    assert abs(kept.reference - kept.value) < 0.005


def test_a_budget_is_judged_both_ways(export):
    lost = judged(export()).measured
    tight = export(limits={"accuracy_drop": lost - 1e-6})
    assert (judged(tight).verdict, judged(tight).measured) == ("fail", lost)
    wide = export(limits={"accuracy_drop": lost + 1e-6})
    assert (judged(wide).verdict, judged(wide).measured) == ("pass", lost)


def test_without_labelled_samples_the_budget_is_not_run(export):
    found = judged(export(evaluation=None))
    assert (found.verdict, found.note) == ("not run", "no labelled evaluation set was given (--evaluation)")


@pytest.mark.parametrize("form", ["onnx", "pt2"])
def test_other_forms_are_told_their_task(export, gauge, tmp_path, form):
    path = tmp_path / f"gauge.{form}"
    if form == "onnx":
        export(precision="fp32").model_path.rename(path)
    else:
        import gauge as module
        import torch

        dynamic = {"x": {0: torch.export.Dim("batch")}}
        program = torch.export.export(module.factory().eval(), (torch.zeros(2, 12),), dynamic_shapes=dynamic)
        torch.export.save(program, path)
    bundle = edgeexport.export(
        str(path),
        target="desktop-x86",
        evaluation=gauge / "evaluation.npz",
        precision="fp32",
        output=tmp_path / form,
        settings={"model": {"task": "regression"}, "timing": {"pairs": 0}},
    )
    x, labels = sets(gauge)
    assert bundle.manifest.task == "regression"
    found = Report.read(bundle.report_path).runs[0].accuracy
    assert (found.metric, found.value) == ("r2", pytest.approx(r2_score(labels, float32(x)), abs=1e-6))


def without(labels):
    return {} if labels is None else {"labels": labels}


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.eye(4, 3), r"set\.npz\[0\]: its label has 3 numbers, and the model's first output 2 numbers"),
        (np.arange(4.0), r"set\.npz\[0\]: its label has 1 number, and the model's first output 2 numbers"),
        (np.zeros((4, 2, 1)), r"'labels' has shape \[4, 2, 1\]"),
        (np.array([[0, 1], [2, 3], [4, np.nan], [0, 0]]), r"set\.npz\[2\]: label nan is not finite"),
        (np.array([[0, 1], [2, 3], [4, np.inf], [0, 0]]), r"set\.npz\[2\]: label inf is not finite"),
        (np.array(["a", "b", "c", "d"]), r"set\.npz\[0\]: label 'a' is no number"),
        (np.ones((4, 2)), "has the same label throughout"),
        (None, "has samples without a label"),
    ],
)
def test_labels_that_do_not_fit_are_refused_before_anything_is_written(export, tmp_path, labels, said):
    np.savez(tmp_path / "set.npz", x=np.eye(4, 12, dtype=np.float32), **without(labels))
    with pytest.raises(SamplesError, match=said):
        export(evaluation=tmp_path / "set.npz")
    assert not (tmp_path / "out").exists()


def test_verification_on_other_labels(export, gauge, tmp_path):
    bundle = export()
    x, labels = sets(gauge)
    np.savez(tmp_path / "half.npz", x=x[:150], labels=labels[:150])
    run = edgeexport.verify(bundle.path, evaluation=tmp_path / "half.npz").runs[0]
    assert run.accuracy.value == pytest.approx(r2_score(labels[:150], by_onnx_runtime(bundle.model_path, x[:150])))
    assert run.accuracy.reference is None
    np.savez(tmp_path / "bare.npz", x=x[:150])
    before = bundle.report_path.read_bytes()
    with pytest.raises(SamplesError, match="has samples without a label"):
        edgeexport.verify(bundle.path, evaluation=tmp_path / "bare.npz")
    np.savez(tmp_path / "wide.npz", x=x, labels=np.zeros((300, 3)))
    with pytest.raises(SamplesError, match="its label has 3 numbers"):
        edgeexport.verify(bundle.path, evaluation=tmp_path / "wide.npz")
    assert bundle.report_path.read_bytes() == before


@pytest.fixture(scope="module")
def rater(once, tiny_bert):
    """A text model of one number: the classifier's folder with the difference of its scores as its only output."""

    def fill(folder):
        from transformers import AutoModelForSequenceClassification

        model = AutoModelForSequenceClassification.from_pretrained(tiny_bert.model)
        weight, bias = (tensor.detach() for tensor in (model.classifier.weight, model.classifier.bias))
        one = AutoModelForSequenceClassification.from_pretrained(
            tiny_bert.model, num_labels=1, id2label={0: "rating"}, label2id={"rating": 0}, ignore_mismatched_sizes=True
        )
        one.classifier.weight.data = weight[1:] - weight[:1]
        one.classifier.bias.data = bias[1:] - bias[:1]
        shutil.copytree(tiny_bert.model, folder / "model")
        one.save_pretrained(folder / "model")

    return once("rater", fill) / "model"


@pytest.mark.parametrize("form", ["number.jsonl", "list.jsonl", "label.csv", "label_0.csv"])
def test_a_transformers_folder_with_one_label(rater, tiny_bert, board, tmp_path, form):
    lines = [json.loads(line) for line in tiny_bert.evaluation.read_text().splitlines()][:40]
    labels = np.random.default_rng(6).normal(0, 3, len(lines)).round(3)
    column = next(name for name in lines[0] if name != "label")
    path = tmp_path / form
    if path.suffix == ".csv":
        rows = [[column, path.stem], *([line[column], str(label)] for line, label in zip(lines, labels, strict=True))]
        with path.open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    else:
        values = [[label] if form == "list.jsonl" else label for label in labels.tolist()]
        given = [{column: line[column], "label": value} for line, value in zip(lines, values, strict=True)]
        path.write_text("".join(json.dumps(one) + "\n" for one in given))
    bundle = edgeexport.export(
        str(rater),
        target=board,
        evaluation=path,
        precision="w8",
        output=tmp_path / "out",
        settings={"timing": {"pairs": 0}},
    )
    assert (bundle.manifest.task, bundle.manifest.labels) == ("regression", None)
    found = np.concatenate(
        [one["logits"] for one in tensors.Reader(str(bundle.path / bundle.manifest.reference.folder))]
    )
    run = Report.read(bundle.report_path).runs[0]
    assert run.accuracy.reference == pytest.approx(r2_score(labels[:, None], found), abs=1e-9)
    assert (run.accuracy.metric, run.accuracy.samples, run.parity.agreement) == ("r2", 40, None)
    assert 0 < abs(run.accuracy.value - run.accuracy.reference) < 0.05


@pytest.mark.parametrize("method", ["distill", "qat"])
def test_training_on_a_regression_is_refused(gauge, tmp_path, method):
    with pytest.raises(RecipeError, match="factory gives real numbers, and only classes, embeddings and next tok"):
        edgeexport.export(
            MODEL,
            target="desktop-x86",
            train=gauge / "calibration.npz",
            calibration=gauge / "calibration.npz",
            evaluation=gauge / "evaluation.npz",
            precision="w8a8",
            output=tmp_path / "out",
            settings={"compress": [{"method": method, **({"layers": 1} if method == "distill" else {})}]},
        )
    assert not (tmp_path / "out").exists()
