"""Empirical bias correction (Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction",
arXiv:1906.04721, section 4.2).

Rounding the weights of a convolution shifts the mean of each output channel by ``Σ (Ŵ − W) E[x]``. The shift is known
once the weights are rounded and the mean of each input channel is, so it is taken off the bias.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from edgeexport.formats.onnx.graph import Graph, attribute
from edgeexport.formats.onnx.observe import observe_channel_means

BIAS = 2


class BiasCorrection:
    """Remembers the float weights of a graph's convolutions, to correct the biases once they are quantized.

    Args:
        graph: the float model, before quantization.
        names: the nodes that will be quantized.
        feeds: calibration samples.
    """

    def __init__(self, graph: Graph, names: set[str], feeds: Iterable[Mapping[str, np.ndarray]]) -> None:
        self._nodes = [node for node in graph.layers() if node.name in names and _has_own_bias(graph, node)]
        self._weights = {node.name: graph.values(node.input[1]) for node in self._nodes}
        ranks = {node.input[0]: self._weights[node.name].ndim for node in self._nodes}
        self._means = observe_channel_means(graph.model, ranks, feeds) if ranks else {}

    def apply(self, model: Any) -> int:
        """Correct the biases of the quantized ``model`` in place; gives how many."""
        quantized = Graph(model)
        count = 0
        for node in self._nodes:
            weight, bias = node.input[1], node.input[BIAS]
            if f"{weight}_quantized" not in quantized.constants or not quantized.is_float_constant(bias):
                continue
            error = _dequantized(quantized, weight) - self._weights[node.name]
            shift = mean_shift(error, self._means[node.input[0]], int(attribute(node, "group", 1)))
            quantized.set_constant(bias, (quantized.values(bias) - shift).astype(np.float32))
            count += 1
        return count


def mean_shift(error: np.ndarray, means: np.ndarray, groups: int) -> np.ndarray:
    """What a weight error adds to the mean of each output channel.

    Args:
        error: [output channels, input channels of a group, kernel...].
        means: of each input channel [input channels].
        groups: of the convolution.

    Returns:
        [output channels].
    """
    per_input = error.reshape(*error.shape[:2], -1).sum(axis=2)
    outputs = error.shape[0] // groups
    inputs = means.reshape(groups, -1).repeat(outputs, axis=0)
    return np.asarray((per_input * inputs).sum(axis=1))


def _has_own_bias(graph: Graph, node: Any) -> bool:
    return (
        node.op_type == "Conv"
        and len(node.input) > BIAS
        and graph.is_float_constant(node.input[BIAS])
        and len(graph.users[node.input[BIAS]]) == 1
    )


def _dequantized(graph: Graph, weight: str) -> np.ndarray:
    """The weight as its integers stand for it; scales are of axis 0, or one for all."""
    steps = graph.values(f"{weight}_quantized").astype(np.float32)
    scale, zero = (graph.values(f"{weight}_{part}").astype(np.float32) for part in ("scale", "zero_point"))
    shape = (-1,) + (1,) * (steps.ndim - 1) if scale.size > 1 else ()
    return np.asarray((steps - zero.reshape(shape)) * scale.reshape(shape))
