"""Which Python runs a runtime on this machine, and how its environment is built."""

import importlib.util
import platform
import sys

import pytest

from edgeexport import runtime_names
from edgeexport.devices import _environments, local
from edgeexport.errors import DeviceError, MissingRequirement, TargetError
from edgeexport.job import Job

# What stands in for Python: `-m venv DIR` puts the script itself there, `-m pip` and `-c` note what they are asked.
PYTHON = """#!/bin/sh
if [ "$2" = venv ]; then mkdir -p "$3/bin" && cp "$0" "$3/bin/python"; exit; fi
echo "$@" >> {notes}
case "$*" in *{failing}*) echo "the reason" >&2; exit 7;; esac
"""


@pytest.fixture
def python(tmp_path, monkeypatch):
    """Make the running interpreter a script that notes what it is asked."""

    def write(failing="nothing at all"):
        path = tmp_path / "python"
        path.write_text(PYTHON.format(notes=tmp_path / "notes.txt", failing=f'"{failing}"'))
        path.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(path))
        return path

    return write


def test_most_runtimes_run_in_this_environment():
    local.open_device("").check("ort")
    assert str(_environments.python_for("ort")) == sys.executable
    assert _environments.environment_of("ort") is None
    assert str(_environments.python_for("a_module_of_somebody_else")) == sys.executable


@pytest.mark.parametrize(
    ("module", "said", "hint"),
    [
        ("litert", "litert is not installed here", "pip install 'edgeexport[litert]'"),
        ("tflm", "tflite-micro is not installed here", "pip install 'edgeexport[micro]'"),
        ("ort", "onnxruntime is not installed here", "pip install edgeexport"),
        ("coreml", "coreml is not installed here", "pip install 'edgeexport[coreml]'"),
        (
            "tflite_classic",
            "tflite-runtime 2.14.0 needs an environment of its own, which has not been created",
            "edgeexport devices create local:tflite-runtime",
        ),
    ],
)
def test_what_is_missing_is_said_before_anything_runs(monkeypatch, cache, tmp_path, module, said, hint):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    device = local.open_device("")
    for ask in (lambda: device.check(module), lambda: device.run(Job(module, (), []), tmp_path)):
        with pytest.raises(MissingRequirement) as caught:
            ask()
        assert (caught.value.what, caught.value.hint) == (said, hint)
    assert local.runtimes()[runtime_names.runtime_of(module)] == f"missing: {hint}"
    assert not (tmp_path / "job.json").exists()


def test_an_environment_is_built_and_used(python, cache, tmp_path, monkeypatch):
    python()
    steps = []
    folder = local.create("tflite-runtime", steps.append)
    assert folder == cache / "devices" / "environments" / "tflite-runtime-2.14.0"
    assert steps == [
        f"making an environment with {tmp_path / 'python'}",
        "downloading tflite-runtime==2.14.0 and numpy<2",
        "trying it",
        f"ready: {folder}",
    ]
    assert (tmp_path / "notes.txt").read_text().splitlines() == [
        "-m pip install --no-input --only-binary=:all: tflite-runtime==2.14.0 numpy<2",
        "-c import numpy, tflite_runtime.interpreter",
    ]
    assert _environments.python_for("tflite_classic") == folder / "bin" / "python"
    local.open_device("").check("tflite_classic")
    assert local.runtimes()["tflite-runtime"] == "2.14.0"
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    assert "PYTHONPATH" not in _environments.environment_of("tflite_classic")
    assert [path.name for path in folder.parent.iterdir() if path.name != ".lock"] == [folder.name]
    assert local.create("tflite-runtime", steps.append) == folder
    assert steps[-1] == f"already there: {folder}"


@pytest.mark.parametrize(
    ("failing", "said", "hint"),
    [
        ("-m pip", "tflite-runtime could not be installed (python: status 7)", "Is there a network"),
        ("-c import", "tflite-runtime cannot be imported (python: status 7)", None),
    ],
)
def test_a_failed_build_shows_the_log_and_leaves_nothing(python, cache, failing, said, hint):
    python(failing)
    with pytest.raises(MissingRequirement) as caught:
        local.create("tflite-runtime", lambda line: None)
    assert caught.value.what == f"{said}\nthe reason"
    assert caught.value.hint is None if hint is None else caught.value.hint.startswith(hint)
    assert [path.name for path in (cache / "devices" / "environments").iterdir()] == [".lock"]


def test_a_python_without_wheels_looks_for_an_older_one(python, cache, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "version_info", (3, 13, 1))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(MissingRequirement, match=r"has no wheels for Python 3\.13; its last are for 3\.11") as caught:
        local.create("tflite-runtime", lambda line: None)
    assert "python3.11" in caught.value.hint
    assert not cache.exists()
    (tmp_path / "bin").mkdir()
    shim = tmp_path / "bin" / "python3.11"
    shim.write_text("#!/bin/sh\nexit 127\n")  # of a version manager, for a version that is not installed
    shim.chmod(0o755)
    with pytest.raises(MissingRequirement, match="has no wheels"):
        local.create("tflite-runtime", lambda line: None)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin:/usr/bin")
    python().rename(shim)
    steps = []
    local.create("tflite-runtime", steps.append)
    assert steps[0] == f"making an environment with {shim}"


def test_nothing_is_built_for_a_runtime_of_this_environment(cache):
    with pytest.raises(DeviceError, match="litert runs in this environment") as caught:
        local.create("litert", print)
    assert caught.value.hint == "pip install 'edgeexport[litert]'"
    with pytest.raises(TargetError, match="no runner for the runtime 'tensorrt'"):
        local.create("tensorrt", print)
    assert not cache.exists()


def test_the_list_says_where_an_evaluator_stands_in_for_a_runtime(monkeypatch):
    monkeypatch.setattr(_environments, "python_for", lambda module: sys.executable)
    monkeypatch.setattr(_environments, "_installed", lambda distribution: "9.0")
    monkeypatch.setattr(platform, "system", lambda: "Linux")
    said = "evaluator for coremltools 9.0: results are emulated; the runtime itself needs macOS"
    assert local.runtimes()["coreml"] == said
    assert local.runtimes()["onnxruntime"] == "9.0"
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    assert local.runtimes()["coreml"] == "9.0"
