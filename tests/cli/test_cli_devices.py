"""`edgeexport devices`: what is listed, what is created, and what cannot be."""

import pytest
from typer.testing import CliRunner

from edgeexport.cli.main import app
from edgeexport.devices import browser, emulated, local


@pytest.fixture
def run():
    def call(*arguments):
        result = CliRunner().invoke(app, ["devices", *arguments])
        return result.exit_code, result.stdout, result.stderr

    return call


@pytest.fixture
def created(monkeypatch):
    """Note what would be built."""
    asked = []
    monkeypatch.setattr(emulated, "create", lambda name, say, runtime="": asked.append(("emulated", name, runtime)))
    monkeypatch.setattr(local._environments, "create", lambda name, say: asked.append(("local", name)))
    monkeypatch.setattr(browser, "create", lambda name, say, runtime="": asked.append(("browser", name, runtime)))
    return asked


def test_listed_are_boards_and_runtimes_ready_or_missing(run, monkeypatch, cache):
    states = {"litert": "2.3.0", "tflite-runtime": "missing: edgeexport devices create local:tflite-runtime"}
    monkeypatch.setattr(local._environments, "ready", lambda: states)
    monkeypatch.setattr(emulated, "list_devices", list)
    monkeypatch.setattr(emulated, "boards", lambda: {"emulated:one": "", "emulated:two": "do this"})
    monkeypatch.setattr(browser, "state", lambda: {"browser": "do that"})
    code, printed, _ = run()
    rows = [line.split(None, 1) for line in printed.splitlines() if line]
    assert code == 0
    assert rows[0][0] == "local"
    assert ["emulated:two", "missing: do this"] in rows
    assert ["browser", "missing: do that"] in rows
    assert "emulated:one" not in [row[0] for row in rows]  # it is among the devices that are ready, or nowhere
    assert ["litert", "2.3.0"] in rows
    assert ["tflite-runtime", "missing: edgeexport devices create local:tflite-runtime"] in rows


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        (["raspberry-pi-4"], ("emulated", "raspberry-pi-4", "")),
        (["emulated:raspberry-pi-4"], ("emulated", "raspberry-pi-4", "")),
        (["emulated:./my-board.toml"], ("emulated", "./my-board.toml", "")),
        (["./odd:name.toml"], ("emulated", "./odd:name.toml", "")),
        (["raspberry-pi-4", "--runtime", "litert"], ("emulated", "raspberry-pi-4", "litert")),
        (["local:tflite-runtime"], ("local", "tflite-runtime")),
        (["browser"], ("browser", "", "")),
        (["browser", "--runtime", "litert-web"], ("browser", "", "litert-web")),
        (["./browser"], ("emulated", "./browser", "")),
    ],
)
def test_what_is_created(run, created, arguments, asked):
    assert run("create", *arguments)[0] == 0
    assert created == [asked]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["toaster:x"], "'toaster:x' is nothing that can be created"),
        (["local:litert"], "litert runs in this environment"),
        (["local:tensorrt"], "no runner for the runtime 'tensorrt'"),
        (["local:tflite-runtime", "--runtime", "litert"], "--runtime is for emulated boards"),
        (["no-such-target"], "unknown target 'no-such-target'"),
        (["raspberry-pi-4", "--runtime", "tflite-micro"], "tflite-micro does not run on emulated arm64 boards"),
        (["raspberry-pi-4", "--runtime", "coreml"], "coreml does not run on emulated arm64 boards"),
        (["iphone-ios17"], "target 'iphone-ios17' cannot be emulated: its profile has no [emulation] table"),
        (["local:coreml"], "coreml runs in this environment"),
        (["local:litert-web"], "litert-web runs in a browser"),
        (["browser:app"], "'browser:app' is a folder of yours"),
    ],
)
def test_what_cannot_be_created(run, cache, monkeypatch, arguments, said):
    monkeypatch.setattr(emulated, "_qemu", lambda architecture: "qemu")
    code, _, printed = run("create", *arguments)
    assert code == 2
    assert said in printed
    assert not cache.exists()


def test_check_says_what_is_ready_and_what_provides_the_rest(run):
    code, printed, _ = run("check", "fake")
    rows = [line.split(None, 1) for line in printed.splitlines()]
    assert code == 0
    assert rows[0][0] == "fake"
    assert ["onnxruntime", "ready"] in rows


def test_check_of_a_board_without_the_runtime_is_exit_3(run, monkeypatch):
    from edgeexport.devices import fake

    monkeypatch.setattr(fake.sys, "executable", "/no/python3")
    code, printed, _ = run("check", "fake", "--runtime", "onnxruntime")
    assert code == 3
    assert "fake has no /no/python3" in printed
    assert "Install it there: apt install python3" in printed
    code, _, errors = run("prepare", "fake")
    assert code == 3
    assert "no python3" in errors or "has no /no/python3" in errors


def test_only_boards_are_prepared(run):
    code, _, errors = run("prepare", "local")
    assert code == 2
    assert "'local' is no board" in errors


def test_a_runtime_that_is_none_is_refused(run):
    assert run("check", "local", "--runtime", "nothing")[0] == 2
    assert run("prepare", "fake", "--runtime", "nothing")[0] == 2
