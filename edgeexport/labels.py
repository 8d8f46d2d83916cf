"""From a sample's label to the number of a class, or to the numbers that a regression should give."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from edgeexport.errors import SamplesError
from edgeexport.sample_files import Sample

if TYPE_CHECKING:
    import numpy as np

_NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
"""What counts as a number in text; ``float`` takes more, such as ``1_000`` and ``nan``."""


def class_index(sample: Sample, names: Mapping[str, int], classes: int) -> int:
    """The class index of a sample's label.

    Raises:
        SamplesError: there is no label, or the model has no such class.
    """
    label = sample.label
    if isinstance(label, tuple):
        raise SamplesError(
            f"{sample.name}: its label is a list of {_counted(len(label))}, and a classifier's is one class",
            "Give a class, or say that the model gives real numbers: --set model.task=regression.",
        )
    if isinstance(label, str):
        if label in names:
            return names[label]
        if not label.isdecimal():
            raise SamplesError(
                f"{sample.name}: the model has no class '{label}'",
                f"Its classes: {', '.join(list(names)[:20]) or f'0 to {classes - 1}'}.",
            )
        label = int(label)
    if label is None:
        raise SamplesError(f"{sample.name} has no label", "Every sample needs one.")
    if not math.isfinite(label) or label != int(label) or not 0 <= int(label) < classes:
        raise SamplesError(f"{sample.name}: label {label} is not one of the model's {classes} classes")
    return int(label)


def real_values(sample: Sample, columns: int | None) -> np.ndarray:
    """The numbers of a sample's label, float64 [columns]. Text, as of CSV and of file names, is read as numbers.

    Args:
        sample: whose label.
        columns: how many numbers the model gives; None where that is not known yet.

    Raises:
        SamplesError: there is no label, another number of values, or one that is no finite number.
    """
    import numpy as np

    label = sample.label
    if label is None:
        raise SamplesError(f"{sample.name} has no label", "Every sample needs one.")
    given = label if isinstance(label, tuple) else (label,)
    if columns is not None and len(given) != columns:
        raise SamplesError(
            f"{sample.name}: its label has {_counted(len(given))}, and the model's first output {_counted(columns)}",
            "Give one number for each that the output holds, in its order: labels [samples, numbers] in an .npz, a "
            "list under 'label' in .jsonl, columns label_0, label_1... in .csv.",
        )
    for value in given:
        if isinstance(value, str) and not _NUMBER.fullmatch(value):
            raise SamplesError(
                f"{sample.name}: label '{value}' is no number", "A regression's labels are real numbers, such as 0.75."
            )
        if not _finite(value):
            raise SamplesError(f"{sample.name}: label {value} is not finite", "Remove the sample, or repair its label.")
    return np.array([float(value) for value in given], np.float64)


def _finite(value: float | str) -> bool:
    try:
        return math.isfinite(float(value))
    except OverflowError:  # an integer beyond float64
        return False


def _counted(count: int) -> str:
    return "1 number" if count == 1 else f"{count} numbers"
