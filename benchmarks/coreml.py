"""Core ML for an iPhone by the evaluator, float16 after every operator: size and agreement with float32.

MiniLM on the 872 sentences of SST-2's validation set and MobileNetV2 on 2,000 images of CIFAR-10, with int8 weights and
with calibrated int8 activations. No time is taken: the evaluator's says nothing of a phone's.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from bench import Figure, arguments, export, finish, note, workspace

MODELS = {
    "sst2-minilm": ("sst2/calibration.jsonl", "sst2/validation.jsonl"),
    "cifar-mobilenet-v2": ("cifar10/calibration", "cifar10/validation"),
}
LIMITS: dict[tuple[str, str], dict[str, float | None]] = {
    ("sst2-minilm", "w8"): {"size": 0.2535, "unlike": 4},
    ("sst2-minilm", "w8a8"): {"size": None, "unlike": 25},
    ("cifar-mobilenet-v2", "w8"): {"size": None, "unlike": None},
    ("cifar-mobilenet-v2", "w8a8"): {"size": None, "unlike": 20},
}


def main() -> None:
    options = arguments(
        __doc__,
        ("--target", {"default": "iphone-ios17", "help": "a Core ML target; default: %(default)s"}),
        ("--models", {"nargs": "+", "default": list(MODELS), "choices": list(MODELS), "help": "which models"}),
    )
    figures: list[Figure] = []
    with workspace() as folder:
        for model, precision in LIMITS:
            if model not in options.models:
                continue
            note(f"exporting {model} in {precision}")
            calibration, evaluation = (options.shared / "data" / name for name in MODELS[model])
            report = export(
                options.shared / "models" / model,
                options.target,
                folder / f"{model}-{precision}",
                folder / "cache",
                *("--precision", precision, "--calibration", calibration, "--evaluation", evaluation),
            )
            figures += judge(model, precision, report)
    finish(figures, options.json)


def judge(model: str, precision: str, report: dict[str, Any]) -> Iterator[Figure]:
    result, limits, title = report["runs"][0], LIMITS[model, precision], f"{model} {precision}"
    if result["error"]:
        sys.exit(f"{title}: {result['error']}")
    parity, accuracy = result["parity"], result["accuracy"]
    yield Figure(f"{title}: bytes, share of float32", report["size"]["ratio"], limits["size"])
    yield Figure(f"{title}: unlike float32, of {parity['samples']}", parity["unlike"], limits["unlike"])
    yield Figure(f"{title}: right", round(accuracy["value"] * accuracy["samples"]))
    yield Figure(f"{title}: float32 right", round(accuracy["reference"] * accuracy["samples"]))
    yield Figure(f"{title}: signal to noise of the outputs, dB", parity["snr_db"])


if __name__ == "__main__":
    main()
