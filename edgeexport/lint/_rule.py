"""What a rule is, how rules are found, and what becomes of their findings."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

from edgeexport import discover
from edgeexport.analysis import LintFinding
from edgeexport.errors import LintError, RecipeError
from edgeexport.settings import Calibration

if TYPE_CHECKING:
    from edgeexport.lint._view import View

Level = Literal["error", "warning"]


@dataclass(frozen=True)
class Found:
    """What a rule saw; see :class:`edgeexport.analysis.LintFinding`."""

    level: Level
    evidence: str
    remedy: str


Look = Callable[["View"], Iterator[Found]]


class Rule(Protocol):
    """A rule, ready to be asked."""

    rule: str
    unless: tuple[str, ...]

    def __call__(self, view: View) -> Iterator[Found]: ...


def rule(name: str, unless: tuple[str, ...] = ()) -> Callable[[Look], Rule]:
    """Name a function as a rule.

    Args:
        name: the rule's.
        unless: rules whose findings explain this one's, which are then left out: noise has another range, too.
    """

    def mark(look: Look) -> Rule:
        look.rule = name  # type: ignore[attr-defined]
        look.unless = unless  # type: ignore[attr-defined]
        return look  # type: ignore[return-value]

    return mark


@cache
def rules() -> dict[str, Rule]:
    """Every rule by its name, in the order of modules and of their lines."""
    found: dict[str, Rule] = {}
    for name in discover.names(__package__ or ""):
        module = discover.load(__package__ or "", name)
        for value in vars(module).values():
            if callable(value) and isinstance(getattr(value, "rule", None), str):
                found[value.rule] = value
    return found


def findings(view: View) -> tuple[LintFinding, ...]:
    """What all rules find, errors first, and no consequences of what another rule found."""
    found = [
        LintFinding(rule=name, level=one.level, evidence=one.evidence, remedy=one.remedy)
        for name, look in rules().items()
        for one in look(view)
    ]
    names = {one.rule for one in found}
    kept = (one for one in found if names.isdisjoint(rules()[one.rule].unless))
    return tuple(sorted(kept, key=lambda one: one.level != "error"))


def overruled(found: tuple[LintFinding, ...], calibration: Calibration) -> tuple[LintFinding, ...]:
    """The findings as the settings take them: with ``lint`` ``warn``, and of rules in ``ignore``, errors are warnings
    that say so; other findings of rules in ``ignore`` are left out.

    Raises:
        RecipeError: ``ignore`` names no rule.
    """
    for name in calibration.ignore:
        if name not in rules():
            raise RecipeError(f"calibration.ignore names no rule '{name}'", f"Rules: {', '.join(rules())}.")
    judged = []
    for one in found:
        by = "calibration.ignore" if one.rule in calibration.ignore else "calibration.lint=warn"
        if one.level == "error" and (one.rule in calibration.ignore or calibration.lint == "warn"):
            judged.append(
                msgspec.structs.replace(one, level="warning", evidence=f"{one.evidence} (an error, overruled by {by})")
            )
        elif one.rule not in calibration.ignore:
            judged.append(one)
    return tuple(judged)


def stop(found: tuple[LintFinding, ...], where: str) -> None:
    """Refuse a set with errors.

    Raises:
        LintError: with every error, in one sentence.
    """
    errors = [one for one in found if one.level == "error"]
    if errors:
        names = ", ".join(f'"{name}"' for name in dict.fromkeys(one.rule for one in errors))
        raise LintError(
            f"{where} is unfit for calibration: " + "; ".join(f"{one.evidence} [{one.rule}]" for one in errors),
            f"{errors[0].remedy} To export with it all the same: --set 'calibration.ignore=[{names}]'.",
            found,
        )
