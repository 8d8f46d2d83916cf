"""Preprocess: from a raw sample to what the model takes.

One specification for calibration, evaluation, golden data and every sample app: it travels in a bundle's
manifest, with the files it names. Each kind has

    accepts         the kind of samples it encodes
    assets          names of the files that must travel with it
    prepare(folder) loads those files once; the result encodes a sample into arrays, leading batch axis 1

    tokenizer       text to token ids                   :mod:`edgeexport.text_features`
    image           images to pixel values              :mod:`edgeexport.image_features`
    log-mel         recordings to log-mel spectrograms  :mod:`edgeexport.audio_features`
    none            arrays, as they are
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from edgeexport.audio_features import LogMelPreprocess
from edgeexport.errors import BundleError
from edgeexport.image_features import ImagePreprocess
from edgeexport.sample_files import Kind, Sample, wrong_kind
from edgeexport.text_features import TokenizerPreprocess
from edgeexport.tokenizer_folder import tokenizer_from_folder

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "ArraysPreprocess",
    "ImagePreprocess",
    "LogMelPreprocess",
    "Preprocess",
    "TokenizerPreprocess",
    "from_dict",
    "to_dict",
    "tokenizer_from_folder",
]


class ArraysPreprocess(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind", tag="none"
):
    """Arrays go in as they are; the array of an ``.npy``, named "", means the model's only input."""

    accepts: ClassVar[Kind] = "arrays"
    assets: ClassVar[tuple[str, ...]] = ()

    def prepare(self, assets: Path | None = None) -> Callable[[Sample], dict[str, np.ndarray]]:
        """The encoder; ``assets`` is not used.

        Raises:
            SamplesError: by the result: the record is not arrays.
        """
        del assets
        import numpy as np

        def encode(sample: Sample) -> dict[str, np.ndarray]:
            if isinstance(sample.record, Path):
                raise wrong_kind("arrays", f"{sample.name} is a file")
            arrays = {}
            for name, value in sample.record.items():
                if not isinstance(value, np.ndarray):
                    raise wrong_kind("arrays", f"{sample.name} holds {type(value).__name__} in '{name}'")
                arrays[name] = value
            return arrays

        return encode


Preprocess = TokenizerPreprocess | ImagePreprocess | LogMelPreprocess | ArraysPreprocess


def to_dict(preprocess: Preprocess) -> dict[str, Any]:
    """As plain JSON values, ``kind`` among them."""
    data: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(preprocess))
    return data


def from_dict(data: Mapping[str, Any], where: str = "manifest.json") -> Preprocess:
    """The inverse of :func:`to_dict`.

    Args:
        data: JSON values.
        where: the file, for the message.

    Raises:
        BundleError: an unknown kind or key, or a value out of range.
    """
    try:
        return msgspec.convert(data, Preprocess)  # type: ignore[arg-type, no-any-return, unused-ignore]
    except msgspec.ValidationError as error:
        raise BundleError(
            f"{where}: preprocess does not validate: {error}", "Export again with this version of edgeexport."
        ) from error
