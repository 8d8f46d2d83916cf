"""Layers compared with float32 as part of a verification: when, and what is said where they cannot be."""

import json
import shutil

import msgspec
import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from typer.testing import CliRunner

import edgeexport
from edgeexport.artifact import Manifest, write_manifest
from edgeexport.cli.main import app
from edgeexport.errors import ModelError
from edgeexport.pipeline import explaining
from edgeexport.progress import Progress
from edgeexport.results import Report


class Told(Progress):
    """Keeps what is said."""

    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)


@pytest.fixture(scope="module")
def packed(digits, board, tmp_path_factory):
    """The digits CNN in int8; gives its folder and the float32 model of the same format."""
    folder = tmp_path_factory.mktemp("explained")
    arguments = {"target": board, "calibration": digits.calibration, "evaluation": digits.evaluation}
    edgeexport.export(digits.model, precision="w8a8", output=folder / "out", limit=40, **arguments)
    edgeexport.export(digits.model, precision="fp32", output=folder / "float", verify=False, **arguments)
    return folder


@pytest.fixture
def bundle(packed, tmp_path):
    return shutil.copytree(packed / "out", tmp_path / "bundle")


def spoil(bundle):
    """Make one layer's scales wrong, with the hashes that a forger would give them."""
    model = onnx.load(str(bundle / "model.onnx"))
    (scale,) = [
        one for one in model.graph.initializer if one.name.startswith("features.2.weight") and "scale" in one.name
    ]
    values = numpy_helper.to_array(scale)
    scale.CopyFrom(
        numpy_helper.from_array(values * np.tile(np.float32([4, 0.1]), values.size)[: values.size], scale.name)
    )
    onnx.save(model, str(bundle / "model.onnx"))
    write_manifest(bundle, msgspec.json.decode((bundle / "manifest.json").read_bytes(), type=Manifest))


def verify(bundle, digits, told=None, **more):
    return edgeexport.verify(bundle, evaluation=digits.evaluation, limit=60, progress=told or Told(), **more)


def test_a_failed_parity_is_explained_without_being_asked(bundle, packed, digits):
    spoil(bundle)
    told = Told()
    report = verify(bundle, digits, told, float32=packed / "float" / "model.onnx")
    assert {check.name for check in report.checks if check.verdict == "fail"} >= {"agreement", "accuracy_drop"}
    assert (
        "agreement and accuracy_drop failed: comparing layers with float32 (--no-explain leaves this out)" in told.said
    )
    (divergence,) = report.divergences
    assert divergence.worst[0] == "features.2"
    assert (divergence.runtime, divergence.device, divergence.evidence) == ("onnxruntime", "local", "measured")
    assert {layer.samples for layer in divergence.layers} == {16}
    assert Report.read(bundle / "report.json") == report
    note = "onnxruntime on local: layers compared over 16 samples; observing them left the outputs the same to the bit"
    assert note in report.notes


def test_the_float32_model_of_the_cache_will_do(bundle, digits):
    spoil(bundle)
    (divergence,) = verify(bundle, digits).divergences
    assert divergence.worst[0] == "features.2"


@pytest.mark.parametrize("explain", [False, None])
def test_what_passed_or_is_not_asked_for_is_not_explained(bundle, digits, explain):
    if explain is False:
        spoil(bundle)
    told = Told()
    report = verify(bundle, digits, told, explain=explain)
    assert (report.verdict == "fail") == (explain is False)
    assert report.divergences == ()
    assert not any("layers" in text for text in (*told.said, *report.notes))


def test_what_passed_is_explained_where_asked_for(bundle, digits):
    told = Told()
    report = verify(bundle, digits, told, explain=True)
    (divergence,) = report.divergences
    assert divergence.worst == ()
    assert min(layer.snr_db for layer in divergence.layers if layer.snr_db is not None) > 25
    assert told.said == []


def test_golden_samples_will_do(bundle):
    (divergence,) = edgeexport.verify(bundle, explain=True).divergences
    assert {layer.samples for layer in divergence.layers} == {8}


def test_no_float32_model_at_hand(bundle, digits, cache):
    spoil(bundle)
    report = verify(bundle, digits)
    assert report.divergences == ()
    assert any(note.startswith("layers were not compared: the float32 model is not here") for note in report.notes)


@pytest.mark.parametrize(
    ("error", "said"), [(ModelError("nothing in common"), "nothing in common"), (KeyError("x"), "KeyError: 'x'")]
)
def test_models_that_show_nothing_cost_no_report(bundle, monkeypatch, error, said):
    def observe(*_):
        raise error

    monkeypatch.setattr(explaining, "open_observing", lambda _: observe)
    report = edgeexport.verify(bundle, explain=True)
    assert report.divergences == ()
    assert f"layers were not compared: {said}" in report.notes


def test_a_format_that_shows_nothing(bundle, monkeypatch):
    monkeypatch.setattr(explaining, "open_observing", lambda _: None)
    report = edgeexport.verify(bundle, explain=True)
    assert "layers were not compared: the format onnx shows no inner values" in report.notes


def test_a_float32_bundle_has_nothing_to_compare(packed, tmp_path):
    report = edgeexport.verify(shutil.copytree(packed / "float", tmp_path / "float"), explain=True)
    assert report.divergences == ()
    assert any("the bundle's model is the float32 one of its format" in note for note in report.notes)


def test_a_runtime_that_fails_leaves_a_note(bundle, monkeypatch):
    def fail(*_, **__):
        raise explaining.RunFailed("the runtime crashed (SIGSEGV)", "first\nlast line")

    monkeypatch.setattr(explaining, "compare", fail)
    report = edgeexport.verify(bundle, explain=True)
    assert report.divergences == ()
    assert "layers were not compared by onnxruntime on local: the runtime crashed (SIGSEGV); last line" in report.notes


def test_layers_left_out_are_counted(bundle, monkeypatch):
    monkeypatch.setattr(explaining, "_LAYERS", 3)
    report = edgeexport.verify(bundle, explain=True)
    assert len(report.divergences[0].layers) == 3
    assert any(note.startswith("3 of ") and note.endswith("layers were compared with float32") for note in report.notes)


def test_the_command(bundle, digits):
    spoil(bundle)
    arguments = ["verify", str(bundle), "--evaluation", str(digits.evaluation), "--limit", "40"]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 1, shown.output
    assert "Where it parts from float32: onnxruntime on local, measured" in shown.output
    assert "features.2" in shown.output
    plain = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert plain["divergences"][0]["worst"][0] == "features.2"
    assert set(plain["divergences"][0]["layers"][0]) >= {
        "path",
        "operator",
        "snr_db",
        "clipped",
        "low",
        "high",
        "reads",
    }
    assert "Where it parts" not in CliRunner().invoke(app, [*arguments, "--no-explain"]).output


def test_an_export_explains_and_keeps_that_apart(digits, board, tmp_path):
    arguments = {
        "target": board,
        "precision": "w8a8",
        "calibration": digits.calibration,
        "evaluation": digits.evaluation,
        "limit": 40,
    }
    for explain, count in ((True, 1), (False, 0), (True, 1)):
        bundle = edgeexport.export(digits.model, output=tmp_path / "out", explain=explain, **arguments)
        assert len(Report.read(bundle.report_path).divergences) == count
