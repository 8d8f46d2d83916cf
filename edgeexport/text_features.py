"""Text to token ids, by the ``tokenizers`` library.

The result equals that of a Transformers fast tokenizer called with ``truncation=True, max_length=...``;
special tokens are added, and two texts share the length by cutting the longer one first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import msgspec

from edgeexport.errors import ModelError, SamplesError
from edgeexport.sample_files import Kind, Sample, wrong_kind

if TYPE_CHECKING:
    import numpy as np

TOKENIZER_FILE = "tokenizer.json"
_ENCODED = "input_ids"
TextInput = Literal["input_ids", "attention_mask", "token_type_ids", "position_ids"]
ALL_INPUTS: tuple[TextInput, ...] = ("input_ids", "token_type_ids", "attention_mask")


class TokenizerPreprocess(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind", tag="tokenizer"
):
    """How text becomes token ids.

    Attributes:
        max_length: the most tokens, special ones included; longer texts are cut.
        fields: the text columns, one, or two for a pair; empty means the record's only text column.
        inputs: which arrays are made; ``position_ids`` count from 0, padding included.
        dtype: their element type.
        lengths: every sample is padded on its right to the smallest of these that holds it, the largest being
            at least ``max_length``; empty leaves each its natural length.
        pad_id: the token id of padding; its attention mask is 0.
        pad_type_id: the token type of padding.
        truncation_side: which end of a long text is cut.
    """

    accepts: ClassVar[Kind] = "text"
    assets: ClassVar[tuple[str, ...]] = (TOKENIZER_FILE,)

    max_length: Annotated[int, msgspec.Meta(ge=1)]
    fields: Annotated[tuple[str, ...], msgspec.Meta(max_length=2)] = ()
    inputs: Annotated[tuple[TextInput, ...], msgspec.Meta(min_length=1)] = ALL_INPUTS
    dtype: Literal["int64", "int32"] = "int64"
    lengths: tuple[Annotated[int, msgspec.Meta(ge=1)], ...] = ()
    pad_id: Annotated[int, msgspec.Meta(ge=0)] = 0
    pad_type_id: Annotated[int, msgspec.Meta(ge=0)] = 0
    truncation_side: Literal["right", "left"] = "right"

    def __post_init__(self) -> None:
        """Refuse a contradiction."""
        if self.lengths and max(self.lengths) < self.max_length:
            raise ValueError(f"the largest of lengths is {max(self.lengths)}, less than max_length {self.max_length}")

    def bind(self, sample: Sample) -> TokenizerPreprocess:
        """The same with ``fields`` chosen: those it has, or the only text column of ``sample``.

        Raises:
            SamplesError: the sample has no text column, or several.
        """
        if not isinstance(sample.record, Mapping):
            raise wrong_kind("text", f"{sample.name} is a file")
        if _ENCODED in sample.record:
            return self
        return msgspec.structs.replace(self, fields=self.fields or (_only_text(sample.record, sample.name),))

    def prepare(self, assets: Path | None) -> Callable[[Sample], dict[str, np.ndarray]]:
        """Load ``tokenizer.json`` from ``assets``; the result encodes a sample.

        It gives each of ``inputs`` as an array [1, tokens] of ``dtype``. An empty second text still counts as
        one. A record that has ``input_ids`` [1, tokens] is taken as encoded.

        Raises:
            ModelError: the tokenizer is missing or broken, or leaves no room for text within ``max_length``.
            SamplesError: by the result: a column is missing or no text, or the text gives no token at all.
        """
        import numpy as np

        tokenizer = self._load(assets)
        dtype = np.dtype(self.dtype)

        def encode(sample: Sample) -> dict[str, np.ndarray]:
            if isinstance(sample.record, Mapping) and _ENCODED in sample.record:
                return _encoded(np.asarray(sample.record[_ENCODED], dtype), self.inputs)
            texts = self._texts(sample)
            encoding = tokenizer.encode(*texts)
            if not encoding.ids:
                raise SamplesError(f"{sample.name}: the text is empty", "Remove the sample.")
            if self.lengths:
                length = min(length for length in self.lengths if length >= len(encoding.ids))
                encoding.pad(length, pad_id=self.pad_id, pad_type_id=self.pad_type_id)
            arrays = {
                "input_ids": encoding.ids,
                "token_type_ids": encoding.type_ids,
                "attention_mask": encoding.attention_mask,
                "position_ids": list(range(len(encoding.ids))),
            }
            return {name: np.array([arrays[name]], dtype=dtype) for name in self.inputs}

        return encode

    def _load(self, assets: Path | None) -> Any:
        tokenizer = open_tokenizer(assets)
        path = (assets or Path()) / TOKENIZER_FILE
        special = tokenizer.num_special_tokens_to_add(len(self.fields) == 2)
        if self.max_length <= special:
            raise ModelError(
                f"{path}: {special} special tokens leave no room in a max_length of {self.max_length}",
                "Raise max_length.",
            )
        tokenizer.enable_truncation(self.max_length, direction=self.truncation_side)
        tokenizer.no_padding()
        return tokenizer

    def _texts(self, sample: Sample) -> list[str]:
        record = sample.record
        if not isinstance(record, Mapping):
            raise wrong_kind("text", f"{sample.name} is a file")
        texts = []
        for field in self.fields or (_only_text(record, sample.name),):
            text = record.get(field)
            if not isinstance(text, str):
                problem = "has no column" if field not in record else "holds no text in"
                raise SamplesError(
                    f"{sample.name} {problem} '{field}'; its columns: {', '.join(record) or 'none'}",
                    "Every sample needs the same text columns.",
                )
            texts.append(text)
        return texts


def open_tokenizer(assets: Path | None) -> Any:
    """The tokenizer in ``tokenizer.json`` of a folder, which neither cuts nor pads.

    Raises:
        ModelError: it is missing or broken.
    """
    from tokenizers import Tokenizer  # type: ignore[import-untyped, unused-ignore]

    if assets is None or not (assets / TOKENIZER_FILE).is_file():
        where = f"{assets} holds no {TOKENIZER_FILE}" if assets else f"no folder with {TOKENIZER_FILE} is known"
        raise ModelError(f"text cannot be encoded: {where}", "It belongs beside the model.")
    path = assets / TOKENIZER_FILE
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing more precise
        raise ModelError(f"{path} is no tokenizer: {error}", "Save it again with save_pretrained.") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def _encoded(ids: np.ndarray, inputs: tuple[TextInput, ...]) -> dict[str, np.ndarray]:
    import numpy as np

    arrays = {
        "input_ids": ids,
        "token_type_ids": np.zeros_like(ids),
        "attention_mask": np.ones_like(ids),
        "position_ids": np.arange(ids.shape[1], dtype=ids.dtype)[None],
    }
    return {name: arrays[name] for name in inputs}


def _only_text(record: Mapping[str, object], where: str) -> str:
    columns = [name for name, value in record.items() if isinstance(value, str)]
    if len(columns) != 1:
        found = f"several text columns ({', '.join(columns)})" if columns else "no text column"
        raise SamplesError(
            f"{where} has {found}",
            "Keep one beside 'label', or name those to encode in the preprocessing's `fields`.",
        )
    return columns[0]
