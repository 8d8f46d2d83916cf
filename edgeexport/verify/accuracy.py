"""The task's metric, for the runtime and for the float32 source over the same samples."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from edgeexport.labels import class_index
from edgeexport.results import Accuracy
from edgeexport.samples import Sample
from edgeexport.verify.parity import cosine

_LARGEST = 700.0
Arrays = Mapping[str, np.ndarray]


class Meter(Protocol):
    """Gathers one metric over samples."""

    def add(self, sample: Sample, reference: Arrays | None, output: Arrays) -> None:
        """Count one sample."""

    def result(self) -> Accuracy | None:
        """The metric so far; None where the task has none."""


class ClassMeter:
    """Top-1 accuracy: share of samples whose highest score is the label's; a NaN among the scores is never right."""

    def __init__(self, labels: tuple[str, ...] | None) -> None:
        self._index = {name: number for number, name in enumerate(labels or ())}
        self._samples = self._right = self._references = self._reference_right = 0

    def add(self, sample: Sample, reference: Arrays | None, output: Arrays) -> None:
        """See :class:`Meter`. The label is a class index, or a class name of the model."""
        scores = next(iter(output.values()))
        label = class_index(sample, self._index, scores.shape[-1])
        self._samples += 1
        self._right += not np.isnan(scores).any() and int(scores.argmax()) == label
        if reference is not None:
            self._references += 1
            self._reference_right += int(next(iter(reference.values())).argmax()) == label

    def result(self) -> Accuracy | None:
        """See :class:`Meter`."""
        return Accuracy(
            metric="accuracy",
            value=self._right / self._samples,
            reference=self._reference_right / self._references if self._references else None,
            samples=self._samples,
        )


class CosineMeter:
    """Mean cosine similarity of an embedding to the float32 source's."""

    def __init__(self, labels: tuple[str, ...] | None) -> None:
        del labels
        self._samples, self._sum = 0, 0.0

    def add(self, sample: Sample, reference: Arrays | None, output: Arrays) -> None:
        """See :class:`Meter`."""
        del sample
        if reference is None:
            return
        name = next(iter(reference))
        self._samples += 1
        self._sum += cosine(reference[name].astype(np.float64).ravel(), output[name].astype(np.float64).ravel())

    def result(self) -> Accuracy | None:
        """See :class:`Meter`."""
        if self._samples == 0:
            return None
        return Accuracy(metric="cosine", value=self._sum / self._samples, reference=1.0, samples=self._samples)


class PerplexityMeter:
    """Perplexity: the exponential of the mean negative log likelihood of every token that has one before it."""

    def __init__(self, labels: tuple[str, ...] | None) -> None:
        del labels
        self._tokens, self._references = 0, 0
        self._sum, self._reference_sum = 0.0, 0.0

    def add(self, sample: Sample, reference: Arrays | None, output: Arrays) -> None:
        """See :class:`Meter`; ``nll`` is in nats a token."""
        del sample
        self._tokens += output["nll"].size
        self._sum += float(output["nll"].sum(dtype=np.float64))
        if reference is not None:
            self._references += reference["nll"].size
            self._reference_sum += float(reference["nll"].sum(dtype=np.float64))

    def result(self) -> Accuracy | None:
        """See :class:`Meter`; None where no text had two tokens."""
        if not self._tokens:
            return None
        return Accuracy(
            metric="perplexity",
            value=_exp(self._sum / self._tokens),
            reference=_exp(self._reference_sum / self._references) if self._references else None,
            samples=self._tokens,
            higher_is_better=False,
        )


def _exp(value: float) -> float:
    """Infinite where the result is too large, or no number."""
    return math.exp(value) if value < _LARGEST else math.inf


class NoMeter:
    """For tasks without a metric of their own."""

    def __init__(self, labels: tuple[str, ...] | None) -> None:
        del labels

    def add(self, sample: Sample, reference: Arrays | None, output: Arrays) -> None:
        """Nothing is counted."""

    def result(self) -> Accuracy | None:
        """There is no metric."""
        return None


METERS: dict[str, type[ClassMeter] | type[CosineMeter] | type[PerplexityMeter] | type[NoMeter]] = {
    "classification": ClassMeter,
    "embedding": CosineMeter,
    "generation": PerplexityMeter,
    "generic": NoMeter,
}
