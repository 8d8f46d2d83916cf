"""Which module of the source each node and constant of an ONNX graph belongs to.

Exporters name a node after the modules around it, ``/bert/encoder/layer.0/attention/self/query/MatMul``; quantizers
name what they add after the tensor that it is for. A node without such a name is its parameters' module's, then its
reader's, then its producer's. What several modules share belongs to the first node that reads it.
"""

from __future__ import annotations

import re
from typing import Any

from edgeexport.formats.onnx.graph import Graph

_PARAMETER = re.compile(r"([A-Za-z_]\w*(?:\.\w+)*)\.(?:weight|bias)(?:_\w+)?")


class Paths:
    """Finds and remembers the module of every node.

    Args:
        graph: the model.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._nodes: dict[int, str] = {}
        nodes = graph.nodes
        for node in nodes:
            self._nodes[id(node)] = named_path(node.name) or self._parameters(node)
        for node in reversed(nodes):
            if not self._nodes[id(node)]:
                readers = (self.of_node(user) for name in node.output for user in graph.users.get(name, ()))
                self._nodes[id(node)] = next(filter(None, readers), "")
        for node in nodes:
            if not self._nodes[id(node)]:
                producers = (graph.producers[name] for name in node.input if name in graph.producers)
                self._nodes[id(node)] = next(filter(None, map(self.of_node, producers)), "")

    def of_node(self, node: Any) -> str:
        """The module of a node of the graph."""
        return self._nodes.get(id(node), "")

    def of_constant(self, name: str) -> str:
        """The module of an initializer: that of its first reader, or what its own name says."""
        readers = map(self.of_node, self._graph.users.get(name, ()))
        return next(filter(None, readers), "") or parameter_path(name)

    def _parameters(self, node: Any) -> str:
        names = (parameter_path(name) for name in node.input if name in self._graph.constants)
        return next(filter(None, names), "")


def named_path(name: str) -> str:
    """The module that a node's name tells, such as ``bert.encoder.layer.0``; empty where it tells none."""
    return ".".join(filter(None, name.split("/")[:-1])) if name.startswith("/") else ""


def parameter_path(name: str) -> str:
    """The module of a parameter by its name, such as ``head.1`` of ``head.1.weight_quantized``; empty of others."""
    found = _PARAMETER.fullmatch(name)
    return found.group(1) if found else ""
