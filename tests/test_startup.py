"""What answers at once loads nothing heavy. No clock: what counts is which modules are there."""

import os
import subprocess
import sys

import pytest

HEAVY = ("torch", "numpy", "onnx", "onnxruntime", "transformers", "optimum", "PIL", "tokenizers", "soundfile", "jinja2")
CODE = """
import sys
sys.argv = ["edgeexport", *sys.argv[1:]]
from edgeexport.cli.main import main
try:
    main()
except SystemExit as end:
    print(end.code or 0, *sorted(set(sys.modules) & {heavy}), file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--help"], 0),
        (["--version"], 0),
        ([], 2),
        (["export", "--help"], 0),
        (["verify", "--help"], 0),
        (["lint", "--help"], 0),
        (["lint", "model", "--calibration", "set.npz", "-t", "nope"], 2),
        (["targets"], 0),
        (["targets", "raspberry-pi-5"], 0),
        (["targets", "nope"], 2),
        (["frobnicate"], 2),
        (["export"], 2),
        (["export", "model"], 2),
        (["export", "model", "--target"], 2),
        (["export", "model", "-t", "nope"], 2),
        (["export", "model", "-t", "desktop-x86", "--frobnicate"], 2),
        (["export", "model", "-t", "desktop-x86", "--precision", "int8"], 2),
        (["export", "model", "-t", "desktop-x86", "--set", "typo=1"], 2),
        (["export", "model", "-t", "desktop-x86", "--set", "typo"], 2),
        (["export", "model", "-t", "desktop-x86", "--recipe", "nowhere.toml"], 2),
        (["export", "model", "-t", "desktop-x86", "--limit", "many"], 2),
        (["verify", "--limit", "0", "x"], 2),
        (["devices", "--help"], 0),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_nothing_heavy_is_loaded(arguments, status, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", CODE.replace("{heavy}", repr(set(HEAVY))), *arguments],
        cwd=tmp_path,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.splitlines()[-1] == str(status)
    assert "Traceback" not in done.stderr


def test_the_package_itself_loads_nothing_heavy():
    code = (
        f"import sys, edgeexport; edgeexport.export, edgeexport.verify; print(sorted(set(sys.modules) & {set(HEAVY)}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_verify_is_a_function_whatever_was_imported():
    code = (
        "import edgeexport, edgeexport.verify.budget, edgeexport.pipeline;"
        "from edgeexport.verify import size; from edgeexport.verify.parity import cosine;"
        "print(edgeexport.verify.__name__, edgeexport.verify.__class__.__name__, size.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "verify function edgeexport.verify.size\n"
