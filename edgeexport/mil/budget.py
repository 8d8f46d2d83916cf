"""What the values of a program may take together, and how often its loops may run.

:mod:`edgeexport.mil.memory` bounds a single tensor; a program can make many of them, and keep them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from edgeexport.errors import ModelError
from edgeexport.mil.memory import together


class Budget:
    """Of one run, or of what a program holds before it runs.

    Adding only counts up, which is cheap; what is still held is counted anew when the sum passes what is allowed.

    Args:
        held: bytes that stay for as long as this lasts, such as those of constants.
        iterations: how often loops may run, all together.

    Attributes:
        frames: the values of the blocks that are running, the outermost first.
        held: bytes that stay.
    """

    def __init__(self, held: int = 0, iterations: int = 0) -> None:
        self.frames: list[dict[str, Any]] = []
        self.held = held
        self._count = held
        self._iterations = self._left = iterations

    def iterate(self) -> None:
        """Begin another iteration of a loop.

        Raises:
            ModelError: there were too many, in this loop and others.
        """
        if self._left == 0:
            raise ModelError(f"a loop has not ended after {self._iterations} iterations")
        self._left -= 1

    def hold(self, size: int) -> None:
        """Count a constant of ``size`` bytes, which stays.

        Raises:
            ModelError: constants take more than allowed.
        """
        self.held += size
        self._count += size
        self._see()

    def add(self, value: torch.Tensor) -> None:
        """Count a value that is in one of the frames by now.

        Raises:
            ModelError: the values that are alive take more than allowed.
        """
        self._count += value.nbytes
        if self._count > together():
            storages: dict[int, int] = {}
            for frame in self.frames:
                _gather(frame.values(), storages)
            self._count = self.held + sum(storages.values())
            self._see()

    def _see(self) -> None:
        if self._count > together():
            raise ModelError(
                f"the program's values would take {self._count / 1e9:.3g} GB together; "
                f"{together() / 1e9:.3g} GB are allowed"
            )


def _gather(values: Iterable[Any], storages: dict[int, int]) -> None:
    """The bytes of all memory that values lie in, views of the same once."""
    for value in values:
        if isinstance(value, torch.Tensor):
            storage = value.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
        elif isinstance(value, tuple):
            _gather(value, storages)
        else:
            _gather(getattr(value, "elements", ()), storages)  # of a list
