"""The parts of a float model that settings would quantize, with what each weighs and costs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import numpy as np

from edgeexport.conversion import Layer
from edgeexport.formats.onnx.graph import LAYER_INPUTS, Graph, constants_to_initializers, name_nodes
from edgeexport.formats.onnx.integer import assign, left_float, settle
from edgeexport.formats.onnx.prepare import prepare
from edgeexport.formats.onnx.shapes import inferred_values
from edgeexport.settings import STATIC, Settings

_SCOPES = "pkg.torch.onnx.name_scopes"


def find_layers(model: Any, settings: Settings) -> Iterator[Layer]:
    """Every node that ``settings`` would bring to integers, in order. The model is consumed."""
    paths = {node.output[0]: module_path(node) for node in model.graph.node if node.output}
    graph, chosen = _chosen(model, settings)
    positions = _positions(graph)
    for node in graph.nodes:
        if node.name in chosen:
            weights = _weights(graph, node)
            yield Layer(
                name=node.name,
                path=paths.get(node.output[0], "") or module_path(node) or node.name,
                operator=node.op_type,
                weights=weights,
                macs=weights * positions.get(node.output[0], 1),
                alternatives=_alternatives(node, weights, chosen[node.name]),
            )


def _chosen(model: Any, settings: Settings) -> tuple[Graph, dict[str, str]]:
    """The graph as the precision's converter names its nodes, and the precision of each that it changes."""
    if settings.precision == "fp16":  # as exported: Gemm stays, and every weight is halved whatever the rules name
        constants_to_initializers(model)
        name_nodes(model)
        graph = Graph(model)
        left = left_float(graph, settings)
        return graph, {node.name: "fp16" for node in graph.nodes if _weights(graph, node) and node.name not in left}
    prepare(model, 0.0)
    graph = Graph(model)
    chosen = assign(graph, settings, settings.precision)
    return graph, settle(graph, chosen) if settings.precision in {"w8a8", "w8a8-dynamic"} else chosen


def module_path(node: Any) -> str:
    """The module that torch's exporters say a node comes from, in metadata or in a name such as ``/encoder/dense/Add``.

    Empty where they say none.
    """
    for entry in node.metadata_props:
        if entry.key == _SCOPES:
            scopes = ast.literal_eval(entry.value)  # from the root to the operator itself
            return str(scopes[-2]) if len(scopes) > 1 else ""
    return ".".join(node.name.split("/")[1:-1]) if node.name.startswith("/") else ""


def _weights(graph: Graph, node: Any) -> int:
    place = LAYER_INPUTS.get(node.op_type)
    if place is None or not graph.is_float_constant(node.input[place]):
        return 0
    return int(np.prod(graph.constants[node.input[place]].dims))


def _positions(graph: Graph) -> dict[str, int]:
    """How often a convolution's weights are applied, by its output; dynamic dimensions count as one."""
    found = {}
    for value in inferred_values(graph.model):
        producer = graph.producers.get(value.name)
        if producer is not None and producer.op_type.startswith("Conv"):
            sizes = [dimension.dim_value or 1 for dimension in value.type.tensor_type.shape.dim][2:]
            found[value.name] = int(np.prod(sizes))
    return found


def _alternatives(node: Any, weights: int, precision: str) -> tuple[str, ...]:
    dynamic = precision in STATIC and node.op_type == "MatMul" and weights > 0
    return ("w8a8-dynamic", "fp32") if dynamic else ("fp32",)
