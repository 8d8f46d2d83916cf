"""From a torch module to a float32 ML Program: one shape, several, or a range of lengths."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edgeexport.errors import ConversionError, EdgeExportError, ModelError, RecipeError
from edgeexport.fixed import Dimensions, fixed_dimensions
from edgeexport.formats.coreml import app, modules
from edgeexport.formats.coreml.library import coremltools, fresh_names, operations, quietly, save
from edgeexport.interface import is_image
from edgeexport.preprocess import TokenizerPreprocess
from edgeexport.settings import Interface
from edgeexport.signature import Signature, TensorSpec
from edgeexport.source import Source

if TYPE_CHECKING:
    import torch

_NARROWED = {"int64": "int32", "float64": "float32", "bool": "int32"}


# What run_decompositions leaves whole and the torch.export frontend of coremltools 9 has no function for.
_TRACED_ONLY = [["aten", name] for name in ("lstm", "gru", "rnn_tanh", "rnn_relu")]
_UNTRANSLATED = "Unsupported fx node "
"""How coremltools begins to say that it has no function for an operator."""


@dataclass(frozen=True)
class _Job:
    """What is converted, and to which lengths.

    Attributes:
        source, interface: as given.
        dimensions: with the lengths; the longest alone where any up to it is taken.
        ranged: whether any length from 1 to the longest is taken.
    """

    source: Source
    interface: Interface
    dimensions: Dimensions
    ranged: bool

    @property
    def several(self) -> bool:
        """Whether the program takes more than one length."""
        return self.ranged or len(self.dimensions.lengths) > 1


def write_float32(source: Source, interface: Interface, path: Path) -> Signature:
    """Convert ``source`` and write the package to ``path``; gives the signature.

    Raises:
        MissingRequirement: coremltools is not installed.
        ModelError: the source is no torch model.
        RecipeError: the interface does not fit the model or the deployment target.
        ConversionError: the converter failed.
    """
    module = _module(source)
    app.check(source, interface)
    job = _plan(source, interface)
    if _is_recurrent(module):  # torch.export would specialise the length first, and not say why
        _check_traced(job)
    ct = coremltools()
    with readable_errors(source.name), quietly():
        model = _convert(ct, app.wrap(module, source, interface), job)
    _check_inputs(model, source)
    save(model, path)
    return _signature(job)


def _convert(ct: Any, module: torch.nn.Module, job: _Job) -> Any:
    """Through torch.export; through the older tracing where coremltools has no translation of an exported operator,
    as of recurrent layers."""
    program = _export(module, job)
    if any(map(_is_traced_only, _calls(program))):
        _check_traced(job)
        return _through(ct, _trace(module, job), job, _named_outputs(ct, job))
    model = _through(ct, program, job, _outputs(ct, program, job))
    if not job.interface.classifier:
        return model
    names = [spec.name for spec in job.source.signature.outputs]
    return app.rename(ct, model, dict(zip(program.graph_signature.user_outputs, names, strict=False)))


def _through(ct: Any, program: Any, job: _Job, outputs: dict[str, Any]) -> Any:
    fresh_names()
    if hasattr(program, "graph_signature"):
        modules.note(program)
    model = ct.convert(
        program,
        inputs=[_declare(ct, spec, job) for spec in job.source.signature.inputs],
        **outputs,
        minimum_deployment_target=getattr(ct.target, job.interface.deployment_target),
        compute_precision=ct.precision.FLOAT32,
        convert_to="mlprogram",
        skip_model_load=True,
    )
    modules.keep(model, operations(model._mil_program))
    return model


def _calls(program: Any) -> list[Any]:
    return [node for node in program.graph.nodes if node.op == "call_function"]


def _is_traced_only(node: Any) -> bool:
    """Whether coremltools translates the operator of a node from traced graphs alone."""
    return str(node.target).split(".")[:2] in _TRACED_ONLY


def translatable(program: Any) -> Any:
    """The program with operators that coremltools has no function for, such as ``new_ones`` in the masks of language
    models, broken down into what torch makes them of; the others stay whole, for it knows better forms of them."""
    import torch
    from coremltools.converters.mil.frontend.torch.torch_op_registry import _TORCH_OPS_REGISTRY as REGISTRY

    known = {**torch.export.default_decompositions(), torch.ops.aten.alias.default: lambda tensor: tensor}
    calls = [node for node in _calls(program) if node.target in known and not _is_traced_only(node)]
    table = {node.target: known[node.target] for node in calls if REGISTRY.get_func(node.target.name()) is None}
    return program.run_decompositions(table) if table else program


def _trace(module: torch.nn.Module, job: _Job) -> Any:
    import torch

    with torch.no_grad():
        return torch.jit.trace(module, _examples(job), check_trace=False)  # type: ignore[no-untyped-call]


def _is_recurrent(module: torch.nn.Module) -> bool:
    import torch

    return any(isinstance(part, torch.nn.RNNBase) for part in module.modules())


def _check_traced(job: _Job) -> None:
    """Refuse what tracing cannot give: other lengths than the traced one, and outputs of a known name."""
    if job.several:
        raise RecipeError(
            f"{job.source.name}: Core ML has recurrent layers converted for one length, and several are asked for",
            "Give one length, such as --set interface.lengths=[128].",
        )
    if job.interface.classifier:
        raise RecipeError(
            f"{job.source.name}: a model with recurrent layers cannot have Core ML's classifier interface",
            "Leave interface.classifier out; the manifest has the names of the classes.",
        )


def _plan(source: Source, interface: Interface) -> _Job:
    """Lengths as given; where none is, all up to the longest that is known."""
    longest = interface.longest
    if longest is not None and interface.lengths:
        raise RecipeError(
            f"interface.longest={longest} contradicts interface.lengths={list(interface.lengths)}, which fixes them",
            "Add --set interface.lengths=[] for any length up to the longest, or leave interface.longest out.",
        )
    if longest is None and isinstance(source.preprocess, TokenizerPreprocess):
        longest = source.preprocess.max_length
    ranged = not interface.lengths and longest is not None
    asked = msgspec.structs.replace(interface, lengths=(longest,)) if ranged else interface
    dimensions = fixed_dimensions(source, asked, "Core ML")
    if interface.longest is not None and dimensions.free is None:
        raise RecipeError(
            f"{source.name} has no dynamic dimension for interface.longest",
            "Leave it out, or name one in the module's dynamic_axes.",
        )
    takers = sum(dimensions.free in spec.shape for spec in source.signature.inputs)
    if len(dimensions.lengths) > 1 and takers > 1 and interface.deployment_target != "iOS18":
        raise RecipeError(
            f"{source.name}: several lengths of several inputs need iOS 18, and the target is "
            f"{interface.deployment_target}",
            "Give one length, such as --set interface.lengths=[128].",
        )
    return _Job(source, interface, dimensions, ranged and dimensions.free is not None)


def _module(source: Source) -> torch.nn.Module:
    try:
        return source.module()
    except ModelError as error:
        raise ModelError(
            f"{source.name}: Core ML is converted from torch modules, and this model is none",
            "Export the torch or Transformers model that it came from.",
        ) from error


def _export(module: torch.nn.Module, job: _Job) -> Any:
    import torch

    example = _examples(job)
    if not job.several:
        return translatable(torch.export.export(module, example).run_decompositions({}))
    # Lengths 0 and 1 are special to torch.export; what it traces for 2 and more holds for 1 too.
    shortest = 2 if job.ranged else max(2, min(job.dimensions.lengths))
    length = torch.export.Dim(str(job.dimensions.free), min=shortest, max=max(job.dimensions.lengths))
    shapes = tuple(
        {axis: length for axis, size in enumerate(spec.shape) if size == job.dimensions.free} or None
        for spec in job.source.signature.inputs
    )
    try:  # modules of Transformers take their inputs as one variadic parameter
        program = torch.export.export(module, example, dynamic_shapes=(shapes,))
    except Exception:
        program = torch.export.export(module, example, dynamic_shapes=shapes)
    return translatable(program.run_decompositions({}))


def _examples(job: _Job) -> tuple[torch.Tensor, ...]:
    return tuple(_example(spec, job.dimensions) for spec in job.source.signature.inputs)


def _example(spec: TensorSpec, dimensions: Dimensions) -> torch.Tensor:
    import torch

    dtype = getattr(torch, spec.dtype)
    make = torch.zeros if dtype.is_floating_point else torch.ones
    return make(dimensions.shape(spec, dimensions.lengths[-1] if dimensions.lengths else 0), dtype=dtype)


def _declare(ct: Any, spec: TensorSpec, job: _Job) -> Any:
    """A new type for each conversion: ``convert`` changes those it is given."""
    import numpy as np

    shapes = [job.dimensions.shape(spec, length) for length in job.dimensions.lengths or (0,)]
    if job.interface.images and is_image(spec, job.source.preprocess):
        return app.image_type(ct, spec, shapes[0], job.source.preprocess)  # type: ignore[arg-type]
    shape: Any = shapes[0]
    if job.ranged:
        longest = max(job.dimensions.lengths)
        span = ct.RangeDim(lower_bound=1, upper_bound=longest, default=longest)
        pairs = zip(spec.shape, shapes[0], strict=True)
        shape = tuple(span if name == job.dimensions.free else size for name, size in pairs)
    elif len(set(shapes)) > 1:
        shape = ct.EnumeratedShapes(shapes=shapes, default=shapes[-1])
    return ct.TensorType(name=spec.name, shape=shape, dtype=np.dtype(_NARROWED.get(spec.dtype, spec.dtype)).type)


def _outputs(ct: Any, program: Any, job: _Job) -> dict[str, Any]:
    """Names and types of outputs; those of a classifier keep their names in the torch program, which are changed
    afterwards: coremltools counts its label and probabilities among the outputs that it is given."""

    if job.interface.classifier:
        return {"classifier_config": app.classifier_config(ct, job.source, program.graph_signature.user_outputs[-1])}
    return _named_outputs(ct, job)


def _named_outputs(ct: Any, job: _Job) -> dict[str, Any]:
    import numpy as np

    types = [np.dtype(_NARROWED.get(spec.dtype, spec.dtype)).type for spec in job.source.signature.outputs]
    names = [spec.name for spec in job.source.signature.outputs]
    return {"outputs": [ct.TensorType(name=name, dtype=dtype) for name, dtype in zip(names, types, strict=True)]}


def _check_inputs(model: Any, source: Source) -> None:
    taken = {item.name for item in model.get_spec().description.input}
    missing = {spec.name for spec in source.signature.inputs} - taken
    if missing:
        raise ConversionError(
            f"{source.name}: the model does not use its input '{min(missing)}', and Core ML leaves it out",
            "Leave it out of the module's example_inputs.",
        )


def _signature(job: _Job) -> Signature:
    """What the package takes and gives; the free dimension keeps its name, beside its lengths."""
    dimensions = job.dimensions

    def converted(spec: TensorSpec) -> TensorSpec:
        shape = tuple(size if isinstance(size, int) else dimensions.fixed.get(size, size) for size in spec.shape)
        return replace(spec, dtype=_NARROWED.get(spec.dtype, spec.dtype), shape=shape)

    return Signature(
        tuple(map(converted, job.source.signature.inputs)),
        tuple(map(converted, job.source.signature.outputs)),
        {} if dimensions.free is None or job.ranged else {dimensions.free: dimensions.lengths},
    )


@contextmanager
def readable_errors(name: str) -> Iterator[None]:
    """Turn what coremltools and torch.export raise into a :class:`ConversionError` about the model ``name``."""
    try:
        yield
    except EdgeExportError:
        raise
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        what = lines[0] if lines else repr(error)
        if what.startswith(_UNTRANSLATED):
            operator = what.rpartition("kind ")[2]
            raise ConversionError(
                f"converting {name} to Core ML failed: coremltools does not translate torch's operator '{operator}'",
                "Write that part of the model with other operators, or choose a target with another format.",
            ) from error
        raise ConversionError(
            f"converting {name} to Core ML failed: {type(error).__name__}: {what[:400]}",
            "Check that the module is exportable: torch.export.export(module, inputs).",
        ) from error
