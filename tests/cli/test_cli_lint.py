"""`edgeexport lint`: what it prints, as a table and as JSON, and how it ends."""

import json
import shlex

import numpy as np
import pytest
from typer.testing import CliRunner

from edgeexport.cli.main import app


@pytest.fixture
def lint(linear, tmp_path):
    np.savez(tmp_path / "twice.npz", x=np.concatenate([np.load(linear.calibration)["x"]] * 3))

    def call(*arguments, calibration=linear.calibration):
        given = ["lint", linear.model, "--calibration", calibration, *arguments]
        return CliRunner().invoke(app, [str(argument) for argument in given])

    return call


@pytest.fixture
def twice(tmp_path):
    return tmp_path / "twice.npz"


def test_warnings_end_well(lint):
    done = lint()
    assert done.exit_code == 0
    assert "few-samples" in done.stdout
    assert "120 samples" in done.stdout


def test_errors_end_with_one(lint, twice):
    done = lint("--json", calibration=twice)
    assert done.exit_code == 1
    printed = json.loads(done.stdout)
    assert printed["calibration"] == str(twice)
    (one,) = printed["findings"]
    assert (one["rule"], one["level"]) == ("duplicate-samples", "error")
    assert one["evidence"].startswith("240 of 360 samples are exact copies of earlier ones")


def test_nothing_found_is_said(lint):
    done = lint("--set", 'calibration.ignore=["few-samples"]')
    assert done.exit_code == 0
    assert "no rule found anything" in done.stdout


def test_a_target_brings_its_settings(lint, board, linear):
    done = lint("--target", board, "--set", "calibration.minimum_samples=121", "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["findings"][0]["evidence"] == "120 samples, and the settings ask for 121"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--target nope", "nope"),
        ("--set calibration.ignore=['noise']", "names no rule 'noise'"),
        ("--evaluation none.npz", "none.npz"),
        ("--set calibration.lint=never", "calibration.lint"),
    ],
)
def test_bad_arguments(lint, arguments, said):
    done = lint(*shlex.split(arguments.replace("'", "\\'")))
    assert done.exit_code == 2
    assert said in done.stderr


def test_the_hint_of_a_stopped_export_can_be_pasted(command, linear, board, twice, lint):
    arguments = ["export", linear.model, "-t", board, "--precision", "w8a8", "--calibration", twice, "--no-verify"]
    done = command(*arguments)
    assert done.returncode == 2
    error, hint = done.stderr.splitlines()[-2:]
    assert error.startswith(f"error: {twice} is unfit for calibration: 240 of 360 samples are exact copies")
    pasted = shlex.split(hint.partition("all the same: ")[2].removesuffix("."))
    done = command(*arguments, *pasted)
    assert done.returncode == 0, done.stderr
    assert "overruled by calibration.ignore" in done.stderr
