"""Reads a bundle: the manifest, the hashes of its files, and streams of arrays."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]
SCHEMA = 1


class BundleError(Exception):
    """A sentence that says what is wrong with a bundle or an input, and where."""


@dataclass(frozen=True)
class Bundle:
    """A folder written by ``edgeexport export``.

    Attributes:
        path: the folder.
        manifest: ``manifest.json`` as it is.
    """

    path: Path
    manifest: dict[str, Any]

    @property
    def model(self) -> Path:
        """The model's file."""
        return self.path / str(self.manifest["artifact"])

    @property
    def labels(self) -> list[str]:
        """Class names by index; empty where the model has none."""
        return list(self.manifest["labels"] or [])

    @property
    def preprocess(self) -> dict[str, Any]:
        """How a sample becomes the model's inputs."""
        return dict(self.manifest["preprocess"])

    def specs(self, kind: str) -> dict[str, dict[str, Any]]:
        """The model's ``inputs`` or ``outputs`` by name: dtype, shape, and scale and zero point of integers."""
        return {spec["name"]: spec for spec in self.manifest["signature"][kind]}

    def golden(self, kind: str) -> Iterator[Arrays]:
        """The golden ``inputs``, as the model takes them, or the float32 source's ``outputs``, sample by sample."""
        return read_stream(self.path / "golden" / kind)


def open_bundle(path: Path) -> Bundle:
    """Open a bundle and compare every file with its hash.

    Raises:
        BundleError: it is no bundle, is of another schema, or a file is missing or was altered.
    """
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        version = manifest["schema_version"]
        files = manifest["files"]
    except OSError as error:
        raise BundleError(f"{path} is not a bundle: manifest.json cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{path / 'manifest.json'} is not a manifest: {error}") from error
    if version != SCHEMA:
        raise BundleError(f"{path / 'manifest.json'} has schema {version}; this app reads {SCHEMA}")
    for name, expected in files.items():
        file = path / name
        if not file.resolve().is_relative_to(path.resolve()) or not file.is_file():
            raise BundleError(f"{path}: {name} is missing; copy the whole bundle again")
        with file.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != expected:
                raise BundleError(f"{path}: {name} was altered; copy the whole bundle again")
    return Bundle(path, manifest)


def read_stream(folder: Path) -> Iterator[Arrays]:
    """The samples of a stream: ``index.json`` has names, dtypes and shapes, ``N.bin`` the values of the N-th name.

    Raises:
        BundleError: the files do not fit the index.
    """
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    names, dtypes = index["names"], [np.dtype(dtype) for dtype in index["dtypes"]]
    data = [(folder / f"{number}.bin").read_bytes() for number in range(len(names))]
    offsets = [0] * len(names)
    for shapes in index["shapes"]:
        sample: Arrays = {}
        for number, shape in enumerate(shapes):
            count = int(np.prod(shape, dtype=np.int64))
            end = offsets[number] + count * dtypes[number].itemsize
            if end > len(data[number]):
                raise BundleError(f"{folder}: {number}.bin is shorter than index.json says")
            sample[names[number]] = np.frombuffer(data[number], dtypes[number], count, offsets[number]).reshape(shape)
            offsets[number] = end
        yield sample
