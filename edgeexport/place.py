"""Put a finished folder where the user wants it: whole, or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgeexport.artifact import is_bundle
from edgeexport.errors import MissingRequirement, OutputError


def check_place(path: Path) -> None:
    """Refuse a place that holds something edgeexport did not write.

    Raises:
        OutputError: a file, or a folder that is neither empty nor a bundle.
    """
    if not path.exists():
        return
    if not path.is_dir():
        raise OutputError(f"the output {path} is a file", "Name a folder with --output.")
    if any(path.iterdir()) and not is_bundle(path):
        raise OutputError(
            f"the output folder {path} exists and is not a bundle; it was left as it is",
            "Name another with --output, or move it away.",
        )


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a temporary folder beside ``path``, and rename it there when the block ends well.

    A bundle that was there is replaced in the same step. A block that fails, or a killed process, leaves ``path`` as
    it was; leftovers of killed processes are removed.

    Raises:
        OutputError: the place is taken or cannot be written.
        MissingRequirement: the disk is full.
    """
    check_place(path)
    path = path.absolute()
    prefix = f".{path.name}.partial-"
    with readable_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path.parent, prefix)
        temporary = Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-", dir=path.parent))
        try:
            yield temporary
            temporary.chmod(0o755)
            _swap(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def readable_disk_errors(path: Path) -> Iterator[None]:
    """Turn the system's write errors into sentences."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise MissingRequirement(
                f"the disk is full: {error.filename or path} could not be written; nothing was left half-written",
                "Free some space, or name a folder on another disk with --output or EDGEEXPORT_CACHE.",
            ) from error
        if error.errno in {errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR}:
            raise OutputError(f"{error.filename or path} cannot be written: {error.strerror}") from error
        raise


def _swap(temporary: Path, path: Path) -> None:
    if not path.exists():
        temporary.rename(path)
        return
    old = path.with_name(f"{temporary.name}-old")
    path.rename(old)
    try:
        temporary.rename(path)
    except BaseException:
        old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _sweep(folder: Path, prefix: str) -> None:
    """Remove temporary folders of processes that are gone."""
    for leftover in folder.glob(f"{prefix}*"):
        process = leftover.name.removeprefix(prefix).partition("-")[0]
        if process.isdecimal() and not Path(f"/proc/{process}").exists() and Path("/proc/self").exists():
            shutil.rmtree(leftover, ignore_errors=True)
