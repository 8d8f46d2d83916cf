"""Artifact: one converted model. Bundle: an artifact with all that an app and a later verification need."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from edgeexport.errors import BundleError
from edgeexport.signature import Signature

MANIFEST = "manifest.json"
REPORT = "report.json"
REPORT_PAGE = "report.html"
GOLDEN = "golden"
UNHASHED = (MANIFEST, REPORT, REPORT_PAGE)


@dataclass(frozen=True)
class Artifact:
    """One model file in a target's format.

    Attributes:
        format: a module name in :mod:`edgeexport.formats`.
        path: the file.
        precision: as in :mod:`edgeexport.settings`.
        signature: as converted, which is what feeds must follow.
        notes: what the converter decided by rule, for the report.
    """

    format: str
    path: Path
    precision: str
    signature: Signature
    notes: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """Size of the file."""
        return self.path.stat().st_size


class Golden(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The golden data: inputs, and the float32 source's outputs on them.

    Attributes:
        samples: how many.
        origin: ``evaluation`` or ``calibration`` (the first samples of that set), or ``synthetic`` (seeded random
            values, where no set was given: good for comparing numbers, meaningless for accuracy).
    """

    samples: int
    origin: Literal["evaluation", "calibration", "synthetic"]


class Reference(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The float32 source's outputs on the whole evaluation set, so that a bundle can be verified without the source.

    Attributes:
        digest: SHA-256 of the evaluation set.
        samples: how many samples it has.
        folder: where the outputs are in the bundle, as a tensor stream.
    """

    digest: str
    samples: int
    folder: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What is in a bundle; ``manifest.json``, field by field.

    Attributes:
        artifact: the model's file name.
        task: ``classification``, ``embedding`` or ``generic``.
        signature: see :class:`~edgeexport.signature.Signature`.
        target: the complete profile, as plain values.
        recipe: settings and their origins.
        preprocess: see :mod:`edgeexport.preprocess`.
        labels: class names by index, or None.
        versions: the tools that made the artifact.
        source: name, fingerprint and float32 parameter bytes of the source.
        notes: what the converter decided by rule.
        files: SHA-256 of every file but the manifest and the reports, by path.
    """

    schema_version: Literal[1] = 1
    artifact: str
    format: str
    precision: str
    task: str
    signature: dict[str, Any]
    target: dict[str, Any]
    recipe: dict[str, Any]
    preprocess: dict[str, Any]
    labels: tuple[str, ...] | None
    golden: Golden
    reference: Reference | None
    versions: dict[str, str]
    source: dict[str, Any]
    notes: tuple[str, ...] = ()
    files: dict[str, str] = {}


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk.

    Attributes:
        path: its folder.
        manifest: what is in it.
    """

    path: Path
    manifest: Manifest

    @property
    def model_path(self) -> Path:
        """The model file."""
        return self.path / self.manifest.artifact

    @property
    def signature(self) -> Signature:
        """The model's inputs and outputs."""
        return Signature.from_dict(self.manifest.signature)

    @property
    def report_path(self) -> Path:
        """The report, once the bundle was verified."""
        return self.path / REPORT

    def check_files(self) -> None:
        """Compare every file with its hash.

        Raises:
            BundleError: naming the first file that is missing or altered.
        """
        for name, expected in self.manifest.files.items():
            path = self.path / name
            if not path.is_file():
                raise BundleError(f"{self.path}: {name} is missing", "Export it again.")
            if file_digest(path) != expected:
                raise BundleError(f"{self.path}: {name} was altered since it was packed", "Export it again.")


def is_bundle(path: Path) -> bool:
    """Whether the folder at ``path`` was written by edgeexport."""
    return (path / MANIFEST).is_file() and (path / GOLDEN).is_dir()


def load_bundle(path: Path) -> Bundle:
    """Read the bundle at ``path`` and check its files.

    Raises:
        BundleError: it is missing, incomplete, altered, or of a later schema.
    """
    if not path.is_dir():
        raise BundleError(f"no bundle at {path}", "`edgeexport export MODEL --target NAME` makes one.")
    try:
        manifest = msgspec.json.decode((path / MANIFEST).read_bytes(), type=Manifest)
    except FileNotFoundError as error:
        raise BundleError(f"{path} is not a bundle: it has no {MANIFEST}") from error
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise BundleError(f"{path / MANIFEST} is not a manifest that this version reads: {error}") from error
    outside = [name for name in (manifest.artifact, *manifest.files) if not _inside(path, name)]
    if outside:
        raise BundleError(f"{path / MANIFEST} names a file outside the bundle: {outside[0]}")
    bundle = Bundle(path, manifest)
    bundle.check_files()
    return bundle


def write_manifest(folder: Path, manifest: Manifest) -> Bundle:
    """Complete ``manifest`` with the hashes of the files in ``folder`` and write it."""
    files = {
        path.relative_to(folder).as_posix(): file_digest(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in UNHASHED
    }
    manifest = msgspec.structs.replace(manifest, files=files)
    data = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    (folder / MANIFEST).write_bytes(data + b"\n")
    return Bundle(folder, manifest)


def file_digest(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_values(values: Mapping[str, Any]) -> str:
    """SHA-256 of plain JSON values, whatever the order of their keys."""
    return hashlib.sha256(msgspec.json.encode(values, order="deterministic")).hexdigest()


def _inside(folder: Path, name: str) -> bool:
    return (folder / name).resolve().is_relative_to(folder.resolve())
