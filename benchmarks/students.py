"""Students of a sentence classifier taught on all samples, of several sizes: accuracy against bytes and time.

MiniLM fine-tuned on SST-2 teaches students of 3, 2 and 1 of its layers; the words that the training sentences never use
go, and each student is exported in float32 and in int8 (``w8a8-dynamic``). Accuracy is over all 872 sentences of the
validation set, by which nothing was chosen; bytes are of the ONNX files and latencies of batch 1 and 64 tokens on this
machine's processor, each in turn with the teacher in float32 and over its. Uses a GPU where torch finds one.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import CHECKOUT, EDGEEXPORT, Figure, arguments, export, finish, note, run, workspace
from distill import TARGET, against, right

RECIPE = CHECKOUT / "benchmarks" / "students.toml"
PRECISIONS = {"float32": "fp32", "int8": "w8a8-dynamic"}


def main() -> None:
    options = arguments(
        __doc__,
        ("--layers", {"type": int, "nargs": "+", "default": [3, 2, 1], "help": "of each student"}),
        ("--seeds", {"type": int, "default": 3, "metavar": "N", "help": "students of each size"}),
        ("--samples", {"type": int, "help": "to train on, a fixed choice; default: all, which takes a GPU"}),
        ("--epochs", {"type": int, "default": 4}),
        ("--mixed-precision", {"default": "no", "choices": ("no", "bf16"), "help": "bf16 is for GPUs"}),
    )
    data, teacher = options.shared / "data" / "sst2", options.shared / "models" / "sst2-minilm"
    figures: list[Figure] = []
    with workspace() as folder:
        note("exporting the teacher")
        sets = ("--evaluation", data / "validation.jsonl", "--calibration", data / "calibration.jsonl")
        whole = export(teacher, TARGET, folder / "teacher", folder / "cache", "--precision", "fp32", *sets)
        figures.append(Figure("teacher: MB", whole["size"]["artifact_bytes"] / 1e6))
        figures.append(Figure("teacher: right of 872", right(whole)))
        for layers in options.layers:
            found = [one_seed((layers, seed), teacher, data, folder, options) for seed in range(options.seeds)]
            figures += summary(layers, found, whole["size"]["artifact_bytes"])
    finish(figures, options.json)


def one_seed(which: tuple[int, int], teacher: Path, data: Path, folder: Path, options: Any) -> dict[str, Any]:
    """What the student of so many layers and that seed scores and takes, by precision."""
    layers, seed = which
    note(f"{layers} layers, seed {seed}: training")
    student = folder / f"student-{layers}-{seed}"
    chosen = {
        "training.seed": seed,
        "training.epochs": options.epochs,
        "training.mixed_precision": options.mixed_precision,
    }
    if options.samples is not None:
        chosen["training.samples"] = options.samples
    command: list[str | Path] = [EDGEEXPORT, "distill", teacher, "--layers", str(layers), "--recipe", RECIPE]
    command += ["--train", data / "train.jsonl", "--output", student, "--json"]
    command += [part for key, value in chosen.items() for part in ("--set", f"{key}={value}")]
    told = json.loads(run(command, folder / "cache").output)
    found: dict[str, Any] = {"seconds": told["facts"]["training"]["seconds"]}
    words = folder / "words.toml"
    words.write_text('[[compress]]\nmethod = "vocabulary"\n')
    for name, precision in PRECISIONS.items():
        note(f"{layers} layers, seed {seed}: exporting {name}")
        bundle = folder / f"{student.name}-{name}"
        sets = ("--evaluation", data / "validation.jsonl", "--calibration", data / "calibration.jsonl")
        stages = ("--recipe", words, "--train", data / "train.jsonl", "--set", f"timing.pairs={0 if seed else 200}")
        report = export(student, TARGET, bundle, folder / "cache", "--precision", precision, *sets, *stages)
        found[name] = {"right": right(report), "bytes": report["size"]["artifact_bytes"]}
        if seed == 0:  # a student's time does not follow from its weights
            found[name]["latency"] = against(bundle, folder / "teacher" / "model.onnx", folder / "cache")
    return found


def summary(layers: int, found: list[dict[str, Any]], whole: int) -> Iterator[Figure]:
    """Of all seeds of a size."""
    for name in PRECISIONS:
        scores = [one[name]["right"] for one in found]
        title = f"{layers} layers, {name}"
        yield Figure(f"{title}: bytes, share of the teacher's", found[0][name]["bytes"] / whole)
        yield Figure(f"{title}: latency, share of the teacher's", found[0][name]["latency"])
        yield Figure(f"{title}: right of 872, mean", statistics.mean(scores))
        yield Figure(f"{title}: right of 872, lowest", min(scores))
        yield Figure(f"{title}: right of 872, highest", max(scores))
    yield Figure(f"{layers} layers: seconds of training, median", statistics.median(one["seconds"] for one in found))


if __name__ == "__main__":
    main()
