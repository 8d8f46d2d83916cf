"""tflite-runtime 2.14 through the runner, in its own environment."""

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert", reason="builds the models: pip install 'edgeexport[litert]'")

import tflite_files as files

from edgeexport.errors import RunFailed

RANDOM = np.random.default_rng(0)


def floats(length=1):
    return RANDOM.standard_normal((length, 8)).astype(np.float32)


def product(x):
    w, b = files.weights()
    return x @ w.T + b


def test_several_signatures_all_on_xnnpack(job, tmp_path):
    model = files.write(tmp_path / "m.tflite", files.float_layer(2, "two"), files.float_layer(5, "five"))
    samples = [{"x": floats(length)} for length in (5, 2, 5)]
    result, outputs = job("tflite_classic", model, samples)
    assert (result.runtime, result.version, result.delegate) == ("tflite-runtime", "2.14.0", "xnnpack")
    for sample, output in zip(samples, outputs, strict=True):
        np.testing.assert_allclose(output["y"], product(sample["x"]), rtol=0, atol=1e-5)


def test_static_int8_on_tflite_s_own_kernels_is_exact_but_near_halves(job, tmp_path):
    model = files.write(tmp_path / "m.tflite", files.integer_layer())
    x = RANDOM.integers(-128, 128, (1, 8, 8, 3)).astype(np.int8)
    result, (output,) = job("tflite_classic", model, [{"x": x}])
    assert result.delegate == "none"
    unlike = output["y"].astype(int) - files.exact_integer_layer(x)
    from_half = np.abs(np.abs(files.unrounded_integer_layer(x)) % 1 - 0.5)
    assert np.abs(unlike).max() <= 1
    assert from_half[unlike != 0].max(initial=0) <= 2**-8  # these kernels round twice
    assert (from_half > 2**-8).mean() > 0.9


def test_without_a_signature_the_tensors_names_count(job, tmp_path):
    model = files.write(tmp_path / "m.tflite", files.float_layer(signature=None))
    x = floats()
    _, (output,) = job("tflite_classic", model, [{"in_0": x}])
    np.testing.assert_allclose(output["out_0"], product(x), rtol=0, atol=1e-5)


def test_an_input_that_does_not_fit(job, tmp_path):
    model = files.write(tmp_path / "m.tflite", files.float_layer(2, "two"), files.float_layer(5, "five"))
    for inputs, said in (
        ({"x": floats(3)}, "no signature takes x [3, 8]; the model has x [2, 8]; x [5, 8]"),
        ({"x": floats(2).astype(np.float64)}, "the model takes float32 as 'x', not float64"),
    ):
        with pytest.raises(RunFailed) as caught:
            job("tflite_classic", model, [inputs])
        assert caught.value.log.splitlines()[-1] == f"ValueError: {said}"


def test_an_operator_newer_than_the_runtime(job, tmp_path):
    model = files.write(tmp_path / "m.tflite", files.float_layer(version=12))
    with pytest.raises(RunFailed, match="exit status 1") as caught:
        job("tflite_classic", model, [{"x": floats()}])
    assert "Didn't find op for builtin opcode 'FULLY_CONNECTED' version '12'" in caught.value.log
