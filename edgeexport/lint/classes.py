"""Classes of a labelled calibration set."""

from __future__ import annotations

from collections.abc import Iterator

from edgeexport.lint._rule import Found, rule
from edgeexport.lint._view import View

_CHANCE = 1e-3
_LEAST = 30
_SHOWN = 10


@rule("classes-missing")
def missing(view: View) -> Iterator[Found]:
    """A class that never comes, although a fair draw would leave it out less than once in a thousand sets."""
    have, shares = view.classes(view.calibration), _expected(view)
    if have is None:
        return
    count = sum(have.values())
    absent = [number for number, share in shares.items() if number not in have and (1 - share) ** count < _CHANCE]
    if absent:
        shown = ", ".join(_name(view, number) for number in absent[:_SHOWN])
        more = f" and {len(absent) - _SHOWN} more" if len(absent) > _SHOWN else ""
        yield Found(
            "warning",
            f"{len(absent)} of {len(shares)} classes never come in {count} labelled samples: {shown}{more}",
            "Add samples of these classes: what only they excite is clipped.",
        )


@rule("one-sided-classes")
def one_sided(view: View) -> Iterator[Found]:
    """A class that comes three times as often as it should, or leaves half of the others' share."""
    have, shares = view.classes(view.calibration), _expected(view)
    if not have or sum(have.values()) < _LEAST:
        return
    count = sum(have.values())
    number = max(have, key=lambda one: (have[one], -one))
    expected = shares.get(number, 1 / len(have))
    share = have[number] / count
    if share > min(3 * expected, (1 + expected) / 2):
        yield Found(
            "warning",
            f"{share:.0%} of {count} labelled samples are of class {_name(view, number)}, where {expected:.0%} is fair",
            "Take as many of each class as the model will meet.",
        )


def _expected(view: View) -> dict[int, float]:
    """The share that each class should have: the evaluation set's, else the same for all of the model's."""
    counted = view.classes(view.evaluation)
    if counted:
        total = sum(counted.values())
        return {number: counted[number] / total for number in sorted(counted)}
    names = view.subject.labels or ()
    return {number: 1 / len(names) for number in range(len(names))}


def _name(view: View, number: int) -> str:
    return repr(view.subject.labels[number]) if view.subject.labels else str(number)
