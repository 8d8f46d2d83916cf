"""Finished stages, kept by what went into them.

An entry is a folder named by the SHA-256 of its key: every input's content hash, the settings and the tools' versions.
It is filled in a temporary folder and renamed when complete, so a killed run leaves no entry that counts. The least
recently used entries go when the cache passes its size (``EDGEEXPORT_CACHE_BYTES``, 8 GB unless set).
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import cache as memoize
from pathlib import Path
from typing import Any

from edgeexport.artifact import digest_values, file_digest

_DEFAULT_BYTES = 8_000_000_000
_PARTIAL = ".partial-"
_TOOLS = (
    "edgeexport", "numpy", "onnx", "onnxruntime", "onnxscript", "optimum", "optimum-onnx", "pillow",
    "tokenizers", "torch", "transformers",
)  # fmt: skip


def cache_root() -> Path:
    """``EDGEEXPORT_CACHE`` where it is set, else the user's cache folder."""
    chosen = os.environ.get("EDGEEXPORT_CACHE")
    if chosen:
        return Path(chosen)
    import platformdirs

    return Path(platformdirs.user_cache_dir("edgeexport"))


@memoize
def tool_versions() -> dict[str, str]:
    """The versions that decide what an export produces; a missing package is left out."""
    from importlib.metadata import PackageNotFoundError, version

    versions = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in _TOOLS:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


@memoize
def code_digest() -> str:
    """SHA-256 over this package's own source, so that a changed converter never meets an old entry."""
    package = Path(__file__).parent
    return digest_values({str(path.relative_to(package)): file_digest(path) for path in package.rglob("*.py")})


class Cache:
    """Entries under one folder.

    Args:
        root: where; created when the first entry is made.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def find(self, kind: str, key: Mapping[str, Any]) -> Path | None:
        """The entry's folder, or None. Finding an entry marks it as used."""
        path = self._path(kind, key)
        if not path.is_dir():
            return None
        os.utime(path)
        return path

    def make(self, kind: str, key: Mapping[str, Any], fill: Callable[[Path], None]) -> Path:
        """The entry's folder; ``fill`` is called with an empty folder where there is none yet."""
        found = self.find(kind, key)
        if found is not None:
            return found
        path = self._path(kind, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=path.parent))
        try:
            fill(partial)
            partial.chmod(0o755)
            if not path.is_dir():
                partial.rename(path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        self._prune(keep=path)
        return path

    def _path(self, kind: str, key: Mapping[str, Any]) -> Path:
        complete = {**key, "versions": tool_versions(), "code": code_digest()}
        return self._root / kind / digest_values(complete)

    def _prune(self, keep: Path) -> None:
        limit = int(os.environ.get("EDGEEXPORT_CACHE_BYTES", _DEFAULT_BYTES))
        entries = [
            entry
            for kind in self._root.iterdir()
            if kind.is_dir() and kind.name != "devices"
            for entry in kind.iterdir()
            if entry.is_dir() and not entry.name.startswith(_PARTIAL)
        ]
        sizes = {entry: folder_bytes(entry) for entry in entries}
        total = sum(sizes.values())
        for entry in sorted(entries, key=lambda entry: entry.stat().st_mtime):
            if total <= limit:
                return
            if entry != keep:
                shutil.rmtree(entry, ignore_errors=True)
                total -= sizes[entry]


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below ``folder``."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
