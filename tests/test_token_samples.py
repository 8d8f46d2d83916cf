"""Texts that are token ids already."""

import numpy as np
import pytest

from edgeexport.errors import SamplesError
from edgeexport.preprocess import ArraysPreprocess, TokenizerPreprocess
from edgeexport.samples import open_samples
from edgeexport.token_samples import as_texts, longest_text

TEXT = TokenizerPreprocess(max_length=8)


def texts(tmp_path, ids, length=8, preprocess=TEXT):
    np.save(tmp_path / "ids.npy", ids)
    found = as_texts(open_samples(tmp_path / "ids.npy"), preprocess, length)
    rows = [sample.record["input_ids"].tolist()[0] for sample in found]
    assert len(rows) == len(found) and found.kind == preprocess.accepts
    return rows


def test_one_row_is_cut(tmp_path):
    assert texts(tmp_path, np.arange(19, dtype=np.uint16)) == [[*range(8)], [*range(8, 16)], [16, 17, 18]]


def test_a_token_that_nothing_follows_is_dropped(tmp_path):
    assert texts(tmp_path, np.arange(17)) == [[*range(8)], [*range(8, 16)]]


def test_rows_are_texts(tmp_path):
    assert texts(tmp_path, np.arange(10).reshape(2, 5), preprocess=ArraysPreprocess()) == [[*range(5)], [*range(5, 10)]]


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (np.zeros(4, np.float32), "float32 values in 1 axes"),
        (np.zeros((2, 2, 2), np.int64), "int64 values in 3 axes"),
        (np.zeros((2, 9), np.int64), "a row has 9 token ids, and the model takes 8"),
    ],
)
def test_what_is_no_text(tmp_path, ids, words):
    with pytest.raises(SamplesError, match=words):
        texts(tmp_path, ids)


def test_another_length_is_another_set(tmp_path):
    np.save(tmp_path / "ids.npy", np.arange(32))
    samples = open_samples(tmp_path / "ids.npy")
    assert as_texts(samples, TEXT, 8).digest() != as_texts(samples, TEXT, 16).digest()


def test_other_sets_stay(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n')
    samples = open_samples(tmp_path / "a.jsonl")
    assert as_texts(samples, TEXT, 8) is samples


def test_the_longest():
    assert longest_text(TEXT, 0) == 8 and longest_text(TEXT, 5) == 5 and longest_text(ArraysPreprocess(), 0) == 1024
