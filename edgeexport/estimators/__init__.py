"""Cost models for hardware that is not at hand: one module each, found by name, as a target's ``estimation`` says.

Each module has ``open_estimator(options) -> Estimator``, given the options of its own that the target states. What they
give is estimated, never measured.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from edgeexport.estimate import Estimate


class Estimator(Protocol):
    """One cost model, with its options."""

    def estimate(self, model: Path, folder: Path) -> Estimate:
        """Estimate one inference of a model at batch 1.

        Args:
            model: the artifact.
            folder: for what the tool writes.

        Raises:
            RunFailed: the tool failed, or gave no figures; carries its log.
        """
