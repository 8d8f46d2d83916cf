"""Capture a model's graph and follow its channels through it; see :mod:`edgeexport.compress._tracer`."""

from __future__ import annotations

import torch

from edgeexport.compress._layer_rules import RULES
from edgeexport.compress._tracer import Traced, Tracer
from edgeexport.errors import ModelError
from edgeexport.source import Editable


class _Named(torch.nn.Module):
    """Takes arrays in order and gives a tuple; the model's parameters are under ``model.``"""

    def __init__(self, editable: Editable) -> None:
        super().__init__()
        self.model = editable.model
        self._run, self._inputs = editable.run, editable.inputs

    def forward(self, *arrays: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(self._run(dict(zip(self._inputs, arrays, strict=True))).values())


def trace(editable: Editable, example: dict[str, torch.Tensor]) -> Traced:
    """Follow the channels of a model.

    Args:
        editable: left as it is.
        example: one sample by input name; axes of length 1 other than the batch hide what they are for.

    Raises:
        ModelError: the model's graph cannot be captured.
    """
    try:
        with torch.no_grad():
            arrays = tuple(example[name] for name in editable.inputs)
            program = torch.export.export(_Named(editable).eval(), arrays, strict=False)
    except Exception as error:  # whatever a model's own code makes of being traced
        raise ModelError(
            f"{editable.name} cannot be equalized, its graph cannot be captured: "
            f"{(str(error) or repr(error)).strip().splitlines()[0]}",
            "Check that the model is exportable: torch.export.export(module, inputs).",
        ) from error
    return Tracer(program, RULES).run()
