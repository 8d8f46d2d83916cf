"""Which weights are compressed, and how: int8 a channel, int4 a block, or a palette."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from edgeexport.errors import ConversionError
from edgeexport.formats.coreml.library import transformed
from edgeexport.settings import Settings

LEAST_ELEMENTS = 512
"""Smaller tensors, such as biases, stay float: their scales would weigh as much as they save."""
_BITS = {"w4": 4, "w8": 8, "w8a8": 8}
COMPRESSED = frozenset(_BITS)
"""Precisions whose weights are not float."""


def choose(
    operations: Iterable[Any], precisions: Mapping[str, str], settings: Settings
) -> tuple[dict[str, str], list[str]]:
    """The constants to compress, each with its form, and notes for the report.

    Forms are ``int8``, ``int4``, the same ``in blocks``, and ``palette``.

    A constant is compressed where every operator that uses it has compressed weights. What is added, such as a table
    of positions folded together with that of token types, has none in the shipped profiles: one scale a row loses
    more there than anywhere else.
    """
    chosen: dict[str, str] = {}
    left: dict[str, int] = {}
    blocks, whole = settings.quantization.block_size, 0
    for operation in operations:
        value: Any = operation.outputs[0].val if operation.op_type == "const" else None
        users = [user for output in operation.outputs for user in output.child_ops]
        if not users or getattr(value, "ndim", 0) < 2 or value.size < LEAST_ELEMENTS or value.dtype.kind != "f":
            continue
        bits = max(_BITS.get(precisions.get(user.name, "fp16"), 16) for user in users)
        axes = _axes(operation)
        if bits == 16 or axes is None:
            where = " and ".join(sorted({user.op_type for user in users}))
            left[where] = left.get(where, 0) + value.nbytes
            continue
        form = "palette" if settings.quantization.palette_bits else f"int{bits} in blocks" if blocks else f"int{bits}"
        if blocks and value.shape[axes[form == "palette"]] % blocks:
            form, whole = "int8", whole + 1
        chosen[operation.name] = form
    notes = [f"{size / 1e6:.2f} MB of weights that feed '{op}' stay float16" for op, size in sorted(left.items())]
    if whole:
        notes.append(f"{whole} weights have int8 and one scale a channel: no blocks of {blocks} channels fit into them")
    return chosen, notes


def compress(model: Any, chosen: Mapping[str, str], settings: Settings) -> Any:
    """The model with the ``chosen`` constants compressed.

    Raises:
        ConversionError: nothing was chosen.
    """
    if not chosen:
        raise nothing_to_compress()
    return transformed(model, _passes(chosen, settings), settings)


def nothing_to_compress() -> ConversionError:
    """What a model without a weight to compress is refused with."""
    return ConversionError(
        f"there is no weight to compress: no operator of quantization.op_types has one of {LEAST_ELEMENTS} "
        "elements or more",
        "Choose --precision fp16, or other quantization.op_types.",
    )


def _passes(chosen: Mapping[str, str], settings: Settings) -> list[Any]:
    import coremltools.optimize.coreml as cto
    from coremltools.converters.mil.mil.passes.graph_pass import PassOption
    from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY

    passes = []
    for form in sorted(set(chosen.values())):
        name, config = _form(cto, form, settings)
        names = {constant: config for constant, wanted in chosen.items() if wanted == form}
        transform = PASS_REGISTRY[f"compression::{name}"]
        transform.set_options([PassOption("config", cto.OptimizationConfig(op_name_configs=names))])
        passes.append(transform)
    return passes


def _form(cto: Any, form: str, settings: Settings) -> tuple[str, Any]:
    """The name of coremltools' pass, and the configuration of a constant."""
    rules = settings.quantization
    if form == "palette":
        return "palettize_weights", cto.OpPalettizerConfig(
            mode="kmeans",
            nbits=rules.palette_bits,
            granularity="per_grouped_channel" if rules.block_size else "per_tensor",
            group_size=rules.block_size or 32,
            weight_threshold=LEAST_ELEMENTS - 1,
        )
    dtype, _, blocks = form.partition(" ")
    channel = "per_channel" if rules.per_channel else "per_tensor"
    return "linear_quantize_weights", cto.OpLinearQuantizerConfig(
        mode="linear_symmetric",
        dtype=dtype,
        granularity="per_block" if blocks else channel,
        block_size=rules.block_size or 32,
        weight_threshold=LEAST_ELEMENTS - 1,
    )


def _axes(operation: Any) -> tuple[int, int] | None:
    """The axes of input and output channels, or None where operators that share a weight differ in them."""
    from coremltools.optimize._utils import select_input_output_channel_axis

    inputs, outputs = select_input_output_channel_axis(operation)
    return None if inputs is None or outputs is None else (inputs, outputs)
