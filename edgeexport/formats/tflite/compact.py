"""Store equal quantization parameters once: a flatbuffer may point to one table from many tensors.

Every signature repeats the tensors of the weights, and with them a scale and a zero point for each output channel.
"""

from __future__ import annotations

from typing import Any

import numpy as np


class _Shared:
    """Packs as the parameters it holds, the first time; then points there."""

    def __init__(self, parameters: Any) -> None:
        self._parameters = parameters
        self._packed: tuple[Any, int] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parameters, name)

    def Pack(self, builder: Any) -> int:  # noqa: N802 - the name that the generated classes call
        if self._packed is None or self._packed[0] is not builder:
            self._packed = (builder, int(self._parameters.Pack(builder)))
        return self._packed[1]


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
