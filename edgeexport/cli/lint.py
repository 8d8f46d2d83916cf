"""Say what is odd about a calibration set, before anything is quantized by it; exit 1 where an error was found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeexport.cli.export import LabelPattern, Model, TrustRemoteCode
from edgeexport.cli.guard import CHECK_FAILED

if TYPE_CHECKING:
    from edgeexport.analysis import LintFinding


def lint(
    model: Model,
    calibration: Annotated[
        Path,
        typer.Option(metavar="PATH", help="The set: .npz, .npy, .jsonl, .csv, a folder of images or of .wav files."),
    ],
    evaluation: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Samples as the model will meet them, to compare with.")
    ] = None,
    target: Annotated[
        str,
        typer.Option(
            "--target", "-t", metavar="NAME", help="Whose settings count, such as the least number of samples."
        ),
    ] = "desktop-x86",
    label_pattern: LabelPattern = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help='One setting, such as calibration.ignore=["few-samples"].'),
    ] = None,
    trust_remote_code: TrustRemoteCode = False,
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON on standard output.")] = False,
) -> int:
    """Parse, look, show."""
    from edgeexport.recipe import parse_assignments, resolve
    from edgeexport.target import load_target

    flags = parse_assignments(settings or [])
    resolve(load_target(target), flags=flags)  # which answers at once
    from edgeexport.cli import show
    from edgeexport.pipeline import LintRequest, run_lint
    from edgeexport.source import SourceOptions

    request = LintRequest(
        model=model,
        calibration=calibration,
        evaluation=evaluation,
        target=target,
        label_pattern=label_pattern,
        options=SourceOptions(trust_remote_code=trust_remote_code),
    )
    found = run_lint(request, flags, show.progress())
    _print(found, calibration, json)
    return CHECK_FAILED if any(one.level == "error" for one in found) else 0


def _print(found: tuple[LintFinding, ...], calibration: Path, as_json: bool) -> None:
    import json

    import msgspec

    if as_json:
        plain = {"calibration": str(calibration), "findings": msgspec.to_builtins(found)}
        typer.echo(json.dumps(plain, indent=2))
    elif found:
        from edgeexport.cli import show
        from edgeexport.report import explain

        show.console().print(explain.lint_table(found))
    else:
        typer.echo(f"{calibration}: no rule found anything")
