"""The task's metric."""

import tracemalloc

import numpy as np
import pytest
from sklearn.metrics import r2_score

from edgeexport.errors import RunFailed, SamplesError
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


def determination(labels, outputs, references=None):
    """A meter that was given rows."""
    meter = METERS["regression"](None)
    for number, (label, output) in enumerate(zip(labels, outputs, strict=True)):
        reference = None if references is None else {"values": references[number][None]}
        meter.add(sample(tuple(label.tolist())), reference, {"values": output[None], "other": np.zeros(3)})
    return meter.result()


@pytest.mark.parametrize("columns", [1, 5])
@pytest.mark.parametrize(("offset", "spread"), [(0, 1), (1e6, 1), (-300, 1e-3), (0, 1e12)])
def test_r2_is_scikit_learns(columns, offset, spread):
    random = np.random.default_rng(columns)
    labels = offset + spread * random.standard_normal((200, columns))
    near = labels + spread * 0.1 * random.standard_normal(labels.shape) * np.arange(1, columns + 1)
    far = labels + spread * 2 * random.standard_normal(labels.shape)
    result = determination(labels, near, far)
    assert result.value == pytest.approx(r2_score(labels, near), abs=1e-9)
    assert result.reference == pytest.approx(r2_score(labels, far), abs=1e-9)
    assert result.value > 0.5 > 0 > result.reference
    assert (result.metric, result.samples, result.higher_is_better) == ("r2", 200, True)


def test_r2_of_right_and_of_mean_answers():
    labels = np.array([[0.0, 10], [1, 30], [5, 20]])
    assert determination(labels, labels).value == 1
    assert determination(labels, np.tile(labels.mean(0), (3, 1))).value == pytest.approx(0, abs=1e-12)
    assert determination(labels, labels).reference is None


def test_columns_weigh_alike_whatever_their_units():
    labels = np.array([[0.0, 0], [300, 1], [150, 0.5], [75, 0.25]])
    steps = np.round(labels / 1.25) * 1.25  # as 8 bits over 0 to 320
    alone = [r2_score(labels[:, column], steps[:, column]) for column in range(2)]
    assert determination(labels, steps).value == pytest.approx(sum(alone) / 2)
    assert alone[0] > 0.999 > 0.8 > alone[1]


def test_columns_whose_labels_do_not_vary_are_left_out():
    labels = np.array([[1.0, 7], [2, 7], [4, 7]])
    outputs = labels + np.array([[0.1, 3], [-0.2, 0], [0, 1]])
    assert determination(labels, outputs).value == pytest.approx(r2_score(labels[:, 0], outputs[:, 0]))
    assert determination(labels[:, 1:], outputs[:, 1:]) is None
    assert determination(labels[:1], outputs[:1]) is None
    assert METERS["regression"](None).result() is None


def test_references_count_over_their_own_samples():
    labels = np.arange(6.0)[:, None]
    meter = METERS["regression"](None)
    for number, label in enumerate(labels):
        reference = {"values": np.float32([[label[0] + 0.5]])} if number >= 2 else None
        meter.add(sample(float(label[0])), reference, {"values": np.float32([label])})
    result = meter.result()
    assert (result.value, result.samples) == (1, 6)
    assert result.reference == pytest.approx(r2_score(labels[2:], labels[2:] + 0.5))


def test_maps_are_flattened_in_the_order_of_their_values():
    random = np.random.default_rng(4)
    labels, outputs = random.standard_normal((2, 9, 6))
    meter = METERS["regression"](None)
    for label, output in zip(labels, outputs, strict=True):
        meter.add(sample(tuple(label)), None, {"map": output.reshape(1, 2, 3)})
    assert meter.result().value == pytest.approx(r2_score(labels, outputs))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_outputs_without_r2_fail_the_run(value):
    right, wrong = {"values": np.float32([[1, 2]])}, {"values": np.float32([[1, value]])}
    meter = METERS["regression"](None)
    with pytest.raises(RunFailed, match="set line 3: the first output of the model holds NaN or infinity"):
        meter.add(sample((1, 2)), right, wrong)
    with pytest.raises(RunFailed, match="set line 3: the first output of the float32 source holds NaN or infinity"):
        meter.add(sample((1, 2)), wrong, right)


def test_labels_and_outputs_hold_as_many_numbers():
    with pytest.raises(SamplesError, match="its label has 1 number, and the model's first output 5 numbers"):
        METERS["regression"](None).add(sample(1.0), None, {"values": np.zeros((1, 5))})


def test_r2_is_taken_in_constant_memory():
    meter = METERS["regression"](None)
    label, output = sample(tuple(range(1000))), {"values": np.ones((1, 1000), np.float32)}
    meter.add(label, output, output)
    tracemalloc.start()
    for _ in range(300):
        meter.add(label, output, output)
    left, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert left < 100_000
