"""The operators of a float model that settings would quantize, with what each weighs and costs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from edgeexport.conversion import Layer
from edgeexport.formats.tflite.observe import common_name
from edgeexport.formats.tflite.owners import module_of
from edgeexport.formats.tflite.plan import Graph, Node, assign, carry
from edgeexport.settings import STATIC, Settings

_LAST = {"CONV_2D": slice(1, 3), "DEPTHWISE_CONV_2D": slice(1, 3), "TRANSPOSE_CONV": slice(1, 3)}
"""The axes of a convolution's output at each of which all its weights are applied."""


def find_layers(model: Any, settings: Settings) -> Iterator[Layer]:
    """Every operator of the first signature that ``settings`` would bring to integers, in order.

    Those of later signatures have the same names and share its weights, so that overrides match them too.
    """
    graph = Graph(model)
    chosen = carry(graph, assign(graph, settings), settings)
    seen: set[str] = set()
    for node in graph.nodes:
        name = common_name(node.name)
        if node.name in chosen and name not in seen:
            seen.add(name)
            weights = _weights(graph, node)
            yield Layer(
                name=name,
                path=module_of(name) or name,
                operator=node.op,
                weights=weights,
                macs=0 if node.op == "EMBEDDING_LOOKUP" else weights * _positions(graph, node),
                alternatives=_alternatives(node, weights, settings),
            )


def _weights(graph: Graph, node: Node) -> int:
    if not graph.is_layer(node):
        return 0
    number, index = graph.weight(node)
    return int(np.prod(graph.model.subgraphs[number].tensors[index].shape))


def _positions(graph: Graph, node: Node) -> int:
    axes = _LAST.get(node.op)
    if axes is None:
        return 1
    return int(np.prod(graph.model.subgraphs[node.graph].tensors[node.operator.outputs[0]].shape[axes]))


def _alternatives(node: Node, weights: int, settings: Settings) -> tuple[str, ...]:
    if node.op == "EMBEDDING_LOOKUP" or not weights:
        return ("fp32",)
    if settings.precision in STATIC and node.op == "FULLY_CONNECTED":
        return ("w8a8-dynamic", "fp32")
    return ("w8", "fp32") if settings.precision in {*STATIC, "w4"} else ("fp32",)
