"""Rewrites of the float graph before it is quantized. Each leaves the outputs as they are."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from edgeexport.formats.onnx.graph import FLOAT, Graph, constants_to_initializers, name_nodes, read_in_branches


def prepare(model: Any, mask_value: float) -> list[str]:
    """Ready a float model for quantization, in place; gives notes for the report."""
    from onnxruntime.quantization.onnx_model import ONNXModel

    if any(node.op_type == "Conv" for node in model.graph.node):
        model.CopyFrom(fold_constants(model))
    constants_to_initializers(model)
    ONNXModel(model).replace_gemm_with_matmul()
    name_nodes(model)
    graph = Graph(model)
    notes = []
    residuals = keep_residual_adds_apart(graph)
    if residuals:
        notes.append(f"{residuals} residual Add before LayerNormalization written as Sum")
    masks = raise_masks(graph, mask_value)
    if masks:
        notes.append(f"{masks} attention mask constants raised to {mask_value:g}")
    return notes


def fold_constants(model: Any) -> Any:
    """The model with constants folded and no-ops removed, by ONNX Runtime's basic, standard-operator level.

    An exporter writes a padded convolution as arithmetic on shapes and a Pad; folded, the padding is the
    convolution's own, and its integer kernel applies. Graphs without convolutions are left: folding would store a
    tied, transposed table twice.
    """
    import onnx
    import onnxruntime

    with tempfile.TemporaryDirectory(prefix="edgeexport-fold-") as folder:
        path = str(Path(folder) / "folded.onnx")
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = path
        options.log_severity_level = 3
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        folded = onnx.load(path)
    used = {node.domain for node in folded.graph.node} | {""}
    kept = [entry for entry in folded.opset_import if entry.domain in used]
    del folded.opset_import[:]
    folded.opset_import.extend(kept)
    return folded


def strip(model: Any) -> None:
    """Remove what no runtime reads: inferred shapes of inner tensors, doc strings, the tools' marks, and all but the
    first of equal constants, such as the zero points of symmetric weights."""
    share_constants(model)
    del model.graph.value_info[:]
    del model.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]


def share_constants(model: Any) -> int:
    """Let nodes that read equal initializers read the first of them; gives how many were dropped.

    Those that the graph gives out, or takes as inputs with a default, stay, and so do those that a branch reads.
    """
    graph = Graph(model)
    fixed = {value.name for value in (*model.graph.input, *model.graph.output)}
    fixed.update(name for node in graph.nodes for name in read_in_branches(node))
    first: dict[bytes, str] = {}
    instead: dict[str, str] = {}
    for name, tensor in graph.constants.items():
        if name not in fixed and tensor.data_location != tensor.EXTERNAL:
            known = first.setdefault(_content(tensor), name)
            if known != name:
                instead[name] = known
    for node in graph.nodes:
        for place, name in enumerate(node.input):
            if name in instead:
                node.input[place] = instead[name]
    for place in reversed(range(len(model.graph.initializer))):
        if model.graph.initializer[place].name in instead:
            del model.graph.initializer[place]
    return len(instead)


def _content(tensor: Any) -> bytes:
    """What tells a tensor from others, but for its name."""
    name, tensor.name = tensor.name, ""
    try:
        return hashlib.sha256(tensor.SerializeToString(deterministic=True)).digest()
    finally:
        tensor.name = name


def keep_residual_adds_apart(graph: Graph) -> int:
    """Write ``Add`` before ``LayerNormalization`` as ``Sum``, which computes the same.

    ONNX Runtime 1.32 fuses Add and LayerNormalization to SkipLayerNormalization, whose CPU kernel takes four times
    as long as the two apart (137 µs against 32 µs for MiniLM at 64 tokens) and was 8 % of an int8 inference.
    """
    normalized = {node.input[0] for node in graph.nodes if node.op_type == "LayerNormalization"}
    count = 0
    for node in graph.model.graph.node:
        if node.op_type == "Add" and node.output[0] in normalized:
            node.op_type = "Sum"
            count += 1
    return count


def raise_masks(graph: Graph, mask_value: float) -> int:
    """Raise attention-mask constants below ``mask_value`` to it.

    An exporter masks with the dtype's minimum. After a softmax, −3.4e38 gives exactly zero and −100 less than 1e-30
    unless scores differ by more than 30; but a range that spans −3.4e38 leaves no int8 step for anything else, and
    in float16 it overflows to −inf, whose row of all masks is NaN.
    """
    if mask_value == 0:
        return 0
    count = 0
    for name, tensor in graph.constants.items():
        if tensor.data_type != FLOAT or int(np.prod(tensor.dims)) != 1:
            continue
        if float(graph.values(name).reshape(())) < -1e30:
            graph.set_constant(name, np.full(tuple(tensor.dims), mask_value, np.float32))
            count += 1
    return count


def at_least_opset(model: Any, opset: int) -> Any:
    """The model at its own opset, or converted to ``opset`` where it is older."""
    from onnx import version_converter

    current = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    return model if current >= opset else version_converter.convert_version(model, opset)
