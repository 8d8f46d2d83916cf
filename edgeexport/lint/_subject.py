"""What a set's samples are for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeexport.preprocess import Preprocess
from edgeexport.signature import Signature
from edgeexport.source import Task


@dataclass(frozen=True)
class Subject:
    """What the samples are for.

    Attributes:
        preprocess: bound to the set's columns, with the model's own shapes.
        signature: what one encoded sample is.
        assets: the folder with the preprocessing's files.
        task: the model's.
        labels: its class names by index, or None.
        longest: tokens of a text beyond which it is cut; None where the model takes none.
        minimum: samples that the settings ask for.
    """

    preprocess: Preprocess
    signature: Signature
    assets: Path | None
    task: Task
    labels: tuple[str, ...] | None
    longest: int | None
    minimum: int
