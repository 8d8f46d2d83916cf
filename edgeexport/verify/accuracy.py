"""The task's metric, for the runtime and for the float32 source over the same samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from edgeexport.errors import RunFailed
from edgeexport.labels import class_index, real_values
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


class DeterminationMeter:
    """R², the coefficient of determination, averaged over the first output's columns with equal weights.

    A sample's output is flattened: each of its numbers is a column. R² of a column is 1 - Σ(label - output)² /
    Σ(label - mean label)² over the samples, and their mean is the metric, as scikit-learn's ``r2_score`` with
    ``multioutput="uniform_average"``. Columns whose labels do not vary have no R² and are left out, where scikit-learn
    counts them as 0 or 1. The spread of the labels is gathered as in Welford (Technometrics 4(3), 1962): memory is that
    of one sample, and labels far from zero lose nothing.
    """

    def __init__(self, labels: tuple[str, ...] | None) -> None:
        del labels
        self._output, self._reference = _Determination(), _Determination()

    def add(self, sample: Sample, reference: Arrays | None, output: Arrays) -> None:
        """See :class:`Meter`. The label holds one number for each of the first output's.

        Raises:
            SamplesError: it does not.
            RunFailed: an output holds NaN or infinity, which leave no R².
        """
        found = _numbers(next(iter(output.values())), sample, "the model")
        label = real_values(sample, found.size)
        self._output.add(label, found)
        if reference is not None:
            self._reference.add(label, _numbers(next(iter(reference.values())), sample, "the float32 source"))

    def result(self) -> Accuracy | None:
        """See :class:`Meter`; None where no column's labels vary, as those of a single sample."""
        value = self._output.mean()
        if value is None:
            return None
        return Accuracy(metric="r2", value=value, reference=self._reference.mean(), samples=self._output.samples)


class _Determination:
    """Sums over samples, by column: of squared errors, and of the labels' squared distances to their mean."""

    def __init__(self) -> None:
        self.samples = 0
        self._means = self._spread = self._errors = np.zeros(0)

    def add(self, label: np.ndarray, found: np.ndarray) -> None:
        if not self.samples:
            self._means, self._spread, self._errors = (np.zeros(label.size) for _ in range(3))
        self.samples += 1
        apart = label - self._means
        self._means = self._means + apart / self.samples
        self._spread = self._spread + apart * (label - self._means)
        self._errors = self._errors + (label - found) ** 2

    def mean(self) -> float | None:
        """Of the columns' R²; None where none of their labels vary."""
        varying = self._spread > 0
        return float((1 - self._errors[varying] / self._spread[varying]).mean()) if varying.any() else None


def _numbers(values: np.ndarray, sample: Sample, whose: str) -> np.ndarray:
    """One sample's output as float64, flat."""
    flat = np.asarray(values, np.float64).ravel()
    if not np.isfinite(flat).all():
        raise RunFailed(f"{sample.name}: the first output of {whose} holds NaN or infinity")
    return flat


class NoMeter:
    """For tasks without a metric of their own."""

    def __init__(self, labels: tuple[str, ...] | None) -> None:
        del labels

    def add(self, sample: Sample, reference: Arrays | None, output: Arrays) -> None:
        """Nothing is counted."""

    def result(self) -> Accuracy | None:
        """There is no metric."""
        return None


METERS: dict[str, Callable[[tuple[str, ...] | None], Meter]] = {
    "classification": ClassMeter,
    "regression": DeterminationMeter,
    "embedding": CosineMeter,
    "generation": PerplexityMeter,
    "generic": NoMeter,
}
