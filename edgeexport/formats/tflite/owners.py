"""Which module of the source each operator, tensor and constant of a TFLite model belongs to.

Operators have the name of what they write, which is their module's path (:mod:`edgeexport.formats.tflite.names`). A
constant is the first operator's that reads it, and so is the one copy of a table that several modules share.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from edgeexport.formats.tflite.blocks import in_blocks
from edgeexport.formats.tflite.flatbuffer import dtype_name, op_name, tensor_name
from edgeexport.formats.tflite.observe import common_name

_COMPONENTS = {
    "EMBEDDING_LOOKUP": "embedding",
    "GATHER": "embedding",
    "FULLY_CONNECTED": "linear",
    "BATCH_MATMUL": "linear",
    "CONV_2D": "convolution",
    "DEPTHWISE_CONV_2D": "convolution",
    "TRANSPOSE_CONV": "convolution",
}
_ADDED = re.compile(r"(?:_(?:quantized|dequant|requant)\w*)+$")
_COUNTED = re.compile(r"(?::\d+)?(?:/\d+)?(?::\d+)?$")
"""The number of a tensor among its module's, and the place at which its operator reads it."""
_END = re.compile(r"(?:input|output|unused)\.\d+|end|model|")
"""Names that say nothing of a module."""


@dataclass(frozen=True)
class Owner:
    """Whose bytes some are, and of what kind; see :class:`edgeexport.conversion.TensorBytes`."""

    component: str
    dtype: str
    path: str
    what: str

    @property
    def structure(self) -> Owner:
        """The same module's structure."""
        return replace(self, component="graph", dtype="", what="structure")


class Owners:
    """Finds the module of everything in a model."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._operators: list[list[str]] = []
        self._tensors: list[dict[int, str]] = []
        self._buffers: dict[int, Owner] = {}
        for graph in model.subgraphs:
            self._read(graph)

    def operator(self, graph: int, place: int) -> str:
        """The path of an operator's module; empty where it is not known."""
        return self._operators[graph][place]

    def tensor(self, graph: int, index: int) -> str:
        """The path of the module that computes a tensor, or of the first that reads a constant."""
        return self._tensors[graph].get(index, "")

    def buffer(self, index: int) -> Owner | None:
        """Whose constant a buffer holds; None where no tensor has it."""
        return self._buffers.get(index)

    def order(self, graph: int) -> Iterator[int]:
        """The tensors of a subgraph in the order of the operators that read them, so that the first comes first."""
        count = len(self._model.subgraphs[graph].tensors)
        known = (index for index in self._tensors[graph] if 0 <= index < count)
        return iter(dict.fromkeys((*known, *range(count))))

    def _read(self, graph: Any) -> None:
        tensors: dict[int, str] = {}
        operators: list[str] = []
        users = components(self._model, graph)
        scales = {blocks.scales for tensor in graph.tensors if (blocks := in_blocks(tensor)) is not None}
        for operator in graph.operators:
            path = self._path(graph, operator)
            if not path and not any(self._is_constant(graph, index) for index in operator.inputs):
                path = next((tensors[index] for index in operator.inputs if tensors.get(index)), "")
            operators.append(path)
            for index in (*operator.inputs, *operator.outputs):
                if index >= 0 and (index not in tensors or not tensors[index]):
                    tensors[index] = path
        for index, tensor in enumerate(graph.tensors):
            blocks = in_blocks(tensor)
            if blocks is not None:
                tensors.setdefault(blocks.scales, tensors.get(index, ""))
        for index in (*tensors, *range(len(graph.tensors))):
            tensor = graph.tensors[index]
            if self._is_constant(graph, index) and tensor.buffer not in self._buffers:
                owner = _constant(tensor, users.get(index, "other"), tensors.get(index, ""), index in scales)
                self._buffers[tensor.buffer] = owner
        self._operators.append(operators)
        self._tensors.append(tensors)

    def _path(self, graph: Any, operator: Any) -> str:
        """By the name of what an operator writes; at the model's end, by that of a constant that it reads."""
        if operator.outputs:
            found = module_of(tensor_name(graph.tensors[operator.outputs[0]]))
            if found:
                return found
        read = (index for index in operator.inputs if self._is_constant(graph, index))
        return next(filter(None, (module_of(tensor_name(graph.tensors[index])) for index in read)), "")

    def _is_constant(self, graph: Any, index: int) -> bool:
        return index >= 0 and is_constant(self._model, graph.tensors[index])


def is_constant(model: Any, tensor: Any) -> bool:
    """Whether a tensor's values are in the file."""
    data = model.buffers[tensor.buffer].data if tensor.buffer else None
    return data is not None and len(data) > 0


def module_of(name: str) -> str:
    """The path in a tensor's name, without its signature's number, its own and what a quantizer added."""
    path = _COUNTED.sub("", _ADDED.sub("", common_name(name)))
    return "" if _END.fullmatch(path) else path


def components(model: Any, graph: Any) -> dict[int, str]:
    """The component of the first layer that reads each tensor, seen through dequantization."""
    found: dict[int, str] = {}
    for operator in reversed(graph.operators):
        op = op_name(model, operator)
        passed = found.get(operator.outputs[0]) if op == "DEQUANTIZE" else None
        component = _COMPONENTS.get(op) or passed
        if component is not None:
            for index in operator.inputs:
                found[index] = component
    return found


def _constant(tensor: Any, component: str, path: str, scales: bool) -> Owner:
    dtype = dtype_name(tensor.type)
    if scales:
        return Owner("scales", dtype, path, "scale")
    is_weight = component != "other" or "float" in dtype
    return Owner(component, dtype, path, "weight" if is_weight else "constant")
