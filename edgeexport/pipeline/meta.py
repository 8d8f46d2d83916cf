"""What the cache keeps beside an artifact: all that is known of it, in ``meta.json``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from edgeexport.artifact import Artifact
from edgeexport.decoder import Decoder
from edgeexport.settings import Interface
from edgeexport.signature import Signature

_NAME = "meta.json"


def baseline_key(format_name: str, fingerprint: str, interface: Interface, generates: bool) -> dict[str, Any]:
    """What the float32 artifact of a source is kept by: targets that agree in this share one conversion.

    ``generates`` tells a language model with a cache from the same one without.
    """
    shape = {"interface": msgspec.to_builtins(interface), "generates": generates}
    return {"format": format_name, "source": fingerprint, **shape}


def write_meta(folder: Path, artifact: Artifact, float32_bytes: int) -> None:
    """Note what is known of the artifact in ``folder``, and the bytes of its source's parameters in float32."""
    meta = {
        "format": artifact.format,
        "file": artifact.path.name,
        "precision": artifact.precision,
        "signature": artifact.signature.to_dict(),
        "notes": list(artifact.notes),
        "decoder": msgspec.to_builtins(artifact.decoder),
        "float32_bytes": float32_bytes,
    }
    (folder / _NAME).write_text(json.dumps(meta))


def read_meta(folder: Path) -> Artifact:
    """The artifact in ``folder``."""
    meta = _read(folder)
    return Artifact(
        meta["format"],
        folder / meta["file"],
        meta["precision"],
        Signature.from_dict(meta["signature"]),
        tuple(meta["notes"]),
        msgspec.convert(meta.get("decoder"), Decoder | None),
    )


def read_float32_bytes(folder: Path) -> int:
    """Bytes of the parameters, in float32, of the source that the artifact in ``folder`` comes from."""
    return int(_read(folder)["float32_bytes"])


def _read(folder: Path) -> dict[str, Any]:
    meta: dict[str, Any] = json.loads((folder / _NAME).read_text())
    return meta
