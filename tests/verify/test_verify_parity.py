"""Distances to the float32 source, against plain formulas."""

import math

import numpy as np
import pytest

from edgeexport.verify.parity import ParityMeter, cosine, same_class

RANDOM = np.random.default_rng(0)


def meter(pairs, classes=True):
    found = ParityMeter(classes)
    for reference, output in pairs:
        found.add({"y": np.asarray(reference, np.float32)}, {"y": np.asarray(output, np.float32)})
    return found.result("evaluation")


def test_figures_are_those_of_the_formulas():
    references = RANDOM.standard_normal((20, 1, 7)).astype(np.float32)
    outputs = (references + 0.3 * RANDOM.standard_normal(references.shape)).astype(np.float32)
    parity = meter(zip(references, outputs, strict=True))
    a, b = references.reshape(20, 7).astype(np.float64), outputs.reshape(20, 7).astype(np.float64)
    cosines = (a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1))
    unlike = int((a.argmax(1) != b.argmax(1)).sum())
    assert 0 < unlike < 20
    assert parity.cosine_mean == pytest.approx(cosines.mean(), abs=1e-12)
    assert parity.cosine_min == pytest.approx(cosines.min(), abs=1e-12)
    assert parity.max_abs == pytest.approx(np.abs(a - b).max(), abs=1e-12)
    assert parity.snr_db == pytest.approx(10 * math.log10((a**2).sum() / ((a - b) ** 2).sum()), abs=1e-9)
    assert (parity.unlike, parity.samples, parity.over) == (unlike, 20, "evaluation")
    assert parity.agreement == 1 - unlike / 20


def test_equal_outputs():
    parity = meter([([[1, 2]], [[1, 2]])])
    assert (parity.cosine_mean, parity.cosine_min) == (pytest.approx(1, abs=1e-15), pytest.approx(1, abs=1e-15))
    assert (parity.max_abs, parity.snr_db) == (0, None)
    assert (parity.agreement, parity.unlike) == (1, 0)


def test_all_outputs_count_and_order_does_not_matter():
    found = ParityMeter(classes=False)
    found.add(
        {"a": np.float32([[3.0]]), "b": np.float32([[4.0]])}, {"b": np.float32([[-4.0]]), "a": np.float32([[3.0]])}
    )
    parity = found.result("golden")
    assert parity.cosine_min == pytest.approx((9 - 16) / 25)
    assert (parity.max_abs, parity.agreement, parity.unlike, parity.over) == (8, None, None, "golden")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_never_passes(bad):
    parity = meter([([[1, 0]], [[1, 0]]), ([[1, 0]], [[bad, 0]])])
    assert (parity.cosine_min, parity.cosine_mean) == (-1, 0)
    assert (parity.max_abs, parity.snr_db) == (None, None)
    assert (parity.unlike, parity.agreement) == (1, 0.5)


def test_a_reference_of_zeros():
    assert meter([([[0, 0]], [[0, 1]])]).snr_db is None
    assert meter([([[0, 0]], [[0, 1]])]).cosine_min == 0
    assert meter([([[0, 0]], [[0, 0]])]).cosine_min == 1


@pytest.mark.parametrize(
    ("a", "b", "result"),
    [([1, 0], [5, 0], 1), ([1, 0], [0, 2], 0), ([1, 1], [-2, -2], -1), ([1e200, 0], [1e-200, 0], 1)],
)
def test_cosine(a, b, result):
    assert cosine(np.array(a, float), np.array(b, float)) == pytest.approx(result)


def test_same_class_looks_at_every_row():
    a = np.array([[0.1, 0.9], [0.8, 0.2]])
    assert same_class(a, a * 3)
    assert not same_class(a, np.array([[0.1, 0.9], [0.2, 0.8]]))
    assert not same_class(a, a * np.nan)
