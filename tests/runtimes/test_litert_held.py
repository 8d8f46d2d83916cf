"""Inputs that stay in the runtime between calls."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("ai_edge_litert", reason="pip install 'edgeexport[litert]'")

import tflite_files as files
from ai_edge_litert import schema_py_generated as schema

RUNTIMES = Path(__import__("edgeexport").__file__).parent / "runtimes"
BEGIN = "import litert, numpy as np; model = litert.load({path!r}, 1); ones = np.ones((1, 1, 4), np.float32);"


def sums(key, length):
    """``y = x + past``, with ``past`` [1, 1, 4] added to each of so many rows."""
    tensors = [files.Tensor("past", (1, 1, 4))] + [files.Tensor(name, (1, length, 4)) for name in ("x", "y")]
    op = files.Op("ADD", ("x", "past"), ("y",), schema.AddOptionsT())
    return files.Graph(tuple(tensors), (op,), {"x": "x", "past": "past"}, {"y": "y"}, key)


@pytest.fixture
def say(tmp_path):
    """Run code with such a model in a process of its own; give what it prints."""
    path = str(files.write(tmp_path / "m.tflite", sums("decode", 1), sums("prefill_3", 3)))

    def run(code):
        done = subprocess.run(
            [sys.executable, "-c", BEGIN.format(path=path) + code],
            env={**os.environ, "PYTHONPATH": str(RUNTIMES), "TMPDIR": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    run.folder = tmp_path
    return run


def test_what_is_written_to_a_held_array_counts_in_every_signature(say):
    said = say(
        "past = model.hold(['past'])['past']; print(past.shape, past.dtype, past.any());"
        "past[0, 0, 2] = 5;"
        "print(model.run({'x': ones, 'past': past})['y'].tolist());"
        "past[0, 0, 0] = 7;"
        "print(model.run({'x': np.zeros((1, 3, 4), np.float32), 'past': past})['y'].tolist())"
    )
    assert said.splitlines() == [
        "(1, 1, 4) float32 False",
        "[[[1.0, 1.0, 6.0, 1.0]]]",
        "[[[7.0, 0.0, 5.0, 0.0], [7.0, 0.0, 5.0, 0.0], [7.0, 0.0, 5.0, 0.0]]]",
    ]


def test_a_held_array_is_the_memory_that_the_runtime_reads(say):
    said = say(
        "past = model.hold(['past'])['past']; address = past.ctypes.data;"
        "model.run({'x': ones, 'past': past}); past[...] = 2;"
        "buffers, arrays, _, _ = model._calls['decode'];"
        "print(address == arrays['past'].ctypes.data, buffers['past'].read(4, np.float32).tolist())"
    )
    assert said == "True [2.0, 2.0, 2.0, 2.0]\n"


def test_holding_again_begins_with_zeros_in_the_same_place(say):
    said = say(
        "one = model.hold(['past'])['past']; one[...] = 3; two = model.hold(['past'])['past'];"
        "print(one is two, two.any(), model.run({'x': ones, 'past': two})['y'].tolist())"
    )
    assert said == "True False [[[1.0, 1.0, 1.0, 1.0]]]\n"


def test_an_array_of_the_caller_is_copied(say):
    said = say(
        "held = model.hold(['past'])['past']; print(model.run({'x': ones, 'past': 4 * ones})['y'].tolist());"
        "print(held.tolist())"
    )
    assert said == "[[[5.0, 5.0, 5.0, 5.0]]]\n[[[4.0, 4.0, 4.0, 4.0]]]\n"


def test_it_runs_without_holding_anything(say):
    assert say("print(model.run({'x': ones, 'past': ones})['y'].tolist())") == "[[[2.0, 2.0, 2.0, 2.0]]]\n"


def test_an_array_outlives_the_model(say):
    said = say(
        "import gc; past = model.hold(['past'])['past']; past[...] = 9; del model; gc.collect();"
        "more = [np.zeros(4, np.float32) for _ in range(1000)]; print(past.tolist())"
    )
    assert said == "[[[9.0, 9.0, 9.0, 9.0]]]\n"


def test_wrong_inputs_are_refused_as_elsewhere(say):
    said = say(
        "import contextlib\n"
        "def tell(call):\n"
        "    try:\n        call()\n"
        "    except ValueError as error:\n        print(error)\n"
        "tell(lambda: model.run({'x': np.ones((1, 2, 4), np.float32), 'past': ones}))\n"
        "tell(lambda: model.run({'x': ones.astype(np.int32), 'past': ones}))\n"
        "tell(lambda: model.hold(['x']))\n"
        "tell(lambda: model.hold(['future']))\n"
    )
    assert said.splitlines() == [
        "no signature takes past [1, 1, 4], x [1, 2, 4]; "
        "the model has past [1, 1, 4], x [1, 1, 4]; past [1, 1, 4], x [1, 3, 4]",
        "the model takes float32 as 'x', not int32",
        "'x' is not an input of one shape in all signatures",
        "'future' is not an input of one shape in all signatures",
    ]


def test_nothing_is_left_in_the_folder_for_temporary_files(say):
    say("model.run({'x': ones, 'past': ones})")
    assert [path.name for path in say.folder.iterdir()] == ["m.tflite"]


def test_where_the_package_lacks_it_the_interpreter_copies(say):
    said = say(
        "import litert_held; litert_held.works = lambda: False;"
        f"model = litert.load({str(say.folder / 'm.tflite')!r}, 1);"
        "print(type(model).__name__, model.run({'x': ones, 'past': ones})['y'].tolist())"
    )
    assert said == "Model [[[2.0, 2.0, 2.0, 2.0]]]\n"
