"""One process of ``evaluator.py``: prints JSON.

``python evaluator_worker.py time MODEL PACKAGE PAIRS`` calls PyTorch and the evaluator in turn;
``python evaluator_worker.py memory PACKAGE`` opens and runs the package, and nothing else.
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import time
from typing import Any

import numpy as np
import torch

from edgeexport import mil

WARM = 3


def main() -> None:
    torch.set_num_threads(1)
    kind, *rest = sys.argv[1:]
    print(json.dumps({"time": timed, "memory": memory}[kind](*rest)))


def timed(model: str, package: str, pairs: str) -> dict[str, Any]:
    from edgeexport.pipeline.opening import open_source
    from edgeexport.source import SourceOptions

    source, program = open_source(model, SourceOptions()), mil.load(package)
    module, arrays = source.module(), sample(program)
    given = [torch.from_numpy(arrays[spec.name].astype(spec.dtype)) for spec in source.signature.inputs]

    def eager() -> np.ndarray:
        with torch.inference_mode():
            outputs = module(*given)
        return (outputs if isinstance(outputs, torch.Tensor) else outputs[0]).numpy()

    def evaluated() -> np.ndarray:
        return next(iter(program(arrays).values()))

    for _ in range(WARM):
        apart = float(np.abs(eager() - evaluated()).max())
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(int(pairs)):
        for taken, call in zip(times, (eager, evaluated), strict=True):
            start = time.perf_counter()
            call()
            taken.append(1000 * (time.perf_counter() - start))
    return {"apart": apart, "torch_ms": statistics.median(times[0]), "evaluator_ms": statistics.median(times[1])}


def memory(package: str) -> dict[str, Any]:
    """Peak above what is held once everything is imported, and what the values of one run come to."""
    # Libraries' own code and buffers.
    torch.nn.functional.linear(torch.ones(64, 64), torch.ones(64, 64))
    torch.nn.functional.conv2d(torch.ones(1, 8, 9, 9), torch.ones(8, 8, 3, 3))
    from edgeexport.mil import proto
    from edgeexport.mil.model import Model  # noqa: F401  loads the operators

    proto.messages("Model_pb2")
    before = peak()
    program = mil.load(package)
    arrays = sample(program)
    for _ in range(WARM):
        program(arrays)
    grown = peak() - before
    sizes: list[int] = []
    program.run(arrays, watch=lambda _, tensor: sizes.append(tensor.nbytes))
    return {"grown": grown, "activations": sum(sizes)}


def sample(program: Any) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {
        value.name: generator.integers(0, 2, value.type.shape, dtype=np.int32)
        if value.type.dtype.kind == "int"
        else generator.standard_normal(value.type.shape, dtype=np.float32)
        for value in program.inputs
    }


def peak() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


if __name__ == "__main__":
    main()
