"""How many samples there are, and whether the model can take them."""

from __future__ import annotations

from collections.abc import Iterator

from edgeexport.lint._rule import Found, rule
from edgeexport.lint._view import View

_ENOUGH = 199
"""2 / (n + 1) is then a hundredth."""


@rule("few-samples")
def few(view: View) -> Iterator[Found]:
    """Of n samples drawn alike, the next is the highest or lowest of all with probability 2 / (n + 1): so often does a
    value in use lie beyond the range that was found."""
    count, minimum = view.calibration.total, view.subject.minimum
    if count < minimum:
        yield Found("error", f"{count} samples, and the settings ask for {minimum}", "Add samples.")
    elif count < _ENOUGH:
        yield Found(
            "warning",
            f"{count} samples: of a tensor's range, the next sample exceeds one of the ends with probability "
            f"{2 / (count + 1):.1%}",
            f"Give {_ENOUGH} or more, for at most 1 %.",
        )


@rule("unreadable-samples")
def unreadable(view: View) -> Iterator[Found]:
    """Samples that could not be encoded, for reasons that no other rule knows."""
    others = [one for one in view.calibration.refused if not one.explained]
    if others:
        yield Found(
            "error",
            f"{len(others)} of {view.calibration.looked} samples cannot be encoded; the first: {others[0].error.what}",
            others[0].error.hint or "Repair or remove them.",
        )
