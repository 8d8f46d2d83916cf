"""TensorFlow Lite Micro through the runner: values, its arena, and operators that it lacks."""

from importlib.metadata import version

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert", reason="builds the models: pip install 'edgeexport[litert]'")
pytest.importorskip("tflite_micro", reason="pip install 'edgeexport[micro]'")

import tflite_files as files

from edgeexport.errors import RunFailed

RANDOM = np.random.default_rng(0)


def integers():
    return RANDOM.integers(-128, 128, (1, 8, 8, 3)).astype(np.int8)


def test_static_int8_is_exact(job, tmp_path):
    model = files.write(tmp_path / "m.tflite", files.integer_layer())
    samples = [{"x": integers()} for _ in range(3)]
    result, outputs = job("tflm", model, samples)
    assert (result.runtime, result.version) == ("tflite-micro", version("tflite-micro"))
    assert (result.delegate, result.samples) == (None, 3)
    for sample, output in zip(samples, outputs, strict=True):
        assert list(output) == ["y"]
        assert np.array_equal(output["y"], files.exact_integer_layer(sample["x"]))


def test_the_arena_is_what_the_tensors_take(job, tmp_path):
    """8×8×3 bytes in, 8×8×8 out, both alive at once, and some of the interpreter's own."""
    result, _ = job("tflm", files.write(tmp_path / "m.tflite", files.integer_layer()), [{"x": integers()}])
    tensors = 8 * 8 * 3 + 8 * 8 * 8
    assert tensors < result.arena_bytes < tensors + 2048
    rows = 20_000
    large = files.write(tmp_path / "large.tflite", files.float_layer(rows))
    result, _ = job("tflm", large, [{"x": np.zeros((rows, 8), np.float32)}])
    tensors = rows * (8 + 4) * 4
    assert tensors < result.arena_bytes < tensors + 2048


def test_names_are_matched_by_tensor_not_by_order(job, tmp_path):
    model = files.write(tmp_path / "m.tflite", files.difference())
    a, b = (RANDOM.standard_normal((2, 3)).astype(np.float32) for _ in range(2))
    for order in ({"a": a, "b": b}, {"b": b, "a": a}):
        _, (output,) = job("tflm", model, [order])
        assert np.array_equal(output["d"], a - b)


def test_without_a_signature_the_tensors_names_count(job, tmp_path):
    model = files.write(tmp_path / "m.tflite", files.integer_layer(signature=None))
    x = integers()
    _, (output,) = job("tflm", model, [{"in_0": x}])
    assert np.array_equal(output["out_0"], files.exact_integer_layer(x))


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"x": np.zeros((1, 8, 8, 4), np.int8)}, "the model takes x [1, 8, 8, 3], not [1, 8, 8, 4]"),
        ({"x": np.zeros((1, 8, 8, 3), np.float32)}, "the model takes int8 as 'x', not float32"),
        ({"z": np.zeros((1, 8, 8, 3), np.int8)}, "the model takes ['x'], not ['z']"),
    ],
    ids=["shape", "type", "name"],
)
def test_an_input_that_does_not_fit(job, tmp_path, inputs, said):
    model = files.write(tmp_path / "m.tflite", files.integer_layer())
    with pytest.raises(RunFailed) as caught:
        job("tflm", model, [inputs])
    assert caught.value.log.splitlines()[-1] == f"ValueError: {said}"


def test_an_operator_that_it_lacks_is_named(job, tmp_path):
    model = files.write(tmp_path / "m.tflite", files.gelu())
    with pytest.raises(RunFailed, match="exit status 1") as caught:
        job("tflm", model, [{"x": np.zeros((1, 8), np.float32)}])
    assert "Didn't find op for builtin opcode 'GELU'" in caught.value.log
    assert caught.value.log.splitlines()[-1].startswith("RuntimeError: TensorFlow Lite Micro cannot run this model")


def test_a_type_that_it_lacks_is_named(job, tmp_path):
    model = files.write(tmp_path / "m.tflite", files.dynamic_layer())
    with pytest.raises(RunFailed) as caught:
        job("tflm", model, [{"x": np.zeros((1, 8), np.float32)}])
    assert "Input type: FLOAT32 with filter type: INT8 not supported" in caught.value.log


def test_an_arena_beyond_its_limit(job, tmp_path):
    rows = 2_000_000
    model = files.write(tmp_path / "m.tflite", files.float_layer(rows))
    with pytest.raises(RunFailed) as caught:
        job("tflm", model, [{"x": np.zeros((1, 8), np.float32)}])
    assert "Failed to resize buffer. Requested: 96000000" in caught.value.log
    assert "64 MiB" in caught.value.log


def test_several_signatures_are_refused(job, tmp_path):
    model = files.write(tmp_path / "m.tflite", files.float_layer(2, "two"), files.float_layer(5, "five"))
    with pytest.raises(RunFailed) as caught:
        job("tflm", model, [{"x": np.zeros((2, 8), np.float32)}])
    assert caught.value.log.splitlines()[-1].endswith("models of one signature; this has 2: two, five")


def test_a_model_that_is_none(job, tmp_path):
    (tmp_path / "m.tflite").write_bytes(b"junk" * 100)
    with pytest.raises(RunFailed) as caught:
        job("tflm", tmp_path / "m.tflite", [{"x": integers()}])
    assert "m.tflite is not a TensorFlow Lite model" in caught.value.log.splitlines()[-1]
