"""Runs Core ML's ML Programs anywhere: ``edgeexport.mil.load("model.mlpackage")(inputs)``.

The program that an ``.mlpackage`` holds (MIL, Core ML's intermediate language) is executed operation by operation in
PyTorch. In the mode ``exact`` all is float32; ``device`` rounds to float16 where the program declares it, as an
estimate of what a phone makes of it. Neither says anything of speed on a device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from edgeexport.mil.machine import Mode
    from edgeexport.mil.model import Model

__all__ = ["executed", "load", "refused"]


def load(path: str | Path, mode: Mode = "exact", function: str | None = None, largest: int | None = None) -> Model:
    """Open the package at ``path``.

    Args:
        path: an ``.mlpackage``.
        mode: ``exact``, or ``device`` for float16 where the program declares it.
        function: of a package with several; the default one otherwise.
        largest: bytes that one tensor may take, and all together four times as many; 4 GiB where nothing is said.

    Raises:
        ModelError: the package is damaged, or has an operator that is not executed.
        MissingRequirement: coremltools is not installed.
    """
    from pathlib import Path

    from edgeexport.mil.memory import DEFAULT_BYTES
    from edgeexport.mil.model import Model

    return Model(Path(path), mode, function, largest or DEFAULT_BYTES)


def executed() -> list[str]:
    """The operators that are executed, by name."""
    from edgeexport.mil.table import executed as forms

    return list(forms())


def refused() -> dict[str, str]:
    """The operators that are refused, and why."""
    from edgeexport.mil.table import refused as reasons

    return reasons()
