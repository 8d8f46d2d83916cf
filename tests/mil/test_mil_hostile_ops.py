"""Operators on values that no honest program has: an error in words, and nothing large allocated."""

import numpy as np
import pytest
import torch

from edgeexport.errors import ModelError
from edgeexport.mil.memory import limited
from edgeexport.mil.table import Call, find
from tests.mil import harness

_HUGE = 2**31 - 1
_ONE = torch.ones(())
_LINE = torch.arange(6.0)
_BOX = torch.arange(24.0).reshape(2, 3, 4)
_IMAGE = torch.zeros(1, 4, 4, 4)
_INDEX = torch.tensor([0, 1], dtype=torch.int32)


def _virtual(*shape, dtype=torch.float32):
    """A tensor of one element that seems large, as a broadcast one does."""
    return torch.ones(1, dtype=dtype).expand(*shape)


def _int(value):
    return torch.tensor(value, dtype=torch.int32)


def _list(**parameters):
    return find("make_list", 17).run(**{"elem_shape": (_int(2),), **parameters})


class _Operation:
    name = "draw"


_CALL = Call(_Operation(), lambda number, values: (), lambda: None, {})

# More than any machine has: an operator that allocates before it asks fails in PyTorch, with another error.
TOO_LARGE = {
    "fill": {"shape": [_HUGE, _HUGE]},
    "fill_like": {"ref_tensor": _virtual(10**7, 10**7, dtype=torch.bool)},
    "tile": {"x": _LINE, "reps": [_HUGE * 1000]},
    "one_hot": {"indices": _virtual(10**6, dtype=torch.int32), "one_hot_vector_size": _HUGE},
    "range_1d": {"start": _int(0), "end": torch.tensor(2**60), "step": _int(1)},
    "pad": {"x": _BOX, "pad": [_HUGE, _HUGE, _HUGE, 0]},
    "stack": {"values": (_virtual(10**13),) * 3, "axis": 0},
    "concat": {"values": (_virtual(10**13), _LINE), "axis": 0},
    "make_list": {"init_length": _HUGE, "elem_shape": (_int(_HUGE),)},
    "random_normal": {"shape": [_HUGE, _HUGE], "call": _CALL},
    "random_uniform": {"shape": [_HUGE, _HUGE], "call": _CALL},
    "random_bernoulli": {"shape": [_HUGE, _HUGE], "call": _CALL},
    "random_categorical": {"x": _virtual(10**6, 1), "size": _HUGE, "call": _CALL},
    "sliding_windows": {"x": _virtual(10**8), "axis": 0, "size": 5 * 10**7},
    "gather": {"x": _virtual(2, 10**9), "indices": _virtual(10**6, dtype=torch.int32), "axis": 0},
    "gather_along_axis": {"x": _virtual(2, 10**9), "indices": _virtual(10**6, 10**9, dtype=torch.int32), "axis": 0},
    "gather_nd": {"x": _virtual(2, 10**9), "indices": _virtual(10**6, 1, dtype=torch.int32)},
    "select": {"cond": torch.ones((), dtype=torch.bool), "a": _virtual(10**7, 1), "b": _virtual(1, 10**7)},
    "space_to_batch": {"x": _IMAGE, "block_shape": [1, 1], "paddings": [_HUGE, 0, 0, _HUGE]},
    "list_write": {"ls": _list(), "index": 2**40, "value": torch.zeros(2)},
    "list_scatter": {"ls": _list(), "indices": [0, 2**40], "value": torch.zeros(2, 2)},
    "split": {"x": torch.zeros(0), "num_splits": 2**40, "axis": 0},
    "non_zero": {"x": _virtual(2 * 10**7)},
    "band_part": {"x": _virtual(10**7, 10**7)},
    "reverse_sequence": {
        "x": _virtual(10**7, 10**7),
        "lengths": _virtual(10**7, dtype=torch.int32),
        "seq_axis": 1,
    },
}


@pytest.mark.parametrize("name", TOO_LARGE)
def test_what_is_too_large_is_asked_for_and_refused(name):
    with limited(1 << 24), pytest.raises(ModelError, match="are allowed"):
        find(name, 18).run(**TOO_LARGE[name])


def test_a_list_too_long_for_its_elements():
    with limited(1 << 24), pytest.raises(ModelError, match="are allowed"):
        _list(init_length=_HUGE, elem_shape=(_int(0),))
    with limited(1 << 24), pytest.raises(ModelError, match="are allowed"):
        find("list_gather", 17).run(ls=_list(elem_shape=(_int(10**6),)), indices=[0] * 100)


WRONG = [
    ("fill", {"shape": [2, -1]}, "negative dimension"),
    ("fill", {"shape": [2], "value": _LINE}, "one number"),
    ("tile", {"x": _BOX, "reps": [1, -2, 1]}, "at least 1"),
    ("tile", {"x": _BOX, "reps": [1, 0, 1]}, "at least 1"),
    ("tile", {"x": _BOX, "reps": [2]}, "rank 3"),
    ("one_hot", {"indices": _INDEX, "one_hot_vector_size": -3}, "negative dimension"),
    ("one_hot", {"indices": _INDEX, "one_hot_vector_size": 3, "axis": 4}, "axis 4"),
    ("range_1d", {"start": _int(0), "end": _int(5), "step": _int(0)}, "by 0"),
    ("range_1d", {"start": _ONE, "end": _ONE * 5, "step": _ONE * 0}, "by 0.0"),
    ("range_1d", {"start": _ONE, "end": _ONE * torch.inf, "step": _ONE}, "inf"),
    ("range_1d", {"start": _ONE, "end": _ONE * torch.nan, "step": _ONE}, "nan"),
    ("pad", {"x": _BOX, "pad": [-1, 0]}, "padding"),
    ("pad", {"x": _BOX, "pad": [1]}, "padding"),
    ("pad", {"x": _BOX, "pad": [1] * 8}, "padding"),
    ("pad", {"x": _BOX, "pad": [4, 0], "mode": "reflect"}, "by reflect"),
    ("pad", {"x": torch.zeros(2, 0), "pad": [1, 0], "mode": "replicate"}, "by replicate"),
    ("pad", {"x": _BOX, "pad": [1, 0], "mode": "wrap"}, "wrap"),
    ("band_part", {"x": _LINE}, "rank 1"),
    ("random_bernoulli", {"shape": [2], "prob": 1.5, "call": _CALL}, "probability"),
    ("random_bernoulli", {"shape": [2], "prob": float("nan"), "call": _CALL}, "probability"),
    ("random_normal", {"shape": [2], "stddev": -1.0, "call": _CALL}, "deviation"),
    ("random_uniform", {"shape": [2], "low": 3.0, "high": 1.0, "call": _CALL}, "from 3.0 to 1.0"),
    ("random_uniform", {"shape": [-2], "call": _CALL}, "negative dimension"),
    ("random_categorical", {"x": _LINE, "size": -1, "call": _CALL}, "-1 indices"),
    ("random_categorical", {"x": _LINE, "mode": "odds", "call": _CALL}, "odds"),
    ("reshape", {"x": _BOX, "shape": [5, -1]}, "does not go"),
    ("reshape", {"x": _BOX, "shape": [-1, -1]}, "does not go"),
    ("reshape", {"x": _BOX, "shape": [-24, -1]}, "does not go"),
    ("reshape", {"x": _BOX, "shape": [_HUGE, _HUGE]}, "does not go"),
    ("reshape_like", {"x": _BOX, "ref_tensors": (_BOX,), "begins": (), "ends": (), "end_masks": ()}, "0 begins"),
    ("expand_dims", {"x": _BOX, "axes": [7]}, "axis 7"),
    ("expand_dims", {"x": _BOX, "axes": [0, -5]}, "twice"),
    ("squeeze", {"x": _BOX, "axes": [3]}, "axis 3"),
    ("transpose", {"x": _BOX, "perm": [0, 0, 1]}, "twice"),
    ("transpose", {"x": _BOX, "perm": [0, 1]}, "permutation"),
    ("reverse", {"x": _BOX, "axes": [-4]}, "axis -4"),
    ("reverse_sequence", {"x": _BOX, "lengths": _int([1, 9]), "seq_axis": 1}, "1 to 9 of 3"),
    ("reverse_sequence", {"x": _BOX, "lengths": _int([-1, 2]), "seq_axis": 1}, "-1 to 2"),
    ("reverse_sequence", {"x": _BOX, "lengths": _int([1]), "seq_axis": 1}, "2 sequences"),
    ("reverse_sequence", {"x": _BOX, "lengths": _int([1, 2])}, "axis 0"),
    ("depth_to_space", {"x": _IMAGE, "block_size": 0}, "at least 1"),
    ("depth_to_space", {"x": _IMAGE, "block_size": 3}, "4 channels"),
    ("space_to_depth", {"x": _IMAGE, "block_size": -2}, "at least 1"),
    ("space_to_depth", {"x": _BOX, "block_size": 2}, "rank 3"),
    ("space_to_batch", {"x": _IMAGE, "block_shape": [2, 0], "paddings": [0] * 4}, "at least 1"),
    ("space_to_batch", {"x": _IMAGE, "block_shape": [2, 2], "paddings": [0, -1, 0, 0]}, "none negative"),
    ("batch_to_space", {"x": _IMAGE, "block_shape": [2, 2], "crops": [0] * 4}, "blocks of 4"),
    ("batch_to_space", {"x": _IMAGE, "block_shape": [1, 1], "crops": [5, 0, 0, 0]}, "cut off"),
    ("batch_to_space", {"x": _IMAGE, "block_shape": [1], "crops": [0] * 4}, "two sizes"),
    ("slice_by_index", {"x": _LINE, "begin": [0], "end": [6], "stride": [0]}, "stride of 0"),
    ("slice_by_index", {"x": _LINE, "begin": [0, 1], "end": [6]}, "rank 1"),
    ("slice_by_index", {"x": _LINE, "begin": [6], "end": [0], "squeeze_mask": [True]}, "index 6"),
    ("slice_by_size", {"x": _LINE, "begin": [3], "size": [_HUGE]}, "of 6"),
    ("slice_by_size", {"x": _LINE, "begin": [-9], "size": [1]}, "of 6"),
    ("slice_by_size", {"x": _LINE, "begin": [1], "size": [-2]}, "of 6"),
    ("slice_update", {"x": _LINE, "update": _LINE, "begin": [0], "end": [3]}, "shape \\[3\\]"),
    ("sliding_windows", {"x": _LINE, "axis": 0, "size": 3, "stride": 0}, "0 apart"),
    ("sliding_windows", {"x": _LINE, "axis": 0, "size": 7}, "windows of 7"),
    ("sliding_windows", {"x": _LINE, "axis": 0, "size": -1}, "windows of -1"),
    ("concat", {"values": (), "axis": 0}, "no values"),
    ("concat", {"values": (_LINE, _BOX), "axis": 0}, "shapes"),
    ("concat", {"values": (_LINE, _LINE[:2]), "axis": 0, "interleave": True}, "interleaved"),
    ("stack", {"values": (), "axis": 0}, "no values"),
    ("stack", {"values": (_LINE, _LINE[:2]), "axis": 0}, "stacked"),
    ("split", {"x": _LINE, "num_splits": 4, "axis": 0}, "4 parts"),
    ("split", {"x": _LINE, "num_splits": 0, "axis": 0}, "0 parts"),
    ("split", {"x": _LINE, "split_sizes": [7, -1], "axis": 0}, "of 6"),
    ("split", {"x": _LINE, "split_sizes": [3, 3], "num_splits": 3, "axis": 0}, "2 sizes"),
    ("split", {"x": _LINE, "axis": 0}, "None parts"),
    ("gather", {"x": _LINE, "indices": _int([0, 6])}, "index 6 is out of range; a dimension of 6 has 0 to 5"),
    ("gather", {"x": _LINE, "indices": _int([-1])}, "index -1 is out of range"),
    ("gather", {"x": _BOX, "indices": _int([[0]]), "axis": 1, "batch_dims": 1}, "axes of batches"),
    ("gather", {"x": _BOX, "indices": _int([[0], [1]]), "axis": 0, "batch_dims": 1}, "axes of batches"),
    ("gather", {"x": _BOX, "indices": _INDEX, "axis": 3}, "axis 3"),
    ("gather", {"x": torch.zeros(0), "indices": _int([0])}, "index 0"),
    ("gather_along_axis", {"x": _LINE, "indices": _int([9])}, "index 9"),
    ("gather_along_axis", {"x": _BOX, "indices": _INDEX}, "along the axis"),
    ("gather_nd", {"x": _BOX, "indices": _int([[1, 3]])}, "index 3"),
    ("gather_nd", {"x": _BOX, "indices": _int([[0] * 4])}, "4 numbers"),
    ("gather_nd", {"x": _LINE, "indices": _int(0)}, "axes of batches"),
    ("scatter", {"data": _LINE, "indices": _int([7]), "updates": _LINE[:1]}, "index 7"),
    ("scatter", {"data": _LINE, "indices": _int([1]), "updates": _LINE}, "updates"),
    ("scatter", {"data": _LINE, "indices": _int([1]), "updates": _LINE[:1], "mode": "xor"}, "xor"),
    ("scatter_along_axis", {"data": _LINE, "indices": _int([-1]), "updates": _LINE[:1]}, "index -1"),
    ("scatter_along_axis", {"data": _LINE, "indices": _int([1]), "updates": _LINE[:2]}, "updates"),
    ("scatter_nd", {"data": _LINE, "indices": _int([[6]]), "updates": _LINE[:1]}, "index 6"),
    ("scatter_nd", {"data": _LINE, "indices": _int(1), "updates": _LINE[:1]}, "no axis"),
    ("make_list", {"init_length": -1, "elem_shape": ()}, "negative dimension"),
    ("make_list", {"dtype": "fp8"}, "fp8"),
    ("list_read", {"ls": _list(), "index": 1}, "index 1 is out of range of a list of 1"),
    ("list_read", {"ls": _list(), "index": -1}, "index -1"),
    ("list_read", {"ls": _list(elem_shape=("n",)), "index": 0}, "before it is written"),
    ("list_read", {"ls": _list(elem_shape=None), "index": 0}, "before it is written"),
    ("list_read", {"ls": _LINE, "index": 0}, "a list is needed"),
    ("list_write", {"ls": _list(dynamic_length=False), "index": 1, "value": torch.zeros(2)}, "index 1"),
    ("list_write", {"ls": _list(), "index": -1, "value": torch.zeros(2)}, "index -1"),
    ("list_write", {"ls": _list(), "index": 0, "value": torch.zeros(3)}, "shape \\[3\\]"),
    ("list_scatter", {"ls": _list(), "indices": [0], "value": torch.zeros(2, 2)}, "1 indices"),
    ("list_gather", {"ls": _list(), "indices": [0, 5]}, "index 5"),
    ("classify", {"probabilities": _LINE, "classes": ["a", "b"]}, "6 probabilities of 2 classes"),
    ("classify", {"probabilities": _LINE[:0], "classes": []}, "0 classes"),
    ("conv", {"x": _int([[[1, 2]]]), "weight": _int([[[1]]])}, "int32; real numbers"),
    ("conv_transpose", {"x": _int([[[1, 2]]]), "weight": _int([[[1]]])}, "int32; real numbers"),
    ("max_pool", {"x": _int([[[1, 2]]]), "kernel_sizes": [1], "pad_type": "valid"}, "int32; real numbers"),
    ("read_state", {"input": "s", "call": _CALL}, "no state 's'"),
    ("write_state", {"input": _LINE, "data": _LINE, "call": _CALL}, "no state"),
]


@pytest.mark.parametrize(("name", "arguments", "words"), WRONG)
def test_what_makes_no_sense_is_said(name, arguments, words):
    with limited(1 << 24), pytest.raises(ModelError, match=words):
        find(name, 18).run(**arguments)


def test_before_ios_17_zeros_need_equal_ranks():
    with pytest.raises(ModelError, match="ranks must be equal"):
        find("reshape", 16).run(x=_BOX, shape=[0, 12])


@pytest.mark.parametrize("ios", [15, 16])
def test_before_ios_17_an_index_counts_from_the_end_only_so_far(ios):
    with pytest.raises(ModelError, match="index -7 is out of range; a dimension of 6 has -6 to 5"):
        find("gather", ios).run(x=_LINE, indices=_int([-7]))


def test_elements_of_different_shapes_are_not_gathered():
    ls = find("list_write", 17).run(ls=_list(elem_shape=("n",)), index=0, value=torch.zeros(2))
    ls = find("list_write", 17).run(ls=ls, index=1, value=torch.zeros(3))
    with pytest.raises(ModelError, match="different shapes"):
        find("list_gather", 17).run(ls=ls, indices=[0, 1])
    empty = find("list_gather", 17).run(ls=_list(), indices=[])
    assert list(empty.shape) == [0, 2]


@pytest.mark.parametrize("mode", ["exact", "device"])
def test_an_endless_loop_is_ended(tmp_path, mode):
    def build(mb, x):
        return mb.while_loop(
            _cond=lambda v: mb.greater(x=mb.reduce_sum(x=v), y=np.float32(0)),
            _body=lambda v: mb.add(x=v, y=np.float32(0)),
            loop_vars=(x,),
        )

    case = harness.Case("while_loop", "", build, {"x": np.ones(1, np.float32)}, (), 17)
    with pytest.raises(ModelError, match=r"while_loop .*not ended after 1000 iterations"):
        harness.evaluate(case, tmp_path, mode)


@pytest.mark.parametrize("mode", ["exact", "device"])
def test_a_loop_may_run_as_often_as_allowed(tmp_path, mode):
    def build(mb, x):
        return mb.while_loop(
            _cond=lambda v: mb.less(x=mb.reduce_sum(x=v), y=np.float32(1000)),
            _body=lambda v: mb.add(x=v, y=np.float32(1)),
            loop_vars=(x,),
        )

    case = harness.Case("while_loop", "", build, {"x": np.zeros(1, np.float32)}, (), 17)
    assert harness.evaluate(case, tmp_path, mode)[0].tolist() == [1000]
