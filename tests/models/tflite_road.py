"""Fixtures that the tests of TFLite share: a cache, and the digits CNN for four targets by one command."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgeexport.artifact import load_bundle
from edgeexport.results import Report

ANDROID, PI, CORTEX, ETHOS = "android-arm64-litert", "raspberry-pi-4-litert", "cortex-m7", "ethos-u55-128"
STAGES = ("exporting", "quantizing", "calibrating", "running", "timing", "packing", "verified", "copying")


@pytest.fixture(scope="module")
def tflite_cache(once, session_cache):
    """A cache that the workers share; the boards are those of all tests."""
    folder = once("tflite-cache", lambda folder: (folder / "devices").symlink_to(session_cache / "devices"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEEXPORT_CACHE", str(folder))
        yield folder


def export_by_command(folder, trained, targets, *more):
    """Export in a process of its own; give the exit code and the stages, in order."""
    arguments = ["export", trained.model, *(word for name in targets for word in ("-t", name)), *more]
    arguments += ["--calibration", trained.calibration, "--evaluation", trained.evaluation]
    arguments += ["--set", "limits.latency_ratio=1000.0", "--set", "limits.size_ratio=1000.0"]
    done = subprocess.run(
        [str(Path(sys.executable).with_name("edgeexport")), *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode in {0, 1}, done.stderr
    return done.returncode, [line for line in done.stderr.splitlines() if line.startswith(STAGES)]


@pytest.fixture(scope="module")
def road(once, digits, tflite_cache):
    """The digits CNN for four targets by one command: bundles by target, the exit code, stages and conversions."""

    def fill(folder):
        before = set((tflite_cache / "float32").glob("*/model.tflite"))
        code, stages = export_by_command(folder, digits, (ANDROID, PI, CORTEX, ETHOS))
        of_digits = [
            path.parent.name
            for path in set((tflite_cache / "float32").glob("*/model.tflite")) - before
            if json.loads((path.parent / "meta.json").read_text())["signature"]["inputs"][0]["name"] == "image"
            and json.loads((path.parent / "meta.json").read_text())["signature"]["outputs"][0]["name"] == "logits"
        ]
        (folder / "road.json").write_text(json.dumps([code, stages, of_digits]))

    folder = once("tflite-road", fill)
    code, stages, conversions = json.loads((folder / "road.json").read_text())

    class Road:
        def bundle(self, target):
            return load_bundle(folder / f"factory-{target}-w8a8")

        def report(self, target):
            return Report.read(self.bundle(target).report_path)

    Road.export_by_command = staticmethod(export_by_command)
    Road.folder, Road.code, Road.stages, Road.conversions = folder, code, stages, conversions
    return Road()
