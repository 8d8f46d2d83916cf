"""Settings found by a search from a target and a budget alone: predictions unlike float32, bytes, latency, evaluations.

Static w8a8 asked for, half a point to lose: MiniLM fine-tuned on SST-2 on ONNX Runtime and LiteRT, and MobileNetV2 on
CIFAR-10 on both. Half of the evaluation set chooses; what is unlike float32 is counted over all of it. Each latency is
in turn with float32, the median of several processes. With --twice, every search runs again without what the first one
kept, and must choose the same settings and bytes.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import Figure, arguments, export, finish, latency_ratios, note, workspace


@dataclass(frozen=True)
class Task:
    """A model and its target, and what the found model is held to."""

    model: str
    data: str
    suffix: str
    target: str
    unlike: int
    size: float
    latency: float


TASKS = {
    "minilm-onnx": Task("sst2-minilm", "sst2", ".jsonl", "desktop-x86", 13, 0.257, 0.50),
    "minilm-litert": Task("sst2-minilm", "sst2", ".jsonl", "android-arm64-litert", 8, 0.265, 0.34),
    "cifar-onnx": Task("cifar-mobilenet-v2", "cifar10", "", "desktop-x86", 8, 0.27, 1.0),
    "cifar-litert": Task("cifar-mobilenet-v2", "cifar10", "", "android-arm64-litert", 8, 0.27, 1.0),
}
EVALUATIONS = 12


def main() -> None:
    options = arguments(
        __doc__,
        ("--tasks", {"nargs": "+", "choices": list(TASKS), "default": list(TASKS)}),
        ("--processes", {"type": int, "default": 5, "help": "processes to time in; the median counts"}),
        ("--twice", {"action": "store_true", "help": "search again, and compare"}),
    )
    figures: list[Figure] = []
    with workspace() as folder:
        for name in options.tasks:
            figures += search(name, TASKS[name], folder, options)
    finish(figures, options.json)


def search(name: str, task: Task, folder: Path, options: Any) -> Iterator[Figure]:
    """One search, and what it is held to."""
    note(f"{name}: searching")
    bundle = folder / name
    report = found(task, bundle, folder / "cache", options)
    ratios = latency_ratios(report, bundle, folder / "cache", options.processes)
    result, told = report["runs"][0], report["search"]
    parity, accuracy = result["parity"], result["accuracy"]
    note(f"{name}: {told['trials'][told['chosen'] - 1]['title']}")
    yield Figure(f"{name}: the budget is kept", told["met"], True, at_least=True)
    yield Figure(f"{name}: unlike float32, of {parity['samples']}", parity["unlike"], task.unlike)
    yield Figure(f"{name}: signal to noise, dB", parity["snr_db"])
    yield Figure(f"{name}: bytes, share of float32", report["size"]["ratio"], task.size)
    yield Figure(f"{name}: latency, share of float32", statistics.median(ratios), task.latency)
    yield Figure(f"{name}: right", round(accuracy["value"] * accuracy["samples"]))
    yield Figure(f"{name}: float32 right", round(accuracy["reference"] * accuracy["samples"]))
    yield Figure(f"{name}: full evaluations", told["evaluations"], EVALUATIONS)
    yield Figure(f"{name}: settings tried", len(told["trials"]))
    if options.twice:
        note(f"{name}: searching again")
        again = found(task, folder / f"{name}-again", folder / "cache", options, "--no-cache")
        models = [next((folder / each).glob("model.*")).read_bytes() for each in (name, f"{name}-again")]
        chosen = [each["search"]["trials"][each["search"]["chosen"] - 1]["settings"] for each in (report, again)]
        yield Figure(f"{name}: the same again", models[0] == models[1] and chosen[0] == chosen[1], True, True)


def found(task: Task, bundle: Path, cache: Path, options: Any, *more: str) -> dict[str, Any]:
    data = options.shared / "data" / task.data
    return export(
        options.shared / "models" / task.model,
        task.target,
        bundle,
        cache,
        *("--precision", "w8a8", "--max-drop", "0.5", "--trials", str(EVALUATIONS)),
        *("--calibration", data / f"calibration{task.suffix}", "--evaluation", data / f"validation{task.suffix}"),
        *("--max-latency-ratio", str(min(task.latency, 0.65))),
        *more,
    )


if __name__ == "__main__":
    main()
