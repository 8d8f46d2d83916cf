"""How long texts are, in tokens and before they are cut."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from edgeexport.lint._rule import Found, rule
from edgeexport.lint._survey import Survey
from edgeexport.lint._view import View

_RATIO = 2.0
_CUT = 0.25


@rule("lengths-unlike-evaluation", unless=("random-tokens", "shredded-texts", "unknown-tokens", "truncated-texts"))
def unlike(view: View) -> Iterator[Found]:
    """Positions and sums over a text reach other values in texts half or twice as long."""
    here, there = _lengths(view.calibration), _lengths(view.evaluation)
    if not here or not there:
        return
    ours, theirs = median(here), median(there)
    if not theirs / _RATIO < ours < theirs * _RATIO:
        yield Found(
            "warning",
            f"texts have a median of {ours:g} tokens, those of the evaluation set {theirs:g}",
            "Take texts as long as those that the model will meet.",
        )


@rule("truncated-texts")
def truncated(view: View) -> Iterator[Found]:
    """Texts that are cut to what the model takes, when those of the evaluation set are not."""
    longest = view.subject.longest
    here, there = _lengths(view.calibration), _lengths(view.evaluation)
    if longest is None or not here:
        return
    cut, theirs = (sum(length > longest for length in some) / max(len(some), 1) for some in (here, there))
    if cut > max(_CUT, 2 * theirs):
        yield Found(
            "warning",
            f"{cut:.0%} of {len(here)} texts have more than {longest} tokens, and are cut",
            "Split long texts, or raise interface.lengths where the model can take more.",
        )


def _lengths(seen: Survey | None) -> list[int]:
    return [] if seen is None else [len(one.tokens) for one in seen.seen if one.tokens and not one.empty]
