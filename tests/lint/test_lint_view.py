"""Classes as rules see them, and what is looked at in large sets."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from edgeexport.lint import _view
from edgeexport.lint._subject import Subject
from edgeexport.lint._survey import Survey
from edgeexport.lint._view import View
from edgeexport.preprocess import ArraysPreprocess
from edgeexport.samples import open_samples
from edgeexport.signature import Signature, TensorSpec


def subject(labels=None, task="classification"):
    signature = Signature((TensorSpec("x", "float32", ("batch", 2)),), ())
    return Subject(ArraysPreprocess(), signature, None, task, labels, None, 1)


@pytest.mark.parametrize(
    ("labels", "seen", "classes"),
    [
        (("cat", "dog"), {"cat": 3, "dog": 1}, {0: 3, 1: 1}),
        (("cat", "dog"), {"cat": 3, 1: 1, "1": 2}, {0: 3, 1: 3}),
        (("cat", "dog"), {"cat": 3, "cow": 1}, None),
        (("cat", "dog"), {"cat": 3, None: 1}, None),
        (None, {0: 2, 7: 1}, {0: 2, 7: 1}),
        (None, {"0": 2, "7": 1}, {0: 2, 7: 1}),
        (None, {"cat": 2}, None),
    ],
)
def test_classes(labels, seen, classes):
    survey = Survey(Path("set"), labels=Counter(seen))
    assert View(survey, None, subject(labels), None).classes(survey) == classes
    assert View(survey, None, subject(labels, "embedding"), None).classes(survey) is None


def test_of_large_sets_some_are_encoded_and_all_are_known(tmp_path, monkeypatch):
    monkeypatch.setattr(_view, "_CALIBRATION", 40)
    values = np.arange(200, dtype=np.float32).reshape(100, 2)
    np.savez(tmp_path / "set.npz", x=values, label=np.arange(100) % 4)
    seen = _view.view(open_samples(tmp_path / "set.npz"), None, subject(), lambda _: None).calibration
    assert (seen.total, len(set(seen.records)), seen.labels.total()) == (100, 100, 100)
    assert seen.places == [
        number for number in range(100) if number == 0 or int(number / 2.5) > int((number - 1) / 2.5)
    ]
    assert len(seen.places) == 40
    assert seen.inputs["x"].lows == values[seen.places, 0].tolist()


def test_labels_of_a_regression_are_numbers_and_not_counted(tmp_path):
    np.savez(tmp_path / "set.npz", x=np.ones((3, 2), np.float32), label=np.random.default_rng(0).random(3))
    seen = _view.view(open_samples(tmp_path / "set.npz"), None, subject(task="regression"), lambda _: None)
    assert seen.calibration.labels == Counter()


def test_nothing_runs_through_the_model_where_a_sample_is_refused(tmp_path):
    asked = []
    for name, value in (("good", 1), ("bad", np.nan)):
        np.savez(tmp_path / f"{name}.npz", x=np.full((3, 2), value, np.float32))
        _view.view(open_samples(tmp_path / f"{name}.npz"), None, subject(), lambda s: asked.append(s.path.stem))
    assert asked == ["good"]
