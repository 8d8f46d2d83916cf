"""An ``.mlpackage`` on disk: its manifest, its specification, and paths that stay inside.

The layout is that of coremltools' ``modelpackage``: ``Manifest.json`` names items by identifier, each with a path
below ``Data``; one of them is the specification, and weights lie in files beside it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from edgeexport.errors import ModelError
from edgeexport.mil.memory import together
from edgeexport.mil.proto import messages

_MANIFEST = "Manifest.json"
_DATA = "Data"
_MANIFEST_BYTES = 1 << 20
_SPECIFICATION_GROWS = 256
"""How many bytes a byte of a specification may come to once it is read: an operation without parts has two."""
_BESIDE_MODEL = "@model_path/"


class _Item(msgspec.Struct):
    path: str


class _Manifest(msgspec.Struct, rename="camel"):
    file_format_version: str
    item_info_entries: dict[str, _Item]
    root_model_identifier: str


class Package:
    """A package that was found to be one.

    Args:
        path: the folder.

    Attributes:
        model: the file with the specification.

    Raises:
        ModelError: it is no ``.mlpackage``, or its manifest names something that is not in it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._root = path.resolve()
        if not path.is_dir():
            raise ModelError(f"{path} is not an .mlpackage: {'a file' if path.exists() else 'nothing is there'}")
        manifest = self._read_manifest()
        item = manifest.item_info_entries.get(manifest.root_model_identifier)
        if item is None:
            raise ModelError(f"{path}: {_MANIFEST} names a root model that it does not list")
        self.model = self._inside(self.path / _DATA, item.path)

    def specification(self) -> Any:
        """The ``Model`` message.

        Raises:
            ModelError: the file is damaged.
        """
        from google.protobuf.message import DecodeError

        model = messages("Model_pb2").Model()
        try:
            if self.model.stat().st_size > together() // _SPECIFICATION_GROWS:
                raise ModelError(f"{self.path}: {self.model.name} is larger than the specification of a program may be")
            model.ParseFromString(self.model.read_bytes())
        except DecodeError as error:
            raise ModelError(f"{self.path}: {self.model.name} is damaged: it is no Core ML specification") from error
        except OSError as error:
            raise ModelError(f"{self.path}: {self.model.name} cannot be read: {error.strerror}") from error
        return model

    def weights(self, name: str) -> Path:
        """The file that a program's value calls ``name``, such as ``@model_path/weights/weight.bin``.

        Raises:
            ModelError: it is missing, or not inside the package.
        """
        if not name.startswith(_BESIDE_MODEL):
            raise ModelError(f"{self.path}: weights are in {name!r}, which is not beside the model")
        return self._inside(self.model.parent, name.removeprefix(_BESIDE_MODEL))

    def _read_manifest(self) -> _Manifest:
        path = self._inside(self.path, _MANIFEST)
        try:
            if path.stat().st_size > _MANIFEST_BYTES:
                raise ModelError(f"{self.path}: {_MANIFEST} is larger than a manifest can be")
            return msgspec.json.decode(path.read_bytes(), type=_Manifest)
        except (OSError, ValueError, RecursionError) as error:
            raise ModelError(f"{self.path}: {_MANIFEST} cannot be read as a package's manifest: {error}") from error

    def _inside(self, folder: Path, name: str) -> Path:
        """The regular file ``name`` below ``folder``, no part of which leads out of the package."""
        try:
            path = (folder / name).resolve()
            if "\0" in name or not path.is_relative_to(self._root):
                raise ModelError(f"{self.path} names a file outside itself: {name!r}")
            if not path.is_file():
                raise ModelError(f"{self.path} has no file {os.path.normpath(name)}, which it names")
        except (OSError, ValueError, RuntimeError) as error:
            raise ModelError(f"{self.path} names a file that cannot be opened: {name!r}") from error
        return path
