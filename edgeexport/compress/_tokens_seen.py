"""Which tokens a model sees of a set of texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeexport.errors import RecipeError
from edgeexport.preprocess import TokenizerPreprocess
from edgeexport.progress import Progress
from edgeexport.sample_files import wrong_kind
from edgeexport.samples import Sample, Samples
from edgeexport.text_features import TOKENIZER_FILE


@dataclass(frozen=True)
class Unlike:
    """How two tokenizers differ on a set, the second having fewer tokens.

    Attributes:
        samples: how many there are.
        changed: whose tokens are not the same.
        tokens: how many the first gives.
        lost: of these, those that the second does not give: unknown now, split otherwise, or cut off behind such.
        unknown: by how much unknown tokens have become more.
    """

    samples: int
    changed: int
    tokens: int
    lost: int
    unknown: int

    def facts(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "samples": self.samples,
            "samples_changed": self.changed,
            "tokens": self.tokens,
            "tokens_changed": self.lost,
            "share_changed": self.lost / self.tokens,
            "more_unknown": self.unknown,
        }


class Texts:
    """Samples of text as a model takes them; iterating streams them.

    Args:
        samples: the set.
        preprocess: the model's.
        assets: the folder with its ``tokenizer.json``.

    Raises:
        SamplesError: the samples are no text.
    """

    def __init__(self, samples: Samples, preprocess: TokenizerPreprocess, assets: Path) -> None:
        if samples.kind != preprocess.accepts:
            raise wrong_kind(preprocess.accepts, f"{samples.path} is {samples.what}")
        self._samples = samples
        self._preprocess = preprocess.bind(next(iter(samples)))
        self._encode = self._preprocess.prepare(assets)
        self._whole = _untruncated(assets)

    def __len__(self) -> int:
        return len(self._samples)

    def __iter__(self) -> Iterator[Sample]:
        return iter(self._samples)

    def seen(self, sample: Sample) -> list[int]:
        """The ids that the model sees.

        Raises:
            SamplesError: there are none.
        """
        return list(map(int, self._encode(sample)["input_ids"][0]))

    def deciding(self, sample: Sample) -> list[int]:
        """The same, and those of words that the limit on length cuts through.

        How such a word is split, and so what is seen of it, depends on all of its tokens.
        """
        ids = self.seen(sample)
        if len(ids) < self._preprocess.max_length:
            return ids
        assert isinstance(sample.record, Mapping)
        texts = [sample.record[field] for field in self._preprocess.fields]
        full = self._whole.encode(*texts)
        self._whole.enable_truncation(self._preprocess.max_length, direction=self._preprocess.truncation_side)
        cut = self._whole.encode(*texts)
        self._whole.no_truncation()
        words = set(zip(cut.sequence_ids, cut.word_ids, strict=True))
        places = zip(full.sequence_ids, full.word_ids, strict=True)
        return [number for number, place in zip(full.ids, places, strict=True) if place in words]


def count(texts: Texts, progress: Progress) -> Counter[int]:
    """How often each token is there, by id; special ones too.

    Raises:
        SamplesError: a sample gives no token.
    """
    counts = Counter[int]()
    with progress.stage("counting tokens", len(texts)) as stage:
        for sample in stage.follow(texts):
            counts.update(texts.deciding(sample))
    return counts


def of_texts(texts: Sequence[str], assets: Path) -> set[int]:
    """The tokens of texts to keep, wherever in a text they stand: at its beginning, or after a space.

    Raises:
        RecipeError: one is empty.
    """
    tokenizer, found = _untruncated(assets), set[int]()
    for text in texts:
        if not text.strip():
            raise RecipeError("keep: a text is empty", "Give words or sentences, or leave `keep` out.")
        for placed in (text, f" {text}"):
            found.update(tokenizer.encode(placed, add_special_tokens=False).ids)
    return found


def translated(ids: Iterable[int], new: Mapping[int, int]) -> list[int]:
    """New ids of old ones; -1 for those that have none."""
    return [new.get(number, -1) for number in ids]


def compare(
    pairs: Iterable[tuple[Sequence[int], Sequence[int]]], new: Mapping[int, int], unknown: int | None
) -> Unlike:
    """Compare old ids with new ones, sample by sample.

    Args:
        pairs: old and new ids of each sample.
        new: new ids by old ones.
        unknown: the old id of the unknown token, or None.
    """
    samples = changed = tokens = lost = more = 0
    for before, after in pairs:
        expected = translated(before, new)
        samples += 1
        tokens += len(before)
        if expected != list(after):
            changed += 1
            lost += (Counter(expected) - Counter(after)).total()
            more += 0 if unknown is None else after.count(new[unknown]) - before.count(unknown)
    return Unlike(samples, changed, tokens, lost, more)


def _untruncated(assets: Path) -> Any:
    from tokenizers import Tokenizer  # type: ignore[import-untyped, unused-ignore]

    tokenizer = Tokenizer.from_file(str(assets / TOKENIZER_FILE))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
