"""A model on disk, be it one file or a folder of files such as an ``.mlpackage``."""

from __future__ import annotations

import shutil
from pathlib import Path


def entries(path: Path) -> list[Path]:
    """The file itself, or everything below the folder but its folders, in name order.

    Links are listed and never followed, so that whoever checks the entries sees them.
    """
    if path.is_symlink() or not path.is_dir():
        return [path]
    return sorted(entry for entry in path.rglob("*") if entry.is_symlink() or not entry.is_dir())


def size(path: Path) -> int:
    """Bytes of the file, or of all files in the folder."""
    return sum(entry.stat().st_size for entry in entries(path))


def copy(source: Path, target: Path) -> None:
    """Copy contents, without times or permissions, to a place that does not exist yet."""
    for entry in entries(source):
        place = target / entry.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(entry, place)
