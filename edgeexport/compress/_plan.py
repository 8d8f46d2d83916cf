"""Which values of a graph are rounded, by the rules of the export that follows."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from torch.fx import Graph, Node

from edgeexport.compress._graph import CONVOLUTIONS, LAYERS, MOVES, is_constant, is_real, op_name
from edgeexport.errors import RecipeError
from edgeexport.scheme import Scheme
from edgeexport.settings import Override, Settings

Precision = Literal["w8a8", "w8a8-dynamic", "w8", "fp32"]
Kind = Literal["activation", "weight", "vector", "constant"]
"""``weight`` has a scale for each channel, by the rules; ``vector`` has one and is symmetric; ``constant`` has one and
is asymmetric."""
_CONVOLUTION_GROUPS = 6


@dataclass
class Plan:
    """What is rounded.

    Attributes:
        precisions: of each operator that is not left float.
        outputs: nodes whose result is rounded for all that read it.
        edges: (input, reader) pairs that are rounded for that reader, and how.
        tables: look-ups in tables that are rounded.
    """

    precisions: dict[Node, Precision] = field(default_factory=dict)
    outputs: list[Node] = field(default_factory=list)
    edges: dict[tuple[Node, Node], Kind] = field(default_factory=dict)
    tables: list[Node] = field(default_factory=list)


def make_plan(graph: Graph, scheme: Scheme, settings: Settings, coarse: Collection[str] = ()) -> Plan:
    """Plan a graph that was rewritten by its scheme.

    Args:
        graph: from :mod:`edgeexport.compress._graph`.
        scheme: the format's.
        settings: the export's, whose precision is ``w8a8``.
        coarse: names of layers that have ``quantization.fallback`` instead.

    Raises:
        RecipeError: an override matches nothing.
    """
    plan = Plan(_chosen(graph, scheme, settings))
    for node, precision in plan.precisions.items():
        if precision == "w8a8" and (node.name in coarse or (is_layer(node) and _is_dynamic(node, scheme))):
            fallback = settings.quantization.fallback
            plan.precisions[node] = fallback if node.name in coarse else "w8a8-dynamic"
    _round_tables(plan, graph, scheme, settings)
    if scheme.outputs:
        _round_results(plan, scheme, settings)
    for node, precision in plan.precisions.items():
        if precision == "w8a8":
            _round_inputs(plan, node, scheme)
        if precision != "fp32" and is_layer(node):
            plan.edges[node.all_input_nodes[_place(node, node.args[1])], node] = "weight"
    return plan


def root(node: Node) -> Node:
    """Where a value comes from, seen through what only moves it."""
    while op_name(node) in MOVES and node.all_input_nodes and is_real(node.all_input_nodes[0]):
        node = node.all_input_nodes[0]
    return node


def is_layer(node: Node) -> bool:
    """Whether an operator has a constant weight and takes an activation."""
    operands = node.args[:2]
    return op_name(node) in LAYERS and len(operands) > 1 and not is_constant(operands[0]) and is_constant(operands[1])


def _chosen(graph: Graph, scheme: Scheme, settings: Settings) -> dict[Node, Precision]:
    rules = settings.quantization
    chosen: dict[Node, Precision] = {}
    for node in graph.nodes:
        if not _computes(node):
            continue
        name = _named(node, scheme)
        everything = "*" in rules.op_types
        if everything:
            wanted = True
        elif name in rules.carried_op_types:
            wanted = _reads_integers(node, chosen, scheme, settings)
        else:
            wanted = name in rules.op_types and _weight_allowed(node, settings) and not _is_stem(node, chosen, settings)
        if wanted:
            chosen[node] = "w8a8" if _able(node, scheme) else "w8"
    _apply_overrides(graph, scheme, settings, chosen)
    return {node: precision for node, precision in chosen.items() if precision == "w8a8" or is_layer(node)}


def _computes(node: Node) -> bool:
    name = op_name(node)
    plain = node.op == "call_function" and is_real(node) and name not in MOVES and name not in ("embedding", "alias")
    return plain and not is_constant(node) and any(is_real(other) for other in node.all_input_nodes)


def _named(node: Node, scheme: Scheme) -> str:
    return scheme.operators.get(op_name(node), op_name(node))


def _able(node: Node, scheme: Scheme) -> bool:
    if scheme.computed is None:
        return True
    if _named(node, scheme) not in scheme.computed:
        return False
    return is_layer(node) or not any(is_constant(other) for other in node.args[:2] if op_name(node) == "add")


def _weight_allowed(node: Node, settings: Settings) -> bool:
    return op_name(node) not in LAYERS or is_layer(node) or not settings.quantization.constant_weights_only


def _is_stem(node: Node, chosen: dict[Node, Precision], settings: Settings) -> bool:
    """See ``quantization.least_channels``."""
    least = settings.quantization.least_channels
    if least == 1 or op_name(node) not in CONVOLUTIONS or not is_layer(node):
        return False
    groups = int(node.args[_CONVOLUTION_GROUPS]) if len(node.args) > _CONVOLUTION_GROUPS else 1  # type: ignore[arg-type]
    weight: Any = node.args[1]
    channels = int(weight.meta["val"].shape[1]) * groups
    if channels < least:
        return True
    before = root(node.all_input_nodes[0])
    while before not in chosen and op_name(before) in ("relu", "relu6", "hardtanh", "clamp", "constant_pad_nd", "pad"):
        before = root(before.all_input_nodes[0])
    return groups == channels > 1 and op_name(before) in CONVOLUTIONS and before not in chosen


def _reads_integers(node: Node, chosen: dict[Node, Precision], scheme: Scheme, settings: Settings) -> bool:
    sources = [root(other) for other in node.all_input_nodes if is_real(other) and not is_constant(other)]
    floats = settings.quantization.float_outputs
    return bool(sources) and all(
        chosen.get(source) == "w8a8" and _named(source, scheme) not in floats for source in sources
    )


def _apply_overrides(graph: Graph, scheme: Scheme, settings: Settings, chosen: dict[Node, Precision]) -> None:
    for override in settings.overrides:
        matched = [node for node in graph.nodes if node.op == "call_function" and _matches(override, node, scheme)]
        if not matched:
            raise RecipeError(
                f"override {override} matches nothing that quantization-aware training knows",
                "It knows operators by the format's names, and the modules they come from by their paths.",
            )
        for node in matched:
            if _computes(node):
                chosen[node] = override.precision


def _matches(override: Override, node: Node, scheme: Scheme) -> bool:
    if override.op_type is None and override.name is None:
        return False
    by_type = override.op_type is None or override.op_type == _named(node, scheme)
    if override.name is None:
        return by_type
    path = next((path for path, _ in reversed(node.meta.get("nn_module_stack", {}).values())), "")
    known = (f"{path}.{_named(node, scheme)}", f"/{path.replace('.', '/')}/{_named(node, scheme)}")
    return by_type and any(re.search(override.name, form) for form in known)


def _is_dynamic(node: Node, scheme: Scheme) -> bool:
    return scheme.dynamic is not None and scheme.dynamic(node)


def _round_results(plan: Plan, scheme: Scheme, settings: Settings) -> None:
    """Results of operators that give integers; of two that are fused, the second's only."""
    static = [node for node, precision in plan.precisions.items() if precision == "w8a8"]
    for node in static:
        follower = _follower(node, scheme)
        if follower is not None:
            plan.precisions.setdefault(follower, "w8a8")
            if follower not in plan.outputs:
                plan.outputs.append(follower)
        elif _named(node, scheme) not in settings.quantization.float_outputs and node not in plan.outputs:
            plan.outputs.append(node)


def _follower(node: Node, scheme: Scheme) -> Node | None:
    """The operator that is computed along with this one, or None."""
    users = list(node.users)
    fused = scheme.fused.get(op_name(node), ())
    return users[0] if len(users) == 1 and op_name(users[0]) in fused else None


def _round_inputs(plan: Plan, node: Node, scheme: Scheme) -> None:
    for other, positions in _inputs(node):
        source = root(other)
        fused = plan.precisions.get(source) == "w8a8" and _follower(source, scheme) is node
        looked_up = op_name(source) == "alias" and source.args[0] in plan.tables
        if fused or source in plan.outputs or (looked_up and not scheme.rows):
            continue
        if is_constant(other):
            _round_constant(plan, other, node, positions, scheme)
        elif scheme.everywhere:
            plan.outputs.append(source)
        else:
            plan.edges[other, node] = "activation"


def _round_constant(plan: Plan, constant: Node, node: Node, positions: list[int], scheme: Scheme) -> None:
    """A vector of parameters; a number alone is represented exactly."""
    name = op_name(node)
    several = any(isinstance(length, int) and length > 1 for length in constant.meta["val"].shape)
    floats = scheme.float_constants.get(name, ())
    if not several or all(position in floats for position in positions) or (is_layer(node) and 1 in positions):
        return
    weights = scheme.weight_constants.get(name, ())
    plan.edges[constant, node] = "vector" if positions[0] in weights else "constant"


def _round_tables(plan: Plan, graph: Graph, scheme: Scheme, settings: Settings) -> None:
    types = settings.quantization.op_types
    for node in graph.nodes:
        if op_name(node) == "embedding" and is_constant(node.args[0]):
            name = scheme.operators.get("embedding")
            if name is None or name in types or "*" in types:
                plan.tables.append(node)


def _inputs(node: Node) -> Iterator[tuple[Node, list[int]]]:
    """Real-valued inputs with their positions."""
    for other in node.all_input_nodes:
        if is_real(other):
            positions = [
                number
                for number, argument in enumerate(node.args)
                if argument is other or (isinstance(argument, list | tuple) and other in argument)
            ]
            yield other, positions or [-1]


def _place(node: Node, argument: Any) -> int:
    return node.all_input_nodes.index(argument)
