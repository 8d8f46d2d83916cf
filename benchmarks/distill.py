"""A student of a sentence classifier, from the teacher to int8 on a board: what each step gives.

MiniLM fine-tuned on SST-2 teaches one of half its layers on a fixed choice of the training sentences; the words that
they never use go, then weights and activations become integers (``student.toml``). Bytes are of the ONNX files, over
the teacher's in float32; latencies are of batch 1 and 64 tokens, each model and the teacher in float32 timed in turn.
Accuracy is over all 872 sentences of the validation set, by which nothing was chosen. With ``--seeds``, students are
taught on fewer samples and plainly fine-tuned, in as many steps, once a seed.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import CHECKOUT, EDGEEXPORT, Figure, arguments, export, finish, note, run, workspace

TARGET = "raspberry-pi-4"
RECIPE = CHECKOUT / "benchmarks" / "student.toml"
SEEDED = ("training.samples=8000", "training.epochs=2", "training.longest=64")


def main() -> None:
    options = arguments(
        __doc__,
        ("--pairs", {"type": int, "default": 200, "help": "timed pairs of a model and the teacher"}),
        ("--seeds", {"type": int, "default": 0, "metavar": "N", "help": "also compare with fine-tuning, N seeds each"}),
    )
    teacher, data = options.shared / "models" / "sst2-minilm", options.shared / "data" / "sst2"
    figures: list[Figure] = []
    with workspace() as folder:
        figures += steps(teacher, data, folder, options.pairs)
        if options.seeds:
            figures += against_fine_tuning(teacher, data, folder, options.seeds)
    finish(figures, options.json)


def steps(teacher: Path, data: Path, folder: Path, pairs: int) -> Iterator[Figure]:
    """The teacher in float32, then in int8; the student in float32 with all words, with its own, and in int8."""
    layers = folder / "layers.toml"
    layers.write_text(RECIPE.read_text().partition('[[compress]]\nmethod = "vocabulary"')[0])
    plans = {
        "teacher": (None, "fp32"),
        "teacher int8": (None, "w8a8-dynamic"),
        "half the layers": (layers, "fp32"),
        "and its own words": (RECIPE, "fp32"),
        "and int8": (RECIPE, "w8a8-dynamic"),
    }
    limits: dict[str, dict[str, float]] = {
        "and its own words": {"bytes": 0.60, "latency": 0.62, "kept": 0.97},
        "and int8": {"bytes": 0.15, "latency": 0.25, "kept": 0.965},
    }
    reports, bundles = {}, {}
    for name, (recipe, precision) in plans.items():
        note(f"exporting: {name}")
        bundles[name] = folder / name.replace(" ", "-")
        asked = () if recipe is None else ("--recipe", recipe, "--train", data / "train.jsonl")
        reports[name] = export(
            teacher,
            TARGET,
            bundles[name],
            folder / "cache",
            *("--precision", precision, "--calibration", data / "calibration.jsonl"),
            *("--evaluation", data / "validation.jsonl", "--set", f"timing.pairs={pairs}", *asked),
        )
    whole = reports["teacher"]
    yield Figure("teacher: MB", whole["size"]["artifact_bytes"] / 1e6)
    yield Figure("teacher: right of 872", right(whole))
    for name in list(plans)[1:]:
        report, limit = reports[name], limits.get(name, {})
        bytes_ = report["size"]["artifact_bytes"] / whole["size"]["artifact_bytes"]
        yield Figure(f"{name}: bytes, share of the teacher's", bytes_, limit.get("bytes"))
        yield Figure(f"{name}: right of 872", right(report))
        yield Figure(
            f"{name}: share of the teacher's accuracy kept",
            right(report) / right(whole),
            limit.get("kept"),
            at_least=True,
        )
        note(f"timing against the teacher: {name}")
        ratio = against(bundles[name], bundles["teacher"] / "model.onnx", folder / "cache")
        yield Figure(f"{name}: latency, share of the teacher's", ratio, limit.get("latency"))


def against(bundle: Path, teacher: Path, cache: Path) -> float:
    """Latency of a bundle's model over the teacher's in float32, in turn; median of three processes."""
    command = [EDGEEXPORT, "verify", bundle, "--float32", teacher, "--json"]
    ratios = []
    for _ in range(3):
        latency = json.loads(run(command, cache, allowed=(0, 1)).output)["runs"][0]["latency_ms"]
        ratios.append(latency["p50"] / latency["float32_p50"])
    return statistics.median(ratios)


def against_fine_tuning(teacher: Path, data: Path, folder: Path, seeds: int) -> Iterator[Figure]:
    """The same student, samples and steps, taught and fine-tuned on the labels alone."""
    scores: dict[str, list[float]] = {"taught": [], "fine-tuned": []}
    for seed in range(seeds):
        for name, alpha in (("taught", 0.5), ("fine-tuned", 0.0)):
            note(f"{name}, seed {seed}")
            chosen = [part for key in (*SEEDED, f"training.seed={seed}", f"alpha={alpha}") for part in ("--set", key)]
            command = [EDGEEXPORT, "distill", teacher, "--layers", "3", "--train", data / "train.jsonl", "--json"]
            command += ["--evaluation", data / "validation.jsonl", "--output", folder / f"{name}-{seed}", *chosen]
            told: dict[str, Any] = json.loads(run(command, folder / "cache").output)
            scores[name].append(told["facts"]["evaluation"]["student"]["accuracy"])
    for name, found in scores.items():
        yield Figure(f"{name}, {seeds} seeds: accuracy, mean", statistics.mean(found))
        yield Figure(f"{name}, {seeds} seeds: accuracy, lowest", min(found))
        yield Figure(f"{name}, {seeds} seeds: accuracy, highest", max(found))
    wins = [taught - plain for taught, plain in zip(*scores.values(), strict=True)]
    yield Figure("taught over fine-tuned: accuracy, mean", statistics.mean(wins))
    yield Figure("taught over fine-tuned: accuracy, least", min(wins))


def right(report: dict[str, Any]) -> int:
    accuracy = report["runs"][0]["accuracy"]
    return round(accuracy["value"] * accuracy["samples"])


if __name__ == "__main__":
    main()
