"""Samples with nothing in them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import compress

from edgeexport.lint._rule import Found, rule
from edgeexport.lint._view import View

_SOME = 0.02
_MOST = 0.5


@rule("constant-samples", unless=("unknown-tokens",))
def constant(view: View) -> Iterator[Found]:
    """Images of one colour, arrays of one value: nothing differs by more than 2 % of the set's range."""
    seen = view.calibration
    values = {name: {*one.lows, *one.highs} for name, one in seen.inputs.items()}
    if values and all(len(some) == 1 for some in values.values()):
        shown = ", ".join(f"'{name}' is {some.pop():g} throughout" for name, some in values.items())
        yield Found("error", f"the samples do not vary: {shown}", "Calibrate on real data.")
    elif view.subject.preprocess.accepts in ("image", "arrays"):
        yield from _report(seen.blank(), view, "hold one value throughout, within 2 % of the set's range")


@rule("silent-recordings")
def silent(view: View) -> Iterator[Found]:
    """Recordings without a value of 0.001 of full scale (-60 dB)."""
    yield from _report([seen.silent for seen in view.calibration.seen], view, "are silent: no value above -60 dB")


@rule("empty-texts")
def empty(view: View) -> Iterator[Found]:
    """Texts that are white space, or of which the tokenizer makes nothing; an error where not even a special token is
    left, for such a sample cannot be encoded."""
    refused = [one for one in view.calibration.refused if one.empty]
    if refused:
        yield Found(
            "error",
            f"{len(refused)} of {view.calibration.looked} samples have no text that gives a token; the first: "
            f"{refused[0].name}",
            "Remove them.",
        )
        return
    yield from _report([seen.empty for seen in view.calibration.seen], view, "have no text that gives a token")


def _report(flags: list[bool], view: View, what: str) -> Iterator[Found]:
    count = sum(flags)
    if count > _SOME * len(flags):
        first = next(compress(view.calibration.names, flags))
        yield Found(
            "error" if count > _MOST * len(flags) else "warning",
            f"{count} of {len(flags)} samples {what}; the first: {first}",
            "Remove them, or look at how the set was written.",
        )
