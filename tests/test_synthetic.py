"""Seeded inputs where the user gave none."""

import numpy as np
import pytest

from edgeexport.preprocess import ArraysPreprocess, ImagePreprocess, TokenizerPreprocess
from edgeexport.signature import Signature, TensorSpec
from edgeexport.synthetic import synthetic_inputs


def takes(*inputs):
    return Signature(tuple(TensorSpec(*spec) for spec in inputs), ())


TEXT = takes(
    ("input_ids", "int64", ("batch", "sequence")),
    ("attention_mask", "int64", ("batch", "sequence")),
    ("token_type_ids", "int64", ("batch", "sequence")),
    ("position_ids", "int64", ("batch", "sequence")),
)
FLOATS = takes(("x", "float32", ("batch", 200, "time")), ("half", "float16", (2, 3)))


def test_names_shapes_and_dtypes_are_the_signatures():
    for signature in (TEXT, FLOATS):
        for sample in synthetic_inputs(signature, ArraysPreprocess(), 3):
            signature.check(sample, "sample")
    x = synthetic_inputs(FLOATS, ArraysPreprocess(), 1)[0]["x"]
    assert x.shape == (1, 200, 16)
    assert abs(float(x.mean())) < 0.1
    assert abs(float(x.std()) - 1) < 0.1


def test_text_inputs_are_ids_that_exist_and_masks_of_ones():
    samples = synthetic_inputs(TEXT, ArraysPreprocess(), 40)
    ids = np.concatenate([sample["input_ids"] for sample in samples])
    assert ids.shape == (40, 16)
    assert ids.min() >= 0
    assert ids.max() == 99
    assert all(sample["attention_mask"].tolist() == [[1] * 16] for sample in samples)
    assert all(sample["token_type_ids"].tolist() == [[0] * 16] for sample in samples)
    assert all(sample["position_ids"].tolist() == [list(range(16))] for sample in samples)


def test_they_are_the_same_each_time_and_differ_from_each_other():
    first, again = (synthetic_inputs(TEXT, ArraysPreprocess(), 4) for _ in range(2))
    for one, other in zip(first, again, strict=True):
        assert all(np.array_equal(one[name], other[name]) for name in one)
    assert not np.array_equal(first[0]["input_ids"], first[1]["input_ids"])


@pytest.mark.parametrize(
    ("preprocess", "shape", "expected"),
    [
        (ImagePreprocess(resize=40, crop=(32, 24)), ("batch", 3, "height", "width"), (1, 3, 32, 24)),
        (ImagePreprocess(resize=(48, 56)), ("batch", 3, "height", "width"), (1, 3, 48, 56)),
        (ImagePreprocess(resize=(8, 9)), ("batch_size", "num_channels", "height", "width"), (1, 3, 8, 9)),
        (ImagePreprocess(resize=40), ("batch", 3, "height", "width"), (1, 3, 40, 40)),
        (ImagePreprocess(), ("batch", 3, "height", "width"), (1, 3, 16, 16)),
        (ImagePreprocess(resize=(48, 56), layout="NHWC"), ("batch", "height", "width", 3), (1, 48, 56, 3)),
        (ImagePreprocess(resize=(48, 56)), ("batch", 3, 64, 64), (1, 3, 64, 64)),
        (ArraysPreprocess(), ("batch", 3, "height", "width"), (1, 3, 16, 16)),
    ],
)
def test_images_have_the_size_of_their_preprocessing(preprocess, shape, expected):
    (sample,) = synthetic_inputs(takes(("pixel_values", "float32", shape)), preprocess, 1)
    assert sample["pixel_values"].shape == expected


def test_image_sizes_are_of_images_alone():
    preprocess = ImagePreprocess(resize=(48, 56))
    (sample,) = synthetic_inputs(takes(("other", "float32", ("batch", "width"))), preprocess, 1)
    assert sample["other"].shape == (1, 16)


def test_a_tokenizers_limit_is_kept():
    preprocess = TokenizerPreprocess(max_length=8, inputs=("input_ids",))
    (sample,) = synthetic_inputs(takes(("input_ids", "int64", ("batch", "sequence"))), preprocess, 1)
    assert sample["input_ids"].shape == (1, 8)


@pytest.mark.parametrize(
    "preprocess", [ArraysPreprocess(), TokenizerPreprocess(max_length=512), TokenizerPreprocess(max_length=8)]
)
def test_listed_lengths_give_the_smallest(preprocess):
    signature = Signature(TEXT.inputs, (), {"sequence": (24, 32)})
    (sample,) = synthetic_inputs(signature, preprocess, 1)
    assert {array.shape for array in sample.values()} == {(1, 24)}
    signature.check(sample, "sample")
    assert sample["position_ids"].tolist() == [list(range(24))]


def test_lengths_are_of_their_own_dimension():
    signature = Signature((TensorSpec("x", "float32", ("batch", "time", "width")),), (), {"time": (40,)})
    (sample,) = synthetic_inputs(signature, ArraysPreprocess(), 1)
    assert sample["x"].shape == (1, 40, 16)


@pytest.mark.parametrize(("vocabulary", "largest"), [(5, 4), (1, 0), (100, 99), (30_000, 99)])
def test_ids_are_below_the_vocabulary(vocabulary, largest):
    samples = synthetic_inputs(TEXT, ArraysPreprocess(), 40, vocabulary)
    ids = np.concatenate([sample["input_ids"] for sample in samples])
    assert (ids.min(), ids.max()) == (0, largest)
