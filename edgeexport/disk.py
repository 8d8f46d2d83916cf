"""Temporary folders that leave nothing behind, and the system's write errors as sentences."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgeexport.errors import EdgeExportError, MissingRequirement, OutputError

PARTIAL = ".partial"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REFUSED = {
    *(errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.EISDIR),
    *(errno.ENAMETOOLONG, errno.ELOOP),
}

_MAKING = threading.Lock()


@contextmanager
def temporary_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """Make a folder in ``parent`` and remove it when the block ends, unless the block renamed it.

    The folder is locked while its process lives, however that ends; those that nobody holds any more are removed
    first.
    """
    parent.mkdir(parents=True, exist_ok=True)
    with _MAKING:  # a folder that another thread has made and not locked yet would be swept up
        _sweep(parent, prefix)
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        lock = _lock(folder)
    try:
        yield folder
    finally:
        with uninterrupted():
            shutil.rmtree(folder, ignore_errors=True)
            if lock is not None:
                os.close(lock)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C and a request to terminate back until the block has ended."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread is ever interrupted
        return
    caught: list[int] = []
    signals = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda number, _: caught.append(number)) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        if caught:
            signal.raise_signal(caught[0])


def write_whole(path: Path, data: bytes) -> None:
    """Write a file that is there complete, or as it was before."""
    partial = path.with_name(f"{path.name}{PARTIAL}")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def readable_disk_errors(place: Path) -> Iterator[None]:
    """Turn the system's write errors into sentences, those a converter has wrapped included.

    Args:
        place: what was being written, for errors that do not say.

    Raises:
        MissingRequirement: the disk is full.
        OutputError: the place cannot be written.
    """
    try:
        yield
    except MissingRequirement:
        raise
    except OSError as error:
        if error.errno in _FULL:
            raise _full(error, place) from error
        if error.errno in _REFUSED:
            raise OutputError(f"{error.filename or place} cannot be written: {error.strerror}") from error
        raise
    except EdgeExportError as error:
        cause = error.__cause__
        while cause is not None and not (isinstance(cause, OSError) and cause.errno in _FULL):
            cause = cause.__cause__ or cause.__context__
        if cause is None:
            raise
        raise _full(cause, place) from error


def _full(error: OSError, place: Path) -> MissingRequirement:
    reason = "a limit on file sizes was met" if error.errno == errno.EFBIG else "the disk is full"
    return MissingRequirement(
        f"{reason}: {error.filename or place} could not be written; nothing was left half-written",
        "Free some space, or name a folder on another disk with --output, EDGEEXPORT_CACHE or TMPDIR.",
    )


def _sweep(parent: Path, prefix: str) -> None:
    """Remove folders whose process is gone."""
    for leftover in parent.glob(f"{prefix}*"):
        lock = _lock(leftover)
        if lock is not None:
            shutil.rmtree(leftover, ignore_errors=True)
            os.close(lock)


def _lock(folder: Path) -> int | None:
    """Lock a folder until the descriptor is closed or the process ends; None where another holds it."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
