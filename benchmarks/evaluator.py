"""The evaluator of Core ML programs against PyTorch: time, memory, and how far apart outputs are, all in float32.

MiniLM on 128 tokens and MobileNetV2 on an image. Times are of one thread, the two called in turn in one process.
Memory is what a process that only opens the program and runs it holds at most, above what it holds after its imports.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from bench import EDGEEXPORT, Figure, arguments, finish, note, run, workspace

WORKER = Path(__file__).with_name("evaluator_worker.py")
APART = {"sst2-minilm": 1e-5, "cifar-mobilenet-v2": 1e-4}


def main() -> None:
    options = arguments(__doc__, ("--pairs", {"type": int, "default": 100, "help": "timed pairs of calls"}))
    figures: list[Figure] = []
    with workspace() as folder:
        for name in APART:
            note(f"exporting {name}")
            model, bundle = options.shared / "models" / name, folder / name
            asked = ("--target", "iphone-ios17", "--precision", "fp32", "--no-verify", "--output", bundle)
            run([EDGEEXPORT, "export", model, *asked], folder / "cache")
            note(f"running {name}")
            figures += compare(name, model, bundle / "model.mlpackage", options.pairs)
    finish(figures, options.json)


def compare(name: str, model: Path, package: Path, pairs: int) -> Iterator[Figure]:
    timed = json.loads(run([sys.executable, WORKER, "time", model, package, str(pairs)]).output)
    memory = json.loads(run([sys.executable, WORKER, "memory", package]).output)
    weights = sum(path.stat().st_size for path in package.rglob("weight.bin"))
    yield Figure(f"{name}: outputs apart", timed["apart"], APART[name])
    yield Figure(f"{name}: PyTorch, ms", timed["torch_ms"])
    yield Figure(f"{name}: evaluator, ms", timed["evaluator_ms"])
    yield Figure(f"{name}: time, evaluator over PyTorch", timed["evaluator_ms"] / timed["torch_ms"], 3)
    yield Figure(f"{name}: weights, MB", weights / 1e6)
    yield Figure(f"{name}: all activations, MB", memory["activations"] / 1e6)
    yield Figure(f"{name}: memory, MB", memory["grown"] / 1e6)
    yield Figure(f"{name}: memory over weights", memory["grown"] / weights)
    yield Figure(f"{name}: memory over weights and activations", memory["grown"] / (weights + memory["activations"]), 2)


if __name__ == "__main__":
    main()
