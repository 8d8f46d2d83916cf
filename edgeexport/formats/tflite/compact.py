"""Store equal quantization parameters once: a flatbuffer may point to one table from many tensors.

Every signature repeats the tensors of the weights, and with them a scale and a zero point for each output channel. The
zero points of symmetric weights are eight bytes of zero each, the same for all weights of so many channels.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeexport.formats.tflite.flatbuffer import schema


class _Vectors:
    """The zero points that a builder has written, by their bytes."""

    def __init__(self) -> None:
        self._builder: Any = None
        self._written: dict[bytes, int] = {}

    def write(self, builder: Any, values: np.ndarray) -> int:
        """Where they are in the file."""
        if self._builder is not builder:
            self._builder, self._written = builder, {}
        key = values.tobytes()
        if key not in self._written:
            self._written[key] = int(builder.CreateNumpyVector(values))
        return self._written[key]


class _Shared:
    """Packs as the parameters it holds, the first time; then points there."""

    def __init__(self, parameters: Any, vectors: _Vectors) -> None:
        self._parameters = parameters
        self._vectors = vectors
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
        zeros = None if points is None else self._vectors.write(builder, np.asarray(points, np.int64))
        classes.QuantizationParametersStart(builder)
        classes.QuantizationParametersAddScale(builder, scales)
        if zeros is not None:
            classes.QuantizationParametersAddZeroPoint(builder, zeros)
        classes.QuantizationParametersAddQuantizedDimension(builder, parameters.quantizedDimension)
        return int(classes.QuantizationParametersEnd(builder))


def share_quantization(model: Any) -> None:
    """Let tensors with equal parameters share them when the model is written."""
    known: dict[tuple[Any, ...], _Shared] = {}
    vectors = _Vectors()
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
                    tensor.quantization = known.setdefault(key, _Shared(parameters, vectors))
