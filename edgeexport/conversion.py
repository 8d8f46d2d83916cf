"""The protocol between the pipeline and a format; what shows a model's inner values is one of its own, in
:mod:`edgeexport.observation`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from edgeexport.artifact import Artifact
from edgeexport.settings import Interface, Settings
from edgeexport.signature import Signature
from edgeexport.source import Source

if TYPE_CHECKING:
    import numpy as np

Feeds = Callable[[str], Iterator[Mapping[str, "np.ndarray"]]]
"""Calibration samples as the model takes them, from the first again at each call; the text titles the pass."""


@dataclass(frozen=True)
class TensorBytes:
    """A tensor stored in an artifact.

    Attributes:
        component: the kind of operator that uses it, such as ``embedding`` or ``convolution``.
        dtype: as stored.
        bytes: as stored.
        path: the module of the source that it belongs to; empty where that is not known.
        what: see :class:`edgeexport.analysis.ModuleBytes`.
    """

    component: str
    dtype: str
    bytes: int
    path: str = ""
    what: str = "weight"


@dataclass(frozen=True)
class Layer:
    """A part of a float32 artifact that settings bring to integers.

    Attributes:
        name: as overrides match it.
        path: the module of the source that it belongs to, or the same name.
        operator: the format's own name.
        weights: how many it has; 0 of an operator between activations.
        macs: multiplications by them, with one for every dynamic dimension.
        alternatives: precisions that an override may give it instead, the cheapest first.
    """

    name: str
    path: str
    operator: str
    weights: int
    macs: int
    alternatives: tuple[str, ...]


@dataclass(frozen=True)
class Gap:
    """An operator of an artifact that a runtime lacks, or would execute wrong.

    Attributes:
        operator: the format's own name.
        where: the first place in the model, as a module path where that is known.
        what: one sentence: what it needs and what the runtime has.
    """

    operator: str
    where: str
    what: str


class Format(Protocol):
    """Converts models to one format.

    Attributes:
        file_name: the artifact's name in a bundle.
        knobs: other values that a search within a budget tries, by dotted setting.
    """

    file_name: str
    knobs: Mapping[str, tuple[Any, ...]]

    def baseline(self, source: Source, interface: Interface, path: Path) -> Artifact:
        """Convert ``source`` without compression to ``path``: float32, the form others are timed against.

        Raises:
            RecipeError: the format cannot have that interface.
            ConversionError: the converter failed.
        """

    def convert(
        self,
        baseline: Artifact,
        settings: Settings,
        feeds: Feeds | None,
        path: Path,
    ) -> Artifact:
        """Compress ``baseline`` to ``settings.precision`` at ``path``.

        Args:
            baseline: as :meth:`baseline` gave it.
            settings: complete.
            feeds: calibration samples, or None where no set was given.
            path: the file to write.

        Raises:
            RecipeError: the settings contradict the model.
            ConversionError: the quantizer failed.
        """

    def inspect(self, path: Path) -> tuple[Signature, Iterable[TensorBytes]]:
        """The signature of an artifact, and its stored tensors.

        Raises:
            ModelError: the file is not of this format.
        """

    def layers(self, baseline: Artifact, settings: Settings) -> Iterable[Layer]:
        """What ``settings`` would bring to integers of a float32 artifact, in the order of execution."""

    def gaps(self, path: Path, runtime: str, version: str) -> Iterable[Gap]:
        """What that version of a runtime cannot execute right of the artifact, found without running it."""
