"""Quantization-aware training against the best quantization after it: what is right, and whether the export agrees.

MiniLM on SST-2 with every operator in int8, MobileNetV2 on CIFAR-10 with one scale a weight. For each target the plain
export, training, the export of what was trained, and how far the rounded model that was trained is from the integer
model on its runtime. Uses a GPU where torch finds one; a model trained elsewhere comes by ``--trained``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import CHECKOUT, Figure, arguments, export, finish, note, run, workspace

RECIPES = CHECKOUT / "benchmarks" / "recipes"
WORKER = CHECKOUT / "benchmarks" / "qat_worker.py"
ROADS: dict[str, tuple[str, str, str]] = {
    "sst2-onnx": ("sst2-minilm", "desktop-x86", "every-operator-onnx"),
    "sst2-litert": ("sst2-minilm", "android-arm64-litert", "every-operator-litert"),
    "cifar-onnx": ("cifar-mobilenet-v2", "desktop-x86", "one-scale-onnx"),
    "cifar-litert": ("cifar-mobilenet-v2", "android-arm64-litert", "one-scale-litert"),
    "cifar-coreml": ("cifar-mobilenet-v2", "iphone-ios17", "one-scale-coreml"),
}
DATA = {
    "sst2-minilm": ("sst2/train.jsonl", "sst2/calibration.jsonl", "sst2/validation.jsonl"),
    "cifar-mobilenet-v2": ("cifar10/calibration", "cifar10/calibration", "cifar10/validation"),
}
LEAST_RIGHT = {"sst2-onnx": 775, "sst2-litert": 775}


def main() -> None:
    options = arguments(
        __doc__,
        ("--roads", {"nargs": "+", "default": list(ROADS), "choices": list(ROADS), "help": "which"}),
        ("--samples", {"type": int, "help": "to train on, a fixed choice; default: all, which takes a GPU"}),
        ("--settle", {"type": int, "default": 4, "help": "passes without rounding; default: %(default)s"}),
        ("--epochs", {"type": int, "default": 1, "help": "passes with rounding; default: %(default)s"}),
        ("--learning-rate", {"type": float, "default": 2e-5}),
        ("--trained", {"type": Path, "help": "what `edgeexport qat` wrote elsewhere, for one road"}),
        ("--train", {"type": Path, "help": "another training set, for one road"}),
    )
    figures: list[Figure] = []
    with workspace() as folder:
        for name in options.roads:
            figures += measure(name, options, folder)
    finish(figures, options.json)


def measure(name: str, options: Any, folder: Path) -> Iterator[Figure]:
    model, target, recipe = ROADS[name]
    train, calibration, evaluation = (options.shared / "data" / part for part in DATA[model])
    fixed = ("--recipe", RECIPES / f"{recipe}.toml", "--set", "timing.pairs=0")
    sets = ("--calibration", calibration, "--evaluation", evaluation)
    cache = folder / "cache"
    note(f"{name}: exporting without training")
    before = judge(export(options.shared / "models" / model, target, folder / f"{name}-ptq", cache, *fixed, *sets))
    asked = {
        "model": str(options.shared / "models" / model),
        "target": target,
        "recipe": str(RECIPES / f"{recipe}.toml"),
        "train": str(options.train or train),
        "calibration": str(calibration),
        "evaluation": str(evaluation),
        "output": str(folder / f"{name}-trained"),
        "work": str(folder / f"{name}-work"),
        "stage": {
            "alpha": 1.0,
            "settle": options.settle,
            "training": {
                "epochs": options.epochs,
                "samples": options.samples,
                "learning_rate": options.learning_rate,
                "longest": 64,
            },
        },
    }
    if options.trained is None:
        note(f"{name}: training")
        run([sys.executable, WORKER, "train", json.dumps(asked)], cache)
    else:
        asked["output"] = str(options.trained)
    note(f"{name}: exporting what was trained")
    bundle = folder / f"{name}-qat"
    after = judge(export(Path(asked["output"]), target, bundle, cache, *fixed, *sets))
    compared = {**asked, "model": asked["output"], "bundle": str(bundle)}
    agreement = json.loads(run([sys.executable, WORKER, "compare", json.dumps(compared)], cache).output)
    count, exact = before["samples"], before["reference"]
    yield Figure(f"{name}: float32 right of {count}", exact)
    yield Figure(f"{name}: int8 right", before["right"])
    yield Figure(f"{name}: int8 right after training", after["right"], LEAST_RIGHT.get(name), at_least=True)
    lost = exact - before["right"]
    yield Figure(
        f"{name}: recovered, share of {lost} lost", (after["right"] - before["right"]) / max(1, lost), 0.5, True
    )
    yield Figure(f"{name}: rounded right after training", agreement["rounded_right"])
    yield Figure(f"{name}: exported unlike rounded", agreement["unlike"])
    yield Figure(f"{name}: exported against rounded, dB", agreement["snr_db"])


def judge(report: dict[str, Any]) -> dict[str, int]:
    result = report["runs"][0]
    if result["error"]:
        sys.exit(result["error"])
    accuracy = result["accuracy"]
    count = accuracy["samples"]
    return {
        "samples": count,
        "right": round(accuracy["value"] * count),
        "reference": round(accuracy["reference"] * count),
    }


if __name__ == "__main__":
    main()
