"""What tests share: a cache of their own, trained models, the real command, and the shared models and data."""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
SHARED = TESTS.parent.parent / "shared"
COMMAND = Path(sys.executable).with_name("edgeexport")

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
sys.path.insert(0, str(TESTS / "models"))


@dataclass(frozen=True)
class Trained:
    """A model and its sets."""

    model: str
    calibration: Path
    evaluation: Path


@pytest.fixture(autouse=True)
def signals():
    """A command that catches signals leaves them caught, which the next test would meet."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def common(tmp_path_factory):
    """One folder for all workers of a run."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "common"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def once(common):
    """``once(name, fill)``: the folder of that name, filled by the first worker that asks."""

    def make(name, fill):
        folder = common / name
        with (common / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / ".done").exists():
                folder.mkdir(exist_ok=True)
                fill(folder)
                (folder / ".done").touch()
        return folder

    return make


@pytest.fixture(scope="session", autouse=True)
def session_cache(common):
    """Exports of tests that ask for no cache of their own meet in one, never in the user's.

    Emulated boards are the user's: `edgeexport devices create` takes a network, which tests must do without.
    """
    from edgeexport.cache import cache_root

    boards = cache_root() / "devices"
    boards.mkdir(parents=True, exist_ok=True)
    (common / "cache").mkdir(exist_ok=True)
    with contextlib.suppress(FileExistsError):  # the other worker was first
        (common / "cache" / "devices").symlink_to(boards, target_is_directory=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEEXPORT_CACHE", str(common / "cache"))
        yield common / "cache"


@pytest.fixture(scope="module")
def one_thread():
    """Train on one: models of a few thousand weights are many times slower on several, more so on a busy machine."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of the test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("EDGEEXPORT_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def digits(once):
    """A CNN on scikit-learn's digits, as a torch factory."""
    import digits as module

    folder = once("digits", module.train)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEEXPORT_DIGITS", str(folder))
        yield Trained("digits:factory", folder / "calibration.npz", folder / "evaluation.npz")


@pytest.fixture(scope="session")
def normed(once):
    """A CNN with batch normalization, as a torch factory, whose channels differ much."""
    import normed as module

    folder = once("normed", module.train)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEEXPORT_NORMED", str(folder))
        yield Trained("normed:factory", folder / "calibration.npz", folder / "evaluation.npz")


@pytest.fixture(scope="session")
def tiny_bert(once):
    """A BERT classifier's folder."""
    import tiny_bert as module
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = once("tiny-bert", module.train)
    torch.set_num_threads(threads)
    return Trained(str(folder / "model"), folder / "calibration.jsonl", folder / "evaluation.jsonl")


@pytest.fixture(scope="session")
def linear(once):
    """An ONNX file, so that a test needs no torch: ``y = relu(x @ a) @ b`` on 16 values, 4 outputs."""

    def fill(folder):
        import numpy as np
        import onnx
        from onnx import TensorProto, helper, numpy_helper

        random = np.random.default_rng(0)
        graph = helper.make_graph(
            [
                helper.make_node("MatMul", ["x", "a"], ["h"], name="first"),
                helper.make_node("Relu", ["h"], ["r"], name="relu"),
                helper.make_node("MatMul", ["r", "b"], ["y"], name="second"),
            ],
            "linear",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 16])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
            [
                numpy_helper.from_array(random.standard_normal(shape).astype(np.float32), name)
                for name, shape in (("a", (16, 64)), ("b", (64, 4)))
            ],
        )
        onnx.save(
            helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), folder / "linear.onnx"
        )
        for name, count in (("calibration", 120), ("evaluation", 40)):
            np.savez(folder / f"{name}.npz", x=random.standard_normal((count, 16)).astype(np.float32))

    folder = once("linear", fill)
    return Trained(str(folder / "linear.onnx"), folder / "calibration.npz", folder / "evaluation.npz")


@pytest.fixture(scope="session")
def board(once):
    """A target of the user's own, without limits that small models on a busy machine would miss."""

    def fill(folder):
        (folder / "board.toml").write_text(
            """
extends = "desktop-x86"
name = "board"
title = "A board of the tests"
[settings.timing]
pairs = 3
warmup = 1
[settings.limits]
size_ratio = 1000.0
latency_ratio = 1000.0
"""
            + "".join(
                f"[settings.when.{precision}.limits]\nsize_ratio = 1000.0\nlatency_ratio = 1000.0\n"
                for precision in ("fp32", "fp16", "w8", "w4", "w8a8-dynamic", "w8a8")
            )
        )

    return str(once("board", fill) / "board.toml")


@pytest.fixture
def command(tmp_path):
    """Run the installed command in a process of its own, in an empty folder unless told otherwise."""
    folder = tmp_path / "here"
    folder.mkdir()

    def run(*arguments, cwd=folder, timeout=120, **variables):
        return subprocess.run(
            [str(COMMAND), *map(str, arguments)],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(TESTS / "models"), **variables},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    run.folder = folder
    return run


@pytest.fixture(scope="session")
def shared():
    """The shared models and data beside the checkout; a test without them is skipped and says so."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not there")
    return SHARED


@pytest.fixture
def small_disk(tmp_path):
    """Mount a file system of so many bytes; skipped where this user may not."""
    with contextlib.ExitStack() as mounts:

        def mount(size):
            folder = tmp_path / "small-disk"
            folder.mkdir()
            options = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
            try:
                done = subprocess.run(options, capture_output=True, text=True, check=False)
            except FileNotFoundError:
                pytest.skip("there is no mount program")
            if done.returncode:
                pytest.skip(f"a small disk cannot be mounted: {done.stderr.strip()}")
            mounts.callback(subprocess.run, ["umount", "-l", str(folder)], check=False)
            return folder

        yield mount
