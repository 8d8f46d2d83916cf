"""The ``classify`` operation that ends a classifier, taken out of a specification and put back.

coremltools writes it, but cannot convert a program that already has it: its labels are a list, and no pass expects one.
"""

from __future__ import annotations

from typing import Any

_TYPE = "classify"
_PROBABILITIES = "probabilities"


def remove(spec: Any) -> None:
    """Let the program give the probabilities where it gives the label and a dictionary; do nothing without a label.

    Args:
        spec: a ``Model`` message, changed in place.
    """
    for block in _blocks(spec):
        index = _index(block)
        if index is None:
            continue
        operation = block.operations[index]
        (probabilities,) = operation.inputs[_PROBABILITIES].arguments
        given = [output.name for output in operation.outputs]
        others = [name for name in block.outputs if name not in given]
        del block.operations[index]
        block.outputs[:] = [*others, probabilities.name]


def restore(spec: Any, described: Any) -> None:
    """Put back what :func:`remove` took.

    Args:
        spec: a ``Model`` message made from a program without labels, changed in place.
        described: the message that :func:`remove` was given, as it was before.
    """
    for block, before in zip(_blocks(spec), _blocks(described), strict=True):
        index = _index(before)
        if index is not None and _index(block) is None:
            block.operations.append(before.operations[index])
            block.outputs[:] = before.outputs


def _blocks(spec: Any) -> list[Any]:
    """The program of each function, functions by name."""
    functions = spec.mlProgram.functions
    return [functions[name].block_specializations[functions[name].opset] for name in sorted(functions)]


def _index(block: Any) -> int | None:
    return next((index for index, operation in enumerate(block.operations) if operation.type == _TYPE), None)
