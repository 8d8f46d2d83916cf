"""A detector whose head gives boxes and a score in one tensor: what int8 activations lose in R², and what keeps it.

Trains the model first where its weights are not there (under a minute): ``benchmarks/heads_model.py``. Plain static
w8a8 spends the last layer's 8 bits on pixels, 0 to 64, and leaves the score steps of a quarter: more than half a point
of R² is lost on LiteRT and on ONNX Runtime. Leaving that layer float keeps it, and so do 16-bit activations on LiteRT.
Then ``edgeexport export --max-drop 0.5`` has to find such settings by itself.
"""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import CHECKOUT, EDGEEXPORT, Figure, arguments, finish, note, run, workspace

MODEL = "benchmarks.heads_model:detector"
TARGETS = {"LiteRT": "android-arm64-litert", "ONNX Runtime": "raspberry-pi-4"}
POINTS = 0.5
BUDGET = POINTS / 100
FLOAT_HEAD = '[[overrides]]\nprecision = "fp32"\nname = "^{}$"\n'


def main() -> None:
    options = arguments(__doc__)
    with workspace() as folder:
        weights = Path(os.environ.get("EDGEEXPORT_HEADS", folder / "heads.pt")).absolute()
        os.environ["EDGEEXPORT_HEADS"] = str(weights)
        train(weights, folder / "sets")
        os.chdir(CHECKOUT)  # where the factory is imported from
        figures: list[Figure] = []
        for runtime, target in TARGETS.items():
            figures += by_hand(runtime, target, folder)
        for runtime, target in TARGETS.items():
            figures += by_search(runtime, target, folder)
    finish(figures, options.json)


def train(weights: Path, sets: Path) -> None:
    script = [sys.executable, CHECKOUT / "benchmarks" / "heads_model.py", "--output", weights, "--sets", sets]
    if weights.is_file():
        script += ["--epochs", "0"]
    else:
        note("training")
    print(run(script).output, file=sys.stderr)


def by_hand(runtime: str, target: str, folder: Path) -> Iterator[Figure]:
    """Plain w8a8, which loses too much, and settings that keep the budget, chosen by somebody who knows the head."""
    plain = export(target, folder, "plain", "--precision", "w8a8")
    recipe = folder / f"{target}.toml"
    recipe.write_text(FLOAT_HEAD.format(head(folder / f"{target}-plain")))
    kept = {"w8a8 with a float head": export(target, folder, "head", "--precision", "w8a8", "--recipe", recipe)}
    if runtime == "LiteRT":
        kept["w8a16"] = export(target, folder, "a16", "--precision", "w8a16")
    accuracy = plain["runs"][0]["accuracy"]
    yield Figure(f"{runtime}: R² of float32", accuracy["reference"], 0.97, at_least=True)
    yield Figure(f"{runtime}, w8a8: R²", accuracy["value"])
    yield Figure(f"{runtime}, w8a8: R² lost", drop(plain), BUDGET, at_least=True)
    for name, report in kept.items():
        yield Figure(f"{runtime}, {name}: R²", report["runs"][0]["accuracy"]["value"])
        yield Figure(f"{runtime}, {name}: R² lost", drop(report), BUDGET)
        yield Figure(f"{runtime}, {name}: bytes, share of float32", report["size"]["ratio"], 0.3)
    if runtime == "ONNX Runtime":
        for name, value in columns(folder / f"{target}-plain", folder / "sets" / "evaluation.npz").items():
            yield Figure(f"{runtime}, w8a8: R² of {name}", value)


def by_search(runtime: str, target: str, folder: Path) -> Iterator[Figure]:
    """The same fallback without being told of it."""
    if "--max-drop" not in run([EDGEEXPORT, "export", "--help"]).output:
        note("this edgeexport has no --max-drop: nothing was searched")
        return
    report = export(target, folder, "search", "--precision", "w8a8", "--max-drop", str(POINTS))
    search = report["search"]
    lost = search["score"]["drop"] if search["score"] else math.inf
    yield Figure(f"{runtime}, --max-drop {POINTS}: met", search["met"], True, at_least=True)
    yield Figure(f"{runtime}, --max-drop {POINTS}: R² lost on the scoring part", lost, BUDGET)
    yield Figure(f"{runtime}, --max-drop {POINTS}: bytes, share of float32", report["size"]["ratio"])
    yield Figure(f"{runtime}, --max-drop {POINTS}: evaluations", search["evaluations"])


def export(target: str, folder: Path, name: str, *options: str | Path) -> dict[str, Any]:
    note(f"exporting for {target}: {name}")
    sets = folder / "sets"
    command = [EDGEEXPORT, "export", MODEL, "--target", target, "--output", folder / f"{target}-{name}", "--json"]
    command += ["--calibration", sets / "calibration.npz", "--evaluation", sets / "evaluation.npz"]
    command += ["--set", "timing.pairs=0", *options]
    report: dict[str, Any] = json.loads(run(command, folder / "cache", allowed=(0, 1)).output)
    if report["runs"][0]["error"]:
        sys.exit(f"{target}: {report['runs'][0]['error']}")
    return report


def drop(report: dict[str, Any]) -> float:
    accuracy = report["runs"][0]["accuracy"]
    return float(accuracy["reference"] - accuracy["value"])


def head(bundle: Path) -> str:
    """The last layer's name in the format; an ONNX export numbers its nodes."""
    if not (bundle / "model.onnx").is_file():
        return "head"
    import onnx

    return [node.name for node in onnx.load(bundle / "model.onnx").graph.node if node.op_type == "Conv"][-1]


def columns(bundle: Path, evaluation: Path) -> dict[str, float]:
    """R² of each column, of an ONNX bundle by ONNX Runtime alone."""
    import numpy as np
    import onnxruntime
    from heads_model import COLUMNS, determination

    session = onnxruntime.InferenceSession(bundle / "model.onnx", providers=["CPUExecutionProvider"])
    with np.load(evaluation) as data:
        found = np.concatenate([session.run(None, {"image": image[None]})[0] for image in data["image"]])
        return dict(zip(COLUMNS, determination(found, data["labels"]), strict=True))


if __name__ == "__main__":
    main()
