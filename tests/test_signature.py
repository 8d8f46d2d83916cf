"""Names, dtypes and shapes, and what does not fit them."""

import json

import numpy as np
import pytest

from edgeexport.errors import SamplesError
from edgeexport.signature import Signature, TensorSpec

SPEC = TensorSpec("ids", "int64", ("batch", 4))
SIGNATURE = Signature((SPEC, TensorSpec("mask", "float32", ("batch", "n"))), (TensorSpec("y", "float32", ("batch",)),))


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros((1, 4), np.int64), None),
        (np.zeros((7, 4), np.int64), None),
        (np.zeros((1, 4), np.int32), "'ids' has dtype int32, the model takes int64"),
        (np.zeros((1, 5), np.int64), "'ids' has shape [1, 5], the model takes [batch, 4]"),
        (np.zeros(4, np.int64), "'ids' has shape [4], the model takes [batch, 4]"),
        (np.zeros((1, 4, 1), np.int64), "'ids' has shape [1, 4, 1], the model takes [batch, 4]"),
    ],
)
def test_mismatch(array, said):
    assert SPEC.mismatch(array) == said


def test_fixed_axes_are_compared_even_where_a_later_axis_is_missing():
    assert TensorSpec("x", "float32", (2, 3)).mismatch(np.zeros(2, np.float32)) is not None


def test_feeds_that_fit_pass():
    SIGNATURE.check({"mask": np.zeros((1, 9), np.float32), "ids": np.zeros((1, 4), np.int64)}, "here")


@pytest.mark.parametrize("names", [[], ["ids"], ["ids", "mask", "more"], ["ids", "Mask"]])
def test_other_names_are_refused(names):
    with pytest.raises(SamplesError, match=r"set\.npz\[3\]: arrays are named") as caught:
        SIGNATURE.check({name: np.zeros((1, 4), np.int64) for name in names}, "set.npz[3]")
    assert "['ids', 'mask']" in caught.value.what


def test_the_place_and_the_tensor_are_named():
    feeds = {"ids": np.zeros((1, 4), np.int64), "mask": np.zeros((1, 4), np.float64)}
    with pytest.raises(SamplesError, match=r"row 3: 'mask' has dtype float64"):
        SIGNATURE.check(feeds, "row 3")


def test_json_keeps_everything():
    assert Signature.from_dict(json.loads(json.dumps(SIGNATURE.to_dict()))) == SIGNATURE


INTEGERS = Signature(
    (TensorSpec("x", "int8", (1, "time"), 0.1, -7), TensorSpec("ids", "int32", (1, "time"))),
    (TensorSpec("y", "int16", (1, 4), 2.5e-05, 0), TensorSpec("n", "int64", (1,))),
    {"time": (16, 32)},
)


def test_json_keeps_scales_and_lengths():
    plain = json.loads(json.dumps(INTEGERS.to_dict()))
    assert Signature.from_dict(plain) == INTEGERS
    assert plain["lengths"] == {"time": [16, 32]}
    assert plain["inputs"][0] == {"name": "x", "dtype": "int8", "shape": [1, "time"], "scale": 0.1, "zero_point": -7}
    assert plain["outputs"][0]["zero_point"] == 0


def test_json_says_nothing_of_what_is_not_there():
    plain = SIGNATURE.to_dict()
    assert plain["inputs"][0] == {"name": "ids", "dtype": "int64", "shape": ["batch", 4]}
    assert set(plain) == {"inputs", "outputs"}


def test_numbers_from_json_have_their_own_types():
    read = TensorSpec.from_dict({"name": "x", "dtype": "int8", "shape": [1], "scale": 1, "zero_point": 3.0})
    assert (type(read.scale), type(read.zero_point)) == (float, int)


def test_real_is_float_where_integers_stand_for_numbers():
    assert INTEGERS.real() == Signature(
        (TensorSpec("x", "float32", (1, "time")), TensorSpec("ids", "int32", (1, "time"))),
        (TensorSpec("y", "float32", (1, 4)), TensorSpec("n", "int64", (1,))),
        {"time": (16, 32)},
    )
    assert SIGNATURE.real() == SIGNATURE


@pytest.mark.parametrize("length", [16, 32])
def test_lengths_that_are_listed_pass(length):
    feeds = {"x": np.zeros((1, length), np.int8), "ids": np.zeros((1, length), np.int32)}
    INTEGERS.check(feeds, "here")


@pytest.mark.parametrize("length", [15, 17, 64])
def test_other_lengths_are_refused(length):
    feeds = {"x": np.zeros((1, 16), np.int8), "ids": np.zeros((1, length), np.int32)}
    with pytest.raises(SamplesError) as caught:
        INTEGERS.check(feeds, "row 3")
    assert caught.value.what == f"row 3: 'ids' has time {length}, the model takes 16, 32"


def test_dimensions_without_lengths_take_any():
    signature = Signature((TensorSpec("x", "float32", ("batch", "time")),), (), {"time": (4,)})
    signature.check({"x": np.zeros((9, 4), np.float32)}, "here")
    with pytest.raises(SamplesError, match="'x' has time 9, the model takes 4"):
        signature.check({"x": np.zeros((4, 9), np.float32)}, "here")
