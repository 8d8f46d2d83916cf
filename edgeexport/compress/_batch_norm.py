"""Batch normalization folded into the convolution before it, so that what is trained is what the format rounds.

Exporters fold it when they convert. Trained apart, the weight that is rounded would be another one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.fx import GraphModule, Node

from edgeexport.compress._graph import op_name, parameter_of

_FOLDED = ("conv1d", "conv2d", "conv3d")


def fold(model: torch.nn.Module, graph_module: GraphModule) -> int:
    """Fold every batch normalization behind a convolution of its own; the model's outputs stay.

    The weights of ``model`` take the scale; of the normalization an identity stays in it, whose shift is the
    convolution's new bias where it has none, and the graph has a convolution with that bias and nothing behind it.

    Args:
        model: whose parameters the graph reads; changed in place.
        graph_module: its graph, from :func:`~edgeexport.compress._graph.capture`; changed in place.

    Returns:
        How many were folded.
    """
    named: dict[str, Any] = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    count = 0
    for node in list(graph_module.graph.nodes):
        if op_name(node) != "batch_norm" or not _follows_own(node):
            continue
        convolution, parts = node.args[0], node.args[1:5]
        _fold_values(
            [named[parameter_of(part)] for part in parts],
            named[parameter_of(convolution.args[1])],
            None if _bias(convolution) is None else named[parameter_of(_bias(convolution))],
            float(node.args[7]),
        )
        if _bias(convolution) is None:
            shift = parts[1]
            convolution.args = (*convolution.args[:2], shift, *convolution.args[3:])
            convolution.prepend(shift)
        node.replace_all_uses_with(convolution)
        graph_module.graph.erase_node(node)
        count += 1
    graph_module.graph.eliminate_dead_code()
    graph_module.recompile()
    return count


def _bias(convolution: Node) -> Any:
    return convolution.args[2] if len(convolution.args) > 2 else None


def _follows_own(node: Node) -> bool:
    before = node.args[0]
    constants = [*node.args[1:5]]
    return (
        isinstance(before, Node)
        and op_name(before) in _FOLDED
        and len(before.users) == 1
        and all(isinstance(part, Node) and part.op == "get_attr" for part in constants)
        and isinstance(before.args[1], Node)
        and before.args[1].op == "get_attr"
        and len(before.args[1].users) == 1
    )


@torch.no_grad()
def _fold_values(
    normalization: list[torch.Tensor], weight: torch.Tensor, bias: torch.Tensor | None, epsilon: float
) -> None:
    scale, shift, mean, variance = normalization
    factor = scale.double() / torch.sqrt(variance.double() + epsilon)
    offset = (0 if bias is None else bias.double()) - mean.double()
    weight.copy_(weight.double() * factor.reshape(-1, *[1] * (weight.ndim - 1)))
    moved = shift.double() + offset * factor
    if bias is not None:
        bias.copy_(moved)
    shift.copy_(torch.zeros_like(moved) if bias is not None else moved)
    mean.zero_()
    variance.fill_(1.0)
    scale.fill_((1.0 + epsilon) ** 0.5)
