"""What a bundle holds beside the model, for toolchains that take more than a model file: one module a kind.

Modules are found by name, as a target's ``packaging`` lists them. Each has ``RUNTIME``, the public name of the runtime
that its files are for, and ``open_packer() -> Packer``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from edgeexport.signature import Signature

if TYPE_CHECKING:
    import numpy as np


class Packer(Protocol):
    """Writes files that are made from an artifact."""

    def pack(
        self,
        folder: Path,
        *,
        name: str,
        model: Path,
        signature: Signature,
        golden: list[dict[str, np.ndarray]],
        outputs: list[dict[str, np.ndarray]],
        arena_bytes: int,
    ) -> tuple[str, ...]:
        """Write into a folder of the module's own name; the same arguments give the same bytes.

        Args:
            folder: the bundle that is being made.
            name: the model's, any text.
            model: the artifact.
            signature: of the artifact, with scales.
            golden: inputs as the artifact takes them.
            outputs: what ``RUNTIME`` answers for them.
            arena_bytes: that ``RUNTIME`` used.

        Returns:
            Notes for the report.

        Raises:
            ConversionError: the artifact cannot be packed so; the message says why.
            MissingRequirement: a package is not installed.
        """
