"""Artifact: one converted model. Bundle: an artifact with all that an app and a later verification need."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from edgeexport import tree
from edgeexport.analysis import LintFinding
from edgeexport.decoder import Decoder, text_signature
from edgeexport.disk import PARTIAL
from edgeexport.errors import BundleError
from edgeexport.signature import Signature

MANIFEST = "manifest.json"
REPORT = "report.json"
REPORT_PAGE = "report.html"
GOLDEN = "golden"
UNHASHED = (MANIFEST, REPORT, REPORT_PAGE)


@dataclass(frozen=True)
class Artifact:
    """One model in a target's format.

    Attributes:
        format: a module name in :mod:`edgeexport.formats`.
        path: the file, or the folder of a format whose models are folders.
        precision: as in :mod:`edgeexport.settings`.
        signature: as converted, which is what feeds must follow.
        notes: what the converter decided by rule, for the report.
        decoder: how a language model with a cache is driven, as converted; None of any other.
    """

    format: str
    path: Path
    precision: str
    signature: Signature
    notes: tuple[str, ...] = ()
    decoder: Decoder | None = None

    @property
    def bytes(self) -> int:
        """Size of the file, or of all files in the folder."""
        return tree.size(self.path)


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
        artifact: the name of the model's file or folder.
        task: ``classification``, ``regression``, ``embedding``, ``generation`` or ``generic``.
        signature: see :class:`~edgeexport.signature.Signature`.
        decoder: how a language model with a cache is driven; None of any other.
        target: the complete profile, as plain values.
        recipe: settings and their origins.
        preprocess: see :mod:`edgeexport.preprocess`.
        labels: class names by index, or None.
        versions: the tools that made the artifact.
        source: name, fingerprint and float32 parameter bytes of the source, and the stages that made it what it is.
        notes: what the converter decided by rule.
        lint: what is odd about the calibration set.
        files: SHA-256 of every file but the manifest and the reports, by path.
    """

    schema_version: Literal[1] = 1
    artifact: str
    format: str
    precision: str
    task: Literal["classification", "regression", "embedding", "generation", "generic"]
    decoder: Decoder | None = None
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
    lint: tuple[LintFinding, ...] = ()
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
        """The model's file or folder."""
        return self.path / self.manifest.artifact

    @property
    def signature(self) -> Signature:
        """The model's inputs and outputs."""
        return Signature.from_dict(self.manifest.signature)

    @property
    def sample_signature(self) -> Signature:
        """What one sample is and gives: the model's signature, or a text's for a language model."""
        decoder = self.manifest.decoder
        return self.signature.real() if decoder is None else text_signature(decoder)

    @property
    def report_path(self) -> Path:
        """The report, once the bundle was verified."""
        return self.path / REPORT

    def check_files(self) -> None:
        """Compare every file with its hash, and see that the model holds nothing else.

        Raises:
            BundleError: naming the first file that is missing, altered, or in the model without a hash.
        """
        for name, expected in self.manifest.files.items():
            path = self.path / name
            if not path.is_file():
                raise BundleError(f"{self.path}: {name} is missing", "Export it again.")
            if file_digest(path) != expected:
                raise BundleError(f"{self.path}: {name} was altered since it was packed", "Export it again.")
        for entry in tree.entries(self.model_path):
            name = entry.relative_to(self.path).as_posix()
            if entry.is_symlink():
                raise BundleError(f"{self.path}: {name} is a link, and a model holds none", "Export it again.")
            if name not in self.manifest.files:
                raise BundleError(f"{self.path}: {name} was added to the model since it was packed", "Export it again.")


class _Listing(msgspec.Struct):
    """As much of a manifest as says which files belong to a bundle, whatever its schema."""

    schema_version: int
    golden: dict[str, Any]
    files: dict[str, str]


def is_bundle(path: Path) -> bool:
    """Whether the folder at ``path`` was written by edgeexport."""
    return _listing(path) is not None


def foreign_file(folder: Path) -> str | None:
    """The first entry of ``folder`` that is not of a bundle; None in a bundle and in an empty folder."""
    listing = _listing(folder)
    if listing is None:
        return min((path.name for path in folder.iterdir()), default=None)
    known = {*listing.files, *UNHASHED, *(f"{name}{PARTIAL}" for name in UNHASHED)}
    found = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return min((name for path in found if (name := path.relative_to(folder).as_posix()) not in known), default=None)


def load_bundle(path: Path) -> Bundle:
    """Read the bundle at ``path`` and check its files.

    Raises:
        BundleError: it is missing, incomplete, altered, or of a later schema.
    """
    if not path.is_dir():
        raise BundleError(f"no bundle at {path}", "`edgeexport export MODEL --target NAME` makes one.")
    try:
        manifest = msgspec.json.decode((path / MANIFEST).read_bytes(), type=Manifest)
        Signature.from_dict(manifest.signature)
        str(manifest.source["name"]), str(manifest.source["fingerprint"]), int(manifest.source["float32_bytes"])
    except FileNotFoundError as error:
        raise BundleError(
            f"{path} is not a bundle: it has no {MANIFEST}", "Give the folder that `edgeexport export` wrote."
        ) from error
    except OSError as error:
        raise BundleError(f"{path / MANIFEST} cannot be read: {error.strerror}") from error
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:  # msgspec's own are ValueErrors
        problem = f"no {error}" if isinstance(error, KeyError) else error
        raise BundleError(f"{path / MANIFEST} is not a manifest that this version reads: {problem}") from error
    bundle = Bundle(path, manifest)
    _check_names(bundle)
    bundle.check_files()
    return bundle


def _check_names(bundle: Bundle) -> None:
    """Every named file is inside the bundle, and the manifest has a hash for each that a verification reads."""
    manifest = bundle.manifest
    folders = [f"{GOLDEN}/inputs", f"{GOLDEN}/outputs", *([manifest.reference.folder] if manifest.reference else [])]
    for name in (manifest.artifact, *folders, *manifest.files):
        if "\0" in name or not _inside(bundle.path, name):
            raise BundleError(f"{bundle.path / MANIFEST} names a file outside the bundle: {name!r}")
    for name in (manifest.artifact, *(f"{folder}/index.json" for folder in folders)):
        in_folder = name == manifest.artifact and any(file.startswith(f"{name}/") for file in manifest.files)
        if name not in manifest.files and not in_folder:
            raise BundleError(f"{bundle.path / MANIFEST} has no hash for {name}", "Export it again.")


def _listing(folder: Path) -> _Listing | None:
    try:
        return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=_Listing)
    except (OSError, ValueError, RecursionError):
        return None


def write_manifest(folder: Path, manifest: Manifest) -> Bundle:
    """Complete ``manifest`` with the hashes of the files in ``folder`` and write it."""
    paths = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    files = {name: file_digest(path) for name, path in paths.items() if name not in UNHASHED}
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
