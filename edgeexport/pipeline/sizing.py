"""Where the bytes of a bundle or of a model file are, without running it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeexport import discover, tree
from edgeexport.artifact import is_bundle, load_bundle
from edgeexport.errors import ModelError
from edgeexport.pipeline.opening import open_format
from edgeexport.pipeline.verifying import measure_size, rules
from edgeexport.results import Size
from edgeexport.settings import Limits
from edgeexport.verify.size import measure


@dataclass(frozen=True)
class Sized:
    """An artifact with its bytes.

    Attributes:
        name: the source's, or the file's.
        target, precision: of a bundle; empty for a file.
        size: where its bytes are; a file has no source, and a ratio of 0.
        limits: the bundle's own; those of a file are none.
    """

    name: str
    target: str
    precision: str
    size: Size
    limits: Limits


def measure_path(path: Path) -> Sized:
    """Measure a bundle, or a model in one of the formats.

    Raises:
        BundleError: the bundle is damaged.
        ModelError: there is neither a bundle nor a model at ``path``.
    """
    if is_bundle(path) or (path.is_dir() and not _format_of(path)):
        bundle = load_bundle(path)
        manifest = bundle.manifest
        limits = rules(bundle)[1].limits
        name, target = str(manifest.source["name"]), str(manifest.target["name"])
        return Sized(name, target, manifest.precision, measure_size(bundle), limits)
    name = _format_of(path)
    if not path.exists() or not name:
        raise ModelError(
            f"no bundle and no converted model at {path}",
            "Give a bundle that `edgeexport export` wrote, or an .onnx, .tflite or .mlpackage model.",
        )
    _, stored = open_format(name).inspect(path)
    return Sized(path.name, "", "", measure(tree.size(path), 0, stored), Limits())


def _format_of(path: Path) -> str:
    """The format whose models have the path's suffix; empty where none has."""
    for name in discover.names("edgeexport.formats"):
        if path.suffix and Path(open_format(name).file_name).suffix == path.suffix:
            return name
    return ""
