import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from edgeexport.compress import qat
from edgeexport.compress._batch_norm import fold
from edgeexport.compress._calibrate import shaped
from edgeexport.compress._graph import capture, op_name
from edgeexport.compress._prepare import activations
from edgeexport.errors import ConversionError, RecipeError, SamplesError
from edgeexport.stages import Qat, Rounding

PER_TENSOR = {
    "desktop-x86": {
        "op_types": ["*"],
        "float_outputs": [],
        "per_channel": False,
        "least_channels": 1,
        "bias_correction": False,
    },
    "android-arm64-litert": {"op_types": ["*"], "per_channel": False, "minimum_snr": 0.0},
}
STAGE = Qat(training=Rounding(epochs=4, batch=32, learning_rate=1e-3, held_out=0.0))


def right(outputs, made):
    return int((outputs.argmax(1) == made.labels()).sum())


def test_folding_batch_normalization_changes_no_output(road, normed):
    source = road(normed, "desktop-x86").source
    editable = source.editable()
    x = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = editable.run({"image": x})["logits"].detach()
    graph = capture(editable, source.signature, {"image": x})
    assert fold(editable.model, graph) == 3
    scale = expected.abs().max()
    assert (editable.run({"image": x})["logits"] - expected).abs().max() / scale < 1e-5
    assert (graph(x)[0] - expected).abs().max() / scale < 1e-5
    assert not any(op_name(node) == "batch_norm" for node in graph.graph.nodes)


@pytest.mark.parametrize("target", list(PER_TENSOR))
def test_training_recovers_half_of_what_rounding_loses_and_the_export_agrees(road, normed, tmp_path, target):
    made = road(normed, target, **PER_TENSOR[target])
    reference = np.concatenate(
        [made.source.reference({"image": image[None]})["logits"] for image in np.load(made.evaluation)["image"]]
    )
    before = made.exported()
    exact, lost = right(reference, made), right(reference, made) - right(before, made)
    assert lost >= 8
    (tmp_path / "trained").mkdir()
    facts = qat.open_method().compress(
        made.source, STAGE, made.materials(made.calibration.with_name("train.npz")), tmp_path / "trained"
    )
    after = road(normed, target, model=str(tmp_path / "trained"), **PER_TENSOR[target])
    rehearsed, exported = after.rehearsal().outputs(after.encoded(after.evaluation)), after.exported()
    assert exact - right(exported, after) <= lost / 2
    assert (rehearsed.argmax(1) != exported.argmax(1)).sum() <= 2
    assert facts["after"]["accuracy"] == pytest.approx(right(rehearsed, after) / 400, abs=1 / 400)
    assert facts["folded"] == 3


def test_the_same_seed_gives_the_same_bytes(road, normed, tmp_path):
    made = road(normed, "desktop-x86", **PER_TENSOR["desktop-x86"])
    stage = Qat(training=Rounding(epochs=1, samples=128, learning_rate=1e-3))
    files = []
    for name in ("one", "two"):
        made.folder = tmp_path / f"{name}-work"
        (tmp_path / name).mkdir()
        qat.open_method().compress(
            made.source, stage, made.materials(made.calibration.with_name("train.npz")), tmp_path / name
        )
        files.append((tmp_path / name / "model.safetensors").read_bytes())
    assert files[0] == files[1]
    assert json.loads((tmp_path / "one" / "factory.json").read_text()) == {"factory": "normed:factory"}


def test_a_transformer_comes_through_training_and_its_export_agrees(road, tiny_bert, tmp_path):
    rules = {"op_types": ["*"], "float_outputs": [], "smoothing": 0.0}
    made = road(tiny_bert, "desktop-x86", **rules)
    (tmp_path / "trained").mkdir()
    stage = Qat(alpha=1.0, training=Rounding(epochs=2, batch=16, learning_rate=1e-4, held_out=0.0))
    facts = qat.open_method().compress(made.source, stage, made.materials(made.evaluation), tmp_path / "trained")
    after = road(tiny_bert, "desktop-x86", model=str(tmp_path / "trained"), **rules)
    rehearsed, exported = after.rehearsal().outputs(after.encoded(after.evaluation)), after.exported()
    assert (rehearsed.argmax(1) != exported.argmax(1)).sum() <= 1
    assert facts["after"]["accuracy"] >= facts["before"]["accuracy"]
    losses = facts["training"]["epochs"]
    assert losses[1]["loss"] < losses[0]["loss"]


def test_outliers_go_in_float32_before_rounding_begins(road, tiny_bert, tmp_path, monkeypatch):
    monkeypatch.setattr(qat, "_COARSE_DB", 200.0)  # of so few channels, one outlier is most of the signal
    rules = {"op_types": ["*"], "float_outputs": [], "smoothing": 0.0}
    spoilt = _with_outlier(tiny_bert, tmp_path / "spoilt")
    made = road(tiny_bert, "desktop-x86", model=str(spoilt), **rules)
    rehearsal = made.rehearsal()
    assert rehearsal.pressed
    before = _peaks(rehearsal, made)
    (tmp_path / "trained").mkdir()
    stage = Qat(alpha=1.0, pressure=0.5, settle=6, settle_rate=1e-3, training=Rounding(batch=16, held_out=0.0))
    facts = qat.open_method().compress(made.source, stage, made.materials(made.evaluation), tmp_path / "trained")
    after = road(tiny_bert, "desktop-x86", model=str(tmp_path / "trained"), **rules)
    losses = [epoch["loss"] for epoch in facts["settling"]["epochs"]]
    assert len(losses) == 6 and losses[-1] < losses[0]
    assert _peaks(after.rehearsal(), after) < before - 0.3
    assert facts["after"]["accuracy"] >= facts["before"]["accuracy"]


def test_a_model_without_outliers_does_not_settle(road, normed, tmp_path):
    made = road(normed, "desktop-x86")
    assert not made.rehearsal(Qat(pressure=0.0)).pressed
    stage = Qat(pressure=0.0, training=Rounding(samples=64))
    facts = qat.open_method().compress(
        made.source, stage, made.materials(made.calibration.with_name("train.npz")), tmp_path
    )
    assert "settling" not in facts and "settled" not in facts


def test_a_variance_that_rounds_to_zero_leaves_gradients_finite(road, tiny_bert, tmp_path):
    """TFLite computes a layer normalization step by step, and its variance is an integer too."""
    rules = {"op_types": ["*"], "minimum_snr": 0.0, "mask_value": -20.0}
    spoilt = str(_with_outlier(tiny_bert, tmp_path / "spoilt"))
    made = road(tiny_bert, "android-arm64-litert", model=spoilt, interface={"lengths": [32]}, **rules)
    rehearsal = made.rehearsal()
    data = made.encoded(made.evaluation)
    variances = [one for name, one in activations(rehearsal.rounded.model).items() if one.fixed is None]
    with torch.no_grad():
        for one in variances:
            one.scale.mul_(1000)  # so coarse that every variance is nothing
    batch = next(shaped(data, made.settings.interface, torch.device("cpu")))
    outputs = rehearsal.rounded.run(batch)
    next(iter(outputs.values())).sum().backward()
    gradients = [one.grad for one in rehearsal.rounded.model.parameters() if one.grad is not None]
    assert gradients and all(one.isfinite().all() for one in gradients)


def _with_outlier(trained, folder):
    """The model with one channel of the residual far above the rest, and a normalization that makes up for it."""
    shutil.copytree(trained.model, folder)
    weights = load_file(folder / "model.safetensors")
    prefix = next(key for key in weights if key.endswith("layer.0.output.dense.bias")).removesuffix("dense.bias")
    channels = len(weights[prefix + "dense.bias"])
    weights[prefix + "dense.bias"][0] += 60.0
    weights[prefix + "LayerNorm.weight"] *= 60.0 / channels**0.5
    weights[prefix + "LayerNorm.weight"][0] = 0.01
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def _peaks(rehearsal, made):
    batch = next(shaped(made.encoded(made.evaluation), made.settings.interface, torch.device("cpu")))
    rehearsal.rounded.run(batch)
    return float(rehearsal.peaks().detach())


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"settings": None}, RecipeError, "needs a target"),
        ({"train": None}, SamplesError, "needs samples to train on"),
        ({"calibration": None}, SamplesError, "need calibration samples"),
    ],
)
def test_what_is_missing_is_said(road, normed, tmp_path, change, error, message):
    from dataclasses import replace

    made = road(normed, "desktop-x86")
    materials = replace(made.materials(made.calibration.with_name("train.npz")), **change)
    with pytest.raises(error, match=message):
        qat.open_method().compress(made.source, STAGE, materials, tmp_path)


def test_another_precision_is_refused(road, normed, tmp_path):
    made = road(normed, "desktop-x86")
    made.flags["precision"] = "w8a8-dynamic"
    with pytest.raises(RecipeError, match="is for static int8"):
        qat.open_method().compress(
            made.source, STAGE, made.materials(made.calibration.with_name("train.npz")), tmp_path
        )


def test_rules_that_leave_everything_float_are_refused(road, normed):
    with pytest.raises(RecipeError, match="leave every operator float"):
        road(normed, "desktop-x86", op_types=["LSTM"]).rehearsal()


def test_an_override_that_matches_nothing_is_refused(road, normed):
    made = road(normed, "desktop-x86")
    made.flags["overrides"] = [{"precision": "fp32", "name": "no-such-module"}]
    with pytest.raises(RecipeError, match="matches nothing"):
        made.rehearsal()


def test_weights_that_training_drove_apart_are_refused(road, normed):
    rehearsal = road(normed, "desktop-x86", per_channel=False).rehearsal()
    with torch.no_grad():
        next(iter(rehearsal.rounded.model.parameters())).fill_(float("nan"))
    with pytest.raises(ConversionError, match="is not finite any more"):
        rehearsal.look()
