"""What shows of sets before anything is converted."""

from types import SimpleNamespace

import numpy as np
import pytest

from edgeexport.errors import SamplesError
from edgeexport.pipeline.checking import check_labels
from edgeexport.samples import open_samples
from edgeexport.signature import TensorSpec


@pytest.fixture
def labelled(tmp_path):
    """A set with those labels."""

    def make(labels):
        np.savez(tmp_path / "set.npz", x=np.eye(len(labels), dtype=np.float32), labels=labels)
        return open_samples(tmp_path / "set.npz")

    return make


def source(task, labels=None):
    return SimpleNamespace(name="model", task=task, labels=labels)


def output(*shape):
    return TensorSpec("values", "float32", ("batch", *shape))


FOUR = np.array([[0.0, 1], [2, 1], [4, 1], [8, 1]])


@pytest.mark.parametrize(
    ("labels", "spec"),
    [
        (FOUR, None),
        (FOUR, output(2)),
        (FOUR, output(1, 2)),
        (FOUR, output("boxes", 2)),
        (FOUR[:, 0], None),
        (FOUR[:, 0], output(1)),
        (FOUR[:, 0], output()),
        (np.arange(4), output(1)),
        (np.arange(4).astype(str), output(1)),
    ],
)
def test_labels_of_a_regression_that_fit(labelled, labels, spec):
    check_labels(labelled(labels), source("regression"), spec)


@pytest.mark.parametrize(
    ("labels", "spec", "said"),
    [
        (FOUR, output(3), r"set\.npz\[0\]: its label has 2 numbers, and the model's first output 3 numbers"),
        (FOUR, output(2, 2), r"its label has 2 numbers, and the model's first output 4 numbers"),
        (FOUR[:, 0], output(2), r"its label has 1 number, and the model's first output 2 numbers"),
        (FOUR[:, 1:], None, r"set\.npz has the same label throughout"),
        (FOUR[:1], None, r"set\.npz has the same label throughout"),
        (np.array(["1", "2", "x"]), None, r"set\.npz\[2\]: label 'x' is no number"),
    ],
)
def test_labels_of_a_regression_that_do_not_fit(labelled, labels, spec, said):
    with pytest.raises(SamplesError, match=said):
        check_labels(labelled(labels), source("regression"), spec)


def test_labels_of_several_lengths(tmp_path):
    (tmp_path / "set.jsonl").write_text('{"text": "a", "label": [1, 2]}\n{"text": "b", "label": [1]}\n')
    with pytest.raises(SamplesError, match=r"line 2: its label is of length 1, and the first sample's of length 2"):
        check_labels(open_samples(tmp_path / "set.jsonl"), source("regression"), None)


def test_classes_are_looked_up_by_what_is_known(labelled):
    samples = labelled(np.arange(4))
    check_labels(samples, source("classification"), None)
    check_labels(samples, source("classification", ("a", "b", "c", "d")), None)
    check_labels(samples, source("classification"), output(4))
    with pytest.raises(SamplesError, match=r"set\.npz\[3\]: label 3 is not one of the model's 3 classes"):
        check_labels(samples, source("classification"), output(3))
    with pytest.raises(SamplesError, match=r"label 3 is not one of the model's 3 classes"):
        check_labels(samples, source("classification", ("a", "b", "c")), None)
    with pytest.raises(
        SamplesError, match=r"set\.npz\[0\]: its label is a list of 2 numbers, and a classifier's is one class"
    ):
        check_labels(labelled(FOUR), source("classification"), output(2))


@pytest.mark.parametrize("task", ["embedding", "generic"])
def test_other_tasks_look_at_no_label(labelled, task):
    check_labels(labelled(FOUR), source(task), output(7))
    check_labels(None, source("regression"), output(7))
