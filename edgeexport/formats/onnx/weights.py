"""Weight-only precisions: ``w8`` and ``w4`` store weights in blocks of integers; activations stay float between layers.

Matrices become ``MatMulNBits`` (com.microsoft), whose kernels read the integers directly; embedding tables become int8
with one scale a column, or ``GatherBlockQuantized`` at 4 bits; convolutions, which have no such kernel, keep int8
weights that the runtime expands when it loads the model.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from edgeexport.formats.onnx.blocks import ACCURACY_LEVEL
from edgeexport.formats.onnx.embeddings import quantize_embeddings, round_to_int8
from edgeexport.formats.onnx.graph import LAYER_INPUTS, Graph, copy_model
from edgeexport.formats.onnx.integer import left_float
from edgeexport.settings import Settings


def quantize_weights(graph: Graph, bits: int, names: set[str], settings: Settings) -> tuple[Any, list[str]]:
    """Quantize the weights of the named MatMul and Conv nodes, and all embedding tables.

    Args:
        graph: the float model; consumed.
        bits: 4 or 8.
        names: layers that overrides do not leave float.
        settings: ``quantization.block_size``.

    Returns:
        The model and notes for the report.
    """
    notes = []
    left = left_float(graph, settings)
    if bits == 8:
        quantize_embeddings(graph, left)
    convolutions = [node.name for node in graph.layers() if node.op_type.startswith("Conv") and node.name in names]
    if convolutions:
        expand_at_load(graph, set(convolutions))
        notes.append(f"{len(convolutions)} convolutions keep 8-bit weights, expanded when the model is loaded")
    model = graph.model
    matrices = {node.name for node in graph.matmuls() if node.name in names}
    tables = {node.name for node in graph.nodes if bits == 4 and _reads_table(graph, node)} - left
    return _block_quantize(model, bits, settings.quantization.block_size, matrices | tables), notes


def _reads_table(graph: Graph, node: Any) -> bool:
    table = node.input[0] if node.op_type == "Gather" else ""
    return graph.is_float_constant(table) and len(graph.constants[table].dims) == 2


def expand_at_load(graph: Graph, names: set[str]) -> None:
    """Store the weights of the named nodes as int8 with one scale an output channel.

    They are expanded by Cast and Mul, which the runtime folds into a float weight when it loads the model. A
    DequantizeLinear is left to quantization-aware fusions instead, and would run at every inference.
    """
    nodes = []
    for node in graph.nodes:
        if node.name in names:
            nodes.extend(_store_int8(graph, node))
        nodes.append(node)
    graph.replace_nodes(nodes)
    graph.drop_constants([name for name in graph.constants if not graph.users[name]])


def _store_int8(graph: Graph, node: Any) -> list[Any]:
    """Point ``node`` at an int8 weight; gives the nodes that expand it."""
    position = LAYER_INPUTS[node.op_type]
    weight = node.input[position]
    array = graph.values(weight)
    # ConvTranspose keeps output channels on axis 1, Conv on axis 0.
    channels = 1 if node.op_type == "ConvTranspose" else 0
    others = tuple(axis for axis in range(array.ndim) if axis != channels)
    scale = np.asarray(np.maximum(np.abs(array).max(axis=others, keepdims=True), 1e-30) / 127, np.float32)
    stem = f"{weight}__{node.name}"
    stored = graph.add_constant(f"{stem}_int8", round_to_int8(array, scale))
    scales = graph.add_constant(f"{stem}_scale", scale)
    node.input[position] = f"{stem}_float"
    return [
        helper.make_node("Cast", [stored], [f"{stem}_steps"], name=f"{node.name}_cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", [f"{stem}_steps", scales], [f"{stem}_float"], name=f"{node.name}_expand"),
    ]


def _block_quantize(model: Any, bits: int, block_size: int, names: set[str]) -> Any:
    from onnxruntime.quantization.matmul_nbits_quantizer import (
        DefaultWeightOnlyQuantConfig,
        MatMulNBitsQuantizer,
    )

    if not names:
        return model
    config = DefaultWeightOnlyQuantConfig(
        block_size=block_size,
        is_symmetric=True,
        accuracy_level=ACCURACY_LEVEL,
        op_types_to_quantize=("MatMul", "Gather"),
        bits=bits,
    )
    logger = logging.getLogger("onnxruntime.quantization.matmul_nbits_quantizer")
    logger.setLevel(logging.ERROR)
    # Its list of nodes to include adds to those of the operators above; only the other list leaves any out.
    others = [node.name for node in model.graph.node if node.name not in names]
    quantizer = MatMulNBitsQuantizer(copy_model(model), nodes_to_exclude=others, algo_config=config)
    quantizer.process()
    return quantizer.model.model
