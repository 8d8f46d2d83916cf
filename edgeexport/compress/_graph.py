"""A model as a graph of ATen operators for any batch and length, in the form that a format computes it in."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.fx import GraphModule, Node

from edgeexport.errors import ModelError
from edgeexport.scheme import Scheme
from edgeexport.signature import Signature
from edgeexport.source import Editable

MOVES = (
    frozenset(("view", "view_as", "reshape", "flatten", "unflatten", "transpose", "permute", "movedim", "t", "expand"))
    | frozenset(
        ("expand_as", "unsqueeze", "squeeze", "slice", "select", "index_select", "chunk", "split", "unbind", "getitem")
    )
    | frozenset(("contiguous", "clone", "detach", "to", "_to_copy", "repeat", "_unsafe_view"))
)
"""Operators that move values and change none: their results have the steps of what they take."""
CONVOLUTIONS = ("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
LAYERS = ("linear", "matmul", "bmm", *CONVOLUTIONS)
"""Operators whose second input is a layer's weight where it is constant."""
_GONE = ("dropout", "feature_dropout", "contiguous", "alias", "detach")
_LOWEST = -1e30
_IMAGE_AXES = 4


def op_name(node: Any) -> str:
    """An ATen operator's name without its overload, or "" for anything else."""
    packet = getattr(getattr(node, "target", None), "overloadpacket", None)
    return packet.__name__.rstrip("_") if packet is not None else getattr(getattr(node, "target", None), "__name__", "")


def is_real(node: Any) -> bool:
    """Whether a node's result is one tensor of real numbers."""
    value = getattr(node, "meta", {}).get("val")
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def is_constant(node: Any) -> bool:
    """Whether a node is a parameter or buffer, or is made of nothing else."""
    if not isinstance(node, Node):
        return True
    if node.op == "get_attr":
        return True
    known = node.meta.get("constant")
    if known is None:
        inputs = node.all_input_nodes
        known = node.op == "call_function" and bool(inputs) and all(is_constant(other) for other in inputs)
        node.meta["constant"] = known
    return bool(known)


def capture(editable: Editable, signature: Signature, example: Mapping[str, torch.Tensor]) -> GraphModule:
    """The model's graph in evaluation mode, with its own parameters, without dropout.

    Args:
        editable: the model, on the device it will be trained on; not changed.
        signature: of its inputs, whose named dimensions stay free: the batch, and lengths of sequences.
        example: two samples or more, on that device.

    Raises:
        ModelError: ``torch.export`` cannot follow the model.
    """

    class Positional(torch.nn.Module):
        """Tensors in order, a tuple back."""

        def __init__(self) -> None:
            super().__init__()
            self.model = editable.model

        def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
            result = editable.run(dict(zip(editable.inputs, tensors, strict=True)))
            return tuple(result[name] for name in editable.outputs)

    specs = {spec.name: spec for spec in signature.inputs}
    shapes = []
    for name in editable.inputs:
        named = [axis for axis, length in enumerate(specs[name].shape) if isinstance(length, str)]
        free = named if len(specs[name].shape) < _IMAGE_AXES else named[:1]
        shapes.append(dict.fromkeys(free, torch.export.Dim.DYNAMIC))
    examples = tuple(example[name] for name in editable.inputs)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(Positional().eval(), examples, dynamic_shapes=(tuple(shapes),), strict=False)
            program = program.run_decompositions({})  # in-place operators become ordinary ones
    except Exception as error:
        raise ModelError(
            f"{editable.name} cannot be captured for quantization-aware training: {type(error).__name__}: "
            f"{(str(error) or 'no message').splitlines()[0][:300]}",
            "Check that torch.export.export follows the model with a free batch, and no branch depends on values.",
        ) from error
    module: Any = program.module(check_guards=False)
    for node in list(module.graph.nodes):
        if node.op == "call_function" and op_name(node) in _GONE:
            node.replace_all_uses_with(node.args[0])
            module.graph.erase_node(node)
        elif op_name(node) == "embedding":
            _stand_apart(module.graph, node)
        elif op_name(node) == "_native_batch_norm_legit_no_training":
            _one_result(module.graph, node)
    module.graph.eliminate_dead_code()
    module.recompile()
    return module  # type: ignore[no-any-return]


def _stand_apart(graph: torch.fx.Graph, node: Node) -> None:
    """A node of its own for what an embedding gives: the table has steps, and the activation may have others."""
    with graph.inserting_after(node):
        copy = graph.call_function(torch.ops.aten.alias.default, (node,))
    copy.meta.update(node.meta)
    node.replace_all_uses_with(copy, delete_user_cb=lambda user: user is not copy)


def _one_result(graph: torch.fx.Graph, node: Node) -> None:
    """Batch normalization with its result alone, where decomposition gives statistics beside it."""
    for result in [user for user in node.users if user.args[1] == 0]:
        with graph.inserting_before(result):
            *tensors, momentum, epsilon = node.args
            whole = graph.call_function(torch.ops.aten.batch_norm.default, (*tensors, False, momentum, epsilon, False))
        whole.meta.update(result.meta)
        result.replace_all_uses_with(whole)
        graph.erase_node(result)


def parameter_of(node: Node) -> str:
    """The name in the editable's model of the parameter or buffer that a node reads."""
    return str(node.target).removeprefix("model.")


def raise_masks(graph: torch.fx.Graph, value: float) -> list[Node]:
    """Raise constants that mask attention, such as a dtype's minimum, to ``value``; gives their nodes."""
    found = []
    for node in graph.nodes:
        if node.op == "call_function" and is_real(node):
            low = [item for item in node.args if isinstance(item, float | int) and item < _LOWEST]
            if low:
                found.append(node)
                if value:
                    node.args = tuple(value if item in low else item for item in node.args)
    return found


def rewrite(module: GraphModule, scheme: Scheme) -> None:
    """Write operators as the format does."""
    for table in (scheme.rewrites, scheme.merges):
        for node in list(module.graph.nodes):
            if node.op == "call_function" and op_name(node) in table:
                _replace(module.graph, node, table)
    module.graph.eliminate_dead_code()
    module.graph.lint()
    module.recompile()


def _replace(graph: torch.fx.Graph, node: Node, table: Mapping[str, Callable[..., Any]]) -> None:
    def emit(name: str, *arguments: Any, **named: Any) -> Node:
        packet, _, overload = name.partition(".")
        target = getattr(getattr(torch.ops.aten, packet), overload or "default")
        made = graph.call_function(target, arguments, named)
        values = torch.fx.map_arg((arguments, named), lambda other: other.meta["val"])
        made.meta["val"] = target(*values[0], **values[1])
        made.meta["nn_module_stack"] = node.meta.get("nn_module_stack", {})
        return made

    with graph.inserting_before(node):
        result = table[op_name(node)](emit, *node.args, **node.kwargs)
    if result is not None:
        node.replace_all_uses_with(result)
        graph.erase_node(node)
