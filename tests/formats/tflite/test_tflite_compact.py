"""Equal quantization parameters are written once, and nothing else changes."""

import numpy as np
import pytest
from tflite_models import by_name, make_settings, normal, run, save, two_layers

from edgeexport.formats.tflite.compact import drop_names, share_quantization
from edgeexport.formats.tflite.flatbuffer import read_model, schema
from edgeexport.formats.tflite.quantize import quantize


def parameters(scale, zero_point=(0,), axis=0):
    made = schema().QuantizationParametersT()
    made.scale, made.zeroPoint, made.quantizedDimension = np.array(scale, np.float32), zero_point, axis
    if zero_point is not None:
        made.zeroPoint = np.array(zero_point, np.int64)
    return made


@pytest.fixture
def with_parameters():
    """A model whose tensors ``first`` and ``output.0`` have the given parameters."""

    def build(one, other):
        model = two_layers()
        tensors = by_name(model)
        tensors["first"].quantization, tensors["output.0"].quantization = one, other
        return model

    return build


def size(model, path):
    return save(model, path).stat().st_size


def read_back(path):
    tensors = by_name(read_model(path))
    return [tensors[name].quantization for name in ("first", "output.0")]


@pytest.mark.parametrize("count", [1, 32])
def test_equal_parameters_are_stored_once(with_parameters, tmp_path, count):
    scale = np.arange(1, count + 1)
    axis = 1 if count > 1 else 0
    models = [
        with_parameters(parameters(scale, [3] * count, axis), parameters(scale, [3] * count, axis)) for _ in range(2)
    ]
    if count > 1:
        for model in models:
            by_name(model)["output.0"].shape = [4, 32]
    before = size(models[0], tmp_path / "before.tflite")
    share_quantization(models[1])
    after = size(models[1], tmp_path / "after.tflite")
    assert before - after >= 12  # the table; its vectors the builder shares by itself
    for path in ("before.tflite", "after.tflite"):
        for found in read_back(tmp_path / path):
            assert found.scale.tolist() == scale.tolist()
            assert found.zeroPoint.tolist() == [3] * count
            assert found.quantizedDimension == axis


@pytest.mark.parametrize(
    "other",
    [parameters([0.5]), parameters([0.25], [1]), parameters([0.25], axis=1), parameters([0.25], None)],
)
def test_other_parameters_stay_apart(with_parameters, tmp_path, other):
    model = with_parameters(parameters([0.25]), other)
    before = size(model, tmp_path / "before.tflite")
    share_quantization(model)
    assert size(model, tmp_path / "after.tflite") <= before
    one, two = read_back(tmp_path / "after.tflite")
    assert one.scale.tolist() == [0.25]
    assert (two.scale.tolist(), two.quantizedDimension) == (other.scale.tolist(), other.quantizedDimension)


def test_equal_zero_points_are_stored_once(with_parameters, tmp_path):
    scales = [np.arange(1, 33), np.arange(2, 34)]
    models = [
        with_parameters(*(parameters(scale, [point] * 32, 1) for scale, point in zip(scales, points, strict=True)))
        for points in ((0, 1), (0, 0))
    ]
    for model in models:
        by_name(model)["output.0"].shape = [4, 32]
        share_quantization(model)
    other = size(models[0], tmp_path / "before.tflite")
    assert other - size(models[1], tmp_path / "after.tflite") >= 8 * 31
    for found, scale in zip(read_back(tmp_path / "after.tflite"), scales, strict=True):
        assert found.scale.tolist() == scale.tolist()
        assert found.zeroPoint.tolist() == [0] * 32


def test_tensors_without_scales_are_left(tmp_path):
    model = two_layers()
    empty = schema().QuantizationParametersT()
    by_name(model)["first"].quantization = empty
    share_quantization(model)
    assert by_name(model)["first"].quantization is empty
    assert by_name(model)["input.0"].quantization is None


def test_blockwise_scales_are_not_shared():
    model = two_layers()
    for name in ("first", "output.0"):
        made = parameters([0.25])
        made.detailsType = schema().QuantizationDetails.BlockwiseQuantization
        by_name(model)[name].quantization = made
    share_quantization(model)
    one, two = (by_name(model)[name].quantization for name in ("first", "output.0"))
    assert one is not two


def test_the_same_model_can_be_written_twice(with_parameters, tmp_path):
    model = with_parameters(parameters([0.5]), parameters([0.5]))
    share_quantization(model)
    first, second = (save(model, tmp_path / f"{name}.tflite") for name in ("one", "two"))
    assert first.read_bytes() == second.read_bytes()
    assert [found.scale.tolist() for found in read_back(second)] == [[0.5], [0.5]]


def test_a_quantized_model_of_two_signatures_shrinks_and_computes_the_same(tmp_path, monkeypatch):
    model = two_layers((4, 8))
    precisions = dict.fromkeys(["first", "output.0", "1/first", "1/output.0"], "w8a8")
    ends = {"input.0": (-3, 3), "first": (0, 12), "output.0": (-30, 30)}
    intervals = {**ends, **{f"1/{name}": interval for name, interval in ends.items()}}
    written = {}
    for shared in (True, False):
        if not shared:
            monkeypatch.setattr("edgeexport.formats.tflite.quantize.share_quantization", lambda _: None)
        written[shared] = tmp_path / f"{shared}.tflite"
        quantize(model, precisions, intervals, make_settings("w8a8"), written[shared])
    assert written[False].stat().st_size - written[True].stat().st_size > 40
    for length in (4, 8):
        x = {"x": normal(length, 16, seed=length)}
        one, two = (run(written[shared], x, f"sequence_{length}")["y"] for shared in (True, False))
        assert one.tobytes() == two.tobytes()


def test_constants_lose_their_names_and_what_is_computed_keeps_its_own():
    model = two_layers()
    tensors = model.subgraphs[0].tensors
    before = {index: tensor.name for index, tensor in enumerate(tensors)}
    constants = [index for index, tensor in enumerate(tensors) if model.buffers[tensor.buffer].data is not None]
    kept = by_name(model)["output.0/2"]
    kept.name = b"head.classifier/2"  # read by the layer that gives the model's output
    drop_names(model)
    assert kept.name == b"head.classifier/2"
    assert {tensors[index].name for index in constants if tensors[index] is not kept} == {b""}
    assert all(tensor.name == before[index] for index, tensor in enumerate(tensors) if index not in constants)
