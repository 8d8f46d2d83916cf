"""From labels to numbers of classes."""

import numpy as np
import pytest

from edgeexport.errors import SamplesError
from edgeexport.labels import class_index
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
