"""SmoothQuant (Xiao et al., arXiv:2211.10438): move outliers of an activation's channels into the weights.

``x W = (x / s)(s W)`` with ``s_c = max|x_c|^α / max|W_c|^(1−α)`` for each input channel c, scaled to a median of 1.
The division is an explicit ``Mul``: folding it into the LayerNormalization before would also change the residual
path of a post-norm transformer.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from onnx import helper

from edgeexport.calibration import recalled
from edgeexport.conversion import Feeds
from edgeexport.formats.onnx.graph import Graph
from edgeexport.formats.onnx.observe import observe_channels
from edgeexport.formats.onnx.ranges import content_key

_LEAST = 1e-5


def smooth(graph: Graph, strength: float, ratio: float, feeds: Feeds) -> list[str]:
    """Smooth the inputs of constant-weight MatMuls whose largest channel exceeds ``ratio`` times the median one.

    Args:
        graph: edited in place; its outputs stay the same up to rounding.
        strength: α, 0 to 1.
        ratio: see above.
        feeds: calibration samples, from the first again at each call.

    Returns:
        The smoothed activations' names. One whose weight another activation also meets is left: the weight can
        follow one of them only.
    """
    readers: dict[str, list[int]] = {}
    nodes = graph.nodes
    names = {node.name for node in graph.matmuls()}
    for position, node in enumerate(nodes):
        if node.name in names:
            readers.setdefault(node.input[0], []).append(position)
    if not readers:
        return []
    channels = recalled(
        feeds,
        ("channels", content_key(graph.model)),
        readers,
        lambda names: observe_channels(graph.model, names, feeds("channel ranges")),
    )
    chosen = [
        name
        for name, positions in readers.items()
        if _ratio(channels[name]) > ratio and _own_their_weights(graph, [nodes[position] for position in positions])
    ]
    before: dict[int, list[object]] = {}
    for number, name in enumerate(chosen):
        weights = [nodes[position].input[1] for position in readers[name]]
        scale = _scale(channels[name], [graph.values(weight) for weight in weights], strength)
        for weight in dict.fromkeys(weights):
            graph.set_constant(weight, graph.values(weight) * scale[:, None])
        factor = graph.add_constant(f"smooth_{number}_factor", (1 / scale).astype(np.float32))
        smoothed = f"{name}__smooth"
        first = readers[name][0]
        before.setdefault(first, []).append(
            helper.make_node("Mul", [name, factor], [smoothed], name=f"smooth_{number}")
        )
        for position in readers[name]:
            nodes[position].input[0] = smoothed
    graph.replace_nodes(node for position, old in enumerate(nodes) for node in (*before.get(position, ()), old))
    return chosen


def _own_their_weights(graph: Graph, matmuls: Iterable[Any]) -> bool:
    matmuls = list(matmuls)
    names = {node.name for node in matmuls}
    return all(user.name in names for node in matmuls for user in graph.users[node.input[1]])


def _ratio(channels: np.ndarray) -> float:
    median = float(np.median(channels))
    return float(channels.max()) / median if median > 0 else 0.0


def _scale(channels: np.ndarray, weights: list[np.ndarray], strength: float) -> np.ndarray:
    rows = np.max([np.abs(weight).max(axis=1) for weight in weights], axis=0)
    scale = np.maximum(channels, _LEAST) ** strength / np.maximum(rows, _LEAST) ** (1 - strength)
    return np.asarray(np.maximum(scale / np.median(scale), 1e-3), np.float32)
