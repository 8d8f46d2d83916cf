"""Samples that look random: made up to get an export through, they have ranges that no real sample has."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from statistics import median

from edgeexport.lint import _measures
from edgeexport.lint._rule import Found, Level, rule
from edgeexport.lint._survey import Survey
from edgeexport.lint._view import View

_SOME, _MOST = 0.1, 0.5
_UNCORRELATED = 0.15
_NEIGHBOURS = 8
_WHITE = 0.8
_KINDS = 200
_UNIFORM = 3.0
_UNKNOWN, _MOSTLY_UNKNOWN = 0.2, 0.5
_PIECES = 0.55
_SHORT_PIECES = 1.9
_LARGE = 5000


@rule("noise-images")
def images(view: View) -> Iterator[Found]:
    """Pixels that have nothing to do with their neighbours."""
    values = [one.neighbours for one in view.calibration.seen if one.neighbours is not None]
    count = sum(value < _UNCORRELATED for value in values)
    if count > _SOME * len(values):
        yield Found(
            _level(count, len(values)),
            f"{count} of {len(values)} images are noise: neighbouring pixels correlate by less than {_UNCORRELATED} "
            f"(median {median(values):.2f}; photographs have 0.6 to 1)",
            "Give images such as the model will meet.",
        )


@rule("noise-arrays")
def arrays(view: View) -> Iterator[Found]:
    """The same of arrays with two long axes; an error where the evaluation set's are unlike that."""
    if view.subject.preprocess.accepts != "arrays":
        return
    theirs = _correlations(view.evaluation)
    for name, values in _correlations(view.calibration).items():
        count = sum(value < _UNCORRELATED for value in values)
        other = median(theirs[name]) if theirs.get(name) else None
        if count > _SOME * len(values) and (other is None or other >= 2 * _UNCORRELATED):
            known = "" if other is None else f"; the evaluation set's median is {other:.2f}"
            yield Found(
                "warning" if other is None else _level(count, len(values)),
                f"'{name}' is noise in {count} of {len(values)} samples: neighbouring values correlate by less than "
                f"{_UNCORRELATED} (median {median(values):.2f}{known})",
                "Give samples such as the model will meet, preprocessed as it was trained.",
            )


@rule("noise-recordings")
def recordings(view: View) -> Iterator[Found]:
    """Recordings with a flat spectrum."""
    values = [one.flatness for one in view.calibration.seen if one.flatness is not None]
    count = sum(value > _WHITE for value in values)
    if count > _SOME * len(values):
        yield Found(
            _level(count, len(values)),
            f"{count} of {len(values)} recordings are white noise: spectral flatness above {_WHITE} "
            f"(median {median(values):.2f}; speech has 0.05 to 0.25)",
            "Give recordings such as the model will meet.",
        )


@rule("random-tokens")
def tokens(view: View) -> Iterator[Found]:
    """Token ids, or words, that are all as frequent: texts repeat some words far more often than others."""
    for what, counts in _token_counts(view.calibration):
        likeness = _measures.likeness_of_tokens(counts)
        if len(counts) >= _KINDS and likeness < _UNIFORM:
            yield Found(
                "error",
                f"{what} look drawn at random: {len(counts)} kinds in {sum(counts.values())}, two of them equal "
                f"{likeness:.1f} times as often as if all were as likely (texts: 20 and more)",
                "Give texts such as the model will meet.",
            )


@rule("unknown-tokens")
def unknown(view: View) -> Iterator[Found]:
    """Texts that the tokenizer has no tokens for."""
    total = sum(len(one.tokens or ()) for one in view.calibration.seen)
    count = sum(one.unknown for one in view.calibration.seen)
    if total and count > _UNKNOWN * total:
        yield Found(
            "error" if count > _MOSTLY_UNKNOWN * total else "warning",
            f"{count / total:.0%} of {total} tokens stand for what the tokenizer does not know",
            "Give texts in the language and script that the model was trained on.",
        )


@rule("shredded-texts", unless=("unknown-tokens",))
def shredded(view: View) -> Iterator[Found]:
    """Texts that fall into far shorter tokens than those of the evaluation set, or than words do."""
    ours, theirs = _token_length(view.calibration), _token_length(view.evaluation)
    if ours is None:
        return
    letters = sum(one.letters for one in view.calibration.seen) / sum(one.characters for one in view.calibration.seen)
    if theirs is not None and ours < _PIECES * theirs:
        evidence = f"a token holds {ours:.1f} characters on average, in the evaluation set {theirs:.1f}"
    elif theirs is None and letters > _SHREDDED_LETTERS and ours < _SHORT_PIECES and _vocabulary(view) >= _LARGE:
        evidence = f"a token holds {ours:.1f} characters on average, where words of Latin letters give 3 to 5"
    else:
        return
    yield Found(
        "warning",
        f"{evidence}: the tokenizer finds few words in these texts",
        "Give texts in the language that the model was trained on, not encoded or compressed ones.",
    )


_SHREDDED_LETTERS = 0.9


def _level(count: int, total: int) -> Level:
    return "error" if count > _MOST * total else "warning"


def _correlations(seen: Survey | None) -> dict[str, list[float]]:
    """Mean correlation along the long axes, of each sample, of inputs with two such axes and more."""
    found = {}
    for name, one in () if seen is None else seen.inputs.items():
        rows = [[value for value in row if not math.isnan(value)] for row in one.neighbours]
        if one.sizes[0] >= _NEIGHBOURS**2 and any(len(row) > 1 for row in rows):
            found[name] = [sum(row) / len(row) for row in rows if len(row) > 1]
    return found


def _token_counts(seen: Survey) -> Iterator[tuple[str, Counter[int]]]:
    texts: Counter[int] = Counter()
    for one in seen.seen:
        texts.update(one.tokens or ())
    if texts:
        yield "tokens", texts
        return
    for name, values in seen.inputs.items():
        if values.integers and not values.rising:
            yield f"'{name}'", values.counts


def _token_length(seen: Survey | None) -> float | None:
    """Characters in a token on average, or None where there are no texts."""
    tokens = 0 if seen is None else sum(len(one.tokens or ()) for one in seen.seen)
    return None if seen is None or not tokens else sum(one.characters for one in seen.seen) / tokens


def _vocabulary(view: View) -> int:
    from edgeexport.text_features import open_tokenizer

    return int(open_tokenizer(view.subject.assets).get_vocab_size())
