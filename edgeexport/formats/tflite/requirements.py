"""Which version of each operator a TFLite model really needs.

A version says what a kernel must know: version 12 of FULLY_CONNECTED is the one that multiplies float activations with
int8 weights of one scale per channel. A runtime that lacks a version refuses the model, but only if the file asks for
it, and not every writer raises what the file states when it quantizes; an older kernel then runs on what it does not
know, and is silently wrong. So the version is computed here from types, scales, ranks and options.

Rules:
    1. the result is never lower than the version that the file states;
    2. the highest rule that applies to an operator wins, and gives the reason;
    3. an operator without a rule needs version 1 (BROADCAST_TO 2, as its version 1 was withdrawn).

Rules about the type of the data alone are in `op_versions.toml`. The versions follow LiteRT's `op_version.cc`.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeexport.formats.tflite.flatbuffer import dtype_name, op_name, tensor_name

Rule = tuple[int, str]

# Where the tensor that decides is not the first input.
DATA_INPUT = {"SPLIT": 1, "FILL": 1, "SELECT": 1, "SELECT_V2": 1, "TRANSPOSE_CONV": 2}


@dataclass(frozen=True)
class OpNeed:
    """What one operator of a model needs.

    Attributes:
        op: its name, such as `FULLY_CONNECTED`.
        version: the least version that executes it right.
        where: the name of its first output; for a constant that is dequantized, of the operator that uses it.
        why: what asks for this version; "" for version 1.
    """

    op: str
    version: int
    where: str
    why: str


class Node:
    """An operator with its tensors, for rules to read."""

    def __init__(self, model: Any, graph: Any, operator: Any) -> None:
        self.op = op_name(model, operator)
        self.base = self.op.partition("(")[0]
        self.stated = int(model.operatorCodes[operator.opcodeIndex].version)
        self.inputs = [graph.tensors[index] if index >= 0 else None for index in _indices(operator.inputs)]
        self.outputs = [graph.tensors[index] for index in _indices(operator.outputs) if index >= 0]
        self.where = tensor_name(self.outputs[0]) if self.outputs else ""
        self._options = (operator.builtinOptions, operator.builtinOptions2)

    def type(self, index: int) -> str:
        """Type of an input, or "" if it is left out."""
        tensor = self.inputs[index] if index < len(self.inputs) else None
        return "" if tensor is None else dtype_name(tensor.type)

    def output_type(self, index: int = 0) -> str:
        """Type of an output, or "" if there is none."""
        return dtype_name(self.outputs[index].type) if index < len(self.outputs) else ""

    def shape(self, index: int) -> list[int]:
        """Shape of an input; empty for one that is left out."""
        tensor = self.inputs[index] if index < len(self.inputs) else None
        return [] if tensor is None or tensor.shape is None else [int(size) for size in tensor.shape]

    def scales(self, index: int) -> int:
        """Number of scales of an input."""
        tensor = self.inputs[index] if index < len(self.inputs) else None
        return scale_count(tensor)

    def option(self, name: str, default: Any = 0) -> Any:
        """A field of the operator's options."""
        for table in self._options:
            if table is not None and hasattr(table, name):
                return getattr(table, name)
        return default

    @property
    def data(self) -> int:
        """The input that carries the values."""
        return DATA_INPUT.get(self.base, 0)

    @property
    def rank(self) -> int:
        """The largest rank among the inputs."""
        return max((len(self.shape(index)) for index in range(len(self.inputs))), default=0)

    @property
    def broadcasts(self) -> bool:
        """Whether a binary operator's inputs differ in shape."""
        return len(self.inputs) >= 2 and self.shape(0) != self.shape(1)

    @property
    def hybrid(self) -> bool:
        """Float activations with an integer weight."""
        return self.type(self.data) == "float32" and self.type(1) in ("int8", "int4", "int2")


def needs(model: Any) -> list[OpNeed]:
    """What every operator of a model needs, in file order, all subgraphs after each other."""
    return [need(node) for node in nodes(model)]


def nodes(model: Any) -> Iterator[Node]:
    """Every operator of a model."""
    for graph in model.subgraphs:
        readers = {index: reader for reader in reversed(graph.operators) for index in _indices(reader.inputs)}
        for operator in graph.operators:
            node = Node(model, graph, operator)
            # Weights that are dequantized by themselves belong to the operator that uses them.
            source = node.inputs[0] if node.base == "DEQUANTIZE" else None
            if source is not None and model.buffers[source.buffer].data is not None:
                user = readers.get(operator.outputs[0], operator)
                node.where = tensor_name(graph.tensors[user.outputs[0]])
            yield node


def need(node: Node) -> OpNeed:
    """What one operator needs."""
    rules = [(2 if node.base == "BROADCAST_TO" else 1, ""), (node.stated, "as the file states")]
    data_type = node.type(node.data)
    by_type = _by_type().get(node.base, {})
    if data_type in by_type:
        rules.append((by_type[data_type], f"{data_type} values"))
    rules += _RULES.get(node.base, lambda _: [])(node)
    # The reason that the model itself gives is worth more than the number in its file.
    version, why = max(rules, key=lambda rule: (rule[0], rule[1] != "as the file states"))
    return OpNeed(node.op, version, node.where, why)


def scale_count(tensor: Any) -> int:
    """Number of scales of a tensor; 0 if it is not quantized or left out."""
    quantization = None if tensor is None else tensor.quantization
    return 0 if quantization is None or quantization.scale is None else len(quantization.scale)


@functools.cache
def _by_type() -> dict[str, dict[str, int]]:
    """Operator → type of its data input → version."""
    text = Path(__file__).with_name("op_versions.toml").read_text(encoding="utf-8")
    return {op: dict(versions) for op, versions in tomllib.loads(text).items()}


def _indices(values: Any) -> list[int]:
    return [] if values is None else [int(value) for value in values]


def _fully_connected(node: Node) -> Iterator[Rule]:
    kinds = (node.type(0), node.type(1))
    per_channel = node.scales(1) > 1
    if kinds == ("int16", "int4"):
        yield 13, "int4 weights with int16 activations"
    if node.hybrid and per_channel:
        yield 12, "per-channel weights with float activations"
    if kinds[0] == "int16" and kinds[1] == "int8" and node.option("quantizedBiasType"):
        yield 11, "a bias of its own type"
    if kinds[1] == "int4":
        yield 10, "int4 weights"
    if node.hybrid:
        yield (9, "asymmetric inputs") if node.option("asymmetricQuantizeInputs") else (3, "int8 weights")
    if len(node.inputs) > 1 and node.inputs[1] is not None and node.inputs[1].sparsity is not None:
        yield 8, "sparse weights"
    if kinds == ("int16", "int16"):
        yield 7, "int16 weights and activations"
    elif kinds[0] in ("int16", "int8"):
        yield 4, f"{kinds[0]} activations"
    if len(node.inputs) == 2:
        yield 6, "no bias"
    if node.option("keepNumDims", False):
        yield 5, "an output of the input's rank"
    if node.option("weightsFormat"):
        yield 2, "shuffled weights"


def _conv(node: Node) -> Iterator[Rule]:
    kinds = (node.type(0), node.type(1))
    if kinds == ("int16", "int8") and node.option("quantizedBiasType"):
        yield 8, "a bias of its own type"
    if kinds[1] == "int4":
        yield 7, "int4 weights"
    filters, image = node.shape(1), node.shape(0)
    if len(filters) == 4 and len(image) == 4 and filters[3] != image[3]:
        yield 6, "grouped convolution"
    if node.hybrid:
        yield (5, "per-channel weights with float activations") if node.scales(1) > 1 else (2, "int8 weights")
    if kinds[0] == "int16":
        yield 4, "int16 activations"
    if kinds[0] == "int8":
        yield 3, "int8 activations"


def _depthwise(node: Node) -> Iterator[Rule]:
    if node.type(1) == "int4":
        yield 7, "int4 weights"
    if node.hybrid:
        yield (6, "per-channel weights with float activations") if node.scales(1) > 1 else (4, "int8 weights")
    if node.type(0) == "int16":
        yield 5, "int16 activations"
    if node.type(0) == "int8":
        yield 3, "int8 activations"
    if node.option("dilationWFactor", 1) != 1 or node.option("dilationHFactor", 1) != 1:
        yield 2, "dilation"


def _transpose_conv(node: Node) -> Iterator[Rule]:
    if node.type(2) == "int16" and node.option("quantizedBiasType"):
        yield 5, "a bias of its own type"
    if node.option("fusedActivationFunction"):
        yield 4, "a fused activation"
    if len(node.inputs) == 4 and node.inputs[3] is not None:
        yield 3, "a bias"
    if node.type(1) == "int8":
        yield 2, "int8 weights"


def _embedding(node: Node) -> Iterator[Rule]:
    if node.type(1) == "int2":
        yield 5, "a 2-bit table"
    if node.type(1) == "int4":
        yield 4, "an int4 table"
    if node.scales(1) > 1:
        yield 4, "a table with a scale per row"


def _lstm(node: Node) -> Iterator[Rule]:
    if node.type(0) == "int16" and node.type(2) == "int8":
        yield 5, "int16 activations"
    if node.option("diagonalRecurrentTensors", False):
        yield 4, "diagonal recurrent weights"
    if node.type(0) == "float32" and node.type(2) == "int8":
        yield (3, "asymmetric inputs") if node.option("asymmetricQuantizeInputs") else (2, "int8 weights")


def _cast(node: Node) -> Iterator[Rule]:
    kinds = {node.type(0), node.output_type()}
    for version, names in ((7, {"bfloat16"}), (6, {"int4"}), (5, {"float64", "float16"}), (4, {"uint16"})):
        if kinds & names:
            yield version, f"{' and '.join(sorted(kinds & names))} values"
    if "int8" in kinds:
        yield 3, "int8 values"
    if "uint32" in kinds:
        yield 2, "uint32 values"


def _add_or_sub(node: Node) -> Iterator[Rule]:
    add = node.base == "ADD"
    if node.type(0) == "int16":
        if not add:
            yield 5, "int16 values"
        else:
            yield (3, "int16 values") if node.scales(0) else (5, "int16 values without a scale")
    if not add and node.broadcasts and node.rank > 4:
        yield 3, "broadcasting beyond rank 4"


def _mul(node: Node) -> Iterator[Rule]:
    if node.type(0) == "int16" and not node.scales(0):
        yield 7, "int16 values without a scale"
    if node.type(0) in ("int8", "uint8") and all(scale_count(t) == 1 for t in (*node.inputs[:2], *node.outputs[:1])):
        one, two, out = (float(t.quantization.scale[0]) for t in (*node.inputs[:2], node.outputs[0]))
        if out and one * two / out >= 1:
            yield 3, "a product that is scaled up"


def _ranked(limit: int, version: int, broadcast: bool = False) -> Callable[[Node], Iterator[Rule]]:
    def rule(node: Node) -> Iterator[Rule]:
        if broadcast:
            if node.broadcasts and node.rank > limit:
                yield version, f"broadcasting beyond rank {limit}"
        elif len(node.shape(0)) > limit:
            yield version, f"rank {len(node.shape(0))}"

    return rule


def _transpose(node: Node) -> Iterator[Rule]:
    rank = len(node.shape(0))
    if rank > 4:
        yield (6 if rank > 5 else 4), f"rank {rank}"


def _strided_slice(node: Node) -> Iterator[Rule]:
    if node.option("offset", False):
        yield 8, "ends given as offsets"
    if node.option("ellipsisMask") or node.option("newAxisMask"):
        yield 6, "an ellipsis or a new axis"
    if len(node.shape(0)) > 4:
        yield 4, f"rank {len(node.shape(0))}"


def _resize(node: Node) -> Iterator[Rule]:
    if node.option("halfPixelCenters", False):
        yield 3, "half-pixel centres"
    if node.base != "RESIZE_BILINEAR" and node.option("alignCorners", False):
        yield 3, "aligned corners"


def _gather(node: Node) -> Iterator[Rule]:
    if node.type(1) == "int16":
        yield (6 if node.base == "GATHER" else 4), "int16 indices"
    if node.option("batchDims"):
        yield 5, "batch dimensions"


def _dequantize(node: Node) -> Iterator[Rule]:
    if node.type(0) == "int8" and node.scales(0) > 1:
        yield 5, "a scale per channel"


def _quantize(node: Node) -> Iterator[Rule]:
    if "int4" in (node.type(0), node.output_type()):
        yield 4, "int4 values"
    if any(scale_count(tensor) > 1 for tensor in (*node.inputs, *node.outputs)):
        yield 3, "a scale per channel"
    if node.output_type() == "int16":
        yield 2, "int16 values"


def _batch_matmul(node: Node) -> Iterator[Rule]:
    if node.hybrid and node.option("asymmetricQuantizeInputs", False):
        yield 4, "asymmetric inputs"


def _abs(node: Node) -> Iterator[Rule]:
    if node.type(0) == "int16":
        yield (3, "int16 values") if node.scales(0) else (4, "int16 values without a scale")


def _update_slice(node: Node) -> Iterator[Rule]:
    if node.type(2) == "int64":
        yield 2, "int64 indices"


def _select(node: Node) -> Iterator[Rule]:
    if node.rank == 5:
        yield 3, "rank 5"


_RULES: dict[str, Callable[[Node], Iterator[Rule]]] = {
    "FULLY_CONNECTED": _fully_connected,
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "TRANSPOSE_CONV": _transpose_conv,
    "EMBEDDING_LOOKUP": _embedding,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _lstm,
    "CAST": _cast,
    "ADD": _add_or_sub,
    "SUB": _add_or_sub,
    "MUL": _mul,
    "DIV": _ranked(4, 2, broadcast=True),
    "MAXIMUM": _ranked(4, 3, broadcast=True),
    "MINIMUM": _ranked(4, 3, broadcast=True),
    "PAD": _ranked(4, 4),
    "PADV2": _ranked(4, 4),
    "SLICE": _ranked(4, 5),
    "TRANSPOSE": _transpose,
    "STRIDED_SLICE": _strided_slice,
    "RESIZE_BILINEAR": _resize,
    "RESIZE_NEAREST_NEIGHBOR": _resize,
    "GATHER": _gather,
    "GATHER_ND": _gather,
    "DEQUANTIZE": _dequantize,
    "QUANTIZE": _quantize,
    "BATCH_MATMUL": _batch_matmul,
    "ABS": _abs,
    "DYNAMIC_UPDATE_SLICE": _update_slice,
    "SELECT": _select,
}
