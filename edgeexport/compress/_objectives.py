"""What a student learns from its teacher, by task: the loss of each sample of a batch.

Scores are softened by a temperature T and weigh T² (Hinton et al., arXiv:1503.02531), so that their gradients keep
their size beside those of the labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch.nn import functional

from edgeexport.errors import RecipeError
from edgeexport.source import Source

Outputs = Mapping[str, torch.Tensor]
Batch = Mapping[str, torch.Tensor]


class Objective(Protocol):
    """A task's loss.

    Attributes:
        truth: what :meth:`hard` compares with: the samples' ``labels``, the ``text`` itself, or ``nothing``.
        cached: whether the teacher's outputs are small enough to be kept for every sample.
    """

    @property
    def truth(self) -> Literal["labels", "text", "nothing"]: ...

    @property
    def cached(self) -> bool: ...

    def soft(self, student: torch.Tensor, teacher: torch.Tensor, batch: Batch, temperature: float) -> torch.Tensor:
        """Distance of the student's first output to the teacher's: [batch]."""

    def hard(self, student: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Distance to the labels: [batch]."""

    def right(self, student: torch.Tensor, batch: Batch) -> torch.Tensor | None:
        """How many of the batch are right; None where the task has no such thing."""

    def count(self, batch: Batch) -> torch.Tensor:
        """What :meth:`hard` is the mean of, of each sample: [batch]."""


@dataclass(frozen=True)
class Classes:
    """One score a class: [batch, classes]."""

    truth: Literal["labels", "text", "nothing"] = "labels"
    cached: bool = True

    def soft(self, student: torch.Tensor, teacher: torch.Tensor, _batch: Batch, temperature: float) -> torch.Tensor:
        """Kullback-Leibler divergence of the softened distributions, times T²."""
        return divergence(student, teacher, temperature)

    def hard(self, student: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Cross entropy with the label."""
        return functional.cross_entropy(student, batch["label"], reduction="none")

    def right(self, student: torch.Tensor, batch: Batch) -> torch.Tensor | None:
        """Samples whose highest score is the label's."""
        return (student.argmax(-1) == batch["label"]).sum()

    def count(self, batch: Batch) -> torch.Tensor:
        """One each."""
        return torch.ones(len(batch["label"]), device=batch["label"].device)


@dataclass(frozen=True)
class Vectors:
    """One vector a sample, [batch, size], or one a token, [batch, tokens, size]."""

    truth: Literal["labels", "text", "nothing"] = "nothing"
    cached: bool = False

    def soft(self, student: torch.Tensor, teacher: torch.Tensor, batch: Batch, _temperature: float) -> torch.Tensor:
        """Cosine distance, and how far the samples' similarities among each other are from the teacher's.

        The second alone where sizes differ: similarities have none (relational distillation, arXiv:1904.05068).
        """
        mask = _mask(batch, student.ndim - 1)
        near = torch.zeros(len(student), device=student.device)
        if student.shape == teacher.shape:
            apart = 1 - functional.cosine_similarity(student, teacher, dim=-1)
            near = apart if apart.ndim == 1 else mean(apart, mask)
        return near + (_similarities(student, mask) - _similarities(teacher, mask)).square().mean(1)

    def hard(self, student: torch.Tensor, _batch: Batch) -> torch.Tensor:
        """There is none."""
        return torch.zeros(len(student), device=student.device)

    def right(self, _student: torch.Tensor, _batch: Batch) -> torch.Tensor | None:
        """There is none."""
        return None

    def count(self, batch: Batch) -> torch.Tensor:
        """One each."""
        return torch.ones(len(batch["label"]), device=batch["label"].device)


@dataclass(frozen=True)
class NextTokens:
    """Scores of the next token after each: [batch, tokens, vocabulary]."""

    truth: Literal["labels", "text", "nothing"] = "text"
    cached: bool = False

    def soft(self, student: torch.Tensor, teacher: torch.Tensor, batch: Batch, temperature: float) -> torch.Tensor:
        """Mean over the tokens of the divergence that :class:`Classes` has."""
        return mean(divergence(student, teacher, temperature), _mask(batch, 2))

    def hard(self, student: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Mean cross entropy with the text's own next token."""
        following = batch["input_ids"][:, 1:]
        losses = functional.cross_entropy(student[:, :-1].transpose(1, 2), following, reduction="none")
        mask = _mask(batch, 2)
        return mean(losses, None if mask is None else mask[:, 1:])

    def right(self, _student: torch.Tensor, _batch: Batch) -> torch.Tensor | None:
        """Perplexity is what counts, and that is the loss."""
        return None

    def count(self, batch: Batch) -> torch.Tensor:
        """Tokens that follow another."""
        mask = _mask(batch, 2)
        return (torch.ones_like(batch["input_ids"]) if mask is None else mask)[:, 1:].sum(1)


def objective_of(source: Source) -> Objective:
    """What the source's first output is for.

    Raises:
        RecipeError: that is not known.
    """
    output = source.signature.outputs[0]
    takes = {spec.name for spec in source.signature.inputs}
    if source.task == "classification":
        return Classes()
    if source.task == "regression":
        raise RecipeError(
            f"{source.name} gives real numbers, and only classes, embeddings and next tokens can be learned",
            "Quantize it after training: leave the stage that trains out.",
        )
    if source.task == "embedding" or output.name == "last_hidden_state":
        return Vectors()
    if "input_ids" in takes and output.name == "logits" and len(output.shape) == 3:
        return NextTokens()
    raise RecipeError(
        f"what {source.name} gives is not known to be classes, an embedding or next tokens, so nothing can be learned "
        "from it",
        'Say it: --set model.task=classification, or module.task = "embedding" in the factory.',
    )


def divergence(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """KL(teacher ‖ student) over the last axis at a temperature, times its square, in float32."""
    soft = functional.log_softmax(student.float() / temperature, -1)
    target = functional.log_softmax(teacher.float() / temperature, -1)
    return functional.kl_div(soft, target, reduction="none", log_target=True).sum(-1) * temperature**2


def mean(values: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Mean over all axes but the first, of what the mask lets through: [batch]."""
    if mask is None:
        return values.flatten(1).mean(1)
    return (values * mask).flatten(1).sum(1) / mask.flatten(1).sum(1).clamp(min=1)


def _mask(batch: Batch, axes: int) -> torch.Tensor | None:
    """The attention mask as numbers, for tensors with a token axis."""
    return batch["attention_mask"].float() if axes == 2 and "attention_mask" in batch else None


def _similarities(vectors: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Cosines of all pairs of samples; of tokens' means where there is a vector a token."""
    if vectors.ndim == 3:
        weights = torch.ones_like(vectors[..., 0]) if mask is None else mask
        vectors = (vectors * weights[..., None]).sum(1) / weights.sum(1, keepdim=True).clamp(min=1)
    unit = functional.normalize(vectors.flatten(1), dim=1)
    return unit @ unit.T
