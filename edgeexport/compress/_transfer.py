"""Distances of what happens inside a student and its teacher: hidden states, attention, relations."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional

from edgeexport.compress._objectives import divergence, mean
from edgeexport.errors import RecipeError
from edgeexport.source import Editable
from edgeexport.stages import Distill

Batch = Mapping[str, torch.Tensor]
_QUERY_KEY_VALUE = (
    ("query", "key", "value"),
    ("q_proj", "k_proj", "v_proj"),
    ("q_lin", "k_lin", "v_lin"),
)
_FUSED = ("c_attn", "qkv", "qkv_proj")


class Transfer(torch.nn.Module):
    """The weighted sum of the distances that a stage asks for; its parameters are projections between widths.

    Args:
        stage: with the weights.
        student, teacher: whose insides are compared.
        layers: for each of the student's layers the teacher's.
    """

    def __init__(self, stage: Distill, student: Editable, teacher: Editable, layers: Sequence[int]) -> None:
        super().__init__()
        self._stage, self._layers = stage, tuple(layers)
        self.asks = {
            "output_hidden_states": stage.hidden > 0 or stage.cosine > 0,
            "output_attentions": stage.attention > 0,
        }
        slim, wide = (_size(side, "hidden_size") for side in (student, teacher))
        if stage.cosine > 0 and slim != wide:
            raise RecipeError(
                f"the cosine of hidden states of {slim} and {wide} channels is not defined",
                "Give hidden a weight in place of cosine: it learns a projection.",
            )
        needed = len(layers) + 1 if stage.hidden > 0 and slim != wide else 0
        self.projections = torch.nn.ModuleList(torch.nn.Linear(slim, wide) for _ in range(needed))
        self._heads = _size(student, "num_attention_heads")
        if stage.attention > 0:  # other implementations never have the distributions
            for side in (student, teacher):
                side.model.set_attn_implementation("eager")  # type: ignore[operator]
        self._captures: tuple[Capture, ...] = ()
        if stage.relations > 0:
            self._captures = (Capture(student), Capture(teacher))

    def forward(self, student: Mapping[str, Any], teacher: Mapping[str, Any], batch: Batch) -> torch.Tensor:
        """The sum for each sample: [batch]."""
        stage, mask = self._stage, batch.get("attention_mask")
        mask = None if mask is None else mask.float()
        losses = torch.zeros(len(batch["sample"]), device=batch["sample"].device)
        if stage.hidden > 0:
            losses = losses + stage.hidden * self._hidden(student["hidden_states"], teacher["hidden_states"], mask)
        if stage.cosine > 0:
            apart = 1 - functional.cosine_similarity(student["hidden_states"][-1], teacher["hidden_states"][-1], dim=-1)
            losses = losses + stage.cosine * mean(apart, mask)
        if stage.attention > 0:
            losses = losses + stage.attention * self._attention(student["attentions"], teacher["attentions"], mask)
        if stage.relations > 0:
            for mine, theirs in zip(*(capture.take() for capture in self._captures), strict=True):
                losses = losses + stage.relations * _relation(mine, theirs, self._heads, mask)
        return losses

    def _hidden(
        self, student: Sequence[torch.Tensor], teacher: Sequence[torch.Tensor], mask: torch.Tensor | None
    ) -> torch.Tensor:
        """Mean squared distance of embeddings and of each layer's output."""
        chosen = (0, *(number + 1 for number in self._layers))
        total = torch.zeros((), device=student[0].device)
        for at, number in enumerate(chosen):
            state = self.projections[at](student[at]) if self.projections else student[at]
            total = total + mean((state - teacher[number]).square().mean(-1), mask)
        return total / len(chosen)

    def _attention(
        self, student: Sequence[torch.Tensor], teacher: Sequence[torch.Tensor], mask: torch.Tensor | None
    ) -> torch.Tensor:
        """KL of attention distributions (arXiv:2002.10957); the heads' mean where their numbers differ."""
        total = torch.zeros((), device=student[0].device)
        for mine, number in zip(student, self._layers, strict=True):
            theirs = teacher[number]
            if mine.shape[1] != theirs.shape[1]:
                mine, theirs = mine.mean(1, keepdim=True), theirs.mean(1, keepdim=True)  # noqa: PLW2901
            apart = (theirs * ((theirs + 1e-9).log() - (mine + 1e-9).log())).sum(-1).mean(1)
            total = total + mean(apart, mask)
        return total / len(self._layers)


def _size(side: Editable, name: str) -> int:
    value = getattr(getattr(side.model, "config", None), name, None)
    if not isinstance(value, int):
        raise RecipeError(
            f"{side.name} is no Transformers model whose {name} is known; its insides cannot be compared",
            "Leave hidden, attention, relations and cosine out.",
        )
    return value


class Capture:
    """Remembers the queries, keys and values of a model's last layer, from one forward to the next.

    Raises:
        RecipeError: the layer's projections have no known names.
    """

    def __init__(self, editable: Editable) -> None:
        self._found: dict[str, torch.Tensor] = {}
        self._names = self._hook(editable)

    def take(self) -> tuple[torch.Tensor, ...]:
        """Queries, keys, values: each [batch, tokens, channels]."""
        values = [self._found.pop(name) for name in self._names]
        return values[0].chunk(3, -1) if len(values) == 1 else tuple(values)

    def _hook(self, editable: Editable) -> tuple[str, ...]:
        modules = dict(editable.model.named_modules())
        for ends in (*_QUERY_KEY_VALUE, *((name,) for name in _FUSED)):
            found = tuple(self._last(modules, end) for end in ends)
            if all(found):
                for name in found:
                    modules[name].register_forward_hook(self._keep(name))
                return found
        raise RecipeError(
            f"{editable.name}: its queries, keys and values are not where they are looked for",
            "Leave relations out; hidden and attention need no names.",
        )

    @staticmethod
    def _last(modules: Mapping[str, torch.nn.Module], end: str) -> str:
        return next((name for name in reversed(list(modules)) if name.rpartition(".")[2] == end), "")

    def _keep(self, name: str) -> Any:
        def hook(_module: torch.nn.Module, _given: Any, result: torch.Tensor) -> None:
            self._found[name] = result

        return hook


def _relation(student: torch.Tensor, teacher: torch.Tensor, heads: int, mask: torch.Tensor | None) -> torch.Tensor:
    """KL of the distributions of scaled products of a kind of vector with itself (arXiv:2012.15828, equation 4)."""
    shared = math.gcd(heads, student.shape[-1], teacher.shape[-1])
    mine, theirs = (_products(side, shared, mask) for side in (student, teacher))
    return mean(divergence(mine, theirs, 1.0).mean(1), mask)


def _products(vectors: torch.Tensor, heads: int, mask: torch.Tensor | None) -> torch.Tensor:
    """[batch, heads, tokens, tokens]; as many relation heads for a narrow student as for its wide teacher."""
    batch, tokens, channels = vectors.shape
    parted = vectors.float().reshape(batch, tokens, heads, channels // heads).transpose(1, 2)
    products: torch.Tensor = parted @ parted.transpose(2, 3) / (channels // heads) ** 0.5
    if mask is not None:
        products.masked_fill_(mask[:, None, None, :] == 0, -1e4)
    return products
