"""Vocabulary pruning: embedding rows that the task never uses are removed, and the tokenizer is rewritten to match.

Text of which every token is kept gets the same tokens and the model gives the same outputs for it; other text falls
apart into smaller tokens, or becomes unknown. The idea, for multilingual models: Abdaoui et al., "Load What You Need",
arXiv:2010.05609.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeexport.compress._embedding_rows import keep_rows, renumber_generation, table_of
from edgeexport.compress._tokenizer_companions import named_ids, rewrite_companions
from edgeexport.compress._tokenizer_file import TokenizerFile
from edgeexport.compress._tokens_seen import Texts, Unlike, compare, count, of_texts, translated
from edgeexport.compression import Materials
from edgeexport.errors import ModelError, RecipeError, SamplesError
from edgeexport.preprocess import TokenizerPreprocess
from edgeexport.samples import Sample, Samples, feeds
from edgeexport.source import Editable, Source, float32_bytes
from edgeexport.stages import Vocabulary
from edgeexport.text_features import TOKENIZER_FILE
from edgeexport.tokenizer_folder import OFFSET_POSITIONS

_COMPARED = 8
"""Training samples whose outputs are compared, before and after."""
_TOLERANCE = 1e-4
"""Of the largest score: a language model's head multiplies fewer rows, which may round otherwise."""


class VocabularyPruning:
    """See :class:`edgeexport.compression.Method`."""

    def compress(self, source: Source, stage: Vocabulary, materials: Materials, folder: Path) -> dict[str, Any]:
        """Write the model with fewer tokens to ``folder``; see :class:`edgeexport.compression.Method`."""
        train = materials.train
        if train is None:
            raise SamplesError(
                "pruning the vocabulary needs texts that show which tokens the task uses, and none were given",
                "Give --train FILE; labels are not needed.",
            )
        preprocess, assets = _text_of(source)
        editable = source.editable()
        rows, before = table_of(editable).num_embeddings, float32_bytes(editable.model)
        tokenizer = TokenizerFile(assets / TOKENIZER_FILE)
        counts = count(Texts(train, preprocess, assets), materials.progress)
        rules = _rules(editable, tokenizer, preprocess.pad_id, counts, stage)
        _check_use(rules, counts, stage, str(train.path))
        new = _renumbering(rules, rows, tokenizer, source.name)
        keep_rows(editable, list(new))
        editable.save(folder)
        renumber_generation(editable, folder, new)
        deleted = rewrite_companions(folder, tokenizer, new)
        made = materials.open(str(folder))
        both = _Both(source, made, new, rows, tokenizer)
        both.check_tokens(train)
        facts: dict[str, Any] = {
            "tokens": [rows, len(new)],
            "bytes": [before, float32_bytes(editable.model)],
            "bytes_saved": before - float32_bytes(editable.model),
            "kept": _first_rule(rules),
            "files_left_out": deleted,
            "largest_difference": both.check_outputs(train),
        }
        if materials.evaluation is not None:
            facts["evaluation"] = both.compare(materials.evaluation).facts()
        return {"summary": _summary(facts), **facts}


def open_method() -> VocabularyPruning:
    """The method of this module."""
    return VocabularyPruning()


def _text_of(source: Source) -> tuple[TokenizerPreprocess, Path]:
    if not isinstance(source.preprocess, TokenizerPreprocess) or source.assets is None:
        raise ModelError(
            f"{source.name} has no tokenizer, so it has no vocabulary to prune",
            f"Give a Transformers folder of a text model with its {TOKENIZER_FILE}, or leave the stage out.",
        )
    return source.preprocess, source.assets


def _rules(
    editable: Editable,
    tokenizer: TokenizerFile,
    padding: int,
    counts: Mapping[int, int],
    stage: Vocabulary,
) -> dict[str, set[int]]:
    """Which tokens stay, by the rule that keeps them; a token may be under several."""
    config: Any = editable.model.config
    rows, kind = table_of(editable).num_embeddings, tokenizer.kind
    rules = {
        "special": tokenizer.special() | {padding} | {n for n in named_ids(config.to_dict()) if n < rows},
        "before_padding": _before_padding(config, rows),
        "alphabet": kind.alphabet(),
        "training": {number for number, times in counts.items() if times >= stage.minimum_count},
        "keep": of_texts(stage.keep, tokenizer.path.parent),
        "characters": kind.characters(counts),
    }
    return {**rules, "parts": kind.needed(set().union(*rules.values()))}


def _before_padding(config: Any, rows: int) -> set[int]:
    """What keeps the padding's id where a model counts positions from it."""
    padding = config.pad_token_id
    offset = config.model_type in OFFSET_POSITIONS and padding is not None and 0 <= padding < rows
    return set(range(padding)) if offset else set()


def _check_use(rules: Mapping[str, set[int]], counts: Mapping[int, int], stage: Vocabulary, where: str) -> None:
    """Refuse a choice that would leave nothing of the training set."""
    ordinary = {number: times for number, times in counts.items() if number not in rules["special"]}
    if not ordinary:
        raise SamplesError(f"{where} holds no text: its samples give special tokens only", "Give texts of the task.")
    if max(ordinary.values()) < stage.minimum_count:
        raise RecipeError(
            f"a minimum_count of {stage.minimum_count} keeps no token of {where}: the most frequent one is there "
            f"{max(ordinary.values())} times",
            "Lower minimum_count; 1 keeps everything that the texts use.",
        )


def _renumbering(rules: Mapping[str, set[int]], rows: int, tokenizer: TokenizerFile, name: str) -> dict[int, int]:
    """New ids by old ones, ascending.

    Raises:
        ModelError: a token has no row.
    """
    kept = sorted(set().union(*rules.values()))
    if kept[-1] >= rows:
        raise ModelError(
            f"{tokenizer.path} has a token of id {kept[-1]}, but {name} has {rows} rows of embeddings",
            "Give the model's own tokenizer, or resize the model to it.",
        )
    return {old: number for number, old in enumerate(kept)}


def _first_rule(rules: Mapping[str, set[int]]) -> dict[str, int]:
    """How many tokens each rule keeps that none before it does."""
    known: set[int] = set()
    found = {}
    for name, numbers in rules.items():
        found[name] = len(numbers - known)
        known |= numbers
    return found


@dataclass(frozen=True)
class _Both:
    """The model as it was and as it is.

    Attributes:
        source: as it was.
        made: as it opens from its folder.
        new: new ids by old ones.
        rows: of the embedding as it was.
        tokenizer: as it was.
    """

    source: Source
    made: Source
    new: Mapping[int, int]
    rows: int
    tokenizer: TokenizerFile

    def check_tokens(self, samples: Samples) -> None:
        """Hold the promise on the training set: what is covered has the same tokens.

        Raises:
            ModelError: a sample has not.
        """
        before, after = self._texts(samples)
        for sample in before:
            if self._covers(before, sample) and after.seen(sample) != translated(before.seen(sample), self.new):
                raise ModelError(
                    f"{self.tokenizer.path}: {sample.name} would be split otherwise with fewer tokens",
                    "This tokenizer cannot be pruned; leave its vocabulary as it is.",
                )

    def check_outputs(self, samples: Samples) -> float:
        """The largest difference of outputs, over some covered samples; a language model's over tokens that stay.

        Raises:
            ModelError: it is not that of rounding, as where a model keeps tokens in places that are not known.
        """
        texts, _ = self._texts(samples)
        chosen = list(itertools.islice((sample for sample in texts if self._covers(texts, sample)), _COMPARED))
        columns, largest = sorted(self.new), 0.0
        for given, changed in zip(_fed(self.source, chosen), _fed(self.made, chosen), strict=True):
            theirs = self.source.reference(given)
            for name, output in self.made.reference(changed).items():
                wanted = theirs[name]
                if wanted.shape != output.shape and wanted.shape[-1] == self.rows:
                    wanted = wanted[..., columns]
                difference = float(np.abs(wanted - output).max()) if wanted.shape == output.shape else np.inf
                if not difference <= _TOLERANCE * max(1.0, float(np.abs(wanted).max())):
                    raise ModelError(
                        f"{self.source.name}: '{name}' is not the same without the unused tokens, by {difference:g}",
                        "The model uses token ids in a way that is not known; leave its vocabulary as it is.",
                    )
                largest = max(largest, difference)
        return largest

    def compare(self, samples: Samples) -> Unlike:
        """How the tokens of a set have changed."""
        before, after = self._texts(samples)
        pairs = ((before.seen(sample), after.seen(sample)) for sample in samples)
        return compare(pairs, self.new, self.tokenizer.kind.unknown)

    def _texts(self, samples: Samples) -> tuple[Texts, Texts]:
        return Texts(samples, *_text_of(self.source)), Texts(samples, *_text_of(self.made))

    def _covers(self, texts: Texts, sample: Sample) -> bool:
        """Whether no token that the sample's split depends on is gone."""
        kind, ids = self.tokenizer.kind, texts.deciding(sample)
        return all(number in self.new for number in ids) and (kind.exact_unknown or kind.unknown not in ids)


def _fed(source: Source, samples: list[Sample]) -> Iterator[dict[str, np.ndarray]]:
    """What the model takes of each sample."""
    if samples:
        preprocess, assets = _text_of(source)
        yield from (arrays for _, arrays in feeds(samples, preprocess.bind(samples[0]), source.signature, assets))


def _summary(facts: Mapping[str, Any]) -> str:
    before, after = facts["tokens"]
    text = f"{after:,} of {before:,} tokens kept, {facts['bytes_saved'] / 1e6:.2f} MB of float32 saved"
    if "evaluation" in facts:
        unlike = facts["evaluation"]
        text += f"; the tokens of {unlike['samples_changed']:,} of {unlike['samples']:,} evaluation samples changed"
    if facts["files_left_out"]:
        text += f"; {', '.join(facts['files_left_out'])} left out, as {TOKENIZER_FILE} has it all"
    return text
