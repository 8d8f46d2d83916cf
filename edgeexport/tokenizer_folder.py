"""Reads what a Transformers model folder says of its tokenizer, without importing Transformers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from edgeexport.errors import ModelError
from edgeexport.text_features import ALL_INPUTS, TOKENIZER_FILE, TextInput, TokenizerPreprocess

_SANE_LENGTH = 1_000_000
"""Transformers writes 1e30 for a tokenizer without a limit."""

_LENGTH_KEYS = ("max_position_embeddings", "n_positions", "max_sequence_length")

OFFSET_POSITIONS = frozenset(
    {
        *("camembert", "data2vec-text", "ibert", "longformer", "luke", "mpnet", "roberta"),
        *("roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod"),
    }
)
"""Model types that count positions from ``pad_token_id + 1``: so many rows of their table are never used."""

_NO_TOKEN_TYPES = OFFSET_POSITIONS | frozenset(
    {
        *("bart", "bloom", "distilbert", "gpt2", "gpt_neo", "gpt_neox", "gptj", "led", "llama", "mbart"),
        *("mistral", "modernbert", "mt5", "opt", "phi", "qwen2", "qwen3", "t5", "umt5"),
    }
)
"""Model types whose tokenizer makes no ``token_type_ids``."""

_PATCHED: tuple[tuple[str, bool | None, str, str, str], ...] = (
    ("do_lower_case", True, "normalizer", "BertNormalizer", "lowercase"),
    ("strip_accents", None, "normalizer", "BertNormalizer", "strip_accents"),
    ("tokenize_chinese_chars", True, "normalizer", "BertNormalizer", "handle_chinese_chars"),
    ("add_prefix_space", False, "pre_tokenizer", "ByteLevel", "add_prefix_space"),
)
"""Keys of tokenizer_config.json, with defaults, by which Transformers changes a tokenizer once loaded."""


class _Token(msgspec.Struct):
    id: int
    content: str


class _TokenizerJson(msgspec.Struct):
    """The parts of ``tokenizer.json`` that are looked at; the vocabulary is passed over."""

    added_tokens: list[_Token] = []
    normalizer: dict[str, Any] | None = None
    pre_tokenizer: dict[str, Any] | None = None


def tokenizer_from_folder(folder: Path) -> tuple[TokenizerPreprocess, Path]:
    """The preprocessing of a text model's folder, and the path of its ``tokenizer.json``.

    The length limit is ``max_seq_length`` in ``sentence_bert_config.json``, or else ``model_max_length`` in
    ``tokenizer_config.json``, but no more than the positions that ``config.json`` says the model has. The
    inputs are ``model_input_names``, or else what the tokenizers of its model type make.

    Raises:
        ModelError: there is no ``tokenizer.json``, a file is not JSON, no length limit is to be found, or
            ``tokenizer_config.json`` contradicts ``tokenizer.json``.
    """
    path = folder / TOKENIZER_FILE
    if not path.is_file():
        vocabulary = [
            name
            for name in ("vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model")
            if (folder / name).is_file()
        ]
        instead = f", only {vocabulary[0]}" if vocabulary else ""
        raise ModelError(
            f"{folder} holds no {TOKENIZER_FILE}{instead}",
            f'Make one: python -c "from transformers import AutoTokenizer; '
            f'AutoTokenizer.from_pretrained({str(folder)!r}).save_pretrained({str(folder)!r})"',
        )
    try:
        tokenizer = msgspec.json.decode(path.read_bytes(), type=_TokenizerJson)
    except ValueError as error:
        raise ModelError(f"{path} is no tokenizer: {error}", "Save it again with save_pretrained.") from error
    model = _read(folder / "config.json")
    config = _read(folder / "tokenizer_config.json")
    sentence = _read(folder / "sentence_bert_config.json")
    _check_agreement(path, tokenizer, config, sentence)
    preprocess = TokenizerPreprocess(
        max_length=_max_length(folder, model, config, sentence),
        inputs=_inputs(model, config),
        pad_id=_pad_id(model, config, tokenizer),
        pad_type_id=int(config.get("pad_token_type_id") or 0),
        truncation_side="left" if config.get("truncation_side") == "left" else "right",
    )
    return preprocess, path


def _read(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is no file."""
    if not path.is_file():
        return {}
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except ValueError as error:
        raise ModelError(f"{path} is no JSON object: {error}", "Save the model again.") from error


def _max_length(folder: Path, model: Mapping[str, Any], config: Mapping[str, Any], sentence: Mapping[str, Any]) -> int:
    limits = []
    stated = sentence.get("max_seq_length") or config.get("model_max_length")
    if isinstance(stated, int | float) and 0 < stated < _SANE_LENGTH:
        limits.append(int(stated))
    positions = next((model[key] for key in _LENGTH_KEYS if isinstance(model.get(key), int)), 0)
    if model.get("model_type") in OFFSET_POSITIONS:
        padding = model.get("pad_token_id")
        positions -= (1 if padding is None else padding) + 1
    if positions > 0:
        limits.append(positions)
    if not limits:
        raise ModelError(
            f"{folder} does not say how long a text may be", "Set model_max_length in tokenizer_config.json."
        )
    return min(limits)


def _inputs(model: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[TextInput, ...]:
    names = config.get("model_input_names")
    if isinstance(names, list) and "input_ids" in names:
        return tuple(name for name in ALL_INPUTS if name in names)
    without = model.get("model_type") in _NO_TOKEN_TYPES
    return tuple(name for name in ALL_INPUTS if not (without and name == "token_type_ids"))


def _pad_id(model: Mapping[str, Any], config: Mapping[str, Any], tokenizer: _TokenizerJson) -> int:
    token = config.get("pad_token")
    content = token.get("content") if isinstance(token, Mapping) else token
    for added in tokenizer.added_tokens:
        if added.content == content:
            return added.id
    for key in ("pad_token_id", "eos_token_id"):  # masked all the same, so any id that exists serves
        if isinstance(model.get(key), int) and model[key] >= 0:
            return int(model[key])
    return 0


def _check_agreement(
    path: Path, tokenizer: _TokenizerJson, config: Mapping[str, Any], sentence: Mapping[str, Any]
) -> None:
    """Refuse settings that Transformers would patch into the tokenizer, unless they are in it already."""
    plain = config.get("tokenizer_class") == "PreTrainedTokenizerFast"  # it knows of no normalizer
    remedy = "Load the tokenizer with AutoTokenizer and save it again, which writes both alike."
    for key, default, part, kind, name in _PATCHED:
        settings = getattr(tokenizer, part) or {}
        wanted = config.get(key, default)
        if settings.get("type") == kind and settings.get(name) != wanted and not (plain and part == "normalizer"):
            raise ModelError(
                f"{path} has {name} {settings.get(name)}, but by tokenizer_config.json {key} is {wanted}",
                remedy,
            )
    known = {token.content for token in tokenizer.added_tokens}
    for token in config.get("added_tokens_decoder", {}).values():
        if token["content"] not in known:
            raise ModelError(f"{path} lacks {token['content']!r}, which tokenizer_config.json adds", remedy)
    lower = (tokenizer.normalizer or {}).get("lowercase")
    if sentence.get("do_lower_case") and not lower:
        raise ModelError(
            f"sentence_bert_config.json asks for lower case, which {path} does not do",
            "Add a Lowercase normalizer to the tokenizer and save it again.",
        )
