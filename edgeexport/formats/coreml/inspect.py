"""What an .mlpackage takes and gives, and where its bytes are.

Read without coremltools, which writes into what it opens.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeexport.conversion import Gap, TensorBytes
from edgeexport.formats.coreml.layout import Contents
from edgeexport.mil.proto import messages
from edgeexport.signature import Signature, TensorSpec

if TYPE_CHECKING:
    from edgeexport.mil.program import Block, Operation


def read_signature(path: Path) -> Signature:
    """Inputs and outputs of the default function.

    Raises:
        ModelError: the package is damaged.
    """
    function = Contents(path).main()
    block = function.block_specializations[function.opset]
    produced = {value.name: value for operation in block.operations for value in operation.outputs}
    inputs = [value for value in function.inputs if value.type.WhichOneof("type") != "stateType"]
    outputs = [produced[name] for name in block.outputs if name in produced]
    return Signature(tuple(map(_spec, inputs)), tuple(map(_spec, outputs)))


def stored_tensors(path: Path) -> Iterator[TensorBytes]:
    """Every byte of the package; see :mod:`edgeexport.formats.coreml.layout`."""
    return Contents(path).shares()


def gaps(path: Path, runtime: str, version: str) -> Iterator[Gap]:
    """Functions for a later iOS than ``version``, whose operators coremltools chose, and operators that the evaluator
    refuses."""
    from edgeexport.mil.model import functions
    from edgeexport.mil.table import executed_forms, refused

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


def _spec(value: Any) -> TensorSpec:
    """A dictionary, which a classifier gives, is one of numbers by class."""
    if value.type.WhichOneof("type") == "dictionaryType":
        return TensorSpec(value.name, "float32", ())
    tensor = value.type.tensorType
    name = messages("MIL_pb2").DataType.Name(tensor.dataType).lower()
    shape = tuple(
        size.constant.size if size.WhichOneof("dimension") == "constant" else 1 if axis == 0 else "length"
        for axis, size in enumerate(tensor.dimensions)
    )
    return TensorSpec(value.name, name, shape)


def _operations(block: Block) -> Iterator[Operation]:
    for operation in block.operations:
        yield operation
        for inner in operation.blocks:
            yield from _operations(inner)
