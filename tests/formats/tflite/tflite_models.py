"""Float models built operator by operator, named as the converter's step names them; settings; and what runs them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from edgeexport.formats.tflite.flatbuffer import constant, op_name, schema, tensor_name, write_model
from edgeexport.settings import Calibration, Interface, Quantization, Settings


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    return (scale * np.random.default_rng(seed).standard_normal(shape)).astype(np.float32)


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float((one * other).sum() / np.linalg.norm(one) / np.linalg.norm(other))


def make_settings(
    precision: str = "w8a8",
    overrides: Sequence[Any] = (),
    method: str = "minmax",
    percentile: float = 99.99,
    bins: int = 2048,
    **quantization: Any,
) -> Settings:
    rules = {
        "activation_type": "int8",
        "per_channel": True,
        "block_size": 0,
        "op_types": ("FULLY_CONNECTED", "CONV_2D", "DEPTHWISE_CONV_2D", "EMBEDDING_LOOKUP"),
        **quantization,
    }
    return Settings(
        precision=precision,
        interface=Interface(),
        quantization=Quantization(**rules),
        calibration=Calibration(method=method, minimum_samples=1, percentile=percentile, bins=bins),
        overrides=tuple(overrides),
    )


class Builder:
    """A model of several subgraphs, with one signature each, that share constants."""

    def __init__(self) -> None:
        self._classes = schema()
        self.model = self._classes.ModelT()
        self.model.version, self.model.description = 3, b"test"
        self.model.buffers = [self._classes.BufferT()]
        self.model.operatorCodes, self.model.subgraphs, self.model.signatureDefs = [], [], []
        self._stored: dict[bytes, int] = {}

    def graph(self) -> None:
        """Begin the next subgraph."""
        graph = self._classes.SubGraphT()
        graph.name = f"graph{len(self.model.subgraphs)}".encode()
        graph.tensors, graph.operators, graph.inputs, graph.outputs = [], [], [], []
        self.model.subgraphs.append(graph)

    def tensor(self, name: str, shape: Sequence[int], values: np.ndarray | None = None, dtype: str = "float32") -> int:
        graph = self.model.subgraphs[-1]
        made = self._classes.TensorT()
        made.name, made.shape, made.buffer = name.encode(), list(shape), 0
        made.type = getattr(self._classes.TensorType, (str(values.dtype) if values is not None else dtype).upper())
        if values is not None:
            content = np.ascontiguousarray(values).tobytes()
            if content not in self._stored:
                buffer = self._classes.BufferT()
                buffer.data = np.frombuffer(content, np.uint8)
                self._stored[content] = len(self.model.buffers)
                self.model.buffers.append(buffer)
            made.buffer = self._stored[content]
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    def op(self, name: str, inputs: Sequence[int], output: int, options: str | None = None, **fields: Any) -> int:
        """Add an operator; gives its output."""
        number = getattr(self._classes.BuiltinOperator, name)
        numbers = [code.builtinCode for code in self.model.operatorCodes]
        if number not in numbers:
            code = self._classes.OperatorCodeT()
            code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), 1
            self.model.operatorCodes.append(code)
            numbers.append(number)
        made = self._classes.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = numbers.index(number), list(inputs), [output]
        if options is not None:
            table = getattr(self._classes, options + "T")()
            for field, value in fields.items():
                setattr(table, field, value)
            made.builtinOptionsType, made.builtinOptions = getattr(self._classes.BuiltinOptions, options), table
        self.model.subgraphs[-1].operators.append(made)
        return output

    def signature(self, key: str, inputs: Mapping[str, int], outputs: Mapping[str, int]) -> None:
        """End the subgraph."""
        made = self._classes.SignatureDefT()
        made.signatureKey, made.subgraphIndex = key.encode(), len(self.model.subgraphs) - 1
        made.inputs = [self._entry(*item) for item in inputs.items()]
        made.outputs = [self._entry(*item) for item in outputs.items()]
        self.model.signatureDefs.append(made)
        self.model.subgraphs[-1].inputs = list(inputs.values())
        self.model.subgraphs[-1].outputs = list(outputs.values())

    def _entry(self, name: str, index: int) -> Any:
        made = self._classes.TensorMapT()
        made.name, made.tensorIndex = name.encode(), index
        return made


RELU = 1  # of ActivationFunctionType


def two_layers(lengths: Sequence[int] = (4,)) -> Any:
    """``y = relu(x @ first.T + b) @ second.T + c``: 16, 32 and 8 wide; one signature a length."""
    first, second = normal(32, 16, seed=1), normal(8, 32, seed=2)
    built = Builder()
    for number, length in enumerate(lengths):
        mark = f"{number}/" if number else ""
        built.graph()
        x = built.tensor(f"{mark}input.0", (length, 16))
        w1 = built.tensor(f"{mark}first/1", (32, 16), first)
        b1 = built.tensor(f"{mark}first/2", (32,), normal(32, seed=3))
        h = built.tensor(f"{mark}first", (length, 32))
        w2 = built.tensor(f"{mark}output.0/1", (8, 32), second)
        b2 = built.tensor(f"{mark}output.0/2", (8,), normal(8))
        y = built.tensor(f"{mark}output.0", (length, 8))
        built.op("FULLY_CONNECTED", [x, w1, b1], h, "FullyConnectedOptions", fusedActivationFunction=RELU)
        built.op("FULLY_CONNECTED", [h, w2, b2], y, "FullyConnectedOptions")
        built.signature(f"sequence_{length}" if len(lengths) > 1 else "main", {"x": x}, {"y": y})
    return built.model


def words(lengths: Sequence[int] = (4,)) -> Any:
    """``y = layer(table[ids])``: 50 words, 16 wide, 8 outputs."""
    built = Builder()
    for number, length in enumerate(lengths):
        mark = f"{number}/" if number else ""
        built.graph()
        ids = built.tensor(f"{mark}input.0", (length,), dtype="int32")
        table = built.tensor(f"{mark}embed/1", (50, 16), normal(50, 16, seed=4))
        rows = built.tensor(f"{mark}embed", (length, 16))
        w = built.tensor(f"{mark}output.0/1", (8, 16), normal(8, 16, seed=5))
        y = built.tensor(f"{mark}output.0", (length, 8))
        built.op("EMBEDDING_LOOKUP", [ids, table], rows)
        built.op("FULLY_CONNECTED", [rows, w, -1], y, "FullyConnectedOptions")
        built.signature(f"sequence_{length}" if len(lengths) > 1 else "main", {"ids": ids}, {"y": y})
    return built.model


def convolutions() -> Any:
    """x [1, 6, 6, 3] → ``stem`` 16 → depthwise ``deep`` → ``body`` 16 → add with deep → mean → ``output.0``, 4 wide."""
    built = Builder()
    built.graph()
    x = built.tensor("input.0", (1, 6, 6, 3))
    plane = (1, 6, 6, 16)

    def layer(op: str, name: str, read: int, weight: np.ndarray, options: str, **fields: Any) -> int:
        bias = normal(16, seed=9)
        constants = [built.tensor(f"{name}/1", weight.shape, weight), built.tensor(f"{name}/2", (16,), bias)]
        out = built.tensor(name, plane)
        return built.op(op, [read, *constants], out, options, strideH=1, strideW=1, **fields)

    stem = layer("CONV_2D", "stem", x, normal(16, 3, 3, 3, seed=6, scale=0.2), "Conv2DOptions")
    deep = layer(
        "DEPTHWISE_CONV_2D", "deep", stem, normal(1, 3, 3, 16, seed=7, scale=0.3), "DepthwiseConv2DOptions",
        depthMultiplier=1,
    )  # fmt: skip
    body = layer("CONV_2D", "body", deep, normal(16, 1, 1, 16, seed=8, scale=0.2), "Conv2DOptions")
    total = built.op("ADD", [body, deep], built.tensor("sum", plane), "AddOptions")
    axes = built.tensor("mean/1", (2,), np.array([1, 2], np.int32))
    mean = built.op("MEAN", [total, axes], built.tensor("mean", (1, 16)), "ReducerOptions", keepDims=False)
    w = built.tensor("output.0/1", (4, 16), normal(4, 16, seed=10))
    y = built.op("FULLY_CONNECTED", [mean, w, -1], built.tensor("output.0", (1, 4)), "FullyConnectedOptions")
    built.signature("main", {"x": x}, {"y": y})
    return built.model


def save(model: Any, path: Path) -> Path:
    write_model(model, path)
    return path


def run(path: Path, feed: Mapping[str, np.ndarray], key: str | None = None) -> dict[str, np.ndarray]:
    runner = Interpreter(model_path=str(path), num_threads=1).get_signature_runner(key)
    return {name: array.copy() for name, array in runner(**feed).items()}


def by_name(model: Any, graph: int = 0) -> dict[str, Any]:
    """The tensors of a subgraph."""
    return {tensor_name(tensor): tensor for tensor in model.subgraphs[graph].tensors}


def weight(model: Any, producer: str, place: int = 1) -> Any:
    """The tensor that the operator which computes ``producer`` reads at that place."""
    for graph in model.subgraphs:
        for operator in graph.operators:
            if tensor_name(graph.tensors[operator.outputs[0]]) == producer:
                return graph.tensors[operator.inputs[place]]
    raise AssertionError(f"nothing computes {producer}")


def values(model: Any, tensor: Any) -> np.ndarray:
    found = constant(model, tensor)
    assert found is not None
    return found


def operators(model: Any, graph: int = 0) -> list[str]:
    return [op_name(model, operator) for operator in model.subgraphs[graph].operators]
