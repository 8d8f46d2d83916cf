"""Students of a sentence classifier taught on all samples, of several sizes: accuracy against bytes and time.

MiniLM fine-tuned on SST-2 teaches students of 3, 2 and 1 of its layers; the words that the training sentences never use
go, and each student is exported in float32 and in int8 (``w8a8-dynamic``). Accuracy is over all 872 sentences of the
validation set, by which nothing was chosen; bytes are of the ONNX files and latencies of batch 1 and 64 tokens on this
machine's processor, each in turn with the teacher in float32 and over its. Uses a GPU where torch finds one; its steps
leave that idle for most of the time, so that several students fit on it at once.
"""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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
        ("--at-once", {"type": int, "default": 1, "metavar": "N", "help": "students taught and scored together"}),
        ("--pairs", {"type": int, "default": 200, "help": "timed pairs of a model and the teacher; 0 times nothing"}),
    )
    data, teacher = options.shared / "data" / "sst2", options.shared / "models" / "sst2-minilm"
    figures: list[Figure] = []
    with workspace() as folder:
        note("exporting the teacher")
        sets = ("--evaluation", data / "validation.jsonl", "--calibration", data / "calibration.jsonl")
        whole = export(teacher, TARGET, folder / "teacher", folder / "cache", "--precision", "fp32", *sets)
        figures.append(Figure("teacher: MB", whole["size"]["artifact_bytes"] / 1e6))
        figures.append(Figure("teacher: right of 872", right(whole)))
        (folder / "words.toml").write_text('[[compress]]\nmethod = "vocabulary"\n')
        students = list(itertools.product(options.layers, range(options.seeds)))
        with ThreadPoolExecutor(options.at_once) as pool:
            found = list(pool.map(lambda which: one_student(which, teacher, data, folder, options), students))
        for number, layers in enumerate(options.layers):
            of_size = found[number * options.seeds :][: options.seeds]
            figures += summary(layers, of_size, whole["size"]["artifact_bytes"])
            if options.pairs:
                figures += times(layers, folder)
    finish(figures, options.json)


def one_student(which: tuple[int, int], teacher: Path, data: Path, folder: Path, options: Any) -> dict[str, Any]:
    """What the student of so many layers and that seed scores and takes, by precision."""
    layers, seed = which
    student = folder / f"student-{layers}-{seed}"
    seconds = teach(which, teacher, data, student, options)
    found: dict[str, Any] = {"seconds": seconds}
    for name, precision in PRECISIONS.items():
        sets = ("--evaluation", data / "validation.jsonl", "--calibration", data / "calibration.jsonl")
        stages = ("--recipe", folder / "words.toml", "--train", data / "train.jsonl")
        timing = ("--set", f"timing.pairs={0 if seed else options.pairs}")  # a student's time is not of its weights
        bundle = folder / f"{student.name}-{name}"
        report = export(student, TARGET, bundle, folder / "cache", "--precision", precision, *sets, *stages, *timing)
        found[name] = {"right": right(report), "bytes": report["size"]["artifact_bytes"]}
        note(f"{layers} layers, seed {seed}, {name}: {found[name]['right']} right")
    return found


def teach(which: tuple[int, int], teacher: Path, data: Path, student: Path, options: Any) -> float:
    """Make a student; gives the seconds that its training took."""
    layers, seed = which
    note(f"{layers} layers, seed {seed}: training")
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
    told = json.loads(run(command, student.parent / "cache").output)
    return float(told["facts"]["training"]["seconds"])


def summary(layers: int, found: list[dict[str, Any]], whole: int) -> Iterator[Figure]:
    """Of all seeds of a size."""
    for name in PRECISIONS:
        scores = [one[name]["right"] for one in found]
        title = f"{layers} layers, {name}"
        yield Figure(f"{title}: bytes, share of the teacher's", found[0][name]["bytes"] / whole)
        yield Figure(f"{title}: right of 872, mean", statistics.mean(scores))
        yield Figure(f"{title}: right of 872, lowest", min(scores))
        yield Figure(f"{title}: right of 872, highest", max(scores))
    yield Figure(f"{layers} layers: seconds of training, median", statistics.median(one["seconds"] for one in found))


def times(layers: int, folder: Path) -> Iterator[Figure]:
    """Latencies of a size, taken when nothing else runs."""
    for name in PRECISIONS:
        note(f"timing {layers} layers, {name}")
        ratio = against(folder / f"student-{layers}-0-{name}", folder / "teacher" / "model.onnx", folder / "cache")
        yield Figure(f"{layers} layers, {name}: latency, share of the teacher's", ratio)


if __name__ == "__main__":
    main()
