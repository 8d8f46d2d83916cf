"""The protocol between the pipeline and a compression method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

from edgeexport.progress import Progress
from edgeexport.samples import Samples
from edgeexport.scheme import Scheme
from edgeexport.settings import Settings
from edgeexport.source import Source

RECORD = "compression.json"
"""In a folder that a stage wrote: what was done. It is no part of the model."""
CHECKPOINT = "checkpoint.pt"
"""In :attr:`Materials.work`: what an interrupted training goes on from."""

Stage_contra = TypeVar("Stage_contra", contravariant=True)


@dataclass(frozen=True)
class Materials:
    """What a method may use.

    Attributes:
        train: labelled samples, or samples without labels where a teacher says enough; None where none were given.
        calibration: samples that show what activations look like; None likewise.
        evaluation: labelled samples that only score.
        settings: of the export that follows, with the target's integer scheme; None where there is no target yet.
        format: the target's format, or "".
        scheme: how that format computes with integers; None where there is no target, or the format does not say.
        open: opens another source by its name, such as a student or a teacher.
        work: a folder that outlives an interrupted run, for checkpoints.
        progress: told of every stage.
        kept: whether it does; without the user's cache, ``work`` goes with this run.
    """

    train: Samples | None
    calibration: Samples | None
    evaluation: Samples | None
    settings: Settings | None
    format: str
    open: Callable[[str], Source]
    work: Path
    progress: Progress = field(default_factory=Progress)
    kept: bool = True
    scheme: Scheme | None = None


class Method(Protocol[Stage_contra]):
    """Makes a better source out of a source."""

    def compress(self, source: Source, stage: Stage_contra, materials: Materials, folder: Path) -> dict[str, Any]:
        """Write the changed model to ``folder``, which is empty; it opens as a source.

        Args:
            source: left as it is.
            stage: its structure of :mod:`edgeexport.stages`.
            materials: see :class:`Materials`.
            folder: where.

        Returns:
            What happened, as plain values for the report; ``summary`` says it in a sentence.

        Raises:
            RecipeError: the stage contradicts the model.
            SamplesError: the samples are missing or unfit.
            ModelError: the model cannot be changed in this way.
        """
