"""Leave out what no runtime reads, and store equal quantization parameters once.

A flatbuffer may point to one table from many tensors.

Every signature repeats the tensors of the weights, and with them a scale and a zero point for each output channel. The
zero points of symmetric weights are eight bytes of zero each, the same for all weights of so many channels; such equal
vectors the builder (:mod:`edgeexport.formats.tflite.builder`) writes once by itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgeexport.formats.tflite.flatbuffer import read_model, schema, tensor_name, write_model
from edgeexport.formats.tflite.owners import is_constant, module_of


class _Shared:
    """Packs as the parameters it holds, the first time; then points there."""

    def __init__(self, parameters: Any) -> None:
        self._parameters = parameters
        self._packed: tuple[Any, int] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parameters, name)

    def Pack(self, builder: Any) -> int:  # noqa: N802 - the name that the generated classes call
        if self._packed is None or self._packed[0] is not builder:
            self._packed = (builder, self._pack(builder))
        return self._packed[1]

    def _pack(self, builder: Any) -> int:
        """The parameters that kernels read; ranges seen in calibration are left out."""
        classes, parameters = schema(), self._parameters
        scales = builder.CreateNumpyVector(np.asarray(parameters.scale, np.float32))
        points = parameters.zeroPoint
        zeros = None if points is None else builder.CreateNumpyVector(np.asarray(points, np.int64))
        classes.QuantizationParametersStart(builder)
        classes.QuantizationParametersAddScale(builder, scales)
        if zeros is not None:
            classes.QuantizationParametersAddZeroPoint(builder, zeros)
        classes.QuantizationParametersAddQuantizedDimension(builder, parameters.quantizedDimension)
        return int(classes.QuantizationParametersEnd(builder))


def drop_constant_names(path: Path) -> None:
    """As :func:`drop_names`, of the file at ``path``."""
    model = read_model(path)
    drop_names(model)
    share_quantization(model)
    write_model(model, path)


def drop_names(model: Any) -> None:
    """Take the names off constants, which are the operator's that reads them.

    Where that one is named as an output of the model, a constant that tells its module keeps its name.
    """
    for graph in model.subgraphs:
        kept: set[int] = set()
        for operator in graph.operators:
            if operator.outputs and not module_of(tensor_name(graph.tensors[operator.outputs[0]])):
                kept.update(_telling(model, graph, operator)[:1])
        ends = {*graph.inputs, *graph.outputs}
        for index, tensor in enumerate(graph.tensors):
            if is_constant(model, tensor) and index not in kept and index not in ends:
                tensor.name = b""


def _telling(model: Any, graph: Any, operator: Any) -> list[int]:
    """The constants that an operator reads and whose names have a module's path."""
    read = [index for index in operator.inputs if index >= 0 and is_constant(model, graph.tensors[index])]
    return [index for index in read if module_of(tensor_name(graph.tensors[index]))]


def share_quantization(model: Any) -> None:
    """Let tensors with equal parameters share them when the model is written."""
    known: dict[tuple[Any, ...], _Shared] = {}
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            parameters = tensor.quantization
            if parameters is not None and parameters.scale is not None and len(parameters.scale):
                key = (
                    np.asarray(parameters.scale, np.float32).tobytes(),
                    np.asarray(parameters.zeroPoint if parameters.zeroPoint is not None else (), np.int64).tobytes(),
                    parameters.quantizedDimension,
                    parameters.detailsType,
                )
                if not parameters.detailsType:  # blockwise scales point to other tensors of the same subgraph
                    tensor.quantization = known.setdefault(key, _Shared(parameters))
