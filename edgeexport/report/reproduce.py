"""How to get a bundle again: the command, its settings and where each came from, the versions of what made it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeexport.analysis import Budget, Search
from edgeexport.artifact import Manifest
from edgeexport.merge import flatten
from edgeexport.report.grid import Column, Grid, folded, plain
from edgeexport.results import Report
from edgeexport.settings import STATIC


@dataclass(frozen=True)
class Reproduction:
    """What the template needs.

    Attributes:
        command: to type, with words in capitals for what a bundle does not know: where the sets are.
        direct: likewise, with the settings that a search found in the search's place; empty without one.
        chosen: settings that somebody chose, and by what.
        profile: those of the target and the defaults.
        versions: of the tools.
        facts: the source and the sets, by name.
    """

    command: str
    direct: str
    chosen: Grid | None
    profile: Grid | None
    versions: Grid | None
    facts: Grid | None


def reproduction(report: Report, manifest: Manifest) -> Reproduction:
    """From what the bundle says of itself."""
    settings = flatten(manifest.recipe.get("settings", {}))
    origins: Mapping[str, str] = manifest.recipe.get("origins", {})
    rows = [(key, folded(plain(value)), origins.get(key, "default")) for key, value in sorted(settings.items())]
    columns = (Column("Setting", code=True), Column("Value", code=True), Column("From"))
    return Reproduction(
        command=_command(report, manifest, settings, origins, report.search),
        direct="" if report.search is None else _command(report, manifest, settings, origins, None),
        chosen=Grid.of("Settings that were asked for", columns, [row for row in rows if not _given(row[2])]),
        profile=Grid.of("Settings of the target, and defaults", columns, [row for row in rows if _given(row[2])]),
        versions=Grid.of(
            "Versions of the tools", (Column("Tool"), Column("Version", code=True)), sorted(manifest.versions.items())
        ),
        facts=_facts(report, manifest),
    )


def _given(origin: str) -> bool:
    return origin == "default" or origin.startswith("target ")


def _command(
    report: Report, manifest: Manifest, settings: Mapping[str, Any], origins: Mapping[str, str], search: Search | None
) -> str:
    """With a search's budget, or with what was found by it."""
    words = ["edgeexport export", shlex.quote(report.model), f"--target {shlex.quote(report.target)}"]
    recipes = sorted({origin.removeprefix("recipe ") for origin in origins.values() if origin.startswith("recipe ")})
    words += [f"--recipe {shlex.quote(name)}" for name in recipes]
    by = {"command line"} if search is not None else {"command line", "search"}
    asked = sorted(key for key, origin in origins.items() if origin in by and key in settings)
    if "precision" in asked:
        words.append(f"--precision {manifest.precision}")
    implied = {} if search is None else _limits(search.budget)
    words += [
        f"--set {shlex.quote(f'{key}={_assigned(settings[key])}')}"
        for key in asked
        if key != "precision" and (key not in implied or implied[key] != settings[key])
    ]
    words += [] if search is None else _budget(search.budget)
    if manifest.precision in STATIC or manifest.golden.origin == "calibration" or report.lint or search is not None:
        words.append("--calibration CALIBRATION")
    if report.evaluation is not None:
        words.append("--evaluation EVALUATION")
    return " \\\n  ".join(words)


def _limits(budget: Budget) -> dict[str, float | None]:
    """The limits that a budget sets by itself."""
    ratio = None if budget.drop is None else 1 + budget.drop
    return {
        "limits.accuracy_drop": budget.drop,
        "limits.perplexity_ratio": ratio,
        "limits.artifact_bytes": budget.bytes,
        "limits.latency_ratio": budget.latency_ratio,
    }


def _budget(budget: Budget) -> list[str]:
    words = []
    if budget.drop is not None:
        words.append(f"--max-drop {budget.drop * 100:.6g}")
    if budget.bytes is not None:
        whole = budget.bytes % 100_000 == 0
        words.append(f"--max-size {budget.bytes / 1e6:g}MB" if whole else f"--max-size {budget.bytes}")
    if budget.latency_ratio is not None:
        words.append(f"--max-latency-ratio {budget.latency_ratio:g}")
    return words


def _assigned(value: Any) -> str:
    """As ``--set`` takes it: TOML, ``none``, a text alone without quotes where it reads as nothing else."""
    if value is None:
        return "none"
    words = isinstance(value, str) and value.replace("-", "").isidentifier()
    if words and value not in {"true", "false", "inf", "nan", "none"}:
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
