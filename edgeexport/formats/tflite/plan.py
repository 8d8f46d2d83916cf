"""Which operator gets which precision: by the target's rules, by overrides, and by what calibration saw."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from edgeexport.errors import RecipeError
from edgeexport.formats.tflite.flatbuffer import constant, dtype_name, op_name, tensor_name
from edgeexport.formats.tflite.observe import common_name
from edgeexport.ranges import Range
from edgeexport.settings import STATIC, Override, Settings

# Operators with a weight, and the place of that input.
WEIGHTS = {"FULLY_CONNECTED": 1, "CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "TRANSPOSE_CONV": 1, "EMBEDDING_LOOKUP": 1}
_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV")


@dataclass(frozen=True)
class Node:
    """One operator.

    Attributes:
        graph: its subgraph's number.
        operator: as in the schema.
        op: the operator's name in the schema.
        name: its first output's.
    """

    graph: int
    operator: Any
    op: str
    name: str


class Graph:
    """The operators of a model with what they read and write."""

    def __init__(self, model: Any) -> None:
        self.model = model

    @cached_property
    def nodes(self) -> list[Node]:
        """Every operator, in order."""
        return [
            Node(
                number,
                operator,
                op_name(self.model, operator),
                tensor_name(graph.tensors[operator.outputs[0]]) if operator.outputs else f"{number}/end",
            )
            for number, graph in enumerate(self.model.subgraphs)
            for operator in graph.operators
        ]

    def activations(self, node: Node) -> Iterator[str]:
        """Names of the float tensors that an operator reads or writes and that are no constants."""
        yield from self._names(node, [*node.operator.inputs, *node.operator.outputs])

    def read(self, node: Node) -> list[str]:
        """Those that it reads."""
        return list(self._names(node, node.operator.inputs))

    def ends(self) -> list[str]:
        """Names of the model's own float inputs and outputs."""
        found = []
        for graph in self.model.subgraphs:
            tensors = [graph.tensors[index] for index in (*graph.inputs, *graph.outputs)]
            found += [tensor_name(tensor) for tensor in tensors if dtype_name(tensor.type) == "float32"]
        return found

    def is_layer(self, node: Node) -> bool:
        """Whether an operator has a constant weight."""
        place = WEIGHTS.get(node.op)
        if place is None or len(node.operator.inputs) <= place:
            return False
        tensor = self.model.subgraphs[node.graph].tensors[node.operator.inputs[place]]
        return constant(self.model, tensor) is not None

    def weight(self, node: Node) -> tuple[int, int]:
        """Subgraph and tensor of a layer's weight."""
        return node.graph, node.operator.inputs[WEIGHTS[node.op]]

    @cached_property
    def tables(self) -> set[tuple[int, int]]:
        """Subgraph and tensor of every table that rows are looked up in."""
        return {self.weight(node) for node in self.nodes if node.op == "EMBEDDING_LOOKUP" and self.is_layer(node)}

    def _names(self, node: Node, indices: list[int]) -> Iterator[str]:
        tensors = self.model.subgraphs[node.graph].tensors
        for index in indices:
            if index >= 0:
                tensor = tensors[index]
                if dtype_name(tensor.type) == "float32" and constant(self.model, tensor) is None:
                    yield tensor_name(tensor)


def assign(graph: Graph, settings: Settings) -> dict[str, str]:
    """The precision of each operator that rules or overrides name, by its name; ``fp32`` where one is left float.

    Raises:
        RecipeError: an override matches no operator, or asks for what the operator or the precision cannot have.
    """
    chosen = _by_rule(graph, settings)
    for override in settings.overrides:
        matched = [node for node in graph.nodes if _matches(override, node)]
        if not matched:
            raise RecipeError(
                f"override {override} matches no operator of the model",
                "Names are module paths of the source; the notes of a bundle have some.",
            )
        for node in matched:
            chosen[node.name] = _overridden(graph, node, override, settings)
    return chosen


def carry(graph: Graph, chosen: Mapping[str, str], settings: Settings) -> dict[str, str]:
    """What :func:`assign` chose, and the operators that pass integers between two that are static."""
    rules = settings.quantization
    carried = dict(chosen)
    for node in graph.nodes:
        able = settings.precision in STATIC and node.op in rules.carried_op_types and node.name not in carried
        if able and _reads_integers(graph, node, carried):
            carried[node.name] = settings.precision
    return {name: precision for name, precision in carried.items() if precision != "fp32"}


def _overridden(graph: Graph, node: Node, override: Override, settings: Settings) -> str:
    asked = override.precision
    if asked == "w8a8" and settings.precision not in STATIC:
        raise RecipeError(
            f"{override} contradicts precision {settings.precision}, which calibrates nothing", "Choose w8a8."
        )
    if asked != "fp32" and node.op == "EMBEDDING_LOOKUP":
        return _embedding(settings)
    if asked in {"w8", "w8a8-dynamic"} and not graph.is_layer(node):
        raise RecipeError(
            f"{override} matches {node.op} '{common_name(node.name)}', which has no weights to quantize",
            "Name operators with weights, or choose w8a8 or fp32.",
        )
    return asked


def fall_back(graph: Graph, chosen: Mapping[str, str], ranges: Mapping[str, Range], settings: Settings) -> list[str]:
    """Names of the static layers that int8 steps represent too coarsely; see ``quantization.minimum_snr``."""
    least = settings.quantization.minimum_snr
    if least == 0 or settings.precision != "w8a8":
        return []
    return [
        node.name
        for node in graph.nodes
        if chosen.get(node.name) == "w8a8"
        and graph.is_layer(node)
        and any(
            ranges[common_name(name)].snr_db() < least
            for name in graph.activations(node)
            if common_name(name) in ranges
        )
    ]


def _by_rule(graph: Graph, settings: Settings) -> dict[str, str]:
    rules = settings.quantization
    everything = "*" in rules.op_types
    chosen: dict[str, str] = {}
    for node in graph.nodes:
        if not (everything or node.op in rules.op_types):
            continue
        if node.op == "EMBEDDING_LOOKUP":
            chosen[node.name] = _embedding(settings)
        elif settings.precision in STATIC:
            if everything or (
                _weight_is_constant(graph, node, settings) and not _is_stem(graph, node, chosen, settings)
            ):
                chosen[node.name] = settings.precision
        elif graph.is_layer(node):
            chosen[node.name] = _tied(graph, node, settings) or _layer(settings, node)
    return chosen


def _tied(graph: Graph, node: Node, settings: Settings) -> str | None:
    """The precision of a product with a table that tokens are looked up in, which is to be stored once; else None."""
    if node.op != "FULLY_CONNECTED" or settings.precision not in {"w4", "w8a8-dynamic"}:
        return None
    if "EMBEDDING_LOOKUP" not in settings.quantization.op_types or graph.weight(node) not in graph.tables:
        return None
    return {"embedding-4": "w4", "embedding-8": "w8a8-dynamic"}[_embedding(settings)]


def _weight_is_constant(graph: Graph, node: Node, settings: Settings) -> bool:
    return graph.is_layer(node) or not settings.quantization.constant_weights_only or node.op not in WEIGHTS


def _is_stem(graph: Graph, node: Node, chosen: Mapping[str, str], settings: Settings) -> bool:
    """Whether a convolution belongs to a network's float stem; see ``quantization.least_channels``."""
    least = settings.quantization.least_channels
    if least == 1 or node.op not in {"CONV_2D", "DEPTHWISE_CONV_2D"} or not graph.is_layer(node):
        return False
    weight = graph.model.subgraphs[node.graph].tensors[node.operator.inputs[WEIGHTS[node.op]]]
    if int(weight.shape[-1]) < least:
        return True
    producer = next((other for other in graph.nodes if other.name == next(iter(graph.read(node)), "")), None)
    behind = producer is not None and producer.op in _CONVOLUTIONS and producer.name not in chosen
    return node.op == "DEPTHWISE_CONV_2D" and behind


def _layer(settings: Settings, node: Node) -> str:
    """A layer's precision; convolutions keep float activations where the layer's would be found while running.

    Kernels that find them so are slower than float ones for convolutions.
    """
    if settings.precision == "w8a8-dynamic" and node.op in _CONVOLUTIONS:
        return "w8"
    if settings.precision == "w4" and node.op in _CONVOLUTIONS:
        return "w8"
    return settings.precision


def _embedding(settings: Settings) -> str:
    """A table's precision: ``embedding_bits``, or that of the weights."""
    bits = settings.quantization.embedding_bits
    if bits is None:
        bits = 4 if settings.precision == "w4" else 8
    return "fp16" if settings.precision == "fp16" else f"embedding-{bits}"


def _reads_integers(graph: Graph, node: Node, chosen: Mapping[str, str]) -> bool:
    """Whether every activation that an operator reads leaves a static one."""
    statics = {name for name, precision in chosen.items() if precision in STATIC}
    read = graph.read(node)
    return bool(read) and all(name in statics for name in read)


def _matches(override: Override, node: Node) -> bool:
    by_type = override.op_type is None or override.op_type == node.op
    by_name = override.name is None or re.search(override.name, common_name(node.name)) is not None
    return by_type and by_name and (override.op_type is not None or override.name is not None)
