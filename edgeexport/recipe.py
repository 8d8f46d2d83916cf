"""Recipes, and the one function that decides every setting: target < recipe < command line."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec

from edgeexport.errors import RecipeError
from edgeexport.merge import flatten, merge, nest
from edgeexport.settings import PRECISIONS, Settings


class Profile(Protocol):
    """What of a target matters here."""

    @property
    def name(self) -> str:
        """The target's name, for messages."""

    @property
    def precisions(self) -> tuple[str, ...]:
        """What it can execute."""

    @property
    def settings(self) -> dict[str, Any]:
        """Its partial settings."""


@dataclass(frozen=True)
class Recipe:
    """The settings of one export, complete, and where each came from.

    Attributes:
        settings: validated values.
        origins: dotted key → ``default``, ``target NAME``, ``recipe FILE``, ``command line`` or ``search``.
    """

    settings: Settings
    origins: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values, with origins."""
        return {"settings": msgspec.to_builtins(self.settings), "origins": dict(sorted(self.origins.items()))}

    def digest(self) -> str:
        """SHA-256 over the settings that decide the artifact's bytes: limits and timing do not.

        What is said of the model reaches the artifact through its preprocessing, which callers hash themselves, and
        what is done to it before conversion through the source's fingerprint.
        """
        values = msgspec.to_builtins(self.settings)
        for key in ("limits", "timing", "golden_samples", "model", "compress"):
            del values[key]
        for key in ("lint", "ignore"):  # they judge the samples, and change none
            del values["calibration"][key]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def read_recipe(path: Path) -> dict[str, Any]:
    """Read a recipe file: TOML with the tables of :class:`Settings`, and ``[when.PRECISION]``.

    Raises:
        RecipeError: the file is missing or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RecipeError(f"no recipe file at {path}") from error
    except OSError as error:
        raise RecipeError(f"the recipe {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} is not valid TOML: {error}") from error


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """Turn ``["calibration.minimum_samples=32"]`` into a nested table.

    Values are read as TOML, and as plain text where that fails, so ``--set precision=w8`` needs no quotes. ``none``
    without quotes takes a value away, such as a target's limit.

    Raises:
        RecipeError: an entry is not ``key=value``.
    """
    table: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not all(part.strip() for part in key.split(".")):
            raise RecipeError(
                f"--set {assignment!r} is not key=value", "For example: --set calibration.minimum_samples=32"
            )
        try:
            parsed = tomllib.loads(f"value = {text}")
        except tomllib.TOMLDecodeError:
            parsed = {"value": None} if text.strip() == "none" else {}
        value = parsed["value"] if list(parsed) == ["value"] else text.strip()
        table = merge(table, nest(key.strip(), value))
    return table


def resolve(
    target: Profile,
    recipe: Mapping[str, Any] | None = None,
    recipe_name: str = "",
    flags: Mapping[str, Any] | None = None,
    found: Mapping[str, Any] | None = None,
) -> Recipe:
    """Merge target, recipe, command line and what a search found into complete settings.

    Args:
        target: its ``settings`` table is the base.
        recipe: a table as :func:`read_recipe` gives it.
        recipe_name: the recipe's file, for origins and messages.
        flags: a table as :func:`parse_assignments` gives it, the command line's ``precision`` included.
        found: settings that a search within a budget chose; it leaves those that somebody chose alone.

    Raises:
        RecipeError: an unknown key, a bad value, or a precision that the target cannot execute.
    """
    layers = [
        (f"target {target.name}", target.settings),
        (f"recipe {recipe_name}".strip(), recipe or {}),
        ("command line", flags or {}),
        ("search", found or {}),
    ]
    precision = _choose_precision(target, layers)
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for origin, layer in layers:
        plain = {key: value for key, value in layer.items() if key != "when"}
        for part in (plain, _when(layer, precision, origin)):
            merged = merge(merged, part)
            origins.update(dict.fromkeys(flatten(part), origin))
    merged["precision"] = precision
    try:
        settings = msgspec.convert(merged, Settings)
    except msgspec.ValidationError as error:
        raise RecipeError(_explain(str(error), origins), "`edgeexport targets NAME` lists every key.") from error
    for key in flatten(msgspec.to_builtins(settings)):
        origins.setdefault(key, "default")
    return Recipe(settings, origins)


def _choose_precision(target: Profile, layers: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    origin, precision = next((name, layer["precision"]) for name, layer in reversed(layers) if "precision" in layer)
    if precision not in PRECISIONS:
        raise RecipeError(f"unknown precision {precision!r} ({origin})", f"Known: {', '.join(PRECISIONS)}.")
    if precision not in target.precisions:
        raise RecipeError(
            f"target '{target.name}' does not execute precision '{precision}' ({origin})",
            f"It executes: {', '.join(target.precisions)}.",
        )
    return str(precision)


def _when(layer: Mapping[str, Any], precision: str, origin: str) -> Mapping[str, Any]:
    when = layer.get("when", {})
    if not isinstance(when, Mapping) or not all(isinstance(part, Mapping) for part in when.values()):
        raise RecipeError(f"{origin}: 'when' holds no tables", "For example: --set when.w8a8.limits.size_ratio=0.3")
    unknown = set(when) - set(PRECISIONS)
    if unknown:
        raise RecipeError(f"{origin}: [when.{sorted(unknown)[0]}] names no precision")
    part: Mapping[str, Any] = when.get(precision, {})
    return part


def _explain(message: str, origins: Mapping[str, str]) -> str:
    """Add to a validation message who set the key it names."""
    path = message.rpartition("at `$")[2].strip("`.")
    origin = origins.get(path)
    return f"settings: {message}" + (f" (set by {origin})" if origin else "")
