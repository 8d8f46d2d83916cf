"""Tiny ``.tflite`` files, built without a converter."""

from dataclasses import dataclass

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.tools import flatbuffer_utils

_TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.int8): schema.TensorType.INT8,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.int64): schema.TensorType.INT64,
}
_PADDING_SAME = schema.Padding.SAME


@dataclass(frozen=True)
class Tensor:
    """One tensor: constant where it has values; int8 where it has a scale."""

    name: str
    shape: tuple
    dtype: type = np.float32
    values: np.ndarray | None = None
    scale: float | tuple | None = None
    zero: int = 0


@dataclass(frozen=True)
class Op:
    """One operator: builtin's name, its options, tensors by name."""

    builtin: str
    inputs: tuple
    outputs: tuple
    options: object = None
    version: int = 1


@dataclass(frozen=True)
class Graph:
    """One subgraph and, unless ``signature`` is None, its signature: names outside by tensor names inside.

    ``order`` is that of the graph's inputs, where it is not the signature's.
    """

    tensors: tuple
    ops: tuple
    inputs: dict
    outputs: dict
    signature: str | None = "serving_default"
    order: tuple = ()


def write(path, *graphs):
    """Write a model of these subgraphs to ``path``; give the path."""
    model = schema.ModelT()
    model.version = 3
    model.description = "test"
    model.buffers = [schema.BufferT()]
    model.operatorCodes = []
    model.subgraphs = [_subgraph(model, graph) for graph in graphs]
    model.signatureDefs = [
        _signature(graph, index) for index, graph in enumerate(graphs) if graph.signature is not None
    ]
    flatbuffer_utils.write_model(model, str(path))
    return path


def _subgraph(model, graph):
    made = schema.SubGraphT()
    names = [tensor.name for tensor in graph.tensors]
    made.name = (graph.signature or "main").encode()
    made.tensors = [_tensor(model, tensor) for tensor in graph.tensors]
    made.operators = [_operator(model, op, names) for op in graph.ops]
    made.inputs = [names.index(name) for name in graph.order or graph.inputs.values()]
    made.outputs = [names.index(name) for name in graph.outputs.values()]
    return made


def _tensor(model, tensor):
    made = schema.TensorT()
    made.name = tensor.name.encode()
    made.shape = list(tensor.shape)
    made.type = _TYPES[np.dtype(tensor.dtype)]
    made.buffer = 0
    if tensor.values is not None:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.asarray(tensor.values, tensor.dtype).tobytes(), np.uint8)
        made.buffer = len(model.buffers)
        model.buffers.append(buffer)
    if tensor.scale is not None:
        made.quantization = schema.QuantizationParametersT()
        made.quantization.scale = np.atleast_1d(np.float32(tensor.scale))
        made.quantization.zeroPoint = np.full(len(made.quantization.scale), tensor.zero, np.int64)
        made.quantization.quantizedDimension = 0
    return made


def _operator(model, op, names):
    builtin = getattr(schema.BuiltinOperator, op.builtin)
    codes = [(code.builtinCode, code.version) for code in model.operatorCodes]
    if (builtin, op.version) not in codes:
        code = schema.OperatorCodeT()
        code.builtinCode = builtin
        code.deprecatedBuiltinCode = min(builtin, 127)
        code.version = op.version
        model.operatorCodes.append(code)
        codes.append((builtin, op.version))
    made = schema.OperatorT()
    made.opcodeIndex = codes.index((builtin, op.version))
    made.inputs = [names.index(name) for name in op.inputs]
    made.outputs = [names.index(name) for name in op.outputs]
    if op.options is not None:
        made.builtinOptions = op.options
        made.builtinOptionsType = getattr(schema.BuiltinOptions, type(op.options).__name__.removesuffix("T"))
    return made


def _signature(graph, index):
    made = schema.SignatureDefT()
    made.signatureKey = graph.signature.encode()
    made.subgraphIndex = index
    names = [tensor.name for tensor in graph.tensors]
    made.inputs = [_entry(name, names.index(tensor)) for name, tensor in graph.inputs.items()]
    made.outputs = [_entry(name, names.index(tensor)) for name, tensor in graph.outputs.items()]
    return made


def _entry(name, index):
    made = schema.TensorMapT()
    made.name = name.encode()
    made.tensorIndex = index
    return made


# The graphs of the tests


def weights():
    """A 4×8 float matrix and 4 biases."""
    random = np.random.default_rng(1)
    return random.standard_normal((4, 8)).astype(np.float32), random.standard_normal(4).astype(np.float32)


def float_layer(length=1, signature="serving_default", version=1):
    """``y = x @ w.T + b`` on ``[length, 8]`` in float; the names outside are not those of the tensors."""
    w, b = weights()
    return Graph(
        tensors=(
            Tensor("in_0", (length, 8)),
            Tensor("w", w.shape, values=w),
            Tensor("b", b.shape, values=b),
            Tensor("out_0", (length, 4)),
        ),
        ops=(Op("FULLY_CONNECTED", ("in_0", "w", "b"), ("out_0",), schema.FullyConnectedOptionsT(), version),),
        inputs={"x": "in_0"},
        outputs={"y": "out_0"},
        signature=signature,
    )


def integer_layer(signature="serving_default", output_scale=2**-4):
    """A convolution of 3×3 over ``[1, 8, 8, 3]`` in static int8, a scale a channel; all scales powers of two.

    Halves are then frequent, and kernels round them unlike; an odd ``output_scale`` leaves none.
    """
    random = np.random.default_rng(2)
    w = random.integers(-127, 128, (8, 3, 3, 3)).astype(np.int8)
    b = random.integers(-500, 500, 8).astype(np.int32)
    scales = tuple(2.0 ** -(8 + channel % 3) for channel in range(8))
    options = schema.Conv2DOptionsT()
    options.strideH = options.strideW = 1
    options.padding = _PADDING_SAME
    return Graph(
        tensors=(
            Tensor("in_0", (1, 8, 8, 3), np.int8, scale=2**-5, zero=3),
            Tensor("w", w.shape, np.int8, w, scale=scales),
            Tensor("b", b.shape, np.int32, b, scale=tuple(scale * 2**-5 for scale in scales)),
            Tensor("out_0", (1, 8, 8, 8), np.int8, scale=output_scale, zero=-7),
        ),
        ops=(Op("CONV_2D", ("in_0", "w", "b"), ("out_0",), options, version=3),),
        inputs={"x": "in_0"},
        outputs={"y": "out_0"},
        signature=signature,
    )


def exact_integer_layer(x):
    """What :func:`integer_layer` computes, in exact arithmetic, rounded half away from zero."""
    scaled = unrounded_integer_layer(x)
    rounded = np.sign(scaled) * np.floor(np.abs(scaled) + 0.5)
    return np.clip(rounded - 7, -128, 127).astype(np.int8)


def unrounded_integer_layer(x):
    """Its outputs before the zero point is added and all is rounded."""
    tensors = {tensor.name: tensor for tensor in integer_layer().tensors}
    w, b = (tensors[name].values.astype(np.int64) for name in ("w", "b"))
    padded = np.pad(x[0].astype(np.int64) - 3, ((1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(0, 1))  # c, h, w last
    total = np.einsum("ijchw,ohwc->ijo", windows, w) + b
    return (total * 2.0**-5 * np.array(tensors["w"].scale) / 2.0**-4)[None]


def dynamic_layer():
    """The float layer with int8 weights: the runtime quantizes its input."""
    w, b = weights()
    scales = tuple(float(scale) for scale in np.abs(w).max(1) / 127)
    integers = np.rint(w / np.array(scales)[:, None]).astype(np.int8)
    options = schema.FullyConnectedOptionsT()
    options.asymmetricQuantizeInputs = False
    return Graph(
        tensors=(
            Tensor("in_0", (1, 8)),
            Tensor("w", w.shape, np.int8, integers, scale=scales),
            Tensor("b", b.shape, values=b),
            Tensor("out_0", (1, 4)),
        ),
        ops=(Op("FULLY_CONNECTED", ("in_0", "w", "b"), ("out_0",), options, version=9),),
        inputs={"x": "in_0"},
        outputs={"y": "out_0"},
    )


def lookup(signature="serving_default"):
    """Rows of a float table by int32 index: an operator that XNNPACK does not take."""
    table = np.arange(24, dtype=np.float32).reshape(6, 4)
    return Graph(
        tensors=(
            Tensor("ids", (3,), np.int32),
            Tensor("table", table.shape, values=table),
            Tensor("rows", (3, 4)),
        ),
        ops=(Op("EMBEDDING_LOOKUP", ("ids", "table"), ("rows",)),),
        inputs={"ids": "ids"},
        outputs={"rows": "rows"},
        signature=signature,
    )


def difference():
    """``d = a - b``, with the graph's inputs in the order b, a, and the signature's in the order a, b."""
    return Graph(
        tensors=(Tensor("second", (2, 3)), Tensor("first", (2, 3)), Tensor("out", (2, 3))),
        ops=(Op("SUB", ("first", "second"), ("out",), schema.SubOptionsT()),),
        inputs={"a": "first", "b": "second"},
        outputs={"d": "out"},
        order=("second", "first"),
    )


def gelu():
    """An operator that TensorFlow Lite Micro does not have."""
    return Graph(
        tensors=(Tensor("in_0", (1, 8)), Tensor("out_0", (1, 8))),
        ops=(Op("GELU", ("in_0",), ("out_0",), schema.GeluOptionsT()),),
        inputs={"x": "in_0"},
        outputs={"y": "out_0"},
    )
