"""Which operator gets which precision: by the target's rules, by overrides, and by what calibration saw.

Operators are coremltools' own (pymil). Precisions are ``fp32`` (computed in float32), ``fp16`` (nothing compressed),
``w8``, ``w4`` (weights only) and ``w8a8``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from edgeexport.errors import RecipeError
from edgeexport.settings import Override, Settings

LAYERS = ("conv", "linear")
"""Operators with a weight that coremltools' passes put between integers."""
CARRIERS = ("add", "avg_pool", "max_pool")
"""Those without one."""
_CAST = re.compile(r"(?:_cast_u?(?:fp|int)\d+)+$")
"""What passes add to the name of an operator that computes in float16, or reads shorter integers."""
_BETWEEN = (
    *("relu", "relu6", "clip", "leaky_relu", "sigmoid", "tanh", "pad", "reshape", "transpose", "expand_dims"),
    *("squeeze", "max_pool"),
)
"""What may stand between two of them: a device computes it with the first, or moves values and no more."""


def check_overrides(operations: Iterable[Any], settings: Settings) -> None:
    """Refuse overrides that match nothing, or ask for what the precision or the operator cannot have.

    Raises:
        RecipeError: naming the override.
    """
    known = list(operations)
    for override in settings.overrides:
        matched = [op for op in known if op.op_type != "const" and matches(override, op)]
        if not matched:
            raise RecipeError(
                f"override {override} matches no operator of the model",
                "Types and names are those of Core ML; Xcode and Netron show them.",
            )
        if override.precision == "w8a8-dynamic":
            raise RecipeError(f"{override}: Core ML finds no ranges while running", "Choose w8, or w8a8.")
        if override.precision == "w8a8" and settings.precision != "w8a8":
            raise RecipeError(
                f"{override} contradicts precision {settings.precision}, which calibrates nothing", "Choose w8a8."
            )
        unable = [op.op_type for op in matched if op.op_type not in (*LAYERS, *CARRIERS)]
        if override.precision == "w8a8" and unable:
            raise RecipeError(
                f"{override} matches {unable[0]}, which Core ML does not compute with integers",
                f"Name operators among {', '.join((*LAYERS, *CARRIERS))}.",
            )


def common_name(operation: Any) -> str:
    """An operator's name in the float32 program, whether it computes in float16 by now or not."""
    return _CAST.sub("", operation.name)


def matches(override: Override, operation: Any) -> bool:
    """Whether an override means an operator: by its name in float32, or by the later one where it speaks of casts."""
    by_type = override.op_type in (None, operation.op_type)
    name = operation.name if "_cast_" in (override.name or "") else common_name(operation)
    by_name = override.name is None or re.search(override.name, name) is not None
    return by_type and by_name and (override.op_type is not None or override.name is not None)


def keeps_float32(operation: Any, settings: Settings) -> bool:
    """Whether an operator goes on computing in float32 where all others compute in float16."""
    asked = [override.precision for override in settings.overrides if matches(override, operation)]
    return bool(asked) and asked[-1] == "fp32"


def assign(operations: Iterable[Any], settings: Settings) -> dict[str, str]:
    """The precision of each operator that has one other than ``fp16``, by its name."""
    rules = settings.quantization
    chosen: dict[str, str] = {}
    for operation in operations:
        if operation.op_type == "const" or operation.op_type.startswith("constexpr_"):
            continue
        precision = "fp16"
        if settings.precision != "fp16" and ("*" in rules.op_types or operation.op_type in rules.op_types):
            precision = settings.precision
        if precision == "w8a8" and not _able(operation, settings):
            precision = "w8"
        for override in settings.overrides:
            if matches(override, operation):
                precision = override.precision
        if precision != "fp16":
            chosen[operation.name] = precision
    return chosen


def carry(operations: Iterable[Any], chosen: Mapping[str, str], settings: Settings) -> dict[str, str]:
    """What :func:`assign` chose, and carried operators all of whose operands come from static ones."""
    carried = dict(chosen)
    types = settings.quantization.carried_op_types
    for operation in operations:
        able = operation.op_type in CARRIERS and operation.op_type in types and operation.name not in carried
        if settings.precision == "w8a8" and able and is_real(operation):
            sources = [_source(value) for value in live(operation)]
            if len(sources) == _operands(operation) and all(carried.get(name) == "w8a8" for name in sources):
                carried[operation.name] = "w8a8"
    return carried


def live(operation: Any) -> list[Any]:
    """The activations an operator takes."""
    values = [operation.inputs["x"], *([operation.inputs["y"]] if operation.op_type == "add" else [])]
    return [value for value in values if not is_constant(value)]


def is_constant(value: Any) -> bool:
    """Whether a value is stored in the model."""
    return value.op is not None and value.op.op_type.startswith("const")


def is_real(operation: Any) -> bool:
    """Whether an operator computes with real numbers, and not with integers such as token ids."""
    return "fp" in str(operation.outputs[0].dtype.__name__)


def _able(operation: Any, settings: Settings) -> bool:
    """Whether the rules give an operator static activations."""
    if operation.op_type not in LAYERS:
        return operation.op_type in CARRIERS and is_real(operation) and len(live(operation)) == _operands(operation)
    if is_constant(operation.inputs["x"]):
        return False
    return is_constant(operation.inputs["weight"]) or not settings.quantization.constant_weights_only


def _operands(operation: Any) -> int:
    return 2 if operation.op_type == "add" else 1


def _source(value: Any) -> str:
    """The name of the operator that a value comes from, seen through those of :data:`_BETWEEN`."""
    while value.op is not None and value.op.op_type in _BETWEEN:
        value = value.op.inputs["x"]
    return "" if value.op is None else str(value.op.name)
