"""Texts that are token ids already, in an ``.npy`` file: for language models, whose sets are often kept so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeexport.decoder import LONGEST_CONTEXT
from edgeexport.errors import SamplesError
from edgeexport.preprocess import Preprocess, TokenizerPreprocess
from edgeexport.sample_files import Kind, Sample
from edgeexport.samples import Samples

if TYPE_CHECKING:
    import numpy as np


def as_texts(samples: Samples, preprocess: Preprocess, length: int) -> Samples:
    """A set of token ids as texts of up to ``length`` tokens; any other set as it is.

    Args:
        samples: an ``.npy`` of integers, [tokens] or [texts, tokens]. One row is cut into texts that follow each other;
            what is left over at the end and has no token to predict is dropped.
        preprocess: the model's, which takes such texts as samples of its own kind.
        length: what the model takes.

    Raises:
        SamplesError: they are no integers, have other axes, or rows of more than ``length`` tokens.
    """
    if samples.kind != "arrays" or samples.path.suffix.lower() != ".npy":
        return samples
    return Samples(samples.path, TokenFile(samples.path, preprocess.accepts, length))


def longest_text(preprocess: Preprocess, context: int) -> int:
    """Tokens of a sample at most: what the tokenizer gives, and a cache of ``context`` (0: up to 1024) holds."""
    stated = preprocess.max_length if isinstance(preprocess, TokenizerPreprocess) else LONGEST_CONTEXT
    return min(stated, context or LONGEST_CONTEXT)


def check_ids(where: str, ids: np.ndarray[Any, Any], vocabulary: int) -> None:
    """Refuse a text with a token that a model has not: some runtimes would read beyond a table.

    Raises:
        SamplesError: naming the first such token.
    """
    strange = ids[(ids < 0) | (ids >= vocabulary)]
    if strange.size:
        raise SamplesError(
            f"{where} has token {int(strange[0])}, and the model knows {vocabulary}, from 0",
            "The ids are another tokenizer's, or of tokens that were added since.",
        )


class TokenFile:
    """A reader of such a file; see :class:`edgeexport.sample_files.Reader`.

    A record is ``{"input_ids": int64 [1, tokens]}``.
    """

    what = "a file of token ids"
    labelled = False

    def __init__(self, path: Path, kind: Kind, length: int) -> None:
        self._path, self.kind, self._length = path, kind, length
        ids = self._open()
        if ids.dtype.kind not in "iu" or ids.ndim not in (1, 2):
            raise SamplesError(
                f"{path} holds {ids.dtype} values in {ids.ndim} axes, and token ids are integers in one or two",
                "Save them with numpy.save(FILE, ids), as [tokens] or [texts, tokens].",
            )
        if ids.ndim == 2 and ids.shape[1] > length:
            raise SamplesError(
                f"{path}: a row has {ids.shape[1]} token ids, and the model takes {length}",
                "Cut the rows, or save them one after another as [tokens], to be cut here.",
            )

    def __len__(self) -> int:
        shape: tuple[int, ...] = self._open().shape
        return shape[0] if len(shape) == 2 else shape[0] // self._length + (shape[0] % self._length > 1)

    def __iter__(self) -> Iterator[Sample]:
        import numpy as np

        ids = self._open()
        for number in range(len(self)):
            row = ids[number] if ids.ndim == 2 else ids[number * self._length : (number + 1) * self._length]
            yield Sample(f"{self._path.name}[{number}]", {"input_ids": np.array(row, np.int64)[None]})

    def files(self) -> Iterable[tuple[str, Path]]:
        """The one file; the length decides what a text is."""
        return [(f"{self._path.name} by {self._length}", self._path)]

    def _open(self) -> np.ndarray[Any, Any]:
        import numpy as np

        array: np.ndarray[Any, Any] = np.load(self._path, mmap_mode="r", allow_pickle=False)
        return array
