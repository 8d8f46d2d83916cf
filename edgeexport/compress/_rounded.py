"""A model whose forward rounds to a target's integers, in the form that the training loop takes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch

from edgeexport.compress import _batch_norm
from edgeexport.compress._graph import capture, raise_masks, rewrite
from edgeexport.compress._plan import is_layer, make_plan, root
from edgeexport.compress._prepare import SchemeQuantizer, activations, prepare
from edgeexport.errors import ModelError, RecipeError
from edgeexport.scheme import Scheme
from edgeexport.settings import Settings
from edgeexport.signature import Signature
from edgeexport.source import Editable


class RoundedModel(torch.nn.Module):
    """The prepared graph, by names of inputs and outputs; it has no other mode than evaluation."""

    def __init__(self, graph: torch.nn.Module, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> None:
        super().__init__()
        self.graph, self.inputs, self.outputs = graph, inputs, outputs

    def forward(self, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Outputs by name."""
        found = self.graph(*(batch[name] for name in self.inputs))
        return dict(zip(self.outputs, found, strict=True))

    def train(self, mode: bool = True) -> RoundedModel:
        """Nothing: the graph was captured without dropout, and batch normalization stays as it is."""
        self.training = mode
        return self


class Rounded(Editable):
    """An editable model that is run through its prepared graph.

    Args:
        editable: whose weights are trained; batch normalization in it is folded, its outputs stay.
        signature: its inputs'.
        example: two samples or more, on the model's device.
        scheme: the format's.
        settings: of the export that follows.
        learned: whether activation ranges are trained.
        coarse: names of layers that have ``quantization.fallback``; see :meth:`coarse`.
    """

    def __init__(
        self,
        editable: Editable,
        signature: Signature,
        example: Mapping[str, torch.Tensor],
        *,
        scheme: Scheme,
        settings: Settings,
        learned: bool = False,
        coarse: Collection[str] = (),
    ) -> None:
        self.name, self.inputs, self.outputs = editable.name, editable.inputs, editable.outputs
        self._editable, self._settings = editable, settings
        module = capture(editable, signature, example)
        self.folded = _batch_norm.fold(editable.model, module)
        masks = raise_masks(module.graph, settings.quantization.mask_value)
        rewrite(module, scheme)
        self.plan = make_plan(module.graph, scheme, settings, coarse)
        if not self.plan.precisions:
            raise RecipeError(
                f"{self.name}: the rules of this export leave every operator float, and there is nothing to train for",
                "Choose --precision w8a8, and a target whose rules quantize the model's operators.",
            )
        self._layers = [node.name for node, kind in self.plan.precisions.items() if kind == "w8a8" and is_layer(node)]
        self.model = RoundedModel(
            prepare(module, SchemeQuantizer(self.plan, scheme, settings, masks, learned)), self.inputs, self.outputs
        )
        _leave_unused(self.model)

    def run(self, inputs: Mapping[str, torch.Tensor], **more: bool) -> dict[str, torch.Tensor]:
        """See :class:`~edgeexport.source.Editable`."""
        if any(more.values()):
            raise ModelError(f"{self.name}: hidden states and attentions are not there while rounding is trained")
        return self.model(inputs)  # type: ignore[no-any-return]

    def coarse(self) -> list[str]:
        """Names of the layers that ``quantization.minimum_snr`` takes out, after the first calibration."""
        least = self._settings.quantization.minimum_snr
        if least == 0:
            return []
        graph: Any = self.model.graph
        known = activations(graph)
        found = []
        for node in graph.graph.nodes:
            if node.name in self._layers:
                around = [root(other) for other in node.all_input_nodes[:1]] + list(node.users)
                parts = [known[str(other.target)] for other in around if other.op == "call_module"]
                if any(part.seen.count and part.seen.snr_db() < least for part in parts):
                    found.append(node.name)
        return found

    def write_back(self) -> None:
        """Bring the trained weights to the editable model."""
        target: dict[str, Any] = dict(self._editable.model.named_parameters())
        with torch.no_grad():
            graph: Any = self.model.graph
            for name, values in graph.named_parameters():
                place = target.get(name.removeprefix("model."))
                if place is not None and place is not values:
                    place.copy_(values)

    def replaced(self, model: torch.nn.Module) -> Editable:  # noqa: ARG002
        """See :class:`~edgeexport.source.Editable`."""
        raise ModelError(f"{self.name}: a rounded model stands for the one that it was captured from, and no other")

    def save(self, folder: Any) -> None:
        """See :class:`~edgeexport.source.Editable`."""
        self.write_back()
        self._editable.save(folder)


def _leave_unused(model: RoundedModel) -> None:
    """Parameters that no operator reads, such as a folded normalization's scale, take no gradient."""
    graph: Any = model.graph
    read = {str(node.target) for node in graph.graph.nodes if node.op == "get_attr"}
    for name, parameter in graph.named_parameters():
        steps = name.rpartition(".")[2] in ("scale", "zero_point") and "activation_post_process" in name
        if not steps and name not in read:
            parameter.requires_grad_(False)
