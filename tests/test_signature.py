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
