"""How a byte-pair encoding builds a token: which other tokens it passes through.

The merge loop is that of the ``tokenizers`` library, queue and all: candidates are taken by rank, then by position, and
one that has grown old still counts if the pair that now stands at its place merges to the same token.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Pair = tuple[str, str]


def merges_of(model: Mapping[str, Any]) -> list[Pair]:
    """The merges of tokenizer.json's model, which writes them as pairs or, before version 0.20, as ``a b``."""
    pairs = (merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"])
    return [(left, right) for left, right in pairs]


def product(pair: Pair, prefix: str) -> str:
    """The token that a pair merges to; the right one loses its ``continuing_subword_prefix``."""
    return pair[0] + pair[1][len(prefix) :]


class Derivations:
    """The way from characters to a token.

    Args:
        vocabulary: ids by token.
        merges: in order of rank; of a pair that is there twice, the last counts.
        prefix: the ``continuing_subword_prefix``, or "".
        suffix: the ``end_of_word_suffix``, or "".
    """

    def __init__(self, vocabulary: Mapping[str, int], merges: Sequence[Pair], prefix: str, suffix: str) -> None:
        self._vocabulary = vocabulary
        self._prefix, self._suffix = prefix, suffix
        self._ranks = {pair: (rank, product(pair, prefix)) for rank, pair in enumerate(merges)}

    def parts(self, token: str) -> set[str]:
        """Every token that ``token`` passes through, itself too; none where merges cannot make it."""
        found: set[str] = set()
        for symbols in self._spelled(token):
            passed, final = self._merge(symbols)
            if final == [token]:
                found |= passed
        return found

    def _spelled(self, token: str) -> Iterator[list[str]]:
        """The characters that the token may have begun as: at a word's start or within, at its end or before."""
        starts = {"", self._prefix} if token.startswith(self._prefix) else {""}
        ends = {"", self._suffix} if token.endswith(self._suffix) else {""}
        for start in starts:
            for end in ends:
                characters = token[len(start) : len(token) - len(end)]
                symbols = [self._prefix + character for character in characters]
                if symbols:
                    symbols[0] = start + characters[0]
                    symbols[-1] += end
                    if all(symbol in self._vocabulary for symbol in symbols):
                        yield symbols

    def _merge(self, symbols: Sequence[str]) -> tuple[set[str], list[str]]:
        """Tokens passed through, and those that are left."""
        line: list[str | None] = list(symbols)
        follows = [*range(1, len(line)), -1]
        precedes = list(range(-1, len(line) - 1))
        passed, queue = set(symbols), list[tuple[int, int, str]]()

        def propose(place: int) -> None:
            after = follows[place] if place >= 0 else -1
            if after >= 0 and (found := self._ranks.get((line[place], line[after]))):  # type: ignore[arg-type]
                heapq.heappush(queue, (found[0], place, found[1]))

        for place in range(len(line)):
            propose(place)
        while queue:
            _, place, made = heapq.heappop(queue)
            after = follows[place]
            if line[place] is None or after < 0:
                continue
            current = self._ranks.get((line[place], line[after]))  # type: ignore[arg-type]
            if current is None or current[1] != made:
                continue
            line[place], line[after] = made, None
            passed.add(made)
            follows[place] = follows[after]
            if follows[after] >= 0:
                precedes[follows[after]] = place
            propose(precedes[place])
            propose(place)
        return passed, [token for token in line if token is not None]
