"""Runtimes by their public names, found without importing them."""

import platform
import subprocess
import sys

import pytest

from edgeexport.errors import TargetError
from edgeexport.job import RUNTIMES_FOLDER
from edgeexport.runtime_names import Needs, module_of, needs_of, runtime_modules, runtime_of


def test_onnxruntime_is_run_by_ort():
    assert module_of("onnxruntime") == "ort"
    assert set(runtime_modules().values()).isdisjoint({"runner", "tensors", "__init__"})


@pytest.mark.parametrize("name", ["tensorrt", "ort", "", "runner"])
def test_others_are_refused_with_what_there_is(name):
    with pytest.raises(TargetError, match=f"no runner for the runtime '{name}'") as caught:
        module_of(name)
    assert "onnxruntime" in caught.value.hint


def test_no_runtime_is_imported():
    code = (
        "import sys; from edgeexport.runtime_names import runtime_modules; runtime_modules();"
        "print([name for name in sys.modules if name.startswith(('onnxruntime', 'numpy'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("runtime", "module"),
    [
        ("onnxruntime", "ort"),
        ("litert", "litert"),
        ("tflite-runtime", "tflite_classic"),
        ("tflite-micro", "tflm"),
        ("coreml", "coreml"),
        ("onnxruntime-web", "ort_web"),
        ("litert-web", "litert_web"),
    ],
)
def test_names_go_both_ways(runtime, module):
    assert module_of(runtime) == module
    assert runtime_of(module) == runtime
    packages = {"litert": "ai-edge-litert", "coreml": "coremltools", "litert-web": "@litertjs/core"}
    assert needs_of(module).distribution == packages.get(runtime, runtime)


def test_what_a_runtime_needs():
    assert needs_of("litert") == Needs(
        "ai_edge_litert.interpreter", "ai-edge-litert", extra="litert", boards=("arm64",)
    )
    assert needs_of("litert").package == "ai_edge_litert"
    assert needs_of("litert").installation == "pip install 'edgeexport[litert]'"
    assert needs_of("ort").installation == "pip install edgeexport"
    classic = needs_of("tflite_classic")
    assert (classic.version, classic.numpy, classic.newest_python) == ("2.14.0", "numpy<2", "3.11")
    assert needs_of("runner") is None
    assert needs_of("no_such_module") is None
    assert runtime_of("no_such_module") == "no_such_module"


def test_a_script_for_pages_says_what_it_needs_in_json():
    assert needs_of("ort_web") == Needs(
        "onnxruntime-web",
        "onnxruntime-web",
        version=needs_of("ort_web").version,
        browser=True,
        instead_of="onnxruntime",
        same_versions=True,
    )
    assert needs_of("ort_web").version.count(".") == 2
    assert needs_of("litert_web").instead_of == "litert"
    assert needs_of("ort_web").installation == "edgeexport devices create browser"
    assert not any(needs_of(module).browser for module in ("ort", "litert", "tflite_classic", "tflm", "coreml"))


def test_no_shipped_file_has_the_name_of_a_package_that_it_imports():
    packages = {needs_of(module).package for module in runtime_modules().values() if needs_of(module)}
    assert packages.isdisjoint({path.stem for path in RUNTIMES_FOLDER.glob("*.py")})


@pytest.mark.parametrize(("system", "evaluated"), [("Linux", True), ("Windows", True), ("Darwin", False)])
def test_only_one_system_has_core_ml_itself(monkeypatch, system, evaluated):
    monkeypatch.setattr(platform, "system", lambda: system)
    assert needs_of("coreml").evaluated is evaluated
    assert not any(needs_of(module).evaluated for module in ("ort", "litert", "tflite_classic", "tflm"))
    assert needs_of("coreml").installation == "pip install 'edgeexport[coreml]'"
    assert needs_of("coreml").boards == ()
