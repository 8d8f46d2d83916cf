"""A sentence classifier in int8 for the Raspberry Pi 4: size, accuracy, agreement with float32, latency.

The default precision, which must be w8a8-dynamic unasked, and static w8a8; MiniLM fine-tuned on SST-2, all 872
sentences of its validation set. With --emulated N, the same bundles run their first N sentences on emulated boards,
and predictions are compared with those here.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import EDGEEXPORT, Figure, arguments, export, finish, latency_ratio, note, run, workspace

TARGET = "raspberry-pi-4"
BOARDS = ("raspberry-pi-4", "raspberry-pi-5")
LIMITS: dict[str, dict[str, float | None]] = {
    "w8a8-dynamic": {"size": 0.2550, "right": 777, "unlike": 11, "latency": 0.44},
    "w8a8": {"size": None, "right": 777, "unlike": None, "latency": 0.52},
}


def main() -> None:
    options = arguments(
        __doc__,
        ("--pairs", {"type": int, "default": 300, "help": "timed pairs of int8 and float32"}),
        ("--emulated", {"type": int, "default": 0, "metavar": "N", "help": "sentences to run on emulated boards"}),
    )
    data = options.shared / "data" / "sst2"
    figures: list[Figure] = []
    with workspace() as folder:
        for precision in LIMITS:
            note(f"exporting {precision}")
            asked = () if precision == "w8a8-dynamic" else ("--precision", precision)
            report = export(
                options.shared / "models" / "sst2-minilm",
                TARGET,
                folder / precision,
                folder / "cache",
                *("--calibration", data / "calibration.jsonl", "--evaluation", data / "validation.jsonl"),
                *("--set", f"timing.pairs={options.pairs}", *asked),
            )
            if report["precision"] != precision:
                sys.exit(f"{TARGET} chose {report['precision']}, not {precision}")
            figures += judge(precision, report)
            if options.emulated:
                note(f"running {precision} on emulated boards")
                figures += on_boards(precision, folder / precision, data / "validation.jsonl", options.emulated)
    finish(figures, options.json)


def judge(precision: str, report: dict[str, Any]) -> Iterator[Figure]:
    limits, result = LIMITS[precision], report["runs"][0]
    accuracy = result["accuracy"]
    right = round(accuracy["value"] * accuracy["samples"])
    yield Figure(f"{precision}: bytes, share of float32", report["size"]["ratio"], limits["size"])
    yield Figure(f"{precision}: right of {accuracy['samples']}", right, limits["right"], at_least=True)
    yield Figure(f"{precision}: float32 right", round(accuracy["reference"] * accuracy["samples"]))
    yield Figure(f"{precision}: unlike float32", result["parity"]["unlike"], limits["unlike"])
    yield Figure(f"{precision}: latency, share of float32", latency_ratio(report), limits["latency"])


def on_boards(precision: str, bundle: Path, evaluation: Path, count: int) -> Iterator[Figure]:
    """Predictions of each emulated board against this machine's. The boards are in the user's own cache."""
    devices = [part for board in BOARDS for part in ("--on", f"emulated:{board}")]
    command = [EDGEEXPORT, "verify", str(bundle), "--on", "local", *devices, "--evaluation", str(evaluation)]
    report = json.loads(run([*command, "--limit", str(count), "--json"], allowed=(0, 1)).output)
    for result in report["runs"]:
        if result["error"]:
            sys.exit(f"{result['device']}: {result['error']}")
    for check in report["checks"]:
        if check["name"] == "agreement_between_devices":
            unlike = round((1 - check["measured"]) * count)
            yield Figure(f"{precision}: {check['where'].partition(' and ')[0]}, unlike of {count}", unlike)


if __name__ == "__main__":
    main()
