"""From a sample's label to the number of a class."""

from __future__ import annotations

import math
from collections.abc import Mapping

from edgeexport.errors import SamplesError
from edgeexport.sample_files import Sample


def class_index(sample: Sample, names: Mapping[str, int], classes: int) -> int:
    """The class index of a sample's label.

    Raises:
        SamplesError: there is no label, or the model has no such class.
    """
    label = sample.label
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
