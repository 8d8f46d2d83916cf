"""A float32 and a quantized TFLite model with the same inner values as outputs of every signature.

Tensors are matched by the names of :mod:`edgeexport.formats.tflite.names`, which quantizing leaves. Where all that
reads a float tensor quantizes it, what it is quantized to is shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeexport.errors import ModelError
from edgeexport.formats.tflite.flatbuffer import (
    Entry,
    constant,
    dtype_name,
    op_name,
    read_model,
    schema,
    signatures,
    tensor_name,
    write_model,
)
from edgeexport.formats.tflite.observe import common_name
from edgeexport.formats.tflite.owners import Owners
from edgeexport.formats.tflite.plan import WEIGHTS
from edgeexport.observation import Grid, Held, Observed, Step, choose

_MOVES = {"RESHAPE", "TRANSPOSE", "EXPAND_DIMS", "SQUEEZE", "SLICE", "STRIDED_SLICE", "SPLIT", "SPLIT_V", "UNPACK"}
_MOVES |= {"CAST", "BROADCAST_TO", "TILE", "REVERSE_V2", "DYNAMIC_UPDATE_SLICE"}
_RECURRENT = {"UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM", "LSTM"}


def observe(float32: Path, quantized: Path, folder: Path, most: int) -> Observed:
    """See :class:`edgeexport.observation.Observing`."""
    reference, compressed = read_model(float32), read_model(quantized)
    entries = signatures(reference), signatures(compressed)
    if not all(entries):
        raise ModelError(
            f"{float32 if not entries[0] else quantized} has no signature to show inner values by", "Export it again."
        )
    steps = list(_steps(reference, entries[0][0].subgraph))
    shared = _in_all(reference, entries[0])
    held = {name: found for name, found in _held(compressed, entries[1]).items() if name in shared}
    layers, left_out = choose(steps, held, most)
    if not layers:
        raise ModelError(
            f"{quantized} has no inner value in common with the float32 model {float32}",
            "Compare a model with the one that it was made from.",
        )
    paths = folder / "float32.tflite", folder / "quantized.tflite"
    first = _show(reference, [layer.reference for layer in layers], paths[0])
    second = _show(compressed, [layer.output for layer in layers], paths[1])
    shown = (replace(layer, reference=first[layer.reference], output=second[layer.output]) for layer in layers)
    return Observed(*paths, tuple(shown), left_out)


def _steps(model: Any, subgraph: int) -> Iterator[Step]:
    """Float values in order, by their common names."""
    graph = model.subgraphs[subgraph]

    def read(index: int) -> bool:
        return index >= 0 and constant(model, graph.tensors[index]) is None

    owners = Owners(model)
    for number, operator in enumerate(graph.operators):
        op = op_name(model, operator)
        reads = tuple(common_name(tensor_name(graph.tensors[index])) for index in operator.inputs if read(index))
        place = WEIGHTS.get(op)
        weight = place is not None and len(operator.inputs) > place and not read(operator.inputs[place])
        for index in operator.outputs:
            if dtype_name(graph.tensors[index].type) == "float32":
                name = common_name(tensor_name(graph.tensors[index]))
                path = owners.operator(subgraph, number) or name
                yield Step(name, path, op, reads, weighted=weight or op in _RECURRENT, moves=op in _MOVES)


def _in_all(model: Any, entries: list[Entry]) -> set[str]:
    """Common names of tensors that every signature has."""
    found = [
        {common_name(tensor_name(tensor)) for tensor in model.subgraphs[entry.subgraph].tensors} for entry in entries
    ]
    return set.intersection(*found)


def _held(model: Any, entries: list[Entry]) -> dict[str, Held]:
    """How the model has each computed value, where it has it in the same way in every signature."""
    found = [dict(_held_in(model.subgraphs[entry.subgraph], model)) for entry in entries]
    return {name: held for name, held in found[0].items() if all(other.get(name) == held for other in found[1:])}


def _held_in(graph: Any, model: Any) -> Iterator[tuple[str, Held]]:
    readers: dict[int, list[Any]] = {}
    for operator in graph.operators:
        for index in operator.inputs:
            readers.setdefault(index, []).append(operator)
    for operator in graph.operators:
        if op_name(model, operator) in {"QUANTIZE", "DEQUANTIZE"}:
            continue
        for index in operator.outputs:
            shown = index
            after = readers.get(index, [])
            if len(after) == 1 and op_name(model, after[0]) == "QUANTIZE" and index not in graph.outputs:
                shown = after[0].outputs[0]
            dtype = dtype_name(graph.tensors[shown].type)
            grid = _grid(graph.tensors[shown], dtype)
            output = common_name(tensor_name(graph.tensors[shown]))
            if grid is not None:
                held = Held(output, plain=False, grid=grid, integers=True)
            elif dtype in {"float32", "float16"}:
                held = Held(output, plain=dtype == "float32")
            else:
                continue
            yield common_name(tensor_name(graph.tensors[index])), held


def _grid(tensor: Any, dtype: str) -> Grid | None:
    """The steps of a tensor of integers with one scale; else None."""
    quantization = tensor.quantization
    if dtype not in {"int8", "uint8", "int16"} or quantization is None or quantization.scale is None:
        return None
    if len(quantization.scale) != 1:
        return None
    zero = 0 if quantization.zeroPoint is None or not len(quantization.zeroPoint) else int(quantization.zeroPoint[0])
    limits = np.iinfo(dtype)
    return Grid(float(quantization.scale[0]), zero, int(limits.min), int(limits.max))


def _show(model: Any, names: list[str], path: Path) -> dict[str, str]:
    """Write the model with the tensors of these names as outputs; gives what each output is called."""
    classes = schema()
    called: dict[str, str] = {}
    definitions = {int(definition.subgraphIndex): definition for definition in model.signatureDefs}
    for number, definition in definitions.items():
        graph = model.subgraphs[number]
        places = {common_name(tensor_name(tensor)): index for index, tensor in enumerate(graph.tensors)}
        known = {int(item.tensorIndex): item.name for item in definition.outputs}
        graph.outputs = list(graph.outputs)
        for name in dict.fromkeys(names):
            index = places[name]
            if index in known:
                called[name] = known[index].decode() if isinstance(known[index], bytes) else str(known[index])
                continue
            called[name] = f"layer {name}"
            entry = classes.TensorMapT()
            entry.name, entry.tensorIndex = called[name].encode(), index
            definition.outputs.append(entry)
            if index not in graph.outputs:
                graph.outputs.append(index)
    write_model(model, path)
    return called
