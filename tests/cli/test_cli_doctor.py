"""`edgeexport doctor`: runtimes and boards, with the command that provides what is missing."""

import shutil

import pytest
from typer.testing import CliRunner

from edgeexport.cli.main import app
from edgeexport.devices import emulated, local


@pytest.fixture
def doctor(cache):
    def call():
        result = CliRunner().invoke(app, ["doctor"])
        assert result.exit_code == 0
        return result.stdout.splitlines()

    return call


def test_runtimes_with_versions_or_the_command_that_provides_them(doctor, monkeypatch):
    states = {"litert": "2.3.0", "onnxruntime": "1", "tflite-micro": "missing: pip install 'edgeexport[micro]'"}
    monkeypatch.setattr(local._environments, "ready", lambda: states)
    lines = [line.split(None, 1) for line in doctor()]
    assert ["litert", "2.3.0"] in lines
    assert ["tflite-micro", "missing: pip install 'edgeexport[micro]'"] in lines
    assert [name for name, _ in lines].count("onnxruntime") == 1


@pytest.mark.parametrize(
    ("boards", "said"),
    [
        ({"emulated:a": "", "emulated:b": ""}, ["emulation      emulated:a, emulated:b"]),
        (
            {"emulated:a": "", "emulated:b": "make it", "emulated:c": "make it"},
            [
                "emulation      emulated:a",
                "               missing: edgeexport devices create TARGET, one of b, c",
            ],
        ),
        ({"emulated:b": "make it"}, ["emulation      missing: edgeexport devices create TARGET, one of b"]),
    ],
    ids=["all", "some", "none"],
)
def test_boards(doctor, monkeypatch, boards, said):
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(emulated, "boards", lambda: boards)
    lines = doctor()
    start = next(number for number, line in enumerate(lines) if line.startswith("emulation"))
    assert lines[start : start + len(said)] == said
    assert lines[start + len(said)].startswith("cache")


def test_without_qemu(doctor, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert "emulation      no qemu: apt-get install qemu-user-static" in doctor()
