"""Builds small TFLite models directly, so that tests need neither a converter nor a quantizer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert", reason="pip install 'edgeexport[litert]'")

from edgeexport.formats.tflite.flatbuffer import schema, write_model


def _pack_int4(values: np.ndarray) -> np.ndarray:
    flat = values.reshape(-1).astype(np.int8).view(np.uint8) & 15
    flat = np.append(flat, np.zeros(flat.size % 2, np.uint8))
    return flat[0::2] | (flat[1::2] << 4)


class Graph:
    """One subgraph with one signature, built tensor by tensor.

    ``tensor`` gives an index, ``op`` takes indices, ``model`` gives the finished ``ModelT``.
    """

    def __init__(self) -> None:
        self._classes = schema()
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._codes: list[Any] = []
        self._buffers = [self._classes.BufferT()]

    def tensor(
        self,
        name: str,
        dtype: str,
        shape: Sequence[int],
        data: np.ndarray | None = None,
        scales: Sequence[float] | None = None,
        zero_points: Sequence[int] | None = None,
        axis: int = 0,
    ) -> int:
        made = self._classes.TensorT()
        made.name, made.shape, made.type = name.encode(), list(shape), getattr(self._classes.TensorType, dtype.upper())
        made.buffer = 0
        if data is not None:
            buffer = self._classes.BufferT()
            raw = _pack_int4(data) if dtype == "int4" else np.ascontiguousarray(data, dtype).reshape(-1).view(np.uint8)
            buffer.data, made.buffer = raw, len(self._buffers)
            self._buffers.append(buffer)
        if scales is not None:
            made.quantization = self._classes.QuantizationParametersT()
            made.quantization.scale = np.array(scales, np.float32)
            made.quantization.zeroPoint = np.array(zero_points or [0] * len(scales), np.int64)
            made.quantization.quantizedDimension = axis
        self._tensors.append(made)
        return len(self._tensors) - 1

    def op(
        self,
        op: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        /,
        version: int = 1,
        custom: str = "",
        **options: Any,
    ) -> None:
        """Add an operator. ``options`` are fields of its options table, whose name is under ``kind``."""
        code = self._classes.OperatorCodeT()
        code.builtinCode = getattr(self._classes.BuiltinOperator, op)
        code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), version
        code.customCode = custom.encode() if custom else None
        made = self._classes.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = len(self._codes), list(inputs), list(outputs)
        kind = options.pop("kind", None)
        if kind is not None:
            table = getattr(self._classes, kind + "T")()
            for field, value in options.items():
                setattr(table, field, value)
            first = hasattr(self._classes.BuiltinOptions, kind)
            number = getattr(self._classes.BuiltinOptions if first else self._classes.BuiltinOptions2, kind)
            setattr(made, "builtinOptionsType" if first else "builtinOptions2Type", number)
            setattr(made, "builtinOptions" if first else "builtinOptions2", table)
        self._codes.append(code)
        self._operators.append(made)

    def model(self, inputs: Sequence[int], outputs: Sequence[int]) -> Any:
        classes = self._classes
        graph = classes.SubGraphT()
        graph.name, graph.tensors, graph.operators = b"main", self._tensors, self._operators
        graph.inputs, graph.outputs = list(inputs), list(outputs)
        signature = classes.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = b"serving_default", 0
        signature.inputs = [self._map(f"args_{i}", index) for i, index in enumerate(inputs)]
        signature.outputs = [self._map(f"output_{i}", index) for i, index in enumerate(outputs)]
        model = classes.ModelT()
        model.version, model.operatorCodes, model.subgraphs = 3, self._codes, [graph]
        model.buffers, model.signatureDefs = self._buffers, [signature]
        return model

    def _map(self, name: str, index: int) -> Any:
        made = self._classes.TensorMapT()
        made.name, made.tensorIndex = name.encode(), index
        return made


def dense(
    weight: str = "float32", scales: Sequence[float] | None = None, version: int = 1, activation: str = "float32"
) -> Any:
    """FULLY_CONNECTED of 4 inputs and 3 outputs; weights are -6 to 5 before scaling."""
    graph = Graph()
    quantized = [0.1] if activation != "float32" else None
    x = graph.tensor("x", activation, [1, 4], scales=quantized)
    w = graph.tensor("w", weight, [3, 4], data=np.arange(12).reshape(3, 4) - 6, scales=scales)
    stored = {"int8": "int32", "int16": "int64"}.get(activation, "float32")
    steps = [0.1 * scale for scale in scales or ()] if quantized else None
    b = graph.tensor("b", stored, [3], data=np.zeros(3), scales=steps)
    y = graph.tensor("net.Net/torch.nn.modules.linear.Linear_head;", activation, [1, 3], scales=quantized)
    graph.op("FULLY_CONNECTED", [x, w, b], [y], version, kind="FullyConnectedOptions")
    return graph.model([x], [y])


def weight_only(weight: str = "int8", scales: Sequence[float] = (0.5,), version: int = 2) -> Any:
    """The same with weights that a DEQUANTIZE brings to float32 first."""
    graph = Graph()
    x = graph.tensor("x", "float32", [1, 4])
    w = graph.tensor("w", weight, [3, 4], data=np.arange(12).reshape(3, 4) - 6, scales=scales)
    f = graph.tensor("w_dequant", "float32", [3, 4])
    b = graph.tensor("b", "float32", [3], data=np.zeros(3))
    y = graph.tensor("net.Net/torch.nn.modules.linear.Linear_head;", "float32", [1, 3])
    graph.op("DEQUANTIZE", [w], [f], version, kind="DequantizeOptions")
    graph.op("FULLY_CONNECTED", [x, f, b], [y], kind="FullyConnectedOptions")
    return graph.model([x], [y])


def embedding(table: str = "int8", scales: Sequence[float] | None = (0.5,), output: str = "float32") -> Any:
    """EMBEDDING_LOOKUP of one of 3 rows of 4 values, -6 to 5 before scaling."""
    graph = Graph()
    x = graph.tensor("x", "int32", [1])
    w = graph.tensor("w", table, [3, 4], data=np.arange(12).reshape(3, 4) - 6, scales=scales)
    y = graph.tensor("y", output, [1, 4], scales=[0.5] if output != "float32" else None)
    graph.op("EMBEDDING_LOOKUP", [x, w], [y])
    return graph.model([x], [y])


def binary(op: str, dtype: str, scales: Sequence[float], shapes: Sequence[Sequence[int]] = ((2, 4), (2, 4))) -> Any:
    """An operator of two inputs; scales of both and of the output."""
    graph = Graph()
    shapes = [*shapes, np.broadcast_shapes(*shapes)]
    made = [
        graph.tensor(name, dtype, shape, scales=[scale] if dtype != "float32" else None)
        for name, shape, scale in zip("xzy", shapes, scales, strict=True)
    ]
    graph.op(op, made[:2], made[2:])
    return graph.model(made[:2], made[2:])


@pytest.fixture
def graph() -> type[Graph]:
    return Graph


@pytest.fixture
def build() -> SimpleNamespace:
    return SimpleNamespace(dense=dense, weight_only=weight_only, embedding=embedding, binary=binary)


@pytest.fixture
def save(tmp_path: Path) -> Any:
    """Write a model and give its path."""

    def write(model: Any, name: str = "model.tflite") -> Path:
        write_model(model, tmp_path / name)
        return tmp_path / name

    return write
