"""What rules look at."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from edgeexport.errors import SamplesError
from edgeexport.labels import class_index
from edgeexport.lint._media import looker
from edgeexport.lint._movement import Movement
from edgeexport.lint._subject import Subject
from edgeexport.lint._survey import Survey, survey
from edgeexport.samples import Sample, Samples, encoder

_CALIBRATION = 2048
_EVALUATION = 512
_IMAGES = 256
"""So many samples are encoded, and images decoded once more, at most."""


@dataclass(frozen=True)
class View:
    """A calibration set, what it is compared with, and what it is for.

    Attributes:
        calibration: what a pass over it saw.
        evaluation: the same of the evaluation set, or None.
        subject: the model, as far as samples matter to it.
        movement: how ranges inside the model grow with the samples, or None where that was not taken.
    """

    calibration: Survey
    evaluation: Survey | None
    subject: Subject
    movement: Movement | None

    def classes(self, seen: Survey | None) -> dict[int, int] | None:
        """How often each class came in a labelled set; None where it has no labels, or others than the model's."""
        if seen is None or None in seen.labels or self.subject.task != "classification":
            return None
        names = {name: number for number, name in enumerate(self.subject.labels or ())}
        numbers = [int(text) for text in map(str, seen.labels) if text.isdecimal()]
        bound = len(names) or 1 + max(numbers, default=-1)
        found: dict[int, int] = {}
        for label, count in seen.labels.items():
            try:
                number = class_index(Sample("", {}, label), names, bound)
            except SamplesError:
                return None
            found[number] = found.get(number, 0) + count
        return found


def view(
    calibration: Samples,
    evaluation: Samples | None,
    subject: Subject,
    moves: Callable[[Samples], Movement | None],
) -> View:
    """Look at both sets, each in one pass.

    Args:
        calibration, evaluation: the sets, of the model's kind.
        subject: what they are for.
        moves: takes how ranges inside the model grow; asked once, where every sample could be encoded.

    Raises:
        ModelError: a file that the preprocessing needs is missing or broken.
    """
    seen = _survey(calibration, subject, _CALIBRATION)
    compared = None if evaluation is None else _survey(evaluation, subject, _EVALUATION)
    return View(seen, compared, subject, None if seen.refused else moves(calibration))


def _survey(samples: Samples, subject: Subject, at_most: int) -> Survey:
    encode = encoder(subject.preprocess, subject.signature, subject.assets)
    look = looker(subject.preprocess, subject.assets, math.ceil(len(samples) / _IMAGES))
    return survey(samples, encode, subject, look, at_most)
