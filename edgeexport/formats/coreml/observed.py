"""A float32 and a compressed ML Program with the same inner values as outputs.

coremltools keeps an operation's name and adds ``_cast_fp16`` where it computes in float16, so that values are matched
by the operation that gives them. Where all that reads a value quantizes it, what is dequantized again is shown: an
output of a program holds no 8-bit integers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeexport import tree
from edgeexport.errors import ModelError
from edgeexport.formats.coreml import modules
from edgeexport.mil.model import functions
from edgeexport.mil.package import Package
from edgeexport.mil.program import Block, Function, Literal, Named, Operation
from edgeexport.observation import Grid, Held, Observed, Step, choose

_MOVES = {"reshape", "transpose", "expand_dims", "squeeze", "slice_by_index", "slice_by_size", "split", "cast"}
_MOVES |= {"identity", "tile", "reverse", "read_state", "coreml_update_state", "slice_update", "pixel_shuffle"}
_WEIGHTS = {"conv": "weight", "conv_transpose": "weight", "linear": "weight", "gather": "x"}
_WEIGHTS |= {"lstm": "weight_ih", "gru": "weight_ih", "rnn": "weight_ih"}
_BETWEEN = {"const", "cast", "quantize", "dequantize"}
_IMAGE_RANK = 4
_FLOAT16, _FLOAT32 = 65552, 65568  # ArrayFeatureType.ArrayDataType of FeatureTypes.proto


@dataclass(frozen=True)
class _Value:
    """A float result: the operation that gives it, and its name and type."""

    key: str
    operation: Operation
    named: Named


def observe(float32: Path, quantized: Path, folder: Path, most: int) -> Observed:
    """See :class:`edgeexport.observation.Observing`."""
    reference, compressed = functions(float32)[0], functions(quantized)[0]
    first = {value.key: value.named for value in _values(reference.block)}
    second = {value.named.name: value.named for value in _values(compressed.block)}
    layers, left_out = choose(list(_steps(reference.block, _modules(float32))), _held(compressed), most)
    if not layers:
        raise ModelError(
            f"{quantized} has no inner value in common with the float32 model {float32}",
            "Compare a model with the one that it was made from.",
        )
    paths = folder / "float32.mlpackage", folder / "quantized.mlpackage"
    _show(float32, reference.name, [first[layer.reference] for layer in layers], paths[0])
    _show(quantized, compressed.name, [second[layer.output] for layer in layers], paths[1])
    shown = (replace(layer, reference=first[layer.reference].name) for layer in layers)
    return Observed(*paths, tuple(shown), left_out)


def _key(name: str) -> str:
    return re.sub(r"_cast_fp16(?:_\d+)?$", "", name)


def _values(block: Block) -> Iterator[_Value]:
    """Float results in order, constants left out; of an operation with several results, each."""
    for operation in block.operations:
        if operation.op == "const" or operation.op.startswith("constexpr_"):
            continue
        for number, named in enumerate(operation.outputs):
            if named.type.container == "tensor" and named.type.dtype.kind == "float":
                yield _Value(_key(operation.name) + (f":{number}" if number else ""), operation, named)


def _names(operation: Operation) -> list[str]:
    """Values that an operation takes by name."""
    arguments = operation.arguments.values()
    parts = (part for argument in arguments for part in (argument if isinstance(argument, tuple) else (argument,)))
    return [part for part in parts if isinstance(part, str)]


def _modules(package: Path) -> dict[str, str]:
    """The module of the source of each operation, by its name."""
    return modules.read(Package(package).specification().description.metadata.userDefined)


def _steps(block: Block, paths: Mapping[str, str]) -> Iterator[Step]:
    keys = {value.named.name: value.key for value in _values(block)}
    given = set(keys) | {name for operation in block.operations if operation.blocks for name in _names(operation)}
    for value in _values(block):
        operation = value.operation
        place = _WEIGHTS.get(operation.op)
        weight = operation.arguments.get(place) if place else None
        weighted = place is not None and not (isinstance(weight, str) and weight in given)
        if operation.op == "matmul":
            weighted = any(name not in given for name in _names(operation)[:2])
        yield Step(
            value=value.key,
            path=modules.module_of(operation.name, paths) or _key(operation.name),
            operator=operation.op,
            reads=tuple(keys[name] for name in _names(operation) if name in keys),
            weighted=weighted and operation.op in {*_WEIGHTS, "matmul"},
            moves=operation.op in _MOVES,
            axis=1 if len(value.named.type.shape or ()) == _IMAGE_RANK or operation.op.startswith("conv") else -1,
        )


def _held(function: Function) -> dict[str, Held]:
    """How the program has each value, by the name of the operation that gives it."""
    operations = function.block.operations
    constants = {operation.outputs[0].name: operation for operation in operations if operation.op == "const"}
    readers: dict[str, list[Operation]] = {}
    for operation in operations:
        for name in _names(operation):
            readers.setdefault(name, []).append(operation)
    found: dict[str, Held] = {}
    for value in _values(function.block):
        if value.operation.op in _BETWEEN or value.key in found:
            continue
        name = value.named.name
        users = readers.get(name, [])
        grid, output = None, name
        if users and name not in function.block.outputs and all(user.op == "quantize" for user in users):
            after = [user for user in readers.get(users[0].outputs[0].name, []) if user.op == "dequantize"]
            if after:
                grid, output = _grid(users[0], constants), after[0].outputs[0].name
        plain = output == name and value.named.type.dtype.name == "fp32"
        found[value.key] = Held(output, plain=plain, grid=grid)
    return found


def _grid(operation: Operation, constants: dict[str, Operation]) -> Grid | None:
    """The steps of a ``quantize`` with one scale; else None."""

    def load(key: str) -> Any:
        argument = operation.arguments.get(key)
        if isinstance(argument, str) and argument in constants:
            argument = constants[argument].arguments.get("val")
        return argument.load() if isinstance(argument, Literal) else None

    scale, zero = load("scale"), load("zero_point")
    if scale is None or scale.numel() != 1:
        return None
    limits = np.iinfo(operation.outputs[0].type.dtype.name)
    point = 0 if zero is None else int(zero.reshape(()))
    return Grid(float(scale.reshape(())), point, int(limits.min), int(limits.max))


def _show(package: Path, function: str, values: Iterable[Named], path: Path) -> None:
    """Write a copy of the package with these values as outputs of its function."""
    tree.copy(package, path)
    opened = Package(path)
    spec = opened.specification()
    program = spec.mlProgram.functions[function]
    block = program.block_specializations[program.opset]
    known = set(block.outputs)
    for value in values:
        if value.name in known:
            continue
        known.add(value.name)
        block.outputs.append(value.name)
        described = spec.description.output.add()
        described.name = value.name
        array = described.type.multiArrayType
        array.dataType = _FLOAT16 if value.type.dtype.name == "fp16" else _FLOAT32
        shape = value.type.shape
        if shape is not None and None not in shape:
            array.shape.extend(size for size in shape if size is not None)
    opened.model.write_bytes(spec.SerializeToString(deterministic=True))
