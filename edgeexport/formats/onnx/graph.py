"""Small edits of an ONNX graph, with its constants and uses at hand."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

FLOAT = onnx.TensorProto.FLOAT
LAYER_INPUTS = {"MatMul": 1, "Gemm": 1, "Conv": 1, "ConvTranspose": 1}
"""For each operator that holds a layer's weight: which of its inputs that is."""


class Graph:
    """A model being edited. The maps are those at construction, kept up to date by this class's own methods.

    Attributes:
        model: the ``ModelProto``, edited in place.
        constants: initializers by name.
        users: nodes that read a tensor, by its name; a node whose branches read it counts as often as they do.
        outputs: names of the graph's outputs.
        producers: the node that writes a tensor, by its name.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.constants: dict[str, Any] = {tensor.name: tensor for tensor in model.graph.initializer}
        self.users: dict[str, list[Any]] = defaultdict(list)
        self.producers: dict[str, Any] = {}
        self.outputs = {value.name for value in model.graph.output}
        for node in model.graph.node:
            for name in (*node.input, *read_in_branches(node)):
                self.users[name].append(node)
            for name in node.output:
                self.producers[name] = node

    @property
    def nodes(self) -> list[Any]:
        """The nodes, in order."""
        return list(self.model.graph.node)

    def values(self, name: str) -> np.ndarray:
        """The array of a constant."""
        return np.asarray(numpy_helper.to_array(self.constants[name]))

    def is_float_constant(self, name: str) -> bool:
        """Whether ``name`` is a float32 initializer."""
        return name in self.constants and self.constants[name].data_type == FLOAT

    def add_constant(self, name: str, array: np.ndarray) -> str:
        """Add an initializer; gives its name."""
        tensor = numpy_helper.from_array(np.asarray(array, order="C"), name)
        self.model.graph.initializer.append(tensor)
        self.constants[name] = self.model.graph.initializer[-1]
        return name

    def set_constant(self, name: str, array: np.ndarray) -> None:
        """Replace an initializer's array."""
        self.constants[name].CopyFrom(numpy_helper.from_array(np.asarray(array, order="C"), name))

    def drop_constants(self, names: Iterable[str]) -> None:
        """Remove initializers."""
        for name in names:
            self.model.graph.initializer.remove(self.constants.pop(name))

    def replace_nodes(self, nodes: Iterable[Any]) -> None:
        """Make ``nodes``, in topological order, the graph's nodes."""
        kept = [_copy(node) for node in nodes]
        del self.model.graph.node[:]
        self.model.graph.node.extend(kept)
        self.__init__(self.model)  # type: ignore[misc]

    def layers(self) -> list[Any]:
        """MatMul, Gemm and Conv nodes whose weight is a float constant."""
        return [
            node
            for node in self.model.graph.node
            if node.op_type in LAYER_INPUTS and self.is_float_constant(node.input[LAYER_INPUTS[node.op_type]])
        ]

    def matmuls(self) -> list[Any]:
        """MatMul nodes whose second input is a constant matrix."""
        return [
            node
            for node in self.model.graph.node
            if node.op_type == "MatMul"
            and self.is_float_constant(node.input[1])
            and len(self.constants[node.input[1]].dims) == 2
        ]


def attribute(node: Any, name: str, default: Any) -> Any:
    """The value of a node's attribute."""
    for entry in node.attribute:
        if entry.name == name:
            return helper.get_attribute_value(entry)
    return default


def copy_model(model: Any) -> Any:
    """A deep copy."""
    return _copy(model)


def name_nodes(model: Any) -> None:
    """Give every node a unique name, which quantizers need to include or leave out nodes."""
    seen: set[str] = set()
    for number, node in enumerate(model.graph.node):
        if not node.name or node.name in seen:
            node.name = f"{node.op_type}_{number}"
        seen.add(node.name)


def constants_to_initializers(model: Any) -> None:
    """Turn ``Constant`` nodes that hold float tensors into initializers, so that passes see one kind of constant."""
    kept = []
    for node in model.graph.node:
        value = attribute(node, "value", None)
        if node.op_type == "Constant" and value is not None and value.data_type == FLOAT:
            tensor = _copy(value)
            tensor.name = node.output[0]
            model.graph.initializer.append(tensor)
        else:
            kept.append(_copy(node))
    del model.graph.node[:]
    model.graph.node.extend(kept)


def read_in_branches(node: Any) -> list[str]:
    """Names that the subgraphs of an If, Loop or Scan read, those of their own tensors among them."""
    graphs = [graph for entry in node.attribute for graph in (entry.g, *entry.graphs)]
    inner = [other for graph in graphs for other in graph.node]
    return [name for other in inner for name in (*other.input, *read_in_branches(other))]


def _copy(message: Any) -> Any:
    copied = type(message)()
    copied.CopyFrom(message)
    return copied
