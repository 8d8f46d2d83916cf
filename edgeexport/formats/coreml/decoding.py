"""A causal language model as one ML Program with a cache, for one token and for several at once.

Up to iOS 17 the cache goes in and out as :mod:`edgeexport.decoder` says, with as many slots as the context has. From
iOS 18 on it lies in states (:mod:`edgeexport.formats.coreml.slots`), and the function is

    input_ids, position_ids  int32 [1, sequence]
    attention_mask           float32 [1, 1, sequence, context]   added to the scores; a column a slot, new ones included
    slot                     int32 [1]                           where the first new token goes
    logits                   float32 [1, sequence, vocabulary]

``slot + sequence`` is at most the context: what does not fit in one piece is given in two. One function serves all
lengths, for a state belongs to a function: from iOS 18 on the lengths are enumerated, before that several inputs of
enumerated shapes do not exist, and any length up to the longest is taken
(https://apple.github.io/coremltools/docs-guides/source/flexible-inputs.html).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edgeexport.decoder import Decoder, decoding_signature, with_fixed_lengths
from edgeexport.errors import ConversionError
from edgeexport.formats.coreml import app, modules
from edgeexport.formats.coreml.export import readable_errors, translatable
from edgeexport.formats.coreml.library import coremltools, fresh_names, operations, quietly, save
from edgeexport.settings import Interface
from edgeexport.signature import Signature, TensorSpec
from edgeexport.source import Source

if TYPE_CHECKING:
    import torch

_SLOT = TensorSpec("slot", "int32", (1,))
_TRACED = 4
"""Tokens that are traced; torch.export takes what it sees of a length of 1 for a rule."""
_STATES = "iOS18"


@dataclass(frozen=True)
class _Shapes:
    """Shapes by the number of new tokens."""

    decoder: Decoder

    @property
    def lengths(self) -> tuple[int, ...]:
        return tuple(sorted({1, *self.decoder.prefill}))

    def of(self, spec: TensorSpec, length: int) -> tuple[int, ...]:
        slots = self.decoder.context
        total = slots if self.decoder.cache == "state" else slots + length
        known = {"sequence": length, "past": slots, "total": total}
        return tuple(size if isinstance(size, int) else known[size] for size in spec.shape)


def layout(decoder: Decoder, interface: Interface) -> Decoder:
    """How the converted program is driven, for a source's decoder."""
    cache = "state" if interface.deployment_target == _STATES else "slots"
    return msgspec.structs.replace(with_fixed_lengths(decoder, interface.prefill), cache=cache)


def write_decoder(source: Source, interface: Interface, path: Path) -> tuple[Signature, Decoder]:
    """Convert ``source``, whose ``decoder`` is not None, and write the float32 package to ``path``.

    Returns:
        The signature, with the lengths that its dimensions take, and how the program is driven.

    Raises:
        MissingRequirement: coremltools is not installed.
        RecipeError: the interface is one of images or classes.
        ConversionError: the converter failed.
    """
    assert source.decoder is not None
    app.check(source, interface)
    shapes = _Shapes(layout(source.decoder, interface))
    signature = _signature(shapes)
    ct = coremltools()
    with readable_errors(source.name), quietly():
        program = _export(source.module(), shapes, signature)
        model = _convert(ct, program, shapes, signature, interface)
    _check(model, signature, source.name)
    save(model, path)
    return signature, shapes.decoder


def keeps_float32(operation: Any) -> bool:
    """Whether a language model's operator must go on computing in float32 where others compute in float16.

    Angles of rotary positions are as large as the position: float16 has steps of 1 rad from 1,024 on. Squares of a
    layer's values, from which RMSNorm takes the mean, leave its range where a value passes 255, as some do in large
    models.
    """
    return _leads_to(operation, {"cos", "sin"}, _ANGLES) or _leads_to(operation, {"rsqrt"}, _SQUARES)


_ANGLES = {"matmul", "mul", "transpose", "concat", "expand_dims", "reshape", "tile", "cast", "identity"}
_SQUARES = {"pow", "square", "mul", "reduce_mean", "add"}


def _leads_to(operation: Any, ends: set[str], between: set[str]) -> bool:
    """Whether all that an operator gives goes into operators of ``ends``, through none but those ``between``."""
    if operation.op_type in ends:
        return True
    if operation.op_type not in between:
        return False
    users = [user for output in operation.outputs for user in output.child_ops]
    return bool(users) and all(_leads_to(user, ends, between) for user in users)


def _signature(shapes: _Shapes) -> Signature:
    """Of the program, with integers as Core ML has them."""
    decoder = shapes.decoder
    full = decoding_signature(decoder)
    inputs = [replace(spec, dtype=spec.dtype.replace("int64", "int32")) for spec in full.inputs]
    if decoder.cache == "state":
        mask = replace(inputs[2], shape=(1, 1, "sequence", decoder.context))
        return Signature((*inputs[:2], mask, _SLOT), full.outputs[:1], {"sequence": shapes.lengths})
    lengths = {"sequence": shapes.lengths, "total": tuple(decoder.context + length for length in shapes.lengths)}
    past = [replace(spec, shape=shapes.of(spec, 1)) for spec in inputs[3:]]
    return Signature((*inputs[:3], *past), full.outputs, lengths)


def _export(module: torch.nn.Module, shapes: _Shapes, signature: Signature) -> Any:
    import torch

    from edgeexport.formats.coreml import slots

    decoder, dynamic = shapes.decoder, shapes.lengths != (1,)
    length = _TRACED if dynamic else 1
    example = tuple(torch.zeros(shapes.of(spec, length), dtype=getattr(torch, spec.dtype)) for spec in signature.inputs)
    if decoder.cache == "state":
        module = slots.StatefulDecoder(module, decoder).eval()
        slots.register()
    if not dynamic:
        return translatable(torch.export.export(module, example).run_decompositions({}))
    free = torch.export.Dim.DYNAMIC
    axes: tuple[Any, ...] = tuple(
        {axis: free for axis, size in enumerate(spec.shape) if isinstance(size, str)} for spec in signature.inputs
    )
    if decoder.cache == "slots":  # the past is one variadic parameter
        axes = (*axes[:3], axes[3:])
    return translatable(torch.export.export(module, example, dynamic_shapes=axes).run_decompositions({}))


def _convert(ct: Any, program: Any, shapes: _Shapes, signature: Signature, interface: Interface) -> Any:
    import numpy as np

    longest = shapes.lengths[-1]
    slots = shapes.decoder.context
    spans: dict[str, Any] = {"sequence": 1, "total": slots + 1}
    if longest > 1:
        spans = {
            "sequence": ct.RangeDim(1, longest, default=longest),
            "total": ct.RangeDim(slots + 1, slots + longest, default=slots + longest),
        }
    inputs = [
        ct.TensorType(
            name=spec.name,
            shape=tuple(size if isinstance(size, int) else spans[size] for size in spec.shape),
            dtype=np.dtype(spec.dtype).type,
        )
        for spec in signature.inputs
    ]
    pipeline = ct.PassPipeline()
    pipeline.remove_passes({"common::guard_negative_gather_indices"})  # tokens and positions have no sign
    fresh_names()
    modules.note(program)
    model = ct.convert(
        program,
        inputs=inputs,
        outputs=[ct.TensorType(name=spec.name, dtype=np.float32) for spec in signature.outputs],
        minimum_deployment_target=getattr(ct.target, interface.deployment_target),
        compute_precision=ct.precision.FLOAT32,
        convert_to="mlprogram",
        pass_pipeline=pipeline,
        skip_model_load=True,
    )
    modules.keep(model, operations(model._mil_program))
    if longest == 1 or shapes.decoder.cache == "slots":
        return model
    return _enumerated(ct, model, shapes, signature)


def _enumerated(ct: Any, model: Any, shapes: _Shapes, signature: Signature) -> Any:
    """The model with no lengths between those asked for: fixed shapes are what the Neural Engine plans for.

    Converted as a range, in which coremltools sees that the inputs' lengths are the same one.
    """
    spec = model.get_spec()
    for declared, described in zip(signature.inputs, spec.description.input, strict=True):
        assert declared.name == described.name
        if all(isinstance(size, int) for size in declared.shape):
            continue
        array = described.type.multiArrayType
        array.ClearField("shapeRange")
        for length in reversed(shapes.lengths):  # the default one first
            array.enumeratedShapes.shapes.add().shape.extend(shapes.of(declared, length))
    return ct.models.MLModel(spec, weights_dir=model.weights_dir, skip_model_load=True)


def _check(model: Any, signature: Signature, name: str) -> None:
    taken = {item.name for item in model.get_spec().description.input}
    missing = {spec.name for spec in signature.inputs} - taken
    if missing:
        raise ConversionError(
            f"{name}: the model does not use its input '{min(missing)}', and Core ML leaves it out",
            "Models without positions have no decoder for Core ML: choose a target with another format.",
        )
