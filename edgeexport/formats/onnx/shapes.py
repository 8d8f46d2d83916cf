"""What shape inference finds out about a graph's tensors, without handing it the weights.

``onnx.shape_inference`` serializes and parses the whole model twice, and onnxruntime's quantizers write it to a file
and read it back as well: with BERT-base's weights inside, each such pass took 1 to 3 s and up to four times the model
in memory. A weight's values tell the inference nothing; only small constants, such as the shapes of a Reshape, do.
"""

from __future__ import annotations

import math
from typing import Any

import onnx
from onnx import helper

_MOST_ELEMENTS = 1024


def inferred_values(model: Any) -> list[Any]:
    """A ``ValueInfoProto`` for every tensor that inference reaches: inputs, outputs and those between nodes."""
    light = onnx.ModelProto(ir_version=model.ir_version)
    light.opset_import.extend(model.opset_import)
    light.functions.extend(model.functions)
    graph = light.graph
    graph.name = model.graph.name or "graph"
    for part in ("node", "input", "output", "value_info", "sparse_initializer"):
        getattr(graph, part).extend(getattr(model.graph, part))
    declared = {value.name for value in model.graph.input}
    weights = set()
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) <= _MOST_ELEMENTS:
            graph.initializer.append(tensor)
        elif tensor.name not in declared:
            weights.add(tensor.name)
            graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    inferred = onnx.shape_inference.infer_shapes(light).graph
    inputs = (value for value in inferred.input if value.name not in weights)
    return [*inferred.value_info, *inputs, *inferred.output]


def note_shapes(model: Any) -> None:
    """Write the inferred shapes into ``model``, with the mark by which onnxruntime's quantizers know them complete."""
    from onnxruntime.quantization.quant_utils import add_infer_metadata

    own = {value.name for value in (*model.graph.input, *model.graph.output)}
    values = [value for value in inferred_values(model) if value.name not in own]
    del model.graph.value_info[:]
    model.graph.value_info.extend(values)
    add_infer_metadata(model)
