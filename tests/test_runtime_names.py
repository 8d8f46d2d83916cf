"""Runtimes by their public names, found without importing them."""

import subprocess
import sys

import pytest

from edgeexport.errors import TargetError
from edgeexport.runtime_names import module_of, runtime_modules


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
