"""From a torch module to a float32 ML Program."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeexport.errors import ConversionError, ModelError, RecipeError
from edgeexport.fixed import Dimensions, fixed_dimensions
from edgeexport.formats.coreml.library import coremltools, fresh_names, quietly, save
from edgeexport.settings import Interface
from edgeexport.signature import Signature, TensorSpec
from edgeexport.source import Source

if TYPE_CHECKING:
    import torch

_NARROWED = {"int64": "int32", "float64": "float32", "bool": "int32"}


def write_float32(source: Source, interface: Interface, path: Path) -> Signature:
    """Convert ``source`` and write the package to ``path``; gives the signature.

    Raises:
        MissingRequirement: coremltools is not installed.
        ModelError: the source is no torch model.
        RecipeError: the interface does not fit the model or the deployment target.
        ConversionError: the converter failed.
    """
    module = _module(source)
    if interface.channels_last:
        raise RecipeError("Core ML takes images with channels first", "Leave interface.channels_last out.")
    ct = coremltools()
    dimensions = fixed_dimensions(source, interface, "Core ML")
    if len(dimensions.lengths) > 1 and interface.deployment_target != "iOS18":
        raise RecipeError(
            f"{source.name}: several lengths of several inputs need iOS 18, and the target is "
            f"{interface.deployment_target}",
            "Give one length, such as --set interface.lengths=[128].",
        )
    with _readable_errors(source.name), quietly():
        fresh_names()
        program = _export(module, source.signature, dimensions)
        model = ct.convert(
            program,
            inputs=[_declare(ct, spec, dimensions) for spec in source.signature.inputs],
            outputs=[_output(ct, spec) for spec in source.signature.outputs],
            minimum_deployment_target=getattr(ct.target, interface.deployment_target),
            compute_precision=ct.precision.FLOAT32,
            convert_to="mlprogram",
            skip_model_load=True,
        )
    _check_inputs(model, source)
    save(model, path)
    return _signature(source.signature, dimensions)


def _module(source: Source) -> torch.nn.Module:
    try:
        return source.module()
    except ModelError as error:
        raise ModelError(
            f"{source.name}: Core ML is converted from torch modules, and this model is none",
            "Export the torch or Transformers model that it came from.",
        ) from error


def _export(module: torch.nn.Module, signature: Signature, dimensions: Dimensions) -> Any:
    import torch

    example = tuple(_example(spec, dimensions) for spec in signature.inputs)
    dynamic = None
    if len(dimensions.lengths) > 1:
        length = torch.export.Dim(str(dimensions.free), min=min(dimensions.lengths), max=max(dimensions.lengths))
        dynamic = (
            tuple(
                {axis: length for axis, size in enumerate(spec.shape) if size == dimensions.free} or None
                for spec in signature.inputs
            ),
        )
    # The modules take their inputs as positional arguments of one variadic parameter.
    try:
        program = torch.export.export(module, example, dynamic_shapes=dynamic)
    except Exception:
        if dynamic is None:
            raise
        program = torch.export.export(module, example, dynamic_shapes=dynamic[0])
    return program.run_decompositions({})


def _example(spec: TensorSpec, dimensions: Dimensions) -> torch.Tensor:
    import torch

    dtype = getattr(torch, spec.dtype)
    make = torch.zeros if dtype.is_floating_point else torch.ones
    return make(dimensions.shape(spec, dimensions.lengths[-1] if dimensions.lengths else 0), dtype=dtype)


def _declare(ct: Any, spec: TensorSpec, dimensions: Dimensions) -> Any:
    """A new tensor type for each conversion: ``convert`` changes those it is given."""
    import numpy as np

    dtype = np.dtype(_NARROWED.get(spec.dtype, spec.dtype)).type
    shapes = [dimensions.shape(spec, length) for length in dimensions.lengths or (0,)]
    several = len(set(shapes)) > 1
    shape = ct.EnumeratedShapes(shapes=shapes, default=shapes[-1]) if several else shapes[0]
    return ct.TensorType(name=spec.name, shape=shape, dtype=dtype)


def _output(ct: Any, spec: TensorSpec) -> Any:
    import numpy as np

    return ct.TensorType(name=spec.name, dtype=np.dtype(_NARROWED.get(spec.dtype, spec.dtype)).type)


def _check_inputs(model: Any, source: Source) -> None:
    taken = {item.name for item in model.get_spec().description.input}
    missing = {spec.name for spec in source.signature.inputs} - taken
    if missing:
        raise ConversionError(
            f"{source.name}: the model does not use its input '{min(missing)}', and Core ML leaves it out",
            "Leave it out of the module's example_inputs.",
        )


def _signature(signature: Signature, dimensions: Dimensions) -> Signature:
    """What the package takes and gives; the free dimension keeps its name, beside its lengths."""

    def converted(spec: TensorSpec) -> TensorSpec:
        shape = tuple(size if isinstance(size, int) else dimensions.fixed.get(size, size) for size in spec.shape)
        return replace(spec, dtype=_NARROWED.get(spec.dtype, spec.dtype), shape=shape)

    return Signature(
        tuple(map(converted, signature.inputs)),
        tuple(map(converted, signature.outputs)),
        {} if dimensions.free is None else {dimensions.free: dimensions.lengths},
    )


@contextmanager
def _readable_errors(name: str) -> Iterator[None]:
    try:
        yield
    except (ModelError, RecipeError, ConversionError):
        raise
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        what = lines[0] if lines else repr(error)
        raise ConversionError(
            f"converting {name} to Core ML failed: {type(error).__name__}: {what[:400]}",
            "Check that the module is exportable: torch.export.export(module, inputs).",
        ) from error
