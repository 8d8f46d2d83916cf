"""How to get a bundle again: the command, its settings and where each came from, the versions of what made it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeexport.analysis import Budget
from edgeexport.artifact import Manifest
from edgeexport.merge import flatten
from edgeexport.report.grid import Column, Grid, plain
from edgeexport.results import Report


@dataclass(frozen=True)
class Reproduction:
    """What the template needs.

    Attributes:
        command: to type, with words in capitals for what a bundle does not know: where the sets are.
        chosen: settings that somebody chose, and by what.
        profile: those of the target and the defaults.
        versions: of the tools.
        facts: the source and the sets, by name.
    """

    command: str
    chosen: Grid | None
    profile: Grid | None
    versions: Grid | None
    facts: Grid | None


def reproduction(report: Report, manifest: Manifest) -> Reproduction:
    """From what the bundle says of itself."""
    settings = flatten(manifest.recipe.get("settings", {}))
    origins: Mapping[str, str] = manifest.recipe.get("origins", {})
    rows = [(key, plain(value), origins.get(key, "default")) for key, value in sorted(settings.items())]
    columns = (Column("Setting", code=True), Column("Value", code=True), Column("From"))
    return Reproduction(
        command=_command(report, manifest, settings, origins),
        chosen=Grid.of("Settings that were asked for", columns, [row for row in rows if not _given(row[2])]),
        profile=Grid.of("Settings of the target, and defaults", columns, [row for row in rows if _given(row[2])]),
        versions=Grid.of(
            "Versions of the tools", (Column("Tool"), Column("Version", code=True)), sorted(manifest.versions.items())
        ),
        facts=_facts(report, manifest),
    )


def _given(origin: str) -> bool:
    return origin == "default" or origin.startswith("target ")


def _command(report: Report, manifest: Manifest, settings: Mapping[str, Any], origins: Mapping[str, str]) -> str:
    words = ["edgeexport export", shlex.quote(report.model), f"--target {shlex.quote(report.target)}"]
    recipes = sorted({origin.removeprefix("recipe ") for origin in origins.values() if origin.startswith("recipe ")})
    words += [f"--recipe {shlex.quote(name)}" for name in recipes]
    asked = [key for key, origin in origins.items() if origin == "command line" and key in settings]
    if "precision" in asked:
        words.append(f"--precision {manifest.precision}")
    words += [
        f"--set {shlex.quote(f'{key}={_assigned(settings[key])}')}" for key in sorted(asked) if key != "precision"
    ]
    words += [] if report.search is None else _budget(report.search.budget)
    if manifest.precision in {"w8a8", "w8a16"} or manifest.golden.origin == "calibration" or report.lint:
        words.append("--calibration CALIBRATION")
    if report.evaluation is not None:
        words.append("--evaluation EVALUATION")
    return " \\\n  ".join(words)


def _budget(budget: Budget) -> list[str]:
    words = []
    if budget.drop is not None:
        words.append(f"--max-drop {budget.drop * 100:g}")
    if budget.bytes is not None:
        words.append(f"--max-size {budget.bytes / 1e6:g}MB")
    if budget.latency_ratio is not None:
        words.append(f"--max-latency-ratio {budget.latency_ratio:g}")
    return words


def _assigned(value: Any) -> str:
    """As ``--set`` takes it: TOML, a text alone without quotes where it reads as nothing else."""
    words = isinstance(value, str) and value.replace("-", "").isidentifier()
    if words and value not in {"true", "false", "inf", "nan"}:
        return str(value)
    return _toml(value)


def _toml(value: Any) -> str:
    """A value of TOML; what is None is left out of its table."""
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(each) for each in value) + "]"
    if isinstance(value, Mapping):
        pairs = (f"{json.dumps(key)} = {_toml(each)}" for key, each in value.items() if each is not None)
        return "{" + ", ".join(pairs) + "}"
    return json.dumps(value, ensure_ascii=False)


def _facts(report: Report, manifest: Manifest) -> Grid | None:
    rows = [("Source", str(manifest.source.get("name", report.model)))]
    if "fingerprint" in manifest.source:
        rows.append(("Fingerprint of the source", str(manifest.source["fingerprint"])))
    rows += [(f"SHA-256 of {name}", digest) for name, digest in _model_files(manifest)]
    if report.evaluation is not None:
        rows.append(("SHA-256 of the evaluation set", report.evaluation))
    return Grid.of("What it was made from", (Column("What"), Column("Value", code=True)), rows)


def _model_files(manifest: Manifest) -> list[tuple[str, str]]:
    own = manifest.artifact
    return sorted(
        (name, digest) for name, digest in manifest.files.items() if name == own or name.startswith(f"{own}/")
    )
