"""Progress and results on a terminal: bars where somebody watches, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from edgeexport.progress import Progress, Stage

_WIDE = 120


def console() -> Console:
    """Standard output; wide enough for the tables where it is no terminal."""
    output = Console()
    return output if output.is_terminal else Console(width=_WIDE, highlight=False)


def progress() -> Progress:
    """Bars if standard error is a terminal, else a line for each stage."""
    return _BarProgress() if sys.stderr.isatty() else _LineProgress()


class _LineProgress(Progress):
    @contextmanager
    def stage(self, title: str, total: int | None = None) -> Iterator[Stage]:
        """A line when the stage starts and one when it ends."""
        self.say(f"{title} ({total})" if total else title)
        start = time.monotonic()
        yield Stage()
        self.say(f"  done in {time.monotonic() - start:.1f} s")

    def say(self, text: str) -> None:
        """A line on standard error."""
        print(text, file=sys.stderr, flush=True)  # noqa: T201


class _BarProgress(Progress):
    def __init__(self) -> None:
        self._console = Console(stderr=True)

    @contextmanager
    def stage(self, title: str, total: int | None = None) -> Iterator[Stage]:
        """A bar that stays, or a spinner where the end is unknown."""
        columns = (
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description}"),
            *((BarColumn(), MofNCompleteColumn()) if total else ()),
            TimeElapsedColumn(),
        )
        with Bars(*columns, console=self._console) as bars:
            task = bars.add_task(title, total=total or 1)
            yield _BarStage(bars, task)
            bars.update(task, completed=total or 1)

    def say(self, text: str) -> None:
        """A line above the bars."""
        self._console.print(text, style="dim")


class _BarStage(Stage):
    def __init__(self, bars: Bars, task: TaskID) -> None:
        self._bars, self._task = bars, task

    def at(self, step: int) -> None:
        """Move the bar."""
        self._bars.update(self._task, completed=step)
