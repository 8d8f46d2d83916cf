"""A sentence classifier in int8 for Android's LiteRT: size, accuracy, agreement with float32, latency.

Dynamic int8, the same with a 4-bit embedding table, and static int8, where the layers that cannot be static are found
by rule; MiniLM fine-tuned on SST-2, all 872 sentences of its validation set. With --emulated N, the first N sentences
run on an emulated Cortex-A72 too. --old does the same for a 32-bit board with tflite-runtime 2.14, which needs
`edgeexport devices create local:tflite-runtime`, and for --emulated the board `raspberry-pi-3-32bit`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import EDGEEXPORT, Figure, arguments, export, finish, latency_ratio, note, run, workspace

Limits = dict[str, float]
MODELS: dict[str, tuple[tuple[str, ...], Limits]] = {
    "dynamic": (("--precision", "w8a8-dynamic"), {"size": 0.262, "unlike": 6, "latency": 0.34}),
    "dynamic, 4-bit embedding": (
        ("--precision", "w8a8-dynamic", "--set", "quantization.embedding_bits=4"),
        {"size": 0.20, "accuracy": 0.8856},
    ),
    "static": (("--precision", "w8a8"), {"size": 0.264, "unlike": 10, "latency": 0.35}),
}
OLD: dict[str, tuple[tuple[str, ...], Limits]] = {
    "old, static": (("--precision", "w8a8"), {"accuracy": 0.8856}),
    "old, dynamic": (("--precision", "w8a8-dynamic"), {"accuracy": 0.8856}),
    "old, weights only": (("--precision", "w8"), {"accuracy": 0.8856}),
}


def main() -> None:
    options = arguments(
        __doc__,
        ("--pairs", {"type": int, "default": 200, "help": "timed pairs of int8 and float32"}),
        ("--emulated", {"type": int, "default": 0, "metavar": "N", "help": "sentences to run on an emulated board"}),
        ("--old", {"action": "store_true", "help": "for raspberry-pi-3-32bit instead"}),
    )
    data = options.shared / "data" / "sst2"
    target, board = ("raspberry-pi-3-32bit",) * 2 if options.old else ("android-arm64-litert", "raspberry-pi-4-litert")
    figures: list[Figure] = []
    with workspace() as folder:
        link_devices(folder / "cache")
        for name, (asked, limits) in (OLD if options.old else MODELS).items():
            note(f"exporting {name}")
            bundle = folder / name.replace(", ", "-").replace(" ", "-")
            report = export(
                options.shared / "models" / "sst2-minilm",
                target,
                bundle,
                folder / "cache",
                *("--calibration", data / "calibration.jsonl", "--evaluation", data / "validation.jsonl"),
                *("--set", f"timing.pairs={options.pairs}", *asked),
            )
            figures += judge(name, report, limits)
            if options.emulated:
                note(f"running {name} on {board}")
                figures += on_board(name, bundle, data / "validation.jsonl", board, options.emulated)
    finish(figures, options.json)


def link_devices(cache: Path) -> None:
    """Let an otherwise empty cache have the environments and boards of the user's."""
    from edgeexport.cache import cache_root

    cache.mkdir()
    (cache / "devices").symlink_to(cache_root() / "devices")


def judge(name: str, report: dict[str, Any], limits: Limits) -> Iterator[Figure]:
    result = report["runs"][0]
    if result["error"]:
        sys.exit(f"{name}: {result['error']}")
    accuracy = result["accuracy"]
    yield Figure(f"{name}: bytes, share of float32", report["size"]["ratio"], limits.get("size"))
    yield Figure(f"{name}: accuracy", accuracy["value"], limits.get("accuracy"), at_least=True)
    yield Figure(f"{name}: float32 accuracy", accuracy["reference"])
    yield Figure(f"{name}: unlike float32, of {accuracy['samples']}", result["parity"]["unlike"], limits.get("unlike"))
    yield Figure(f"{name}: latency, share of float32", latency_ratio(report), limits.get("latency"))


def on_board(name: str, bundle: Path, evaluation: Path, board: str, count: int) -> Iterator[Figure]:
    """Predictions of an emulated board against this machine's. The board is in the user's own cache."""
    command = [EDGEEXPORT, "verify", bundle, "--on", "local", "--on", f"emulated:{board}", "--evaluation", evaluation]
    report = json.loads(run([*command, "--limit", str(count), "--json"], allowed=(0, 1)).output)
    for result in report["runs"]:
        if result["error"]:
            sys.exit(f"{result['device']}: {result['error']}")
    for check in report["checks"]:
        if check["name"] == "agreement_between_devices":
            yield Figure(
                f"{name}: {board} emulated, unlike this machine's, of {count}",
                round((1 - check["measured"]) * count),
                0,
            )


if __name__ == "__main__":
    main()
