"""The files beside ``tokenizer.json`` that name tokens by number, or list them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgeexport.compress._tokenizer_file import TokenizerFile
from edgeexport.errors import ModelError
from edgeexport.text_features import TOKENIZER_FILE

_LISTS = ("suppress_tokens", "begin_suppress_tokens")
_LISTS_OF_LISTS = ("bad_words_ids",)
_UNSUPPORTED = ("force_words_ids", "forced_decoder_ids", "sequence_bias")


def named_ids(config: Mapping[str, Any]) -> set[int]:
    """Ids under ``..._token_id`` keys; what lies outside of the vocabulary is among them."""
    found: set[int] = set()
    for key, value in config.items():
        if _names_a_token(key):
            found.update(number for number in (value if isinstance(value, list) else [value]) if _is_id(number))
    return found


def renumbered(config: Mapping[str, Any], new: Mapping[int, int], where: str) -> dict[str, Any]:
    """The values of a configuration that change: token ids, by key.

    An id outside of the vocabulary, such as -1 or another model's default, means no token and stays.

    Raises:
        ModelError: a setting of generation that cannot be translated.
    """
    changed: dict[str, Any] = {}
    for key, value in config.items():
        if value is None:
            continue
        if _names_a_token(key):
            changed[key] = [_mapped(one, new) for one in value] if isinstance(value, list) else _mapped(value, new)
        elif key in _LISTS:
            changed[key] = [new[number] for number in value if number in new]
        elif key in _LISTS_OF_LISTS:
            changed[key] = [[new[number] for number in one] for one in value if all(number in new for number in one)]
        elif key in _UNSUPPORTED and value:
            raise ModelError(f"{where} has '{key}', whose token ids cannot be translated", "Remove the setting.")
    return changed


def rewrite_companions(folder: Path, tokenizer: TokenizerFile, new: Mapping[int, int]) -> list[str]:
    """Rewrite the tokenizer's files in ``folder``, and delete those that cannot be.

    Args:
        folder: of the changed model, with the old files; ``tokenizer.json`` is all that must be there.
        tokenizer: as it was.
        new: new ids by old ones.

    Returns:
        Names of the files that were deleted: ``tokenizer.json`` says everything that they said.
    """
    (folder / TOKENIZER_FILE).write_text(tokenizer.rewritten(new), encoding="utf-8")
    deleted = sorted(path for pattern in ("*.model", "dict.txt") for path in folder.glob(pattern))
    for name, rewrite in _FILES.items():
        path = folder / name
        if path.is_file():
            text = rewrite(path.read_text(encoding="utf-8"), tokenizer, new)
            if text is None:
                deleted.append(path)
            else:
                path.write_text(text, encoding="utf-8")
    for path in deleted:
        path.unlink()
    return [path.name for path in deleted]


def _vocab_txt(text: str, tokenizer: TokenizerFile, new: Mapping[int, int]) -> str | None:
    """One token a line, by id; None where the file numbers tokens otherwise."""
    tokens = text.removesuffix("\n").split("\n")
    if any(tokenizer.ids.get(token) != number for number, token in enumerate(tokens)):
        return None
    left = [token for number, token in enumerate(tokens) if number in new]
    return "".join(f"{token}\n" for token in left)


def _vocab_json(text: str, tokenizer: TokenizerFile, new: Mapping[int, int]) -> str | None:
    """Ids by token; None where they are others."""
    ids = json.loads(text)
    if not isinstance(ids, dict) or any(tokenizer.ids.get(token) != number for token, number in ids.items()):
        return None
    return json.dumps({token: new[number] for token, number in ids.items() if number in new}, ensure_ascii=False)


def _merges_txt(text: str, tokenizer: TokenizerFile, new: Mapping[int, int]) -> str | None:
    """The merges that are left, one a line, as the file writes them, after its version."""
    merges = tokenizer.kind.rewritten(new).get("merges")
    if merges is None:
        return None
    left = {merge if isinstance(merge, str) else " ".join(merge) for merge in merges}
    lines = text.removesuffix("\n").split("\n")
    return "".join(f"{line}\n" for line in lines if line in left or line.startswith("#version"))


def _added_tokens(text: str, tokenizer: TokenizerFile, new: Mapping[int, int]) -> str:
    """Ids by token."""
    del tokenizer
    return _json({token: new[number] for token, number in json.loads(text).items() if number in new})


def _tokenizer_config(text: str, tokenizer: TokenizerFile, new: Mapping[int, int]) -> str:
    """Added tokens are listed by id."""
    config = json.loads(text)
    config |= renumbered(config, new, f"{tokenizer.path.parent}/tokenizer_config.json")
    if "added_tokens_decoder" in config:
        added = config["added_tokens_decoder"].items()
        config["added_tokens_decoder"] = {str(new[int(key)]): token for key, token in added if int(key) in new}
    return _json(config)


_FILES: dict[str, Callable[[str, TokenizerFile, Mapping[int, int]], str | None]] = {
    "added_tokens.json": _added_tokens,
    "merges.txt": _merges_txt,
    "tokenizer_config.json": _tokenizer_config,
    "vocab.json": _vocab_json,
    "vocab.txt": _vocab_txt,
}


def _names_a_token(key: str) -> bool:
    return key.endswith(("_token_id", "_token_ids"))


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _mapped(value: Any, new: Mapping[int, int]) -> Any:
    return new.get(value, value) if _is_id(value) else value


def _json(values: Mapping[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False, indent=2) + "\n"
