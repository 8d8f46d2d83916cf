"""What each kind of tokenizer needs beside the tokens of a text, so that the text is split as before.

In what follows V is the vocabulary as it was and K, a subset of V, the one that is left. A text is covered if all
tokens that V splits it into are in K. What happens before a word reaches the model (added tokens, normalizer,
pre-tokenizer) does not know V, so it is enough to look at one word.
"""

from __future__ import annotations

import string
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

from edgeexport.compress._tokenizer_merges import Derivations, merges_of, product
from edgeexport.errors import ModelError

_PRINTABLE = frozenset(character for character in string.printable if not character.isspace())
_BYTES = frozenset(f"<0x{number:02X}>" for number in range(256))


class Kind(ABC):
    """A kind of model in tokenizer.json.

    Attributes:
        model: the ``model`` of tokenizer.json.
        vocabulary: ids by token, added ones apart.
        unknown: the id of the unknown token, or None.
        exact_unknown: whether a word that V does not know stays unknown in every K.
    """

    exact_unknown = True

    def __init__(self, tokenizer: Mapping[str, Any], where: str) -> None:
        self.model: dict[str, Any] = tokenizer["model"]
        self._byte_level = any(_holds(tokenizer.get(part), "ByteLevel") for part in ("normalizer", "pre_tokenizer"))
        self.vocabulary = self._read_vocabulary()
        self._tokens = {number: token for token, number in self.vocabulary.items()}
        self.unknown = self._read_unknown()
        self._check(where)

    def _read_vocabulary(self) -> dict[str, int]:
        return dict(self.model["vocab"])

    def _read_unknown(self) -> int | None:
        return self.vocabulary.get(self.model.get("unk_token") or "")

    def _check(self, where: str) -> None:
        """Refuse a tokenizer that would have nothing to give for what is removed."""
        if self.unknown is None:
            raise ModelError(
                f"{where} names no unknown token, so a word that is removed could not be encoded at all",
                "Give the tokenizer an unknown token, or leave its vocabulary as it is.",
            )

    def alphabet(self) -> set[int]:
        """Tokens without which some text could no longer be written."""
        return set()

    def characters(self, seen: Iterable[int]) -> set[int]:
        """Single characters in every form they have: those of the tokens ``seen``, and printable ASCII.

        A word that is not covered then falls apart into smaller pieces, and seldom becomes unknown.
        """
        wanted = set(_PRINTABLE)
        for number in seen:
            wanted.update(self._tokens.get(number, ""))
        forms = ((start, end) for start in {"", self._prefix} for end in {"", self._suffix})
        pieces = {start + character + end for start, end in forms for character in wanted}
        return self._numbers(pieces)

    def needed(self, kept: Iterable[int]) -> set[int]:
        """What else must stay so that text covered by ``kept`` is split as before."""
        del kept
        return set()

    @abstractmethod
    def rewritten(self, new: Mapping[int, int]) -> dict[str, Any]:
        """The ``model`` with the tokens of ``new`` only, which gives new ids by old ones."""

    @property
    def _prefix(self) -> str:
        return self.model.get("continuing_subword_prefix") or ""

    @property
    def _suffix(self) -> str:
        return self.model.get("end_of_word_suffix") or ""

    def _numbers(self, tokens: Iterable[str]) -> set[int]:
        return {self.vocabulary[token] for token in tokens if token in self.vocabulary}

    def _left(self, new: Mapping[int, int]) -> dict[str, int]:
        return {token: new[number] for token, number in self.vocabulary.items() if number in new}


class WordLevel(Kind):
    """A word is looked up. One in K is found as before; one that is not in V is not in K either."""

    def characters(self, seen: Iterable[int]) -> set[int]:
        """None: words do not fall apart."""
        del seen
        return set()

    def rewritten(self, new: Mapping[int, int]) -> dict[str, Any]:
        """See :class:`Kind`."""
        return {**self.model, "vocab": self._left(new)}


class WordPiece(Kind):
    """The longest piece that a word begins with is cut off, again and again (Schuster and Nakajima, 2012).

    Where V cuts off a piece, no longer one is in V, so none is in K; the piece itself is in K, and is cut off.

    A word is unknown where at some place no piece of V fits. K could get past that place only by a piece that began
    earlier, and holds the character there. If every character that a piece holds behind its first is a piece by
    itself within words, one would have fitted: so K stops there too. Where V lacks such a character, K may split a
    word that V calls unknown, having lost a piece that led V astray: then text with unknown words is not covered.
    """

    def __init__(self, tokenizer: Mapping[str, Any], where: str) -> None:
        super().__init__(tokenizer, where)
        # Added tokens are found before a word is cut into pieces, and are none.
        added = {token["content"] for token in tokenizer.get("added_tokens", ())}
        pieces = (token.removeprefix(self._prefix) for token in self.vocabulary.keys() - added)
        behind = {character for piece in pieces for character in piece[1:]}
        self.exact_unknown = all(self._prefix + character in self.vocabulary for character in behind)

    def rewritten(self, new: Mapping[int, int]) -> dict[str, Any]:
        """See :class:`Kind`."""
        return {**self.model, "vocab": self._left(new)}


class Bpe(Kind):
    """Neighbours are merged by rank until no merge applies (Sennrich et al., arXiv:1508.07909).

    Why covered text cannot change. Let a word's tokens by V be in K. A merge across the border of two of them is never
    made, so what happens within one of them happens as if it stood alone: tokens passed through on the way are its
    :meth:`Derivations.parts`, and K holds these. So every merge that V makes, and every candidate that led to it, is
    of tokens in K, and is left. Of the merges that are left, all are V's in the same order: the next one that V makes
    is the first that applies among them too. By induction both go the same way, and stop together, as what applies
    in K applies in V.

    ``ignore_merges`` looks a whole word up first: one in K is found as before, one that is not in V is not in K.
    A character that V lacks becomes byte tokens or unknown, all of which stay.
    """

    def _check(self, where: str) -> None:
        if self.model.get("dropout"):
            raise ModelError(
                f"{where} splits words at random, by a dropout of {self.model['dropout']}",
                "Set the dropout to null: it is for training a tokenizer's model only.",
            )

    def alphabet(self) -> set[int]:
        """The 256 byte tokens; where there are none, and no unknown token, every single character.

        Without either, a character that is removed would vanish from the text.
        """
        if self._byte_level:
            return self._numbers(_byte_characters())
        found = self._numbers(_BYTES) if self.model.get("byte_fallback") else set()
        if self.unknown is None and len(found) < len(_BYTES):
            found |= {
                number
                for token, number in self.vocabulary.items()
                if len(token.removeprefix(self._prefix).removesuffix(self._suffix)) == 1
            }
        return found

    def characters(self, seen: Iterable[int]) -> set[int]:
        """See :class:`Kind`; bytes are characters enough."""
        return set() if self._byte_level else super().characters(seen)

    def needed(self, kept: Iterable[int]) -> set[int]:
        """The parts of every token."""
        derivations = Derivations(self.vocabulary, merges_of(self.model), self._prefix, self._suffix)
        found: set[int] = set()
        for number in kept:
            if number in self._tokens:
                found |= self._numbers(derivations.parts(self._tokens[number]))
        return found

    def rewritten(self, new: Mapping[int, int]) -> dict[str, Any]:
        """See :class:`Kind`."""
        left = self._left(new)
        merges = [
            written
            for written, pair in zip(self.model["merges"], merges_of(self.model), strict=True)
            if pair[0] in left and pair[1] in left and product(pair, self._prefix) in left
        ]
        return {**self.model, "vocab": left, "merges": merges}


class Unigram(Kind):
    """The split with the largest sum of scores is taken (Kudo, arXiv:1804.10959).

    Why covered text cannot change. The best split by V is there in K with the same sum; every other one that K has, V
    has too, with a sum no larger. Of equal sums the one whose last piece begins first wins, at every place of the
    word: candidates that begin earlier had less in V and have no more in K, those that begin later may at most draw.

    K also tries an unknown character where V has a piece for it. It costs the least score of the vocabulary less 10,
    so less than any piece, as long as that least score stays: so a piece that has it does.
    """

    def _read_vocabulary(self) -> dict[str, int]:
        return {token: number for number, (token, _) in enumerate(self.model["vocab"])}

    def _read_unknown(self) -> int | None:
        return self.model.get("unk_id")

    def alphabet(self) -> set[int]:
        """The byte tokens."""
        return self._numbers(_BYTES) if self.model.get("byte_fallback") else set()

    def needed(self, kept: Iterable[int]) -> set[int]:
        """A piece of the least score."""
        scores = [score for _, score in self.model["vocab"]]
        least = min(scores)
        return (
            set() if any(scores[number] == least for number in kept if number < len(scores)) else {scores.index(least)}
        )

    def rewritten(self, new: Mapping[int, int]) -> dict[str, Any]:
        """See :class:`Kind`."""
        left = [piece for number, piece in enumerate(self.model["vocab"]) if number in new]
        assert self.unknown is not None
        return {**self.model, "vocab": left, "unk_id": new[self.unknown]}


_KINDS: dict[str, type[Kind]] = {"BPE": Bpe, "Unigram": Unigram, "WordLevel": WordLevel, "WordPiece": WordPiece}


def kind_of(tokenizer: Mapping[str, Any], where: str) -> Kind:
    """The kind of a tokenizer.json.

    Args:
        tokenizer: its values.
        where: its path, for messages.

    Raises:
        ModelError: a kind that is not known, or one that cannot do without what would be removed.
    """
    model = tokenizer["model"]
    name = model.get("type") or _guess(model)
    if name not in _KINDS:
        raise ModelError(
            f"{where} is of the kind '{name}', whose vocabulary cannot be rewritten", f"Kinds: {', '.join(_KINDS)}."
        )
    return _KINDS[name](tokenizer, where)


def _guess(model: Mapping[str, Any]) -> str:
    """Files of the library's first versions do not say."""
    if "merges" in model:
        return "BPE"
    if isinstance(model["vocab"], list):
        return "Unigram"
    return "WordPiece" if "max_input_chars_per_word" in model else "WordLevel"


def _holds(value: Any, kind: str) -> bool:
    """Whether a part of that type is somewhere inside."""
    if isinstance(value, Mapping):
        return value.get("type") == kind or any(_holds(inner, kind) for inner in value.values())
    return isinstance(value, list) and any(_holds(inner, kind) for inner in value)


def _byte_characters() -> list[str]:
    """The characters that stand for bytes in a byte-level encoding (GPT-2, ``bytes_to_unicode``)."""
    from tokenizers.pre_tokenizers import ByteLevel

    return list(ByteLevel.alphabet())
