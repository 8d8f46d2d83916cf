"""coremltools: imported quietly, and its packages written so that the same model gives the same bytes."""

from __future__ import annotations

import io
import json
import logging
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

from edgeexport.errors import MissingRequirement
from edgeexport.formats.coreml import labels, modules
from edgeexport.quiet import native_output
from edgeexport.settings import Settings

_ROOT = Path("Data") / "com.apple.CoreML"
_KEPT_METADATA = ("com.github.apple.coremltools.version", "com.github.apple.coremltools.source", modules.KEY)
_LARGEST = 30000.0
"""For masks in float16: a softmax makes it exactly 0, and a score added to it does not overflow."""
_FLOAT16_MAX = 65504.0
_LEAST_MASK = 1e8
"""Positive factors from here on are taken for a mask's, as all negative ones are."""


def coremltools() -> Any:
    """The library.

    Raises:
        MissingRequirement: it is not installed.
    """
    try:
        with native_output(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import coremltools as ct
    except ImportError as error:
        raise MissingRequirement(
            f"converting to Core ML needs coremltools ({error})", "pip install 'edgeexport[coreml]'"
        ) from error
    return ct


@contextmanager
def quietly() -> Iterator[None]:
    """Keep log lines, warnings and progress bars of a conversion off the terminal, or the notebook."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with native_output(), redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def fresh_names() -> None:
    """Let the next conversion number its values from zero, whatever this process converted before."""
    from coremltools.converters.mil.mil import Builder

    Builder.name_count.clear()


def program_of(model: Any) -> Any:
    """A model's program as coremltools' own graph (pymil), weights loaded; without labels of classes, which
    :func:`save` puts back."""
    from coremltools.converters.mil.frontend.milproto.load import load

    spec = model.get_spec()
    labels.remove(spec)
    return load(spec, specification_version=spec.specificationVersion, file_weights_dir=model.weights_dir)


def open_program(path: Path) -> Any:
    """The program of the package at ``path``, through a copy: coremltools writes into what it opens."""
    ct = coremltools()
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copytree(path, Path(folder) / path.name)
        return program_of(ct.models.MLModel(str(copy), skip_model_load=True))


def operations(program: Any) -> list[Any]:
    """Every operation of a program, those of inner blocks among them, in order."""

    def walk(block: Any) -> Iterator[Any]:
        for operation in block.operations:
            yield operation
            for inner in operation.blocks:
                yield from walk(inner)

    return [operation for block in program.functions.values() for operation in walk(block)]


def half(path: Path, settings: Settings, keeps: Callable[[Any], bool]) -> Any:
    """The float32 package at ``path`` as a model that computes in float16; inputs and outputs stay as they are.

    Finite constants beyond float16's range are brought inside before: a float32 dtype's minimum, as attention masks
    have it, would become minus infinity, and zero times that is NaN. A multiplication by a smaller one, such as an
    output's unit, stays float32: the factor is meant.

    Args:
        path: as :func:`save` wrote it.
        settings: complete.
        keeps: whether an operation goes on computing in float32.
    """
    ct = coremltools()
    program = open_program(path)
    _bring_inside(program, -settings.quantization.mask_value or _LARGEST)
    return _convert(
        program, settings, ct.transform.FP16ComputePrecision(op_selector=lambda op: not (keeps(op) or _scales(op)))
    )


def transformed(model: Any, passes: Iterable[Any], settings: Settings) -> Any:
    """The model after coremltools' graph passes, already configured, in order."""
    program = program_of(model)
    for transform in passes:
        transform.apply(program)
    return _convert(program, settings, coremltools().precision.FLOAT32)


def _convert(program: Any, settings: Settings, precision: Any) -> Any:
    """A model from a program that was converted before.

    The check of negative indices is left out: it is in the program already, and would be there once more a conversion.
    """
    ct = coremltools()
    pipeline = ct.PassPipeline()
    pipeline.remove_passes({"common::guard_negative_gather_indices"})
    fresh_names()
    return ct.convert(
        program,
        source="milinternal",
        convert_to="mlprogram",
        compute_precision=precision,
        minimum_deployment_target=getattr(ct.target, settings.interface.deployment_target),
        pass_pipeline=pipeline,
        skip_model_load=True,
    )


def _bring_inside(program: Any, largest: float) -> None:
    """Clip constants that float16 cannot hold to ±``largest``; infinite ones are meant, and stay."""
    import numpy as np
    from coremltools.converters.mil import Builder

    for operation in operations(program):
        value = operation.outputs[0].val if operation.op_type == "const" else None
        if not isinstance(value, np.ndarray | np.generic) or value.dtype.kind != "f" or not value.size:
            continue
        beyond = np.isfinite(value) & (np.abs(value) > _FLOAT16_MAX)
        if not beyond.any() or all(map(_scales, operation.outputs[0].child_ops)):
            continue
        block = operation.enclosing_block
        clipped = np.where(beyond, np.clip(value, -largest, largest), value).astype(value.dtype)
        with block:
            inside = Builder.const(val=clipped, name=f"{operation.name}_within_fp16", before_op=operation)
        block.replace_uses_of_var_after_op(anchor_op=operation, old_var=operation.outputs[0], new_var=inside)
        block.remove_ops([operation])


def _scales(operation: Any) -> bool:
    """Whether an operation multiplies by a constant that float16 does not hold, and that is no mask's."""
    import numpy as np

    if operation.op_type != "mul":
        return False
    factors = [np.asarray(value.val) for value in (operation.x, operation.y) if value.val is not None]
    return any(value.size and _FLOAT16_MAX < value.max() < _LEAST_MASK and value.min() >= 0 for value in factors)


def save(model: Any, path: Path, described_by: Path | None = None) -> None:
    """Write ``model`` to ``path``: no dates, no random identifiers, and messages in one order.

    Args:
        model: coremltools' own.
        path: the folder to write.
        described_by: a package with the description of inputs and outputs to take, and labels of classes. A program
            alone knows neither ranges and enumerations of lengths nor images.
    """
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "model.mlpackage"
        model.save(str(written))
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(written / "Data", path / "Data")
        manifest = json.loads((written / "Manifest.json").read_text())
    _rewrite_specification(path / _ROOT / "model.mlmodel", described_by)
    # As coremltools itself writes it, so that opening the package changes nothing.
    (path / "Manifest.json").write_text(json.dumps(_named(manifest), indent=4, sort_keys=True) + "\n")


def _rewrite_specification(path: Path, described_by: Path | None) -> None:
    spec = _specification(path)
    if described_by is not None:
        described = _specification(described_by / _ROOT / "model.mlmodel")
        spec.description.CopyFrom(described.description)
        labels.restore(spec, described)
    metadata = spec.description.metadata.userDefined
    for key in list(metadata):
        if key not in _KEPT_METADATA:
            del metadata[key]
    path.write_bytes(spec.SerializeToString(deterministic=True))
    path.chmod(0o644)


def _specification(path: Path) -> Any:
    from coremltools.proto import Model_pb2

    spec = Model_pb2.Model()
    spec.ParseFromString(path.read_bytes())
    return spec


def _named(manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest with identifiers that follow from the paths."""
    items = manifest["itemInfoEntries"]
    names = {key: str(uuid.uuid5(uuid.NAMESPACE_URL, item["path"])) for key, item in items.items()}
    manifest["itemInfoEntries"] = {names[key]: item for key, item in items.items()}
    manifest["rootModelIdentifier"] = names[manifest["rootModelIdentifier"]]
    return manifest
