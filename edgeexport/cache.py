"""Finished stages, kept by what went into them.

An entry is a folder named by the SHA-256 of its key: every input's content hash, the settings and the tools' versions.
It is filled in a temporary folder and renamed when complete, so a killed run leaves no entry that counts. The least
recently used entries go when the cache passes its size (``EDGEEXPORT_CACHE_BYTES``, 8 GB unless set).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache as memoize
from pathlib import Path
from typing import Any

from edgeexport.artifact import digest_values, file_digest
from edgeexport.disk import readable_disk_errors, temporary_folder
from edgeexport.errors import RecipeError

_DEFAULT_BYTES = 8_000_000_000
_PARTIAL = ".partial-"
_TOOLS = (
    "ai-edge-litert", "ai-edge-quantizer", "coremltools", "edgeexport", "ethos-u-vela", "litert-converter",
    "litert-torch", "numpy", "onnx", "onnxruntime", "onnxscript", "optimum", "optimum-onnx", "pillow", "tflite-micro",
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
    """SHA-256 over this package's own source and tables, so that a changed converter never meets an old entry."""
    package = Path(__file__).parent
    paths = [path for suffix in ("py", "toml") for path in package.rglob(f"*.{suffix}")]
    return digest_values({str(path.relative_to(package)): file_digest(path) for path in paths})


class Cache:
    """Entries under one folder.

    Args:
        root: where; created when the first entry is made.
        kept: whether it outlives this run.
    """

    def __init__(self, root: Path, kept: bool = True) -> None:
        self._root = root
        self.kept = kept
        self._used: set[Path] = set()
        _byte_limit()

    def find(self, kind: str, key: Mapping[str, Any]) -> Path | None:
        """The entry's folder, or None. Finding an entry marks it as used."""
        path = self._path(kind, key)
        if not path.is_dir():
            return None
        with contextlib.suppress(OSError):  # somebody else's cache can be read all the same
            os.utime(path)
        self._used.add(path)
        return path

    def make(self, kind: str, key: Mapping[str, Any], fill: Callable[[Path], None]) -> Path:
        """The entry's folder; ``fill`` is called with an empty folder where there is none yet.

        Raises:
            MissingRequirement: the disk is full.
            OutputError: the cache cannot be written.
        """
        found = self.find(kind, key)
        if found is not None:
            return found
        path = self._path(kind, key)
        with readable_disk_errors(self._root), temporary_folder(path.parent, _PARTIAL) as partial:
            fill(partial)
            partial.chmod(0o755)
            try:
                partial.rename(path)
            except OSError:
                if not path.is_dir():  # else another process was first, with the same content
                    raise
        self._used.add(path)
        self._prune()
        return path

    def unfinished(self, kind: str, key: Mapping[str, Any]) -> Path:
        """A folder for what an interrupted run can go on from, by the key of the entry that it makes; made by whoever
        writes there, and removed by who has finished."""
        path = self._path(f"unfinished-{kind}", key)
        self._used.add(path)
        return path

    def _path(self, kind: str, key: Mapping[str, Any]) -> Path:
        complete = {**key, "versions": tool_versions(), "code": code_digest()}
        return self._root / kind / digest_values(complete)

    def _prune(self) -> None:
        """Remove the least recently used entries, but none that this run has used."""
        limit = _byte_limit()
        used: dict[Path, tuple[float, int]] = {}
        for entry in self._root.glob("*/*"):
            if entry.parent.name != "devices" and not entry.name.startswith(_PARTIAL):
                with contextlib.suppress(OSError):  # another process may be removing it
                    used[entry] = (entry.stat().st_mtime, folder_bytes(entry))
        total = sum(size for _, size in used.values())
        for entry, (_, size) in sorted(used.items(), key=lambda item: item[1]):
            if total <= limit:
                return
            if entry not in self._used:
                shutil.rmtree(entry, ignore_errors=True)
                total -= size


@contextmanager
def opened_cache(keep: bool) -> Iterator[Cache]:
    """The user's cache; without ``keep``, one of its own that finds nothing and is removed in the end."""
    if keep:
        yield Cache(cache_root())
        return
    root = cache_root() / "fresh"
    with readable_disk_errors(root), temporary_folder(root, _PARTIAL) as folder:
        yield Cache(folder, kept=False)


def _byte_limit() -> int:
    text = os.environ.get("EDGEEXPORT_CACHE_BYTES", str(_DEFAULT_BYTES))
    try:
        return int(text)
    except ValueError as error:
        raise RecipeError(f"EDGEEXPORT_CACHE_BYTES is {text!r}, not a number of bytes") from error


def folder_bytes(folder: Path) -> int:
    """Bytes of all files below ``folder``."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
