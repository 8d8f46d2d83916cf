"""The runner as devices start it: a program, with a runtime of its own beside the job."""

import json
import os
import platform
import subprocess
import sys

import numpy as np
import pytest

from edgeexport.job import RUNNER
from edgeexport.runtimes import tensors

# A runtime whose model is a text file holding a factor; every run is noted in a file.
SCALE = """
import os, time

class Model:
    def __init__(self, path, threads):
        self.path, self.factor, self.threads = path, float(open(path).read()), threads

    def run(self, inputs):
        with open(os.environ["NOTES"], "a") as notes:
            notes.write(os.path.basename(self.path) + "\\n")
        time.sleep(float(os.environ.get("PAUSE", "0")))
        x = inputs["x"]
        return {"y": x * x.dtype.type(self.factor), "threads": x[:0] + self.threads}

def load(path, threads):
    return Model(path, threads)

def info():
    return {"runtime": "scale", "version": "7.1"}
"""


@pytest.fixture
def start(tmp_path):
    """Start the runner on a job; gives the finished process."""
    (tmp_path / "modules").mkdir()

    def run(job, samples, runtime=SCALE, **variables):
        (tmp_path / "modules" / "scale.py").write_text(runtime)
        writer = tensors.Writer(str(tmp_path / "inputs"))
        for sample in samples:
            writer.add(sample)
        writer.close()
        defaults = {"runtime": "scale", "mode": "outputs", "threads": 3, "warmup": 0, "pairs": 0}
        (tmp_path / "job.json").write_text(json.dumps({**defaults, **job}))
        environment = {
            **os.environ,
            "PYTHONPATH": str(tmp_path / "modules"),
            "NOTES": str(tmp_path / "notes.txt"),
            **variables,
        }
        return subprocess.run(
            [sys.executable, str(RUNNER), str(tmp_path)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_outputs_and_result(tmp_path, start):
    (tmp_path / "double.txt").write_text("2")
    samples = [{"x": np.arange(3, dtype=np.float32) + index} for index in range(4)]
    process = start({"models": ["double.txt"]}, samples)
    assert (process.returncode, process.stderr) == (0, "")
    assert (tmp_path / "outputs" / "0.bin").read_bytes() == b"".join((s["x"] * 2).tobytes() for s in samples)
    result = json.loads((tmp_path / "result.json").read_text())
    memory = result.pop("peak_memory_bytes")
    assert result == {
        "runtime": "scale",
        "version": "7.1",
        "machine": platform.machine(),
        "python": platform.python_version(),
        "samples": 4,
        "latency_ns": [],
    }
    assert 5e6 < memory < 1e9
    assert not (tmp_path / "result.json.partial").exists()


def test_threads_reach_the_runtime(tmp_path, start):
    (tmp_path / "one.txt").write_text("1")
    runtime = SCALE.replace("x[:0] + self.threads", "x * 0 + self.threads")
    start({"models": ["one.txt"], "threads": 5}, [{"x": np.ones(1, np.float32)}], runtime)
    (outputs,) = tensors.Reader(str(tmp_path / "outputs"))
    assert outputs["threads"].tolist() == [5]


def test_what_a_model_tells_of_itself_is_that_of_the_first(tmp_path, start):
    for name in ("4.txt", "6.txt"):
        (tmp_path / name).write_text(name[0])
    runtime = SCALE.replace(
        "\ndef load", "\n    def facts(self):\n        return {'arena_bytes': self.factor}\n\ndef load"
    )
    for mode in ("outputs", "latency"):
        job = {"models": ["4.txt", "6.txt"], "mode": mode, "pairs": 1}
        process = start(job, [{"x": np.ones(1, np.float32)}], runtime)
        assert process.returncode == 0, process.stderr
        assert json.loads((tmp_path / "result.json").read_text())["arena_bytes"] == 4


def test_latency_times_models_in_turn(tmp_path, start):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("1")
    job = {"mode": "latency", "models": ["a.txt", str(tmp_path / "b.txt")], "warmup": 2, "pairs": 3}
    process = start(job, [{"x": np.ones(1)}, {"x": np.ones(1)}], PAUSE="0.01")
    assert process.returncode == 0, process.stderr
    assert (tmp_path / "notes.txt").read_text().split() == ["a.txt", "b.txt"] * 5
    result = json.loads((tmp_path / "result.json").read_text())
    assert [len(times) for times in result["latency_ns"]] == [3, 3]
    assert all(10_000_000 <= time < 1_000_000_000 for times in result["latency_ns"] for time in times)
    assert not (tmp_path / "outputs").exists()


def test_progress_is_printed(tmp_path, start):
    (tmp_path / "one.txt").write_text("1")
    process = start({"models": ["one.txt"]}, [{"x": np.ones(1)}] * 4, PAUSE="0.3")
    assert process.stdout.splitlines() == ["progress 2", "progress 4"]


@pytest.mark.parametrize(
    ("job", "said"),
    [
        ({"models": ["missing.txt"]}, "missing.txt"),
        ({"models": ["words.txt"]}, "could not convert string to float"),
        ({"models": ["words.txt"], "runtime": "no_such_runtime"}, "No module named 'no_such_runtime'"),
        ({"models": ["words.txt"], "mode": "guess"}, "KeyError: 'guess'"),
    ],
    ids=["missing model", "corrupt model", "unknown runtime", "unknown mode"],
)
def test_a_failure_leaves_a_traceback_and_no_result(tmp_path, start, job, said):
    (tmp_path / "words.txt").write_text("not a number")
    process = start(job, [{"x": np.ones(1)}])
    assert process.returncode == 1
    assert said in process.stderr.splitlines()[-1]
    assert not (tmp_path / "result.json").exists()


def test_an_output_that_is_not_numbers_is_a_failure(tmp_path, start):
    (tmp_path / "one.txt").write_text("1")
    runtime = SCALE.replace("x[:0] + self.threads", "None")
    process = start({"models": ["one.txt"]}, [{"x": np.ones(1)}], runtime)
    assert process.returncode == 1
    assert not (tmp_path / "result.json").exists()


def test_the_runner_needs_numpy_and_the_standard_library_only():
    """What is shipped must start where edgeexport is not installed."""
    folder = RUNNER.parent
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); import runner; print('edgeexport' in sys.modules)"
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=folder.anchor
    )
    assert process.stdout == "False\n"


def test_a_board_reports_nothing_of_its_use():
    """ONNX Runtime's wheels upload usage events unless this is set before it is imported."""
    code = "import os, ort; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    environment["PYTHONPATH"] = str(RUNNER.parent)
    process = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert process.stdout == "1\n"


def test_a_timing_tells_the_conditions_around_it(tmp_path, start):
    (tmp_path / "one.txt").write_text("1")
    job = {"models": ["one.txt", "one.txt"], "mode": "latency", "warmup": 1, "pairs": 3}
    start(job, [{"x": np.ones(1, np.float32)}])
    result = json.loads((tmp_path / "result.json").read_text())
    assert [len(times) for times in result["latency_ns"]] == [3, 3]
    assert len(result["conditions"]) == 2
    assert all(set(one) == {"temperature_c", "frequency_mhz"} for one in result["conditions"])
    assert result["energy_j"] is None or len(result["energy_j"]) == 2
