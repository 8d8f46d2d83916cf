"""Token ids equal those of Transformers' fast tokenizers, array by array."""

import re
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from edgeexport.errors import ModelError, SamplesError
from edgeexport.preprocess import TokenizerPreprocess, tokenizer_from_folder
from edgeexport.samples import Sample, open_samples

SHARED = Path(__file__).parents[1] / ".." / "shared"
WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "a", "good", "film", "bad", "##ly", "and", "dull"]
TEXTS = ["a good film", "", "A badly dull film and a good and dull and badly good film", "?! ünknown", "film"]
PAIRS = [
    ("a", "good film and a dull and bad film"),
    ("a good film and dull a good film", "bad"),
    ("film", ""),
]


def refused(error: type, match: str):
    return pytest.raises(error, match=re.escape(match))


@pytest.fixture
def folder(tmp_path):
    """A small BERT-like tokenizer, saved with truncation and padding switched on, as many are."""
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", [("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.enable_truncation(6)
    tokenizer.enable_padding(length=9)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def reference(folder: Path, **options) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), pad_token="[PAD]", cls_token="[CLS]", **options
    )


def assert_same(arrays: dict[str, np.ndarray], expected, dtype="int64") -> None:
    assert set(arrays) == set(expected)
    for name, array in arrays.items():
        assert array.dtype == dtype
        np.testing.assert_array_equal(array, expected[name])


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("max_length", [5, 8, 64])
def test_single_texts_equal_transformers(folder, max_length, side):
    theirs = reference(folder, truncation_side=side)
    encode = TokenizerPreprocess(max_length=max_length, truncation_side=side).prepare(folder)
    for text in TEXTS:
        expected = theirs(text, truncation=True, max_length=max_length, return_tensors="np")
        assert_same(encode(Sample("s", {"text": text})), expected)


@pytest.mark.parametrize("max_length", [6, 9, 64])
def test_pairs_equal_transformers(folder, max_length):
    theirs = reference(folder)
    encode = TokenizerPreprocess(max_length=max_length, fields=("one", "two")).prepare(folder)
    for one, two in PAIRS:
        expected = theirs([one], [two], truncation=True, max_length=max_length, return_tensors="np")
        assert_same(encode(Sample("s", {"two": two, "one": one})), expected)


def test_padding_equals_transformers(folder):
    theirs = reference(folder)
    encode = TokenizerPreprocess(max_length=8, lengths=(8,), dtype="int32").prepare(folder)
    for text in TEXTS:
        expected = theirs(text, truncation=True, padding="max_length", max_length=8, return_tensors="np")
        assert_same(encode(Sample("s", {"text": text})), expected, "int32")


def test_padding_ids_are_those_given(folder):
    encode = TokenizerPreprocess(max_length=5, lengths=(7,), pad_id=9, pad_type_id=3).prepare(folder)
    arrays = encode(Sample("s", {"text": "film"}))
    assert {name: array.tolist() for name, array in arrays.items()} == {
        "input_ids": [[1, 6, 2, 9, 9, 9, 9]],
        "token_type_ids": [[0, 0, 0, 3, 3, 3, 3]],
        "attention_mask": [[1, 1, 1, 0, 0, 0, 0]],
    }


LENGTHS = TokenizerPreprocess(max_length=9, lengths=(12, 4, 6))  # in any order


@pytest.mark.parametrize(
    ("words", "tokens", "length"), [(1, 3, 4), (2, 4, 4), (3, 5, 6), (4, 6, 6), (5, 7, 12), (7, 9, 12), (30, 9, 12)]
)
def test_padding_is_to_the_smallest_length_that_holds_the_text(folder, words, tokens, length):
    arrays = LENGTHS.prepare(folder)(Sample("s", {"text": "film " * words}))
    assert {name: array.shape for name, array in arrays.items()} == dict.fromkeys(arrays, (1, length))
    assert arrays["attention_mask"].tolist() == [[1] * tokens + [0] * (length - tokens)]
    assert arrays["input_ids"].tolist() == [[1] + [6] * (tokens - 2) + [2] + [0] * (length - tokens)]
    assert not arrays["token_type_ids"].any()


@pytest.mark.parametrize("text", TEXTS)
def test_padding_changes_no_token(folder, text):
    plain = TokenizerPreprocess(max_length=9).prepare(folder)(Sample("s", {"text": text}))
    padded = LENGTHS.prepare(folder)(Sample("s", {"text": text}))
    for name, array in plain.items():
        count = array.shape[1]
        np.testing.assert_array_equal(padded[name][:, :count], array)
        assert not padded[name][:, count:].any()


def test_pairs_are_padded_too(folder):
    preprocess = TokenizerPreprocess(max_length=12, lengths=(8, 12), fields=("one", "two"))
    arrays = preprocess.prepare(folder)(Sample("s", {"one": "film", "two": "a bad film"}))
    assert arrays["input_ids"].tolist() == [[1, 6, 2, 4, 7, 6, 2, 0]]
    assert arrays["token_type_ids"].tolist() == [[0, 0, 0, 1, 1, 1, 1, 0]]
    assert arrays["attention_mask"].tolist() == [[1, 1, 1, 1, 1, 1, 1, 0]]


def test_only_the_inputs_asked_for_are_made(folder):
    encode = TokenizerPreprocess(max_length=8, inputs=("input_ids",)).prepare(folder)
    assert list(encode(Sample("s", {"text": "a"}))) == ["input_ids"]


def test_the_only_text_column_is_found_and_bound(folder):
    preprocess = TokenizerPreprocess(max_length=8)
    sample = Sample("s", {"id": 4, "sentence": "a"})
    assert preprocess.prepare(folder)(sample)["input_ids"].tolist() == [[1, 4, 2]]
    assert preprocess.bind(sample).fields == ("sentence",)
    given = TokenizerPreprocess(max_length=8, fields=("x", "y"))
    assert given.bind(sample) == given


@pytest.mark.parametrize(
    ("fields", "record", "problem"),
    [
        ((), {"a": "x", "b": "y"}, "s.jsonl line 1 has several text columns (a, b)"),
        ((), {"a": 1}, "s.jsonl line 1 has no text column"),
        (("text",), {"a": "x"}, "s.jsonl line 1 has no column 'text'; its columns: a"),
        (("a",), {"a": None}, "s.jsonl line 1 holds no text in 'a'; its columns: a"),
        ((), Path("a.png"), "the model takes text; s.jsonl line 1 is a file"),
    ],
)
def test_records_without_the_text_are_refused(folder, fields, record, problem):
    preprocess = TokenizerPreprocess(max_length=8, fields=fields)
    with refused(SamplesError, problem):
        preprocess.prepare(folder)(Sample("s.jsonl line 1", record))
    if not fields:
        with refused(SamplesError, problem):
            preprocess.bind(Sample("s.jsonl line 1", record))


def test_a_text_without_tokens_is_refused(folder):
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.post_processor = processors.TemplateProcessing("$A", "$A $B:1", [])
    tokenizer.save(str(folder / "tokenizer.json"))
    with refused(SamplesError, "s: the text is empty"):
        TokenizerPreprocess(max_length=8).prepare(folder)(Sample("s", {"text": " "}))


def test_a_tokenizer_that_is_missing_or_broken_is_named(folder, tmp_path):
    preprocess = TokenizerPreprocess(max_length=8)
    with refused(ModelError, f"{tmp_path / 'none'} holds no tokenizer.json"):
        preprocess.prepare(tmp_path / "none")
    with refused(ModelError, "no folder with tokenizer.json is known"):
        preprocess.prepare(None)
    (folder / "tokenizer.json").write_text("{}")
    with refused(ModelError, f"{folder / 'tokenizer.json'} is no tokenizer"):
        preprocess.prepare(folder)


@pytest.mark.parametrize(("fields", "length", "special"), [((), 2, 2), (("a", "b"), 3, 3)])
def test_special_tokens_must_leave_room(folder, fields, length, special):
    with refused(ModelError, f"{special} special tokens leave no room in a max_length of {length}"):
        TokenizerPreprocess(max_length=length, fields=fields).prepare(folder)


def test_padding_to_less_than_the_longest_is_a_contradiction():
    with refused(ValueError, "largest of lengths is 4, less than max_length 8"):
        TokenizerPreprocess(max_length=8, lengths=(4,))


@pytest.mark.shared
@pytest.mark.parametrize("max_length", [None, 12])
def test_all_of_sst2_equals_transformers(max_length):
    model, data = SHARED / "models" / "sst2-minilm", SHARED / "data" / "sst2" / "validation.jsonl"
    if not model.is_dir() or not data.is_file():
        pytest.skip("needs ../shared: models/sst2-minilm and data/sst2")
    theirs = AutoTokenizer.from_pretrained(str(model))
    preprocess, path = tokenizer_from_folder(model)
    preprocess = TokenizerPreprocess(max_length=max_length or preprocess.max_length, inputs=preprocess.inputs)
    encode = preprocess.prepare(path.parent)
    for sample in open_samples(data):
        expected = theirs(
            sample.record["sentence"], truncation=True, max_length=preprocess.max_length, return_tensors="np"
        )
        assert_same(encode(sample), expected)
