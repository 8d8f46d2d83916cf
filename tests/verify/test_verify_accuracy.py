"""The task's metric."""

import numpy as np
import pytest

from edgeexport.samples import Sample
from edgeexport.verify.accuracy import METERS


def scores(*values):
    return {"logits": np.array([values], np.float32)}


def sample(label):
    return Sample("set line 3", {}, label)


def test_share_of_right_answers():
    meter = METERS["classification"](("cat", "dog", "cow"))
    meter.add(sample("dog"), scores(0, 1, 0), scores(0, 2, 1))
    meter.add(sample(2), scores(0, 1, 0), scores(0, 1, 2))
    meter.add(sample("0"), scores(1, 0, 0), scores(0, 1, 0))
    meter.add(sample("cow"), scores(0, 0, 1), scores(0, 0, 1))
    result = meter.result()
    assert (result.metric, result.value, result.reference, result.samples) == ("accuracy", 0.75, 0.75, 4)
    assert result.higher_is_better


def test_samples_without_a_reference_count_for_the_runtime_only():
    meter = METERS["classification"](None)
    meter.add(sample(1), None, scores(0, 1))
    assert (meter.result().value, meter.result().reference) == (1, None)
    meter.add(sample(0), scores(0, 1), scores(0, 1))
    assert (meter.result().value, meter.result().reference) == (0.5, 0)
    meter.add(sample(1), scores(0, 1), scores(0, 1))
    assert (meter.result().value, meter.result().reference) == (2 / 3, 1 / 2)


@pytest.mark.parametrize("values", [(np.nan, np.nan), (np.nan, -1), (0, np.nan)])
@pytest.mark.parametrize("label", [0, 1])
def test_nan_is_never_right(values, label):
    meter = METERS["classification"](None)
    meter.add(sample(label), scores(1, 0), scores(*values))
    assert meter.result().value == 0


def test_cosine_of_embeddings():
    meter = METERS["embedding"](None)
    meter.add(sample(None), {"e": np.float32([[1, 0]])}, {"other": np.float32([[9, 9]]), "e": np.float32([[1, 1]])})
    meter.add(sample(None), {"e": np.float32([[0, 2]])}, {"e": np.float32([[0, 5]])})
    meter.add(sample(None), None, {"e": np.float32([[5, 5]])})
    result = meter.result()
    assert result.value == pytest.approx((1 / np.sqrt(2) + 1) / 2)
    assert (result.metric, result.reference, result.samples) == ("cosine", 1, 2)


def test_no_metric():
    embedding, generic = METERS["embedding"](None), METERS["generic"](None)
    embedding.add(sample(None), None, scores(1))
    generic.add(sample(None), scores(1), scores(1))
    assert (embedding.result(), generic.result()) == (None, None)
