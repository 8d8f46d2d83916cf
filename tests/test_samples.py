"""The set as a whole: memory, digest, encoding with checks, and what calibration refuses."""

import json
import math
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from edgeexport.errors import SamplesError
from edgeexport.preprocess import ArraysPreprocess, ImagePreprocess, TokenizerPreprocess
from edgeexport.samples import CheckedFeeds, check_calibration, feeds, open_samples
from edgeexport.signature import Signature, TensorSpec


def refused(match: str):
    return pytest.raises(SamplesError, match=re.escape(match))


def takes(**inputs: tuple[str, tuple]) -> Signature:
    return Signature(tuple(TensorSpec(name, *spec) for name, spec in inputs.items()), ())


def saved(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path, **arrays)
    return path


class Words:
    """A stand-in tokenizer: word lengths, and a second array that a model may not take."""

    accepts = "text"

    def prepare(self, assets):
        def encode(sample):
            ids = np.array([[len(word) for word in sample.record["text"].split()]], np.int64)
            return {"input_ids": ids, "token_type_ids": np.zeros_like(ids)}

        return encode


def lines(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


IDS = takes(input_ids=("int64", ("batch", "sequence")))
FLOATS = takes(x=("float32", ("batch", 2)))


@pytest.mark.parametrize("module", ["samples", "preprocess"])
def test_importing_loads_no_library(module):
    heavy = "numpy PIL tokenizers soundfile torch transformers"
    code = f"import sys, edgeexport.{module}; print([m for m in '{heavy}'.split() if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_memory_does_not_grow_with_the_set(tmp_path):
    peaks = []
    for count in (500, 50_000):
        path = lines(tmp_path / f"{count}.jsonl", [f"a sentence about {i:06d}" for i in range(count)])
        sum(1 for _ in open_samples(path))  # imports and caches
        tracemalloc.start()
        assert sum(1 for _ in open_samples(path)) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0], peaks


def test_head_is_the_first_samples(tmp_path):
    samples = open_samples(lines(tmp_path / "s.jsonl", ["a", "b", "c"]))
    assert samples.head(2) == list(samples)[:2]
    assert samples.head(9) == list(samples)


def test_digest_covers_names_contents_and_pattern(tmp_path):
    def folder(name: str, files: dict[str, bytes]) -> str:
        for file, data in files.items():
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return open_samples(tmp_path / name).digest()

    first = folder("1", {"cat/a.png": b"x", "dog/b.png": b"y"})
    assert len(first) == 64
    assert first == folder("2", {"dog/b.png": b"y", "cat/a.png": b"x"})  # elsewhere, made in another order
    others = [
        folder("3", {"cat/a.png": b"x", "dog/b.png": b"z"}),
        folder("4", {"cat/a.png": b"y", "dog/b.png": b"x"}),
        folder("5", {"cat/a.png": b"x", "dog/c.png": b"y"}),
        folder("6", {"cat/a.png": b"x", "cat/b.png": b"y"}),
        folder("7", {"cat/a.png": b"xy", "dog/b.png": b""}),
        folder("8", {"a.png": b"x", "b.png": b"y"}),
    ]
    assert len({first, *others}) == 7
    assert open_samples(tmp_path / "8", "(?P<label>.)").digest() != others[-1]


def test_digest_is_taken_once(tmp_path):
    samples = open_samples(lines(tmp_path / "s.jsonl", ["a"]))
    before = samples.digest()
    lines(tmp_path / "s.jsonl", ["b"])
    assert samples.digest() == before != open_samples(tmp_path / "s.jsonl").digest()


def test_feeds_leave_out_what_a_text_model_does_not_take(tmp_path):
    samples = open_samples(lines(tmp_path / "s.jsonl", ["a bb", "ccc"]))
    encoded = list(feeds(samples, Words(), IDS))
    assert [sample.name for sample, _ in encoded] == ["s.jsonl line 1", "s.jsonl line 2"]
    assert [list(arrays) for _, arrays in encoded] == [["input_ids"]] * 2
    assert [arrays["input_ids"].tolist() for _, arrays in encoded] == [[[1, 2]], [[3]]]


def test_feeds_refuse_extra_arrays_of_other_models(tmp_path):
    path = saved(tmp_path / "s.npz", x=np.ones((3, 2), np.float32), y=np.ones(3))
    with refused("s.npz[0]: arrays are named ['x', 'y'], the model's inputs are ['x']"):
        list(feeds(open_samples(path), ArraysPreprocess(), FLOATS))


def test_feeds_check_dtype_and_shape(tmp_path):
    path = saved(tmp_path / "s.npz", x=np.ones((3, 2)))
    with refused("s.npz[0]: 'x' has dtype float64, the model takes float32"):
        list(feeds(open_samples(path), ArraysPreprocess(), FLOATS))


def test_an_npy_is_the_only_input(tmp_path):
    data = np.arange(6, dtype=np.float32).reshape(3, 2)
    np.save(tmp_path / "s.npy", data)
    samples = open_samples(tmp_path / "s.npy")
    fed = [arrays["x"] for _, arrays in feeds(samples, ArraysPreprocess(), FLOATS)]
    np.testing.assert_array_equal(np.concatenate(fed), data)
    two = takes(a=("float32", (1, 2)), b=("float32", (1, 2)))
    with refused("s.npy[0]: an .npy holds one array, the model takes 2: a, b"):
        list(feeds(samples, ArraysPreprocess(), two))


@pytest.mark.parametrize(("value", "word"), [(math.nan, "NaN"), (math.inf, "infinity"), (-math.inf, "infinity")])
def test_feeds_refuse_what_is_not_finite(tmp_path, value, word):
    data = np.ones((3, 2), np.float32)
    data[2, 1] = value
    samples = open_samples(saved(tmp_path / "s.npz", x=data))
    seen = feeds(samples, ArraysPreprocess(), FLOATS)
    next(seen), next(seen)
    with refused(f"sample s.npz[2]: 'x' holds {word}"):
        next(seen)


@pytest.mark.parametrize(
    ("preprocess", "says"),
    [
        (TokenizerPreprocess(max_length=8), "the model takes text; "),
        (ImagePreprocess(), "the model takes images; "),
    ],
)
def test_samples_of_the_wrong_kind_are_refused(tmp_path, preprocess, says):
    path = saved(tmp_path / "s.npz", x=np.ones((3, 2), np.float32))
    with refused(f"{says}{path} is an array file"):
        list(feeds(open_samples(path), preprocess, FLOATS))


def test_a_folder_for_a_text_model_is_refused(tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set/a.png").write_bytes(b"")
    with refused(f"the model takes text; {tmp_path / 'set'} is an image folder") as error:
        list(feeds(open_samples(tmp_path / "set"), TokenizerPreprocess(max_length=8), IDS))
    assert error.value.hint == "Give it a .jsonl or .csv file."


def test_calibration_passes_in_one_pass_and_can_be_repeated(tmp_path):
    data = np.arange(8, dtype=np.float32).reshape(4, 2)
    checked = CheckedFeeds(open_samples(saved(tmp_path / "s.npz", x=data)), ArraysPreprocess(), FLOATS, None, minimum=4)
    assert len(checked) == 4
    for _ in range(2):
        np.testing.assert_array_equal(np.concatenate([arrays["x"] for arrays in checked]), data)
        checked.finish()


def test_too_few_samples_are_refused_before_any_encoding(tmp_path):
    class Untouched(Words):
        def prepare(self, assets):
            pytest.fail("encoded")

    samples = open_samples(lines(tmp_path / "s.jsonl", ["a", "bb", "ccc"]))
    with refused("s.jsonl: calibration needs at least 4 samples, and got 3") as error:
        check_calibration(samples, Untouched(), IDS, None, minimum=4)
    assert "`--set calibration.minimum_samples=3`" in error.value.hint
    assert check_calibration(samples, Words(), IDS, None, minimum=3) == 3


def test_finish_counts_what_was_read(tmp_path):
    samples = open_samples(lines(tmp_path / "s.jsonl", ["a", "bb", "ccc"]))
    checked = CheckedFeeds(samples, Words(), IDS, None, minimum=2)
    with refused("no sample was read"):
        checked.finish()
    next(iter(checked))
    with refused("calibration needs at least 2 samples, and got 1"):
        checked.finish()


@pytest.mark.parametrize("value", [0.0, 0.5])
def test_a_constant_set_is_refused(tmp_path, value):
    samples = open_samples(saved(tmp_path / "s.npz", x=np.full((4, 2), value, np.float32)))
    with refused(f"s.npz: the samples do not vary: 'x' is {value} throughout"):
        check_calibration(samples, ArraysPreprocess(), FLOATS, None, minimum=1)


def test_constant_ids_are_refused_across_lengths(tmp_path):
    samples = open_samples(lines(tmp_path / "s.jsonl", ["a", "b c", "d e f"]))
    with refused("'input_ids' is 1 throughout"):
        check_calibration(samples, Words(), IDS, None, minimum=1)


def test_one_constant_input_among_others_is_normal(tmp_path):
    both = takes(input_ids=("int64", ("b", "s")), token_type_ids=("int64", ("b", "s")))
    samples = open_samples(lines(tmp_path / "s.jsonl", ["a", "bb"]))
    assert check_calibration(samples, Words(), both, None, minimum=1) == 2


def test_samples_that_differ_only_from_each_other_vary(tmp_path):
    data = np.repeat(np.arange(3, dtype=np.float32)[:, None], 2, axis=1)
    samples = open_samples(saved(tmp_path / "s.npz", x=data))
    assert check_calibration(samples, ArraysPreprocess(), FLOATS, None, minimum=1) == 3


def test_nan_is_refused_in_the_calibration_pass(tmp_path):
    data = np.array([[1, 2], [3, math.nan]], np.float32)
    with refused("sample s.npz[1]: 'x' holds NaN"):
        check_calibration(open_samples(saved(tmp_path / "s.npz", x=data)), ArraysPreprocess(), FLOATS, None, minimum=1)


@pytest.mark.parametrize(
    ("given", "wanted", "values"),
    [
        ("int64", "int32", [0, -5, 2**31 - 1]),
        ("int64", "int8", [-128, 127]),
        ("uint8", "int64", [0, 255]),
        ("int32", "int64", [-(2**31), 7]),
        ("uint16", "int32", [65535]),
    ],
)
def test_integers_take_the_models_width_where_every_value_fits(tmp_path, given, wanted, values):
    path = saved(tmp_path / "s.npz", ids=np.array([values, values], given))
    ((_, arrays), _) = feeds(open_samples(path), ArraysPreprocess(), takes(ids=(wanted, (1, len(values)))))
    assert (str(arrays["ids"].dtype), arrays["ids"].tolist()) == (wanted, [values])


@pytest.mark.parametrize(
    ("given", "wanted", "values"),
    [
        ("int64", "int32", [1, 2**31]),
        ("int64", "int32", [-(2**31) - 1, 0]),
        ("int64", "int8", [128, 0]),
        ("int64", "uint8", [-1, 0]),
        ("int64", "float32", [1, 2]),
        ("int64", "bool", [0, 1]),
        ("float64", "float32", [1.0, 2.0]),
        ("float64", "int64", [1.0, 2.0]),
        ("bool", "int64", [True, False]),
    ],
)
def test_what_would_change_is_not_converted(tmp_path, given, wanted, values):
    path = saved(tmp_path / "s.npz", ids=np.array([values], given))
    with refused(f"s.npz[0]: 'ids' has dtype {given}, the model takes {wanted}"):
        list(feeds(open_samples(path), ArraysPreprocess(), takes(ids=(wanted, (1, 2)))))


def test_what_an_encoder_gives_is_not_converted(tmp_path):
    samples = open_samples(lines(tmp_path / "s.jsonl", ["a bb"]))
    with refused("'input_ids' has dtype int64, the model takes int32"):
        list(feeds(samples, Words(), takes(input_ids=("int32", ("batch", "sequence")))))
