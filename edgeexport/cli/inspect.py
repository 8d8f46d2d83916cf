"""Say what a model takes and gives, how large it is, and which layers an export would quantize."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgeexport.cli.export import AsJson, Model, TrustRemoteCode


def inspect(
    model: Model,
    trust_remote_code: TrustRemoteCode = False,
    by_module: Annotated[
        bool, typer.Option("--bytes", help="Of a bundle or a converted model: where every byte is, by module.")
    ] = False,
    depth: Annotated[
        int, typer.Option(min=0, metavar="N", help="With --bytes: parts of a module's path to tell apart; 0 is all.")
    ] = 3,
    json: AsJson = False,
) -> int:
    """Open a source or a bundle and print it."""
    import json as json_module

    if by_module:
        return _bytes(Path(model), depth, json)

    from edgeexport.artifact import is_bundle

    about = _bundle(Path(model)) if is_bundle(Path(model)) else _source(model, trust_remote_code)
    if json:
        typer.echo(json_module.dumps(about, indent=2))
        return 0
    for key in ("name", "task", "preprocess", "labels", "precision", "target"):
        if about.get(key):
            typer.echo(f"{key:12} {about[key]}")
    typer.echo(f"{'float32':12} {about['float32_bytes'] / 1e6:,.2f} MB of parameters")
    for direction in ("inputs", "outputs"):
        for tensor in about["signature"][direction]:
            typer.echo(f"{direction[:-1]:12} {_in_words(tensor)}")
    for dimension, lengths in about["signature"].get("lengths", {}).items():
        typer.echo(f"{'lengths':12} {dimension}: {', '.join(map(str, lengths))}")
    for part in about.get("components", ()):
        typer.echo(f"{'bytes':12} {part['bytes']:>12,}  {part['dtype']:8}  {part['name']}")
    for note in about.get("notes", ()):
        typer.echo(f"{'note':12} {note}")
    return 0


def _bytes(path: Path, depth: int, as_json: bool) -> int:
    """Where every byte of an artifact is, and why it is not a quarter of float32."""
    import json as json_module

    import msgspec

    from edgeexport.cli import show
    from edgeexport.excess import explain, rolled_up
    from edgeexport.pipeline.sizing import measure_path
    from edgeexport.report import bytes_table

    size = measure_path(path).size
    if not as_json:
        show.console().print(bytes_table.render(size, depth))
        return 0
    plain: dict[str, Any] = {
        "size": msgspec.to_builtins(size),
        "branches": msgspec.to_builtins(rolled_up(size.modules, depth)),
        "excess": msgspec.to_builtins(explain(size)) if size.source_float32_bytes else None,
    }
    typer.echo(json_module.dumps(plain, indent=2))
    return 0


def _in_words(tensor: dict[str, Any]) -> str:
    """A tensor's name, type and shape, and of integers that stand for real numbers how."""
    words = f"{tensor['name']}: {tensor['dtype']} [{', '.join(map(str, tensor['shape']))}]"
    if tensor.get("scale") is not None:
        words += f", scale {tensor['scale']:.6g}, zero point {tensor['zero_point']}"
    return words


def _source(model: str, trust_remote_code: bool) -> dict[str, Any]:
    from edgeexport.pipeline import open_source
    from edgeexport.preprocess import to_dict
    from edgeexport.source import SourceOptions

    source = open_source(model, SourceOptions(trust_remote_code=trust_remote_code))
    return {
        "name": source.name,
        "task": source.task,
        "preprocess": to_dict(source.preprocess)["kind"],
        "labels": list(source.labels or ()),
        "float32_bytes": source.float32_bytes,
        "fingerprint": source.fingerprint(),
        "signature": source.signature.to_dict(),
    }


def _bundle(path: Path) -> dict[str, Any]:
    import msgspec

    from edgeexport.artifact import load_bundle
    from edgeexport.pipeline import measure_size

    bundle = load_bundle(path)
    manifest = bundle.manifest
    return {
        "name": manifest.source["name"],
        "task": manifest.task,
        "preprocess": manifest.preprocess["kind"],
        "labels": list(manifest.labels or ()),
        "precision": manifest.precision,
        "target": manifest.target["name"],
        "float32_bytes": manifest.source["float32_bytes"],
        "signature": manifest.signature,
        "components": msgspec.to_builtins(measure_size(bundle).components),
        "notes": list(manifest.notes),
    }
