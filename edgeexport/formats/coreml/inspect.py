"""What an .mlpackage takes and gives, and where its bytes are.

Read without coremltools, which writes into what it opens.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeexport.conversion import Gap, TensorBytes
from edgeexport.mil.model import functions
from edgeexport.mil.program import Block, Function, Literal, Named, Operation
from edgeexport.mil.table import executed_forms, refused
from edgeexport.signature import Signature, TensorSpec

_COMPONENTS = {
    "gather": "embedding",
    "linear": "linear",
    "matmul": "linear",
    "conv": "convolution",
    "conv_transpose": "convolution",
    "lstm": "recurrent",
    "gru": "recurrent",
    "rnn": "recurrent",
}
_DTYPES = {"fp32": "float32", "fp16": "float16"}
_LEAST_BYTES = 64


def read_signature(path: Path) -> Signature:
    """Inputs and outputs of the default function.

    Raises:
        ModelError: the package is damaged.
    """
    function = functions(path)[0]
    produced = {value.name: value for op in _operations(function.block) for value in op.outputs}
    outputs = [produced[name] for name in function.block.outputs if name in produced]
    states = [value for value in function.inputs if value.type.container != "state"]
    return Signature(tuple(map(_spec, states)), tuple(map(_spec, outputs)))


def stored_tensors(path: Path) -> Iterator[TensorBytes]:
    """Every constant of some size, with the kind of operator that uses it."""
    function = functions(path)[0]
    users = _users(function)
    for operation in _operations(function.block):
        for key, argument in operation.arguments.items():
            if isinstance(argument, Literal) and argument.stored is not None and argument.stored.bytes >= _LEAST_BYTES:
                name = operation.outputs[0].name
                component = "scales" if key in ("scale", "zero_point") else users.get(name, "other")
                dtype = argument.stored.dtype.name
                yield TensorBytes(component, _DTYPES.get(dtype, dtype), argument.stored.bytes)


def gaps(path: Path, runtime: str, version: str) -> Iterator[Gap]:
    """Functions for a later iOS than ``version``, whose operators coremltools chose, and operators that the evaluator
    refuses."""
    for function in functions(path):
        if function.opset > int(version.partition(".")[0]):
            what = f"its operators are those of iOS {function.opset}, and {runtime} {version} has none of a later iOS"
            yield Gap("function", function.name, what)
    known, seen = executed_forms(), set()
    for operation in _operations(functions(path)[0].block):
        if operation.op != "const" and operation.op not in known and operation.op not in seen:
            seen.add(operation.op)
            reason = refused().get(operation.op, "it is not of the opset up to iOS 18")
            yield Gap(operation.op, operation.name, f"the evaluator does not execute it: {reason}")


def _spec(value: Named) -> TensorSpec:
    name = value.type.dtype.name
    dtype = _DTYPES.get(name, name)
    shape = tuple(
        1 if size is None and axis == 0 else size or "length" for axis, size in enumerate(value.type.shape or ())
    )
    return TensorSpec(value.name, dtype, shape)


def _operations(block: Block) -> Iterator[Operation]:
    for operation in block.operations:
        yield operation
        for inner in operation.blocks:
            yield from _operations(inner)


def _users(function: Function) -> dict[str, str]:
    """The component of the operator that uses each constant, seen through decompression."""
    found: dict[str, str] = {}
    for operation in reversed(list(_operations(function.block))):
        component: Any = _COMPONENTS.get(operation.op)
        if operation.op.startswith("constexpr_") or operation.op == "dequantize":
            component = found.get(operation.outputs[0].name)
        if component is None:
            continue
        for argument in operation.arguments.values():
            for part in argument if isinstance(argument, tuple) else (argument,):
                if isinstance(part, str):
                    found[part] = component
    return found
