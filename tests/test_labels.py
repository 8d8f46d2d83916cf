"""From labels to numbers of classes."""

import re

import numpy as np
import pytest

from edgeexport.errors import SamplesError
from edgeexport.labels import class_index, real_values
from edgeexport.samples import Sample


def sample(label):
    return Sample("set line 3", {}, label)


@pytest.mark.parametrize(
    ("label", "index"), [("b", 1), ("1", 1), (0, 0), (1, 1), (1.0, 1), (True, 1), (np.int64(1).item(), 1)]
)
def test_labels_are_names_or_indices(label, index):
    assert class_index(sample(label), {"a": 0, "b": 1}, 2) == index


def test_a_name_wins_over_a_number():
    assert class_index(sample("0"), {"1": 0, "0": 1}, 2) == 1


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("c", "set line 3: the model has no class 'c'"),
        ("-1", "has no class '-1'"),
        ("²", "has no class '²'"),
        ("", "has no class ''"),
        ("2", "label 2 is not one of the model's 2 classes"),
        (2, "label 2 is not one of"),
        (-1, "label -1 is not one of"),
        (0.5, "label 0.5 is not one of"),
        (float("nan"), "label nan is not one of"),
        (float("inf"), "label inf is not one of"),
        (None, "set line 3 has no label"),
        ((0, 1), "set line 3: its label is a list of 2 numbers, and a classifier's is one class"),
    ],
)
def test_labels_that_are_refused(label, said):
    with pytest.raises(SamplesError, match=said):
        class_index(sample(label), {"a": 0, "b": 1}, 2)


def test_what_the_classes_are_is_said():
    with pytest.raises(SamplesError) as raised:
        class_index(sample("c"), {"a": 0, "b": 1}, 2)
    assert raised.value.hint == "Its classes: a, b."
    with pytest.raises(SamplesError) as raised:
        class_index(sample("c"), {}, 7)
    assert raised.value.hint == "Its classes: 0 to 6."
    with pytest.raises(SamplesError) as raised:
        class_index(sample("c"), {f"class {number}": number for number in range(1000)}, 1000)
    assert raised.value.hint.endswith("class 18, class 19.")


@pytest.mark.parametrize(
    ("label", "values"),
    [
        (2, [2]),
        (0.25, [0.25]),
        (True, [1]),
        ((1, 2.5), [1, 2.5]),
        ("-3", [-3]),
        (" 1e-3 ", [0.001]),
        ((".5", "+2."), [0.5, 2]),
    ],
)
@pytest.mark.parametrize("known", [True, False])
def test_labels_of_real_numbers(label, values, known):
    found = real_values(sample(label), len(values) if known else None)
    assert (found.dtype, found.shape) == (np.float64, (len(values),))
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize(
    ("label", "columns", "said"),
    [
        (None, 1, "set line 3 has no label"),
        (1.5, 5, "set line 3: its label has 1 number, and the model's first output 5 numbers"),
        ((1, 2), 1, "set line 3: its label has 2 numbers, and the model's first output 1 number$"),
        ((1, 2), 3, "set line 3: its label has 2 numbers, and the model's first output 3 numbers"),
        (float("nan"), 1, "set line 3: label nan is not finite"),
        ((1, float("-inf")), 2, "set line 3: label -inf is not finite"),
        (10**400, 1, "set line 3: label 10+ is not finite"),
        ("1e999", 1, "set line 3: label 1e999 is not finite"),
        ("cat", None, "set line 3: label 'cat' is no number"),
        ("nan", None, "set line 3: label 'nan' is no number"),
        ("1_000", None, "set line 3: label '1_000' is no number"),
        ("1,5", None, "set line 3: label '1,5' is no number"),
        ("\u0661", None, "set line 3: label '\u0661' is no number"),
        (("1", ""), None, "set line 3: label '' is no number"),
    ],
)
def test_labels_that_are_no_real_numbers(label, columns, said):
    with pytest.raises(SamplesError) as raised:
        real_values(sample(label), columns)
    assert re.search(said, raised.value.what)
    assert raised.value.hint
