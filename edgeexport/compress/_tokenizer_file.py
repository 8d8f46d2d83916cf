"""A ``tokenizer.json`` whose tokens get new ids: those that stay, counted from 0 in their old order."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeexport.compress._tokenizer_kinds import Kind, kind_of
from edgeexport.errors import ModelError

_SPELLED = ("bos_token", "cls_token", "eos_token", "mask_token", "pad_token", "sep_token", "unk_token")
"""Keys of tokenizer_config.json and special_tokens_map.json that name a token by its text."""


class TokenizerFile:
    """A tokenizer.json, read.

    Attributes:
        path: the file.
        kind: of its model.
        ids: of every token, added ones too.

    Raises:
        ModelError: it cannot be read, or its vocabulary cannot be rewritten faithfully.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        text = path.read_text(encoding="utf-8")
        self._values: dict[str, Any] = json.loads(text)
        self.kind: Kind = kind_of(self._values, str(path))
        self.ids = _loaded_ids(text, str(path))
        known = {**self.kind.vocabulary, **{token["content"]: token["id"] for token in self._added()}}
        for token, number in known.items():
            if self.ids.get(token) != number:
                raise ModelError(
                    f"{path} gives {token!r} the id {number}, but loads it as {self.ids.get(token)}",
                    "Load the tokenizer with AutoTokenizer and save it again.",
                )

    def special(self) -> set[int]:
        """Tokens that are not of the text: added ones, unknown, and what is put around or after a text."""
        found = {token["id"] for token in self._added()}
        if self.kind.unknown is not None:
            found.add(self.kind.unknown)
        for part in _parts(self._values.get("post_processor")):
            found.update(_placed(part, self.path))
        if self._values.get("padding"):
            found.add(self._values["padding"]["pad_id"])
        for name in ("tokenizer_config.json", "special_tokens_map.json"):
            if (self.path.parent / name).is_file():
                found |= self._spelled(json.loads((self.path.parent / name).read_text(encoding="utf-8")))
        return found

    def rewritten(self, new: Mapping[int, int]) -> str:
        """The file's text with the tokens of ``new`` only, which gives new ids by old ones.

        Raises:
            ModelError: the result does not load, or gives a token another id than it should.
        """
        values = {
            **self._values,
            "added_tokens": [{**token, "id": new[token["id"]]} for token in self._added()],
            "model": self.kind.rewritten(new),
            "post_processor": _renumbered(self._values.get("post_processor"), new),
        }
        if values.get("padding"):
            values["padding"] = {**values["padding"], "pad_id": new[values["padding"]["pad_id"]]}
        text = json.dumps(values, ensure_ascii=False, indent=2)
        wanted = {token: new[number] for token, number in self.ids.items() if number in new}
        if _loaded_ids(text, str(self.path)) != wanted:
            raise ModelError(
                f"{self.path}: its ids have gaps that the tokenizers library fills otherwise once tokens are removed",
                "Leave its vocabulary as it is.",
            )
        return text

    def _added(self) -> list[dict[str, Any]]:
        return self._values.get("added_tokens") or []

    def _spelled(self, names: Mapping[str, Any]) -> set[int]:
        tokens = [names.get(key) for key in _SPELLED]
        more = names.get("additional_special_tokens") or []
        texts = (token.get("content") if isinstance(token, Mapping) else token for token in (*tokens, *more))
        return {self.ids[text] for text in texts if text in self.ids}


def _loaded_ids(text: str, where: str) -> dict[str, int]:
    from tokenizers import Tokenizer  # type: ignore[import-untyped, unused-ignore]

    try:
        ids: dict[str, int] = Tokenizer.from_str(text).get_vocab(with_added_tokens=True)
    except Exception as error:  # the library raises nothing more precise
        raise ModelError(f"{where} is no tokenizer: {error}", "Save it again with save_pretrained.") from error
    return ids


def _parts(processor: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """A post-processor, or those of a sequence."""
    if processor is None:
        return []
    if processor["type"] == "Sequence":
        return [part for inner in processor["processors"] for part in _parts(inner)]
    return [processor]


def _placed(part: Mapping[str, Any], path: Path) -> set[int]:
    """The ids that a post-processor puts in."""
    match part["type"]:
        case "TemplateProcessing":
            return {number for token in part["special_tokens"].values() for number in token["ids"]}
        case "BertProcessing" | "RobertaProcessing":
            return {part["sep"][1], part["cls"][1]}
        case "ByteLevel":
            return set()
    raise ModelError(
        f"{path} has a post-processor '{part['type']}', whose ids are not known", "Leave its vocabulary as it is."
    )


def _renumbered(processor: Mapping[str, Any] | None, new: Mapping[int, int]) -> dict[str, Any] | None:
    """A post-processor that puts in the same tokens under their new ids."""
    if processor is None:
        return None
    match processor["type"]:
        case "Sequence":
            return {**processor, "processors": [_renumbered(inner, new) for inner in processor["processors"]]}
        case "TemplateProcessing":
            tokens = processor["special_tokens"].items()
            placed = {name: {**token, "ids": [new[number] for number in token["ids"]]} for name, token in tokens}
            return {**processor, "special_tokens": placed}
        case "BertProcessing" | "RobertaProcessing":
            ends = {key: [processor[key][0], new[processor[key][1]]] for key in ("sep", "cls")}
            return {**processor, **ends}
    return dict(processor)
