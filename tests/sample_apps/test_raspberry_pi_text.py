"""The Raspberry Pi app's language models: the tokens of edgeexport's own road, and its self-test."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_lm
from test_raspberry_pi import WITHOUT

import edgeexport
from edgeexport.artifact import load_bundle
from edgeexport.runtimes import decoder

PROMPTS = ("w3 w7 w31", "w1 w2 w3 w4 w5 w6 w7 w8 w9 w10")


@pytest.fixture(scope="module", params=["desktop-x86", "android-arm64-litert"])
def bundle(request, once):
    folder = once("tiny-gpt2", tiny_lm.save)

    def fill(place):
        edgeexport.export(
            folder,
            target=request.param,
            precision="fp32",
            settings={"interface": {"prefill": [4]}},
            output=place / "bundle",
            verify=False,
        )

    return load_bundle(once(f"tiny-gpt2-app-{request.param}", fill) / "bundle")


@pytest.fixture
def generate(apps, tmp_path):
    """Run the app where nothing of edgeexport can be imported."""

    def run(*arguments):
        command = [sys.executable, "-c", WITHOUT, str(apps / "raspberry_pi" / "generate.py"), *map(str, arguments)]
        variables = {**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}
        return subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)

    return run


@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_tokens_that_edgeexport_gives(bundle, generate, prompt):
    done = generate(bundle.path, prompt, "--count", 12)
    (expected,) = edgeexport.generate(bundle.path, [prompt], max_tokens=12)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{prompt}{expected.text}\n"
    assert f"{len(expected.tokens)} tokens: " in done.stderr


def test_the_self_test(bundle, generate, tmp_path):
    done = generate(bundle.path, "--self-test")
    assert (done.returncode, done.stdout[:5]) == (0, "PASS:"), done.stdout + done.stderr
    assert "0 of 128 likeliest tokens unlike float32, perplexity over float32's 1.0000" in done.stdout


@pytest.mark.parametrize(("number", "change"), [(0, -0.2), (0, 0.2), (2, np.nan)])
def test_the_self_test_fails_where_outputs_are_others(bundle, generate, tmp_path, number, change):
    import json

    from edgeexport.artifact import MANIFEST, file_digest

    copy = tmp_path / "bundle"
    shutil.copytree(bundle.path, copy)
    path = copy / "golden" / "outputs" / f"{number}.bin"
    values = np.fromfile(path, np.float32)
    values[-1:] += np.float32(change if number else 0)  # of the last text's logits
    (values + np.float32(0 if number else change)).tofile(path)
    manifest = json.loads((copy / MANIFEST).read_text())
    manifest["files"][f"golden/outputs/{number}.bin"] = file_digest(path)
    (copy / MANIFEST).write_text(json.dumps(manifest))
    done = generate(copy, "--self-test")
    assert (done.returncode, done.stdout[:5]) == (1, "FAIL:"), done.stdout + done.stderr


def test_bad_input_is_a_sentence(bundle, generate):
    for arguments, words in (
        ((bundle.path, " ".join(["w1"] * 49)), "49 tokens are more than the model's context of 48"),
        ((bundle.path, ""), "no token to begin with"),
        ((bundle.path, "w1", "--count", 0), "counts are positive"),
        ((bundle.path,), "give a text or --self-test"),
    ):
        done = generate(*arguments)
        assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr


def test_the_loop_is_the_runners(apps):
    assert (apps / "raspberry_pi" / "decoder.py").read_bytes() == Path(decoder.__file__).read_bytes()
