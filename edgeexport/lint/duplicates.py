"""Samples that come again: they add nothing to a range, and weigh more in a histogram."""

from __future__ import annotations

from collections.abc import Iterator

from edgeexport.lint._rule import Found, rule
from edgeexport.lint._view import View

_SOME = 0.05
_MOST = 0.5


@rule("duplicate-samples")
def exact(view: View) -> Iterator[Found]:
    """The same text, file content or arrays."""
    seen = view.calibration
    kept = [seen.records[place] for place, empty in zip(seen.places, seen.blank(), strict=True) if not empty]
    yield from _report(len(kept) - len(set(kept)), view, "are exact copies of earlier ones")


@rule("duplicates-after-preprocessing", unless=("unknown-tokens", "truncated-texts", "dark-pixels"))
def encoded(view: View) -> Iterator[Found]:
    """Samples that differ, and are the same to the model: by case, by what was cut off, by a file's format."""
    seen = view.calibration
    records = [seen.records[place] for place in seen.places]
    blank = seen.blank()
    pairs = {pair for pair, empty in zip(zip(records, seen.encoded, strict=True), blank, strict=True) if not empty}
    extra = len(pairs) - len({encoded for _, encoded in pairs})
    yield from _report(extra, view, "differ from earlier ones, and are the same to the model")


def _report(extra: int, view: View, what: str) -> Iterator[Found]:
    count = len(view.calibration.names)
    if extra > _SOME * count:
        yield Found(
            "error" if extra > _MOST * count else "warning",
            f"{extra} of {count} samples {what}: {count - extra} are left that differ",
            "Remove them, and add samples that differ.",
        )
