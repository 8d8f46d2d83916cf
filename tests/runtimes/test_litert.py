"""LiteRT through the runner: values, signatures, XNNPACK, and what is refused."""

import subprocess
import sys
from importlib.metadata import version

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert", reason="pip install 'edgeexport[litert]'")

import tflite_files as files

from edgeexport.errors import RunFailed
from edgeexport.job import RUNTIMES_FOLDER

RANDOM = np.random.default_rng(0)


def floats(length=1):
    return RANDOM.standard_normal((length, 8)).astype(np.float32)


def product(x):
    w, b = files.weights()
    return x @ w.T + b


def test_float_outputs_under_the_signature_s_names(job, tmp_path):
    model = files.write(tmp_path / "m.tflite", files.float_layer())
    samples = [{"x": floats()} for _ in range(3)]
    result, outputs = job("litert", model, samples)
    assert (result.runtime, result.version) == ("litert", version("ai-edge-litert"))
    assert (result.delegate, result.arena_bytes, result.samples) == ("xnnpack", None, 3)
    for sample, output in zip(samples, outputs, strict=True):
        assert list(output) == ["y"]
        np.testing.assert_allclose(output["y"], product(sample["x"]), rtol=0, atol=1e-5)


def test_the_signature_with_the_sample_s_length_runs(job, tmp_path):
    model = files.write(tmp_path / "m.tflite", files.float_layer(2, "two"), files.float_layer(5, "five"))
    samples = [{"x": floats(length)} for length in (5, 2, 5)]
    result, outputs = job("litert", model, samples)
    assert result.delegate == "xnnpack"
    for sample, output in zip(samples, outputs, strict=True):
        np.testing.assert_allclose(output["y"], product(sample["x"]), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"x": np.zeros((3, 8), np.float32)}, "no signature takes x [3, 8]; the model has x [2, 8]; x [5, 8]"),
        ({"x": np.zeros((8,), np.float32)}, "no signature takes x [8]; the model has x [2, 8]; x [5, 8]"),
        ({"z": np.zeros((2, 8), np.float32)}, "no signature takes z [2, 8]; the model has x [2, 8]; x [5, 8]"),
        ({"x": np.zeros((2, 8), np.float64)}, "the model takes float32 as 'x', not float64"),
        ({"x": np.zeros((2, 8), np.int8)}, "the model takes float32 as 'x', not int8"),
    ],
    ids=["length", "rank", "name", "double", "integer"],
)
def test_an_input_that_does_not_fit(job, tmp_path, inputs, said):
    model = files.write(tmp_path / "m.tflite", files.float_layer(2, "two"), files.float_layer(5, "five"))
    with pytest.raises(RunFailed) as caught:
        job("litert", model, [inputs])
    assert caught.value.log.splitlines()[-1] == f"ValueError: {said}"


def test_static_int8_is_exact_and_taken_as_it_is(job, tmp_path):
    model = files.write(tmp_path / "m.tflite", files.integer_layer())
    x = RANDOM.integers(-128, 128, (1, 8, 8, 3)).astype(np.int8)
    result, (output,) = job("litert", model, [{"x": x}])
    assert result.delegate == "xnnpack"
    assert output["y"].dtype == np.int8
    assert np.array_equal(output["y"], files.exact_integer_layer(x))
    assert len(np.unique(output["y"])) > 50


def test_dynamic_int8(job, tmp_path):
    model = files.write(tmp_path / "m.tflite", files.dynamic_layer())
    x = floats()
    result, (output,) = job("litert", model, [{"x": x}])
    assert result.delegate == "xnnpack"
    np.testing.assert_allclose(output["y"], product(x), rtol=0, atol=0.1)
    assert not np.allclose(output["y"], product(x), rtol=0, atol=1e-5)


def test_a_model_that_xnnpack_leaves_alone_is_no_failure(job, tmp_path):
    model = files.write(tmp_path / "m.tflite", files.lookup())
    result, (output,) = job("litert", model, [{"ids": np.array([2, 0, 5], np.int32)}])
    assert result.delegate == "none"
    assert output["rows"].tolist() == [[8, 9, 10, 11], [0, 1, 2, 3], [20, 21, 22, 23]]


def test_without_a_signature_the_tensors_names_count(job, tmp_path):
    model = files.write(tmp_path / "m.tflite", files.float_layer(signature=None))
    x = floats()
    result, (output,) = job("litert", model, [{"in_0": x}])
    assert result.delegate == "xnnpack"
    np.testing.assert_allclose(output["out_0"], product(x), rtol=0, atol=1e-5)
    with pytest.raises(RunFailed) as caught:
        job("litert", model, [{"x": x}])
    assert "no signature takes x [1, 8]; the model has in_0 [1, 8]" in caught.value.log


def test_latency_of_two_models(job, tmp_path):
    models = (
        files.write(tmp_path / "a.tflite", files.dynamic_layer()),
        files.write(tmp_path / "b.tflite", files.float_layer()),
    )
    result, _ = job("litert", models, [{"x": floats()}], mode="latency", warmup=1, pairs=4, threads=2)
    assert [len(times) for times in result.latency_ns] == [4, 4]
    assert result.delegate == "xnnpack"


def test_a_model_that_is_none(job, tmp_path):
    (tmp_path / "m.tflite").write_bytes(b"junk" * 100)
    with pytest.raises(RunFailed, match="exit status 1") as caught:
        job("litert", tmp_path / "m.tflite", [{"x": floats()}])
    assert "not a valid Flatbuffer" in caught.value.log


def run_here(code):
    """Run code where the shipped modules can be imported."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(RUNTIMES_FOLDER)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_outputs_are_the_caller_s_own(tmp_path):
    """An earlier sample's outputs are not those of a later one."""
    model = files.write(tmp_path / "m.tflite", files.float_layer())
    done = run_here(
        "import litert, numpy as np;"
        f"model = litert.load({str(model)!r}, 1);"
        "first = model.run({'x': np.zeros((1, 8), np.float32)})['y'];"
        "before = first.copy(); second = model.run({'x': np.ones((1, 8), np.float32)})['y'];"
        "print(np.array_equal(first, before), np.array_equal(first, second), first.flags.writeable)"
    )
    assert done.stdout == "True False True\n", done.stderr


def test_a_machine_on_which_xnnpack_does_not_work_is_refused(tmp_path):
    """As an interpreter without the delegate, which is what LiteRT silently becomes there."""
    model = files.write(tmp_path / "m.tflite", files.float_layer())
    done = run_here(
        "import functools, litert; from ai_edge_litert.interpreter import OpResolverType;"
        "litert.Interpreter = functools.partial(litert.Interpreter,"
        " experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES);"
        f"litert.load({str(model)!r}, 1)"
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("RuntimeError: XNNPACK is not active: ")
