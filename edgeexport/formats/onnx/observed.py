"""A float32 and a quantized graph with the same inner values as outputs.

A quantizer leaves a tensor's name, so that values are matched by it. Where all that reads a tensor quantizes it, the
integers are shown and not the tensor: a float output in between would keep the runtime from fusing DequantizeLinear,
operator and QuantizeLinear to one integer kernel, and the figures would be another kernel's.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from edgeexport.errors import ModelError
from edgeexport.formats.onnx.graph import FLOAT, LAYER_INPUTS, Graph, constants_to_initializers
from edgeexport.formats.onnx.paths import Paths
from edgeexport.formats.onnx.shapes import inferred_values
from edgeexport.observation import Grid, Held, Observed, Step, choose
from edgeexport.onnx_file import load_onnx

_MOVES = {"Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Slice", "Split", "Expand", "Tile"}
_MOVES |= {"Cast", "Dropout", "DepthToSpace", "SpaceToDepth"}
_IMAGE_RANK = 4
_FLOATS = (FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)


def observe(float32: Path, quantized: Path, folder: Path, most: int) -> Observed:
    """See :class:`edgeexport.observation.Observing`."""
    reference, compressed = load_onnx(float32), load_onnx(quantized)
    constants_to_initializers(reference)  # of old exporters; else a weight in a node would be taken for a value
    steps = list(_steps(Graph(reference)))
    held = _held(Graph(compressed), {step.value for step in steps})
    layers, left_out = choose(steps, held, most)
    if not layers:
        raise ModelError(
            f"{quantized} has no inner value in common with the float32 model {float32}",
            "Compare a model with the one that it was made from.",
        )
    paths = folder / "float32.onnx", folder / "quantized.onnx"
    _show(reference, [layer.reference for layer in layers], paths[0])
    _show(compressed, [layer.output for layer in layers], paths[1])
    return Observed(*paths, tuple(layers), left_out)


def _steps(graph: Graph) -> Iterator[Step]:
    """Float values in order; each with what it reads and is no constant."""
    tensors = {value.name: value.type.tensor_type for value in inferred_values(graph.model)}
    paths = Paths(graph)
    for node in graph.nodes:
        if node.op_type == "Constant":
            continue
        reads = tuple(name for name in node.input if name and name not in graph.constants)
        for name in node.output:
            tensor = tensors.get(name)
            if name and (tensor is None or tensor.elem_type in (FLOAT, 0)):
                image = tensor is not None and len(tensor.shape.dim) == _IMAGE_RANK
                yield Step(
                    value=name,
                    path=paths.of_node(node) or node.name or name,
                    operator=node.op_type,
                    reads=reads,
                    weighted=_is_weighted(graph, node),
                    moves=node.op_type in _MOVES,
                    axis=1 if image or node.op_type.startswith("Conv") else -1,
                )


def _is_weighted(graph: Graph, node: Any) -> bool:
    """Whether a node has a constant weight, or a table that it looks rows up in."""
    place = 0 if node.op_type == "Gather" else LAYER_INPUTS.get(node.op_type)
    if place is not None:
        return graph.is_float_constant(node.input[place])
    return node.op_type in {"LSTM", "GRU", "RNN"}


def _held(graph: Graph, names: set[str]) -> dict[str, Held]:
    """How the quantized graph has each named value, of those that it has."""
    types = {value.name: value.type.tensor_type.elem_type for value in inferred_values(graph.model)}
    found = {}
    for name in names:
        producer = graph.producers.get(name)
        if producer is None:
            continue
        kind = types.get(name, FLOAT)
        grid = None
        output, integers = name, False
        users = graph.users.get(name, [])
        if producer.op_type == "DequantizeLinear":
            grid = _grid(graph, producer)
            if grid is not None and producer.input[0] in graph.producers:
                output, integers = producer.input[0], True
        elif users and name not in graph.outputs and all(user.op_type == "QuantizeLinear" for user in users):
            grid = _grid(graph, users[0])
            if grid is not None:
                output, integers = users[0].output[0], True
        elif len(users) == 1 and _adds_bias(graph, users[0]) and name not in graph.outputs:
            continue  # the runtime adds it within the layer's kernel, and the sum is shown
        if integers or kind in _FLOATS:
            quantized = producer.op_type == "DequantizeLinear" or integers
            found[name] = Held(output, plain=not quantized and kind == FLOAT, grid=grid, integers=integers)
    return found


def _adds_bias(graph: Graph, node: Any) -> bool:
    """Whether a node adds a float constant."""
    return node.op_type == "Add" and any(graph.is_float_constant(name) for name in node.input)


def _grid(graph: Graph, node: Any) -> Grid | None:
    """The steps of a QuantizeLinear or DequantizeLinear; None where they differ by channel, or are computed."""
    if node.input[1] not in graph.constants or (len(node.input) > 2 and node.input[2] not in graph.constants):
        return None
    scale = graph.values(node.input[1])
    zero = graph.values(node.input[2]) if len(node.input) > 2 else np.zeros((), np.uint8)
    if scale.size != 1 or zero.size != 1 or zero.dtype.kind not in "iu":
        return None
    limits = np.iinfo(zero.dtype)
    return Grid(float(scale.reshape(())), int(zero.reshape(())), int(limits.min), int(limits.max))


def _show(model: Any, names: list[str], path: Path) -> None:
    """Write the model with ``names`` as outputs too."""
    known = {value.name for value in model.graph.output}
    for name in dict.fromkeys(names):
        if name not in known:
            model.graph.output.append(onnx.ValueInfoProto(name=name))  # the runtime infers its type
    onnx.save(model, str(path))
