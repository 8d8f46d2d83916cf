"""A job's files, and what becomes of a runner that fails."""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from edgeexport.errors import RunFailed
from edgeexport.job import Job, read_result, run_command, write_job
from edgeexport.results import Finding
from edgeexport.runtimes import tensors

RESULT = {
    "runtime": "onnxruntime",
    "version": "1.2",
    "machine": "aarch64",
    "samples": 2,
    "latency_ns": [[5, 7], [6, 8]],
    "peak_memory_bytes": 1000,
}


def write_result(folder, **changes):
    writer = tensors.Writer(str(folder / "outputs"))
    for value in (1.0, 2.0):
        writer.add({"y": np.array([value], np.float32)})
    writer.close()
    (folder / "result.json").write_text(json.dumps({**RESULT, **changes}))


def run_python(code, folder, timeout_s=30.0, progress=None, heard=None, environment=None):
    listener = Job("ort", (), (), heard=heard).listener(progress)
    return run_command([sys.executable, "-c", code], folder, timeout_s, environment, listener)


def test_write_job(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "job"
    folder.mkdir()
    inputs = ({"x": np.array([[index]], np.int64)} for index in range(3))
    write_job(Job("ort", (Path("a.onnx"), Path("/b.onnx")), inputs, "latency", 2, 5, 40), folder)
    assert json.loads((folder / "job.json").read_text()) == {
        "runtime": "ort",
        "mode": "latency",
        "models": [str(tmp_path / "a.onnx"), "/b.onnx"],
        "threads": 2,
        "warmup": 5,
        "pairs": 40,
    }
    assert (folder / "inputs" / "0.bin").read_bytes() == np.arange(3, dtype="<i8").tobytes()


def test_a_result_is_read(tmp_path):
    write_result(tmp_path)
    result = read_result(tmp_path)
    assert (result.runtime, result.version, result.machine) == ("onnxruntime", "1.2", "aarch64")
    assert (result.samples, result.peak_memory_bytes) == (2, 1000)
    assert result.latency_ns == ((5, 7), (6, 8))
    assert [sample["y"].tolist() for sample in result.outputs] == [[1.0], [2.0]]


def test_a_device_may_not_know_its_peak_memory(tmp_path):
    write_result(tmp_path, peak_memory_bytes=None)
    assert read_result(tmp_path).peak_memory_bytes is None


def test_what_only_some_runtimes_tell(tmp_path):
    write_result(tmp_path)
    result = read_result(tmp_path)
    assert (result.delegate, result.arena_bytes) == (None, None)
    assert (result.stand_in, result.findings) == (None, None)
    (tmp_path / "result.json").write_text(json.dumps({**RESULT, "delegate": "xnnpack", "arena_bytes": 72064}))
    result = read_result(tmp_path)
    assert (result.delegate, result.arena_bytes) == ("xnnpack", 72064)
    found = {"operator": "exp", "output": "v1", "kind": "nan", "count": 3, "where": "layer.0"}
    (tmp_path / "result.json").write_text(json.dumps({**RESULT, "stand_in": "evaluator", "findings": [found]}))
    result = read_result(tmp_path)
    assert (result.stand_in, result.findings) == ("evaluator", (Finding(**found),))
    (tmp_path / "result.json").write_text(json.dumps({**RESULT, "findings": []}))
    assert read_result(tmp_path).findings == ()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        json.dumps({key: value for key, value in RESULT.items() if key != "version"}),
        json.dumps({**RESULT, "samples": "many"}),
        json.dumps({**RESULT, "latency_ns": 5}),
        json.dumps({**RESULT, "latency_ns": [["fast"]]}),
        json.dumps({**RESULT, "arena_bytes": "small"}),
        json.dumps({**RESULT, "findings": [{"operator": "exp"}]}),
        json.dumps({**RESULT, "findings": "none"}),
    ],
    ids=["empty", "cut off", "list", "null", "no version", "samples", "latency", "values", "arena", "finding", "text"],
)
def test_a_malformed_result(tmp_path, text):
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(RunFailed, match="missing or malformed"):
        read_result(tmp_path)


def test_outputs_that_are_cut_off(tmp_path):
    write_result(tmp_path)
    values = tmp_path / "outputs" / "0.bin"
    values.write_bytes(values.read_bytes()[:-1])
    with pytest.raises(RunFailed, match=r"0\.bin does not fit the index"):
        read_result(tmp_path)


def test_outputs_without_an_index(tmp_path):
    write_result(tmp_path)
    (tmp_path / "outputs" / "index.json").unlink()
    with pytest.raises(RunFailed, match=r"index\.json"):
        read_result(tmp_path)


def test_outputs_whose_index_is_malformed(tmp_path):
    write_result(tmp_path)
    index = {"names": ["y"], "dtypes": ["<f4"], "shapes": [[], []]}
    (tmp_path / "outputs" / "index.json").write_text(json.dumps(index))
    with pytest.raises(RunFailed, match="malformed"):
        read_result(tmp_path)


def test_a_runner_that_answers(tmp_path):
    write_result(tmp_path)
    told = []
    code = "print('progress 1'); print('something else'); print('progress 20')"
    result = run_python(code, tmp_path, progress=told.append)
    assert told == [1, 20]
    assert result.latency_ns == ((5, 7), (6, 8))


def test_what_a_runtime_prints_is_not_taken_for_progress(tmp_path):
    write_result(tmp_path)
    told = []
    run_python("print('progress 50%')", tmp_path, progress=told.append)
    assert told == []


def test_the_environment_is_the_one_given(tmp_path):
    code = "import os; open(os.environ['WHERE'], 'w').write(' '.join(sorted(os.environ)))"
    seen = tmp_path / "seen.txt"
    write_result(tmp_path)
    run_python(code, tmp_path, environment={"WHERE": str(seen), "LC_ALL": "C.UTF-8"})
    assert {"WHERE", "LC_ALL"} <= set(seen.read_text().split()) <= {"WHERE", "LC_ALL", "LC_CTYPE"}


def test_no_result(tmp_path):
    with pytest.raises(RunFailed, match=r"missing or malformed.*result\.json"):
        run_python("pass", tmp_path)


def test_no_result_but_a_log(tmp_path):
    with pytest.raises(RunFailed) as caught:
        run_python("import sys; print('disk full', file=sys.stderr)", tmp_path)
    assert caught.value.log == "disk full"


def test_an_exit_status_comes_with_the_log(tmp_path):
    with pytest.raises(RunFailed, match=r"exit status 3") as caught:
        run_python("import sys; print('the reason', file=sys.stderr); sys.exit(3)", tmp_path)
    assert caught.value.log == "the reason"


def test_of_a_long_log_the_end_is_kept(tmp_path):
    code = "import sys; sys.stderr.write('é' * 100_000 + 'the end'); sys.exit(1)"
    with pytest.raises(RunFailed) as caught:
        run_python(code, tmp_path)
    assert caught.value.log.endswith("é" * 100 + "the end")
    assert len(caught.value.log) <= 4000


@pytest.mark.parametrize(
    ("signal", "said"),
    [
        ("SIGABRT", r"\(SIGABRT\)"),
        ("SIGSEGV", r"\(SIGSEGV\)"),
        ("SIGKILL", r"\(SIGKILL, often .* too little memory\)"),
    ],
)
def test_a_crash_names_the_signal(tmp_path, signal, said):
    code = (
        "import os, resource, signal, sys; resource.setrlimit(resource.RLIMIT_CORE, (0, 0));"
        f"print('before', file=sys.stderr, flush=True); os.kill(os.getpid(), signal.{signal})"
    )
    with pytest.raises(RunFailed, match=said) as caught:
        run_python(code, tmp_path)
    assert caught.value.log == "before"


def test_a_hang_is_stopped_with_its_children(tmp_path):
    child = tmp_path / "child.txt"
    code = (
        "import subprocess, sys, time;"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
        f"open({str(child)!r}, 'w').write(str(child.pid));"
        "print('waiting', file=sys.stderr, flush=True); time.sleep(600)"
    )
    start = time.monotonic()
    with pytest.raises(RunFailed, match=r"did not finish within 2 s") as caught:
        run_python(code, tmp_path, timeout_s=2.0)
    assert time.monotonic() - start < 20
    assert caught.value.log == "waiting"
    assert not is_alive(int(child.read_text()))


def test_a_failing_listener_stops_the_runner(tmp_path):
    pid = tmp_path / "pid.txt"
    code = (
        f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid()));"
        "print('progress 1', flush=True); time.sleep(600)"
    )

    def listen(count):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_python(code, tmp_path, progress=listen)
    assert not is_alive(int(pid.read_text()))


def is_alive(pid):
    """Whether a process still runs; one that ended but was not waited for does not count."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (ProcessLookupError, FileNotFoundError):
            return False
        if state == "Z":
            return False
        time.sleep(0.05)
    return True
