"""Real models, good and bad, in a runner on this machine."""

import platform

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeexport.devices import local
from edgeexport.errors import DeviceError, RunFailed
from edgeexport.job import Job

RANDOM = np.random.default_rng(0)


def save(path, nodes, inputs, outputs, initializers=()):
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in inputs],
        [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in outputs],
        [numpy_helper.from_array(array, name) for name, array in initializers],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


@pytest.fixture
def linear(tmp_path):
    """``y = x @ w + 1``, and ``n = x > 0``, for any batch of 8 values."""
    weights = RANDOM.standard_normal((8, 4)).astype(np.float32)
    return save(
        tmp_path / "linear.onnx",
        [
            helper.make_node("MatMul", ["x", "w"], ["xw"]),
            helper.make_node("Add", ["xw", "one"], ["y"]),
            helper.make_node("Greater", ["x", "zero"], ["n"]),
        ],
        [("x", TensorProto.FLOAT, ["batch", 8])],
        [("y", TensorProto.FLOAT, ["batch", 4]), ("n", TensorProto.BOOL, ["batch", 8])],
        [("w", weights), ("one", np.float32([1])), ("zero", np.float32([0]))],
    )


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "job"
    path.mkdir()
    return path


def samples(*batches):
    return [{"x": RANDOM.standard_normal((batch, 8)).astype(np.float32)} for batch in batches]


def test_outputs_are_those_of_the_runtime(linear, folder):
    inputs = samples(1, 3, 2)
    result = local.open_device("").run(Job("ort", (linear,), inputs), folder)
    assert (result.runtime, result.version) == ("onnxruntime", onnxruntime.__version__)
    assert (result.machine, result.samples, result.latency_ns) == (platform.machine(), 3, ())
    assert result.peak_memory_bytes > 10_000_000
    session = onnxruntime.InferenceSession(linear, providers=["CPUExecutionProvider"])
    for outputs, sample in zip(result.outputs, inputs, strict=True):
        y, n = session.run(["y", "n"], sample)
        assert outputs["y"].tobytes() == y.tobytes()
        assert outputs["n"].dtype == np.bool_
        assert outputs["n"].tobytes() == n.tobytes()


def test_latency_of_two_models(linear, folder):
    job = Job("ort", (linear, linear), samples(1), "latency", warmup=2, pairs=7)
    result = local.open_device("").run(job, folder)
    assert [len(times) for times in result.latency_ns] == [7, 7]
    assert min(time for times in result.latency_ns for time in times) > 0
    assert list(result.outputs) == []


def test_peak_memory_grows_with_the_model(linear, folder, tmp_path):
    megabytes = 200
    large = save(
        tmp_path / "large.onnx",
        [
            helper.make_node("ConstantOfShape", ["shape"], ["filled"]),
            helper.make_node("ReduceSum", ["filled"], ["y"]),
        ],
        [("shape", TensorProto.INT64, [1])],
        [("y", TensorProto.FLOAT, [1])],
    )
    device = local.open_device("")
    small = device.run(Job("ort", (linear,), samples(1)), folder)
    (tmp_path / "second").mkdir()
    inputs = [{"shape": np.array([megabytes * 2**18], np.int64)}]
    result = device.run(Job("ort", (large,), inputs), tmp_path / "second")
    growth = result.peak_memory_bytes - small.peak_memory_bytes
    assert megabytes * 2**20 * 0.9 < growth < megabytes * 2**20 * 1.5


def test_a_model_that_needs_terabytes(tmp_path, folder):
    model = save(
        tmp_path / "huge.onnx",
        [helper.make_node("ConstantOfShape", ["shape"], ["y"])],
        [("shape", TensorProto.INT64, [2])],
        [("y", TensorProto.FLOAT, ["a", "b"])],
    )
    inputs = [{"shape": np.array([2**22, 2**22], np.int64)}]
    with pytest.raises(RunFailed, match=r"failed|crashed") as caught:
        local.open_device("").run(Job("ort", (model,), inputs, timeout_s=60), folder)
    assert "allocate" in caught.value.log


def test_a_corrupt_model(linear, folder):
    data = linear.read_bytes()
    linear.write_bytes(data[: len(data) // 2])
    with pytest.raises(RunFailed, match="exit status 1") as caught:
        local.open_device("").run(Job("ort", (linear,), samples(1)), folder)
    assert "protobuf parsing failed" in caught.value.log.lower()


def test_an_input_that_does_not_fit(linear, folder):
    with pytest.raises(RunFailed, match="exit status 1") as caught:
        local.open_device("").run(Job("ort", (linear,), [{"x": np.zeros((1, 9), np.float32)}]), folder)
    assert "Got invalid dimensions for input: x" in caught.value.log


@pytest.fixture
def runtime(tmp_path, monkeypatch):
    """Put a runtime of one ``run`` body where the runner finds it."""

    def write(body):
        modules = tmp_path / "modules"
        modules.mkdir()
        (modules / "strange.py").write_text(
            "import os, resource, sys, time\n"
            "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
            f"class Model:\n    def run(self, inputs):\n        {body}\n"
            "def load(path, threads):\n    return Model()\n"
            "def info():\n    return {'runtime': 'strange', 'version': '0'}\n"
        )
        monkeypatch.setenv("PYTHONPATH", str(modules))
        return "strange"

    return write


def test_a_runtime_that_aborts(linear, folder, runtime):
    name = runtime("print('assertion failed', file=sys.stderr, flush=True); os.abort()")
    with pytest.raises(RunFailed, match=r"crashed \(SIGABRT\)") as caught:
        local.open_device("").run(Job(name, (linear,), samples(1)), folder)
    assert caught.value.log == "assertion failed"


def test_a_runtime_that_hangs(linear, folder, runtime):
    name = runtime("print('deadlock', file=sys.stderr, flush=True); time.sleep(600)")
    with pytest.raises(RunFailed, match="did not finish within 3 s") as caught:
        local.open_device("").run(Job(name, (linear,), samples(1), timeout_s=3), folder)
    assert caught.value.log == "deadlock"


def test_what_the_device_says_of_itself():
    info = local.open_device("").describe()
    assert (info.name, info.machine, info.evidence, info.timed) == (
        "local",
        platform.machine(),
        "measured",
        True,
    )
    assert info.cpu
    assert local.list_devices() == ["local"]


def test_it_takes_no_argument():
    with pytest.raises(DeviceError, match="takes no argument, not 'gpu'"):
        local.open_device("gpu")
