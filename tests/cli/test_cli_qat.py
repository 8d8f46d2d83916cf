"""The command line of quantization-aware training: where settings go, output and exit codes."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from edgeexport.cli.main import app

pytestmark = pytest.mark.usefixtures("one_thread")
QUICK = ("--set", "training.epochs=1", "--set", "training.held_out=0.0", "--set", "calibration.minimum_samples=8")


@pytest.fixture
def run(tmp_path, monkeypatch, cache):
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        return CliRunner().invoke(app, ["qat", *map(str, arguments)])

    return call


@pytest.fixture
def given(normed, tmp_path):
    return (normed.model, "--train", normed.calibration, "--calibration", normed.calibration, "-o", tmp_path / "out")


def test_help_names_every_option(run):
    result = run("--help")
    assert result.exit_code == 0
    for name in ("--target", "--train", "--calibration", "--evaluation", "--teacher", "--set", "--recipe", "--json"):
        assert name in result.output


def test_settings_of_the_training_and_of_the_target(run, given, normed):
    asked = ("--set", "alpha=1.0", "--set", "quantization.per_channel=false", "--evaluation", normed.evaluation)
    result = run(*given, "-t", "desktop-x86", *QUICK, *asked, "--json")
    assert result.exit_code == 0, result.stderr
    values = json.loads(result.stdout)
    assert (values["method"], values["settings"]["alpha"], values["facts"]["format"]) == ("qat", 1.0, "onnx")
    count = len(np.load(normed.evaluation)["label"])
    assert values["facts"]["after"]["samples"] == count
    assert values["facts"]["summary"].endswith(f"on {count:,} others")


def test_another_rounding_is_another_training(run, given):
    weights = []
    for per_channel in ("true", "false"):
        rule = f"quantization.per_channel={per_channel}"
        result = run(*given, "-t", "desktop-x86", *QUICK, "--set", "alpha=1.0", "--set", rule)
        assert result.exit_code == 0, result.stderr
        weights.append((given[-1] / "model.safetensors").read_bytes())
    assert weights[0] != weights[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--set", "precision=w8"), "is for static int8, and the export that follows has w8"),
        (("--set", "ranges=learned"), "learned activation ranges do not reach the export yet"),
        (("--set", "training.epoch=2"), "qat: Object contains unknown field `epoch`"),
        (("--set", "quantization.per_chanel=true"), "Object contains unknown field `per_chanel`"),
        (("--recipe", "none.toml"), "no recipe file at none.toml"),
    ],
)
def test_what_is_refused(run, given, arguments, said, tmp_path):
    result = run(*given, "-t", "desktop-x86", *arguments)
    assert (result.exit_code, said in result.stderr) == (2, True), result.stderr
    assert not (tmp_path / "out").exists()


def test_an_unknown_target(run, given):
    result = run(*given, "-t", "toaster")
    assert result.exit_code == 2
    assert "toaster" in result.stderr
