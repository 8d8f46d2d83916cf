"""Put a finished folder where the user wants it: whole, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from edgeexport.artifact import foreign_file
from edgeexport.disk import readable_disk_errors, temporary_folder, uninterrupted
from edgeexport.errors import OutputError

_OLD = "-old"


Foreign = Callable[[Path], str | None]
"""Names the first file of a folder that edgeexport did not write; None where there is none."""


def check_place(path: Path, foreign: Foreign = foreign_file) -> None:
    """Refuse a place that holds something edgeexport did not write.

    Raises:
        OutputError: a file, or a folder that is neither empty nor a bundle with nothing beside its own files.
    """
    if not path.exists():
        return
    if not path.is_dir():
        raise OutputError(f"the output {path} is a file", "Name a folder with --output.")
    found = foreign(path)
    if found is not None:
        raise OutputError(
            f"the output folder {path} exists and holds what edgeexport did not write ({found}); it was left as it is",
            "Name another with --output, or move it away.",
        )


def check_writable(path: Path) -> None:
    """Refuse a place where nothing can be written, before hours of work; what is missing above it is not made yet.

    Raises:
        OutputError: saying why.
    """
    path = path.resolve()
    above = next(parent for parent in path.parents if parent.exists())
    try:
        with readable_disk_errors(path), temporary_folder(above, f".{path.name}.partial-"):
            pass
    except FileNotFoundError as error:  # as /proc says it
        raise OutputError(f"{path} cannot be written: {error.strerror}") from error


@contextmanager
def written_whole(path: Path, foreign: Foreign = foreign_file) -> Iterator[Path]:
    """Give a temporary folder beside ``path``, and rename it there when the block ends well.

    A bundle that was there is replaced in the same step. A block that fails, or a killed process, leaves ``path`` as
    it was; leftovers of killed processes are removed.

    Raises:
        OutputError: the place is taken or cannot be written.
        MissingRequirement: the disk is full.
    """
    with readable_disk_errors(path):
        check_place(path, foreign)
        path = path.resolve()
        prefix = f".{path.name}.partial-"
        _restore(path, prefix)
        with temporary_folder(path.parent, prefix) as temporary:
            yield temporary
            temporary.chmod(0o755)
            with uninterrupted():
                _swap(temporary, path)


def _swap(temporary: Path, path: Path) -> None:
    if not path.exists():
        temporary.rename(path)
        return
    old = path.with_name(f"{temporary.name}{_OLD}")
    path.rename(old)
    try:
        temporary.rename(path)
    except OSError:
        old.rename(path)
        raise
    old.rename(temporary)  # which is removed


def _restore(path: Path, prefix: str) -> None:
    """Put back what a process killed between two renames had moved away."""
    for old in path.parent.glob(f"{prefix}*{_OLD}"):
        if not path.exists():
            old.rename(path)
