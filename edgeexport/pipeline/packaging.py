"""What a bundle holds beside the model, as the target's ``packaging`` asks, and whether the model fits its memory."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from edgeexport import discover, tree
from edgeexport.artifact import GOLDEN, Artifact, Reference
from edgeexport.errors import ModelError, RunFailed, TargetError
from edgeexport.job import Job
from edgeexport.pipeline.opening import open_device
from edgeexport.progress import Progress
from edgeexport.runtime_names import module_of
from edgeexport.runtimes import tensors
from edgeexport.samples import Samples
from edgeexport.settings import Limits
from edgeexport.signature import Signature, TensorSpec

_REFERENCE_BYTES = 16 << 20


def check_packaging(packaging: tuple[str, ...]) -> None:
    """Refuse what :func:`pack_extras` would find missing, before a long export.

    Raises:
        TargetError: there is no such packer.
        MissingRequirement: the runtime that its files are for is not installed.
    """
    device = open_device("local")
    for kind in packaging:
        device.check(module_of(_packer(kind).RUNTIME))


def pack_extras(
    packaging: tuple[str, ...], folder: Path, artifact: Artifact, name: str, progress: Progress
) -> tuple[str, ...]:
    """Let each packer add its files to the bundle in ``folder``; give their notes.

    A packer gets what its own runtime answers for the golden inputs on this machine.

    Raises:
        TargetError: there is no such packer.
        ModelError: the runtime that the files are for cannot run the model.
        MissingRequirement: that runtime is not installed.
    """
    notes: list[str] = []
    for kind in packaging:
        module = _packer(kind)
        with progress.stage(f"packing for {kind}"):
            golden = list(tensors.Reader(str(folder / GOLDEN / "inputs")))
            outputs, arena = _answers(module.RUNTIME, artifact, golden)
            notes += module.open_packer().pack(
                folder,
                name=name,
                model=artifact.path,
                signature=artifact.signature,
                golden=golden,
                outputs=outputs,
                arena_bytes=arena,
            )
    return tuple(notes)


def check_memory(signature: Signature, limits: Limits, name: str, target: str) -> None:
    """Refuse a model whose inputs alone are over the target's memory.

    Raises:
        ModelError: with both figures.
    """
    needed = sum(_bytes(spec, signature) for spec in signature.inputs)
    if limits.arena_bytes is not None and needed > limits.arena_bytes:
        raise ModelError(
            f"{name}: its inputs take {needed:,} bytes, and the target '{target}' has {limits.arena_bytes:,} for all "
            "tensors of an inference",
            "Make the input smaller, or raise the limit knowingly with --set limits.arena_bytes=BYTES.",
        )


def _packer(kind: str) -> Any:
    module = discover.load("edgeexport.packers", kind)
    if module is None:
        known = ", ".join(discover.names("edgeexport.packers"))
        raise TargetError(f"there is no packaging '{kind}'", f"Known: {known}.")
    return module


def _bytes(spec: TensorSpec, signature: Signature) -> int:
    lengths = (length if isinstance(length, int) else max(signature.lengths.get(length, (1,))) for length in spec.shape)
    return math.prod(lengths) * np.dtype(spec.dtype).itemsize


def _answers(
    runtime: str, artifact: Artifact, golden: list[dict[str, np.ndarray]]
) -> tuple[list[dict[str, np.ndarray]], int]:
    """Outputs for the golden inputs, and the arena that they took."""
    import tempfile

    device = open_device("local")
    device.check(module_of(runtime))
    with tempfile.TemporaryDirectory(prefix="edgeexport-pack-") as folder:
        job = Job(runtime=module_of(runtime), models=(artifact.path,), inputs=golden)
        try:
            result = device.run(job, Path(folder))
            return [dict(output) for output in result.outputs], result.arena_bytes or 0
        except RunFailed as failure:
            log = f"\n{failure.log}" if failure.log else ""
            raise ModelError(f"{runtime} cannot run the model: {failure.what}{log}") from failure
        finally:
            device.close()


def keep_references(folder: Path, outputs: Path, samples: Samples) -> Reference | None:
    """Take the float32 source's outputs on the evaluation set along into a bundle, where they are small."""
    if tree.size(outputs) > _REFERENCE_BYTES:
        return None
    place = f"{GOLDEN}/evaluation"
    tree.copy(outputs, folder / place)
    return Reference(digest=samples.digest(), samples=len(samples), folder=place)
