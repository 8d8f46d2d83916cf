"""What a recipe may ask for before conversion: ``[[compress]]`` tables, run in order, each with its ``method``.

    [[compress]]
    method = "distill"
    layers = [0, 2, 5]

    [[compress]]
    method = "vocabulary"

Each table is one of the structures here; a method's module in :mod:`edgeexport.compress` has its name. What a stage
makes depends on the target's integer scheme where ``for_target`` says so, and on no set of samples that ``unused``
names.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec

Positive = Annotated[float, msgspec.Meta(gt=0)]
Weight = Annotated[float, msgspec.Meta(ge=0)]
Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class Training(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a model is trained, whatever for.

    Attributes:
        epochs: passes over the training set, at most.
        batch: samples a step takes, all devices and accumulated steps together.
        accumulate: forward passes of one step, where a batch does not fit into memory.
        learning_rate: its peak; it rises over ``warmup`` and falls linearly to zero.
        warmup: share of the steps.
        weight_decay: of AdamW, on matrices only.
        clip: the gradient's norm, at most; 0 is off.
        mixed_precision: what the forward computes in; ``bf16`` and ``fp16`` are for GPUs.
        seed: of the order of samples, dropout, and what is initialised at random.
        samples: of the training set, a fixed choice by the seed; None takes all.
        held_out: share of the training set that is not trained on and chooses the epoch; 0 keeps the last one.
        patience: epochs without a better score on the held-out part after which training stops; 0 never stops it.
        longest: tokens of a text, at most, in training only; None takes the tokenizer's own limit.
        checkpoint_steps: steps between checkpoints; None makes one an epoch.
    """

    epochs: Count = 3
    batch: Count = 32
    accumulate: Count = 1
    learning_rate: Positive = 1e-4
    warmup: Fraction = 0.06
    weight_decay: Weight = 0.01
    clip: Weight = 1.0
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    seed: Annotated[int, msgspec.Meta(ge=0)] = 0
    samples: Count | None = None
    held_out: Annotated[float, msgspec.Meta(ge=0, le=0.5)] = 0.02
    patience: Annotated[int, msgspec.Meta(ge=0)] = 0
    longest: Count | None = None
    checkpoint_steps: Count | None = None


class Rounding(Training, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The same for a model that knows its task, and learns to round: fewer passes in smaller steps."""

    epochs: Count = 1
    learning_rate: Positive = 2e-5


class Distill(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="method", tag="distill"):
    """Teach a smaller model what a larger one gives (Hinton et al., arXiv:1503.02531).

    Attributes:
        student: a folder, hub id or factory; None cuts one out of the teacher.
        layers: which of the teacher's layers the student has, counted from 0, or how many, spread evenly; None all.
        width: share of the teacher's hidden size, heads and feed-forward size that the student has.
        temperature: that softens both sides' scores.
        alpha: weight of the teacher's soft scores; the labels have the rest. It must be 1 where samples have none.
        hidden: weight of the distance of hidden states, each student layer to the teacher layer that it comes from
            (TinyBERT, arXiv:1909.10351; a learned projection where widths differ).
        attention: weight of the distance of attention scores, likewise (TinyBERT).
        relations: weight of the distance of the last layer's query, key and value relations (MiniLMv2,
            arXiv:2012.15828).
        cosine: weight of the cosine distance of last hidden states (DistilBERT, arXiv:1910.01108).
        training: see :class:`Training`.
    """

    for_target: ClassVar[bool] = False
    unused: ClassVar[tuple[str, ...]] = ("calibration",)

    student: str | None = None
    layers: Count | tuple[Annotated[int, msgspec.Meta(ge=0)], ...] | None = None
    width: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    temperature: Positive = 2.0
    alpha: Fraction = 0.5
    hidden: Weight = 0.0
    attention: Weight = 0.0
    relations: Weight = 0.0
    cosine: Weight = 0.0
    training: Training = Training()


class Vocabulary(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="method", tag="vocabulary"
):
    """Remove the embedding rows that the task never uses, and rewrite the tokenizer to match.

    Attributes:
        minimum_count: a token that the training set has less often than this goes.
        keep: texts' tokens to keep whatever their count, such as words that an app is sure to meet.
    """

    for_target: ClassVar[bool] = False
    unused: ClassVar[tuple[str, ...]] = ("calibration",)

    minimum_count: Count = 1
    keep: tuple[str, ...] = ()


class Equalize(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="method", tag="equalize"
):
    """Scale channels of neighbouring layers against each other, so that int8 fits both; no output changes.

    Attributes:
        alpha: how much of an activation's spread moves into the next weight (SmoothQuant, arXiv:2211.10438).
        cross_layer: also equalize pairs of weights (arXiv:1906.04721), which needs no samples.
    """

    for_target: ClassVar[bool] = False
    unused: ClassVar[tuple[str, ...]] = ("train", "evaluation")

    alpha: Fraction = 0.5
    cross_layer: bool = True


class Gptq(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="method", tag="gptq"):
    """Round the weights of linear layers to the target's integers, each error made up for by the weights that follow.

    The rounding to the nearest that ends every export then finds weights that are such integers already.

    Attributes:
        bits: of a weight: 4 for ``w4``.
        block_size: weights along a layer's input that share a scale; 0 is one scale an output channel, and None what
            the target has, or 32 without one.
        damping: of the mean of the Hessian's diagonal, added to it (GPTQ, arXiv:2210.17323).
        clips: how many smaller scales are tried for each block, for less squared error weighted by its inputs' energy;
            0 keeps the one that reaches its largest weight.
    """

    for_target: ClassVar[bool] = True
    unused: ClassVar[tuple[str, ...]] = ("train", "evaluation")

    bits: Literal[4, 8] = 4
    block_size: Literal[0, 16, 32, 64, 128] | None = None
    damping: Positive = 0.01
    clips: Annotated[int, msgspec.Meta(ge=0, le=20)] = 8


class Qat(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="method", tag="qat"):
    """Train on with the rounding of the target's integers in the forward (arXiv:1712.05877).

    Attributes:
        teacher: a folder, hub id or factory whose scores are learned; None takes the model itself as it was in float32.
        temperature: as in :class:`Distill`.
        alpha: weight of the teacher's scores, as in :class:`Distill`.
        ranges: ``observed`` takes activation ranges as calibration will find them; ``learned`` trains them (LSQ,
            arXiv:1902.08153).
        pressure: weight of how far outliers stand out of those activations where they leave too few steps to the rest.
        settle: passes over the training set before those of ``training``, in float32 and with that pressure, of a model
            that has such activations: they are gone when rounding begins. 0 leaves these passes out.
        settle_rate: their learning rate, at its peak.
        training: see :class:`Rounding`; of the passes with rounding.
    """

    for_target: ClassVar[bool] = True
    unused: ClassVar[tuple[str, ...]] = ()

    teacher: str | None = None
    temperature: Positive = 2.0
    alpha: Fraction = 0.5
    ranges: Literal["observed", "learned"] = "observed"
    pressure: Weight = 0.05
    settle: Annotated[int, msgspec.Meta(ge=0)] = 4
    settle_rate: Positive = 1e-4
    training: Rounding = Rounding()


def _tag(kind: type[msgspec.Struct]) -> str:
    return str(kind.__struct_config__.tag)


Stage = Distill | Vocabulary | Equalize | Gptq | Qat
STAGES: dict[str, type[Stage]] = {_tag(kind): kind for kind in (Distill, Vocabulary, Equalize, Gptq, Qat)}
"""By the name of the method."""


def name_of(stage: Stage) -> str:
    """The method's name, which is its module's."""
    return _tag(type(stage))
