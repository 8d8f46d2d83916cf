"""Which weights are compressed, and how: int8 a channel, int4 a block, or a palette."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from edgeexport.errors import ConversionError
from edgeexport.settings import Quantization, Settings

_LEAST_ELEMENTS = 512
"""Smaller tensors, such as biases, stay float: their scales would weigh as much as they save."""

_FLOAT = {"fp32", "fp16"}


def choose(program: Any, settings: Settings) -> tuple[dict[str, str], list[str]]:
    """The constants to compress, each with the operator that uses it, and notes for the report.

    A constant is compressed where every operator that uses it is among ``quantization.op_types``. What is added, such
    as a table of positions folded together with that of token types, is not among them in the shipped profiles: one
    scale a row loses more there than anywhere else.
    """
    chosen: dict[str, str] = {}
    left: dict[str, int] = {}
    for block in program.functions.values():
        for operation in block.operations:
            if operation.op_type != "const" or getattr(operation.outputs[0].val, "size", 1) < _LEAST_ELEMENTS:
                continue
            if operation.outputs[0].val.dtype.kind != "f":
                continue
            users = [user for output in operation.outputs for user in output.child_ops]
            if users and all(_compresses(user, settings) for user in users):
                chosen[operation.name] = users[0].op_type
            elif users:
                left[users[0].op_type] = left.get(users[0].op_type, 0) + operation.outputs[0].val.nbytes
    notes = [f"{size / 1e6:.2f} MB of weights that feed '{op}' stay float16" for op, size in sorted(left.items())]
    return chosen, notes


def compress(model: Any, chosen: Mapping[str, str], settings: Settings) -> Any:
    """The model with the ``chosen`` constants compressed.

    Raises:
        ConversionError: nothing was chosen.
    """
    import coremltools.optimize.coreml as cto

    if not chosen:
        raise ConversionError(
            "there is no weight to compress: no operator of quantization.op_types has one of 512 elements or more",
            "Choose --precision fp16, or other quantization.op_types.",
        )
    quantization = settings.quantization
    if quantization.palette_bits:
        grouped = bool(quantization.block_size)
        palette = cto.OpPalettizerConfig(
            mode="kmeans",
            nbits=quantization.palette_bits,
            granularity="per_grouped_channel" if grouped else "per_tensor",
            group_size=quantization.block_size or 32,
            weight_threshold=_LEAST_ELEMENTS,
        )
        names = dict.fromkeys(chosen, palette)
        return cto.palettize_weights(model, cto.OptimizationConfig(op_name_configs=names))
    linear = _linear(cto, settings.precision, quantization)
    names = dict.fromkeys(chosen, linear)
    return cto.linear_quantize_weights(model, cto.OptimizationConfig(op_name_configs=names))


def _linear(cto: Any, precision: str, quantization: Quantization) -> Any:
    bits = 4 if precision == "w4" else 8
    blocks = quantization.block_size if bits == 4 else 0
    granularity = "per_block" if blocks else "per_channel" if quantization.per_channel else "per_tensor"
    return cto.OpLinearQuantizerConfig(
        mode="linear_symmetric",
        dtype=f"int{bits}",
        granularity=granularity,
        weight_threshold=_LEAST_ELEMENTS,
        **({"block_size": blocks} if blocks else {}),
    )


def _compresses(user: Any, settings: Settings) -> bool:
    """Whether the settings compress what this operator uses."""
    types = settings.quantization.op_types
    precision = settings.precision if "*" in types or user.op_type in types else "fp16"
    for override in settings.overrides:
        if override.op_type not in (None, user.op_type):
            continue
        if override.name is None or re.search(override.name, user.name):
            precision = override.precision
    return precision not in _FLOAT
