"""What a long stage tells while it works. The pipeline speaks to this; the command line decides how it looks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class Progress:
    """Says nothing. Subclasses show stages as a bar or as lines."""

    @contextmanager
    def stage(self, title: str, total: int | None = None) -> Iterator[Stage]:
        """Open a stage; ``total`` is how many steps it has, None where nobody knows."""
        del title, total
        yield Stage()

    def say(self, text: str) -> None:
        """One line that stays."""


class Stage:
    """One running stage."""

    def at(self, step: int) -> None:
        """``step`` steps are done."""

    def follow(self, items: Iterable[T]) -> Iterator[T]:
        """Pass the items on and count them."""
        for step, item in enumerate(items, 1):
            yield item
            self.at(step)
