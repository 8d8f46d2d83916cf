"""Between samples, a source and an artifact."""

import re

import numpy as np
import pytest

from edgeexport.errors import SamplesError
from edgeexport.interface import (
    check_same_scales,
    clipped_share,
    dequantize,
    fitted,
    for_source,
    is_image,
    quantize,
)
from edgeexport.preprocess import ArraysPreprocess, ImagePreprocess, LogMelPreprocess, TokenizerPreprocess
from edgeexport.settings import Interface
from edgeexport.signature import Signature, TensorSpec

PLAIN, LAST = Interface(), Interface(channels_last=True)
LOG_MEL = LogMelPreprocess(
    sample_rate=16000,
    n_fft=512,
    win_length=400,
    hop_length=160,
    n_mels=40,
    f_max=8000.0,
    mel_scale="htk",
    norm="none",
    frames=98,
)


def takes(*inputs, outputs=(), lengths=None):
    return Signature(
        tuple(TensorSpec(*spec) for spec in inputs), tuple(TensorSpec(*spec) for spec in outputs), lengths or {}
    )


# preprocessing


def test_texts_are_padded_to_the_artifacts_lengths_in_its_type():
    signature = takes(("input_ids", "int32", (1, "sequence")), lengths={"sequence": (8, 16)})
    given = TokenizerPreprocess(max_length=512, pad_id=3)
    assert fitted(given, signature, Interface(lengths=(8, 16))) == TokenizerPreprocess(
        max_length=16, lengths=(8, 16), dtype="int32", pad_id=3
    )


def test_a_shorter_limit_of_the_source_stays():
    signature = takes(("input_ids", "int32", (1, "sequence")), lengths={"sequence": (8, 16)})
    assert fitted(TokenizerPreprocess(max_length=12), signature, PLAIN).max_length == 12


def test_texts_of_any_length_stay():
    signature = takes(("input_ids", "int64", ("batch", "sequence")))
    for given in (TokenizerPreprocess(max_length=12), TokenizerPreprocess(max_length=12, lengths=(20,))):
        assert fitted(given, signature, PLAIN) == given


@pytest.mark.parametrize(("interface", "layout"), [(PLAIN, "NCHW"), (LAST, "NHWC")])
def test_images_get_the_artifacts_layout(interface, layout):
    given = ImagePreprocess(resize=8, crop=(4, 5))
    found = fitted(given, takes(("pixel_values", "float32", (1, 3, 4, 5))), interface)
    assert found == ImagePreprocess(resize=8, crop=(4, 5), layout=layout)


@pytest.mark.parametrize("given", [ArraysPreprocess(), LOG_MEL])
def test_other_preprocessing_stays(given):
    assert fitted(given, takes(("x", "float32", (1, 4))), LAST) is given


def test_images_are_the_named_input_with_channels_first():
    pixels, other = TensorSpec("pixel_values", "float32", (1, 3, 4, 4)), TensorSpec("x", "float32", (1, 3, 4, 4))
    assert is_image(pixels, ImagePreprocess())
    assert not is_image(other, ImagePreprocess())
    assert not is_image(pixels, ImagePreprocess(layout="NHWC"))
    assert not is_image(pixels, ArraysPreprocess())


# back to the source


def test_the_source_gets_its_own_layout_and_types():
    source = takes(("pixel_values", "float32", (1, 3, 4, 5)), ("ids", "int64", (1, 2)), ("x", "float64", (1, 2, 3, 4)))
    pixels = np.arange(60, dtype=np.float32).reshape(1, 4, 5, 3)
    x = np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4)
    given = {"pixel_values": pixels, "ids": np.array([[7, -1]], np.int32), "x": x, "more": x}
    found = for_source(given, source, ImagePreprocess(), LAST)
    assert list(found) == ["pixel_values", "ids", "x"]
    assert found["pixel_values"].shape == (1, 3, 4, 5)
    assert found["pixel_values"].flags.c_contiguous
    assert all(
        found["pixel_values"][0, c, h, w] == pixels[0, h, w, c] for c in range(3) for h in range(4) for w in range(5)
    )
    assert (found["ids"].dtype, found["ids"].tolist()) == (np.int64, [[7, -1]])
    assert found["x"].dtype == np.float64
    assert np.array_equal(found["x"], x)


@pytest.mark.parametrize(
    ("preprocess", "interface"),
    [(ImagePreprocess(), PLAIN), (ImagePreprocess(layout="NHWC"), LAST), (ArraysPreprocess(), LAST)],
)
def test_other_layouts_are_left(preprocess, interface):
    source = takes(("pixel_values", "float32", (1, 3, 4, 5)))
    pixels = np.arange(60, dtype=np.float32).reshape(1, 3, 4, 5)
    assert for_source({"pixel_values": pixels}, source, preprocess, interface)["pixel_values"] is pixels


# integers that stand for real numbers

EIGHT = takes(
    ("x", "int8", (1, 4), 0.5, -3),
    ("ids", "int32", (1, 2)),
    outputs=[("y", "int8", (1, 3), 0.25, 10), ("n", "int32", (1,))],
)


def test_numbers_become_integers_by_the_formula():
    given = {"x": np.array([[0.0, 1.0, -2.0, 10.0]], np.float32), "ids": np.array([[1, 2]], np.int32)}
    found = quantize(given, EIGHT)
    assert found["x"].dtype == np.int8
    assert found["x"].tolist() == [[-3, -1, -7, 17]]
    assert found["ids"] is given["ids"]


def test_halves_round_to_even():
    given = {"x": np.array([[0.25, 0.75, -0.25, -0.75]], np.float32), "ids": np.zeros((1, 2), np.int32)}
    assert quantize(given, EIGHT)["x"].tolist() == [[-3, -1, -3, -5]]


@pytest.mark.parametrize(("dtype", "low", "high"), [("int8", -128, 127), ("int16", -32768, 32767), ("uint8", 0, 255)])
def test_what_is_outside_is_clipped(dtype, low, high):
    signature = takes(("x", dtype, (1, 2), 0.1, 0))
    assert quantize({"x": np.array([[-1e6, 1e6]], np.float32)}, signature)["x"].tolist() == [[low, high]]


def test_a_zero_point_that_is_not_given_is_zero():
    signature = takes(("x", "int8", (1,), 0.5), outputs=[("y", "int8", (1,), 0.5)])
    assert quantize({"x": np.array([2.0], np.float32)}, signature)["x"].tolist() == [4]
    assert dequantize({"y": np.array([4], np.int8)}, signature)["y"].tolist() == [2.0]


def test_integers_become_numbers_by_the_formula():
    found = dequantize({"y": np.array([[-128, 10, 127]], np.int8), "n": np.array([5], np.int32)}, EIGHT)
    assert (found["y"].dtype, found["y"].tolist()) == (np.float32, [[-34.5, 0.0, 29.25]])
    assert (found["n"].dtype, found["n"].tolist()) == (np.int32, [5])


@pytest.mark.parametrize("dtype", ["int8", "int16"])
def test_there_and_back_is_within_half_a_step(dtype):
    scale = 0.037
    signature = takes(("v", dtype, (1, 500), scale, 7), outputs=[("v", dtype, (1, 500), scale, 7)])
    values = np.random.default_rng(0).uniform(-4, 4, (1, 500)).astype(np.float32)
    back = dequantize(quantize({"v": values}, signature), signature)["v"]
    assert np.abs(back - values).max() <= scale / 2 * 1.0001


def test_outputs_that_are_real_already_and_unknown_ones_pass():
    given = {"y": np.array([[1.5, 2, 3]], np.float32), "more": np.array([1], np.int8)}
    found = dequantize(given, EIGHT)
    assert found["y"] is given["y"]
    assert found["more"] is given["more"]


def test_real_signatures_change_nothing():
    signature = takes(("x", "float32", (1, 2)), outputs=[("y", "float32", (1, 2))])
    given = {"x": np.array([[1.25, np.inf]], np.float32)}
    assert quantize(given, signature)["x"] is given["x"]
    assert clipped_share(given, signature) == 0.0


def test_the_clipped_share_counts_values_of_integer_inputs():
    signature = takes(("x", "int8", (1, 4), 1.0, 0), ("z", "int8", (1, 4), 1.0, 100), ("ids", "int32", (1, 2)))
    given = {
        "x": np.array([[-128.4, -129, 127, 128]], np.float32),  # two outside
        "z": np.array([[27, 28, -228, -229]], np.float32),  # two outside
        "ids": np.array([[10**6, 5]], np.int32),
    }
    assert clipped_share(given, signature) == 4 / 8
    inside = {**given, "x": np.zeros((1, 4), np.float32), "z": np.zeros((1, 4), np.float32)}
    assert clipped_share(inside, signature) == 0.0


# what a manifest states


def stated(**changes):
    x, y = {"dtype": "int8", "scale": 0.5, "zero_point": -3}, {"dtype": "int8", "scale": 0.25, "zero_point": 10}
    specs = {"x": x, "y": {**y, **changes}}
    made = {
        name: TensorSpec(name, spec["dtype"], (1, 4), spec["scale"], spec["zero_point"]) for name, spec in specs.items()
    }
    return Signature((made["x"],), (made["y"],))


def test_the_same_scales_pass():
    check_same_scales(stated(), stated(), "bundle")


@pytest.mark.parametrize(
    ("changes", "have"),
    [
        ({"scale": 0.26}, "int8, scale 0.26, zero point 10"),
        ({"zero_point": 9}, "int8, scale 0.25, zero point 9"),
        ({"dtype": "int16"}, "int16, scale 0.25, zero point 10"),
        ({"dtype": "float32", "scale": None, "zero_point": None}, "float32, scale None, zero point None"),
    ],
)
def test_other_scales_are_refused(changes, have):
    said = f"bundle: 'y' is stated as int8, scale 0.25, zero point 10; in the model it is {have}"
    with pytest.raises(SamplesError, match=re.escape(said)):
        check_same_scales(stated(), stated(**changes), "bundle")


def test_a_tensor_that_the_model_lacks_is_refused():
    stored = Signature(stated().inputs, ())
    with pytest.raises(SamplesError, match=r"'y' is stated as .*; in the model it is missing"):
        check_same_scales(stated(), stored, "bundle")
