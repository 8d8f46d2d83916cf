"""Int8 weights and activations: dynamic, static, or both in one graph, by onnxruntime's quantizers."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeexport.conversion import Feeds
from edgeexport.errors import RecipeError
from edgeexport.formats.onnx.bias import BiasCorrection
from edgeexport.formats.onnx.graph import FLOAT, LAYER_INPUTS, Graph, attribute, copy_model
from edgeexport.formats.onnx.ranges import find_ranges
from edgeexport.formats.onnx.shapes import inferred_values, note_shapes
from edgeexport.ranges import spanning_zero
from edgeexport.settings import Override, Quantization, Settings

if TYPE_CHECKING:
    from onnxruntime.quantization import QuantType

_LOOKUPS = ("Gather", "Cast")
"""Operators whose real-valued outputs come from tables and integers: their readers quantize them."""


def assign(graph: Graph, settings: Settings, default: str) -> dict[str, str]:
    """The precision of each node that is quantized: ``w8a8`` or ``w8a8-dynamic``, by node name.

    Raises:
        RecipeError: an override matches no node; it would otherwise be ignored silently.
    """
    chosen = _by_rule(graph, settings.quantization, default)
    for override in settings.overrides:
        matched = [node.name for node in graph.nodes if _matches(override, node)]
        if not matched:
            raise RecipeError(
                f"override {override} matches no node of the model",
                "Names are those of the exported graph, in which a Gemm is written as MatMul and Add.",
            )
        for name in matched:
            chosen[name] = override.precision
    return {name: precision for name, precision in chosen.items() if precision != "fp32"}


def left_float(graph: Graph, settings: Settings) -> set[str]:
    """Names of the nodes, embedding lookups among them, that overrides leave float."""
    precisions = {
        node.name: override.precision
        for override in settings.overrides
        for node in graph.nodes
        if _matches(override, node)
    }
    return {name for name, precision in precisions.items() if precision == "fp32"}


def settle(graph: Graph, precisions: Mapping[str, str]) -> dict[str, str]:
    """Give ``w8a8`` MatMuls that ONNX Runtime would take for a Gemm dynamic activations instead.

    It fuses a MatMul of matrices and the Add after it to Gemm before it looks for integers to compute with; the weight
    is then dequantized at every inference, which took longer than the layer itself. The dynamic form is not fused.
    """
    settled = dict(precisions)
    ranks = _ranks(graph)
    for node in graph.matmuls():
        followers = graph.users[node.output[0]]
        fused = ranks.get(node.input[0]) == 2 and len(followers) == 1 and followers[0].op_type == "Add"
        if fused and settled.get(node.name) == "w8a8":
            settled[node.name] = "w8a8-dynamic"
    return settled


def quantize_static(graph: Graph, names: Sequence[str], settings: Settings, feeds: Feeds) -> Any:
    """Quantize the named nodes with activation ranges from calibration, as QuantizeLinear/DequantizeLinear pairs.

    Args:
        graph: the float model; consumed.
        names: node names.
        settings: signedness, granularity and calibration.
        feeds: calibration samples, from the first again at each call.

    Returns:
        The quantized ``ModelProto``.
    """
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    rules = settings.quantization
    op_types = sorted({node.op_type for node in graph.nodes if node.name in set(names)})
    wanted = _chosen_activations(graph, set(names))
    # All that the rules could quantize, so that a conversion with other overrides finds its ranges remembered.
    every = _chosen_activations(graph, {*names, *_by_rule(graph, rules, "w8a8")})
    ranges = find_ranges(graph.model, every, settings.calibration, feeds)
    correction = BiasCorrection(graph, set(names), feeds("means of channels")) if rules.bias_correction else None
    data = {}
    for name in wanted:
        low, high = spanning_zero(ranges[name])
        data[name] = TensorData(lowest=np.float32(low), highest=np.float32(high))
    model = copy_model(graph.model)  # the bias correction compares with the float graph
    note_shapes(model)
    with _quiet():
        quantizer = QDQQuantizer(
            model,
            rules.per_channel,
            rules.reduce_range,
            _type(rules.weight_type),
            _type(rules.activation_type),
            TensorsData(CalibrationMethod.MinMax, data),
            list(names),
            [],
            op_types,
            {
                "OpTypesToExcludeOutputQuantization": list(rules.float_outputs),
                "DefaultTensorType": 1,
                "WeightSymmetric": rules.weight_type == "int8",
                "ActivationSymmetric": False,
                # The runtime folds a float bias into the integer convolution itself when it loads the model.
                "QuantizeBias": False,
            },
        )
        quantizer.quantize_model()
    if correction is not None:
        correction.apply(quantizer.model.model)
    return quantizer.model.model


def quantize_dynamic(model: Any, names: Sequence[str], settings: Settings) -> Any:
    """Quantize the named nodes with activation ranges found while running (DynamicQuantizeLinear, always uint8).

    The model is consumed.
    """
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.onnx_quantizer import ONNXQuantizer
    from onnxruntime.quantization.quant_utils import QuantizationMode

    rules = settings.quantization
    op_types = sorted({node.op_type for node in model.graph.node if node.name in set(names)})
    note_shapes(model)
    with _quiet():
        quantizer = ONNXQuantizer(
            model,
            rules.per_channel,
            rules.reduce_range,
            QuantizationMode.IntegerOps,
            True,  # "static", until it is made: else it would infer shapes again, through a file with all weights
            _type(rules.weight_type),
            QuantType.QUInt8,
            None,
            list(names),
            [],
            op_types,
            {"MatMulConstBOnly": rules.constant_weights_only, "DefaultTensorType": 1},
        )
        quantizer.static = False
        quantizer.quantize_model()
    return quantizer.model.model


def _by_rule(graph: Graph, rules: Quantization, default: str) -> dict[str, str]:
    """The nodes that the target's rules choose, in graph order, all at the default precision."""
    layers = {node.name for node in graph.layers()}
    chosen: dict[str, str] = {}
    if "*" in rules.op_types:
        floats = _float_tensors(graph)
        return {
            node.name: default for node in graph.nodes if _computes(node, floats) and _allowed(node, layers, default)
        }
    for node in graph.nodes:
        if node.op_type in rules.carried_op_types:
            wanted = default == "w8a8" and _reads_integers(graph, node, chosen, rules)
        elif node.op_type.startswith("Conv"):
            wanted = node.name in layers and not _is_stem(graph, node, chosen, rules)
        elif node.op_type in LAYER_INPUTS:
            wanted = node.name in layers or not rules.constant_weights_only
        else:
            wanted = True
        if wanted and node.op_type in (*rules.op_types, *rules.carried_op_types):
            chosen[node.name] = default
    return chosen


def _computes(node: Any, floats: Collection[str]) -> bool:
    """Whether a node reads and writes real numbers; look-ups in tables and shapes of tensors do not."""
    return node.op_type not in _LOOKUPS and any(name in floats for name in node.output)


def _allowed(node: Any, layers: Collection[str], default: str) -> bool:
    """Whether a precision is for all operators, or for layers alone."""
    return default == "w8a8" or node.name in layers


def _is_stem(graph: Graph, node: Any, chosen: Mapping[str, str], rules: Quantization) -> bool:
    """Whether a convolution belongs to a network's float stem.

    That is one of fewer input channels than ``least_channels``, and a depthwise one right behind it: on many positions
    and few channels its integer kernel is slower than the float one, and its error passes through all the rest.
    """
    channels = _input_channels(graph, node)
    if channels < rules.least_channels:
        return True
    depthwise = int(attribute(node, "group", 1)) == channels > 1
    producer = graph.producers.get(node.input[0])
    while producer is not None and producer.op_type in rules.carried_op_types and producer.name not in chosen:
        producer = graph.producers.get(producer.input[0])
    before = producer is not None and producer.op_type.startswith("Conv") and producer.name not in chosen
    return depthwise and before and rules.least_channels > 1


def _reads_integers(graph: Graph, node: Any, chosen: Mapping[str, str], rules: Quantization) -> bool:
    """Whether every activation that ``node`` reads leaves a quantized node as integers."""
    producers = [graph.producers.get(name) for name in node.input if name and name not in graph.constants]
    return bool(producers) and all(
        producer is not None and producer.name in chosen and producer.op_type not in rules.float_outputs
        for producer in producers
    )


def _input_channels(graph: Graph, node: Any) -> int:
    """Input channels of a convolution, over all its groups."""
    weight = node.input[LAYER_INPUTS[node.op_type]]
    if weight not in graph.constants:
        return 0
    return int(graph.constants[weight].dims[1]) * int(attribute(node, "group", 1))


def _matches(override: Override, node: Any) -> bool:
    by_type = override.op_type is None or override.op_type == node.op_type
    by_name = override.name is None or re.search(override.name, node.name) is not None
    return by_type and by_name and (override.op_type is not None or override.name is not None)


def _chosen_activations(graph: Graph, names: set[str]) -> list[str]:
    """Float activations that the named nodes read or write."""
    floats = _float_tensors(graph)
    found: dict[str, None] = {}
    for node in graph.nodes:
        if node.name in names:
            for name in (*node.input, *node.output):
                if name in floats and name not in graph.constants:
                    found[name] = None
    return list(found)


def _float_tensors(graph: Graph) -> set[str]:
    values = inferred_values(graph.model)
    floats = {value.name for value in values if value.type.tensor_type.elem_type == FLOAT}
    known = {value.name for value in values}
    # A tensor that shape inference does not reach is taken for float: the nodes asked for compute on floats.
    return floats | (set(graph.producers) - known)


def _ranks(graph: Graph) -> dict[str, int]:
    """Number of axes of each tensor that shape inference reaches."""
    return {
        value.name: len(value.type.tensor_type.shape.dim)
        for value in inferred_values(graph.model)
        if value.type.tensor_type.HasField("shape")
    }


def _type(name: str) -> QuantType:
    from onnxruntime.quantization import QuantType

    return {"int8": QuantType.QInt8, "uint8": QuantType.QUInt8}[name]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the quantizer's advice on pre-processing, which was done, off the user's terminal."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
