"""Spoken digits in full-integer int8 on a microcontroller: accuracy on LiteRT and TFLite Micro, flash, arena, Vela.

Trains the model first where its weights are not there (two minutes): ``benchmarks/digits_model.py``.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from bench import CHECKOUT, EDGEEXPORT, Figure, arguments, finish, note, run, workspace

MODEL = "benchmarks.digits_model:digits"


def main() -> None:
    options = arguments(__doc__)
    with workspace() as folder:
        weights = Path(os.environ.get("EDGEEXPORT_DIGITS", folder / "digits.pt"))
        os.environ["EDGEEXPORT_DIGITS"] = str(weights)
        train(options.shared / "data" / "fsdd", weights, folder / "sets")
        reports = {target: export(target, folder) for target in ("cortex-m7", "ethos-u55-128")}
        exact, values = bit_exact(folder / "cortex-m7", folder / "sets" / "evaluation")
        figures = judge(reports["cortex-m7"], reports["ethos-u55-128"])
    figures.append(Figure(f"outputs unlike LiteRT's reference kernels, of {values}", exact, 0))
    finish(figures, options.json)


def train(data: Path, weights: Path, sets: Path) -> None:
    script = [sys.executable, CHECKOUT / "benchmarks" / "digits_model.py", "--data", data, "--output", weights]
    if weights.is_file():
        script += ["--epochs", "0"]
    else:
        note("training")
    print(run([*script, "--sets", sets]).output, file=sys.stderr)


def export(target: str, folder: Path) -> dict[str, Any]:
    note(f"exporting for {target}")
    sets = folder / "sets"
    command = [EDGEEXPORT, "export", MODEL, "--target", target, "--output", folder / target, "--json"]
    command += ["--calibration", sets / "calibration", "--evaluation", sets / "evaluation"]
    os.chdir(CHECKOUT)  # where the factory is imported from
    report: dict[str, Any] = json.loads(run(command, folder / "cache", allowed=(0, 1)).output)
    return report


def judge(micro: dict[str, Any], ethos: dict[str, Any]) -> list[Figure]:
    figures = []
    for result in micro["runs"]:
        if result["error"]:
            sys.exit(f"{result['runtime']}: {result['error']}")
        accuracy = result["accuracy"]
        drop = accuracy["reference"] - accuracy["value"]
        figures.append(Figure(f"{result['runtime']}: right of {accuracy['samples']}", round(accuracy["value"] * 300)))
        figures.append(Figure(f"{result['runtime']}: accuracy lost, share", drop, 0.005))
    first = micro["runs"][0]
    estimate = next(result["estimate"] for result in ethos["runs"] if result["estimate"])
    figures += [
        Figure("float32 right", round(first["accuracy"]["reference"] * 300)),
        Figure("parameters", micro["size"]["source_float32_bytes"] // 4, 50_000),
        Figure("flash, bytes", micro["size"]["artifact_bytes"]),
        Figure("arena, bytes", first["arena_bytes"]),
        Figure("Vela, estimated: cycles", estimate["cycles"]),
        Figure("Vela, estimated: SRAM, bytes", estimate["sram_bytes"]),
        Figure("Vela, estimated: share of operators on the NPU", estimate["npu_share"]),
    ]
    return figures


def bit_exact(bundle: Path, evaluation: Path) -> tuple[int, int]:
    """Values that TFLite Micro answers unlike LiteRT's reference kernels, and how many there are."""
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter, OpResolverType
    from tflite_micro.python.tflite_micro import runtime

    from edgeexport.artifact import load_bundle
    from edgeexport.interface import quantize
    from edgeexport.preprocess import from_dict
    from edgeexport.samples import feeds, open_samples

    opened = load_bundle(bundle)
    reference = Interpreter(
        str(opened.model_path), experimental_op_resolver_type=OpResolverType.BUILTIN_REF, num_threads=1
    )
    reference.allocate_tensors()
    micro = runtime.Interpreter.from_file(str(opened.model_path))
    name = opened.signature.inputs[0].name
    unlike = total = 0
    encoded = feeds(open_samples(evaluation), from_dict(opened.manifest.preprocess), opened.signature.real(), bundle)
    for _, real in encoded:
        given = quantize(real, opened.signature)[name]
        reference.set_tensor(reference.get_input_details()[0]["index"], given)
        reference.invoke()
        micro.set_input(given, 0)
        micro.invoke()
        expected = reference.get_tensor(reference.get_output_details()[0]["index"])
        unlike += int(np.count_nonzero(expected != micro.get_output(0)))
        total += expected.size
    return unlike, total


if __name__ == "__main__":
    main()
