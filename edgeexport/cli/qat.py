"""Train a model on with its target's integer rounding in the forward, and write it as a model folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from edgeexport.cli.distill import AsJson, Cached, Evaluation, Output, StageRecipe, Train, print_record, stage_table
from edgeexport.cli.export import LabelPattern, Model, TrustRemoteCode

_STATIC = "w8a8"


def qat(
    model: Model,
    target: Annotated[
        str, typer.Option("--target", "-t", metavar="NAME", help="A target's name or .toml file, whose rounding it is.")
    ],
    train: Train,
    calibration: Annotated[
        Path, typer.Option(metavar="PATH", help="Samples that set the integer ranges: those that the export takes.")
    ],
    output: Output,
    evaluation: Evaluation = None,
    teacher: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Whose scores are learned; default: the model's own in float32."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="One setting of the training, such as training.epochs=2, or of the target. Repeatable.",
        ),
    ] = None,
    recipe: StageRecipe = None,
    label_pattern: LabelPattern = None,
    cache: Cached = True,
    trust_remote_code: TrustRemoteCode = False,
    json: AsJson = False,
) -> int:
    """Parse, train, show. Export the result for the same target with the same recipe and calibration set."""
    own, flags = _parted(settings or [])
    flags.setdefault("precision", _STATIC)
    given = own if teacher is None else {**own, "teacher": teacher}
    table = stage_table("qat", recipe, None, given, needed=False)
    from edgeexport.recipe import read_recipe, resolve
    from edgeexport.target import load_target

    profile = load_target(target)
    whole = None if recipe is None else read_recipe(recipe)
    resolved = resolve(profile, whole, str(recipe or ""), flags)
    from edgeexport.pipeline import StageRequest, compress
    from edgeexport.pipeline.compressing import Sets, helps, stage_from
    from edgeexport.progress import Progress
    from edgeexport.samples import open_samples
    from edgeexport.source import SourceOptions

    request = StageRequest(
        model=model,
        stage=stage_from("qat", table),
        sets=Sets(
            train=open_samples(train, label_pattern),
            calibration=open_samples(calibration, label_pattern),
            evaluation=None if evaluation is None else open_samples(evaluation, label_pattern),
        ),
        output=output,
        options=SourceOptions(trust_remote_code=trust_remote_code),
        settings=resolved.settings,
        format=profile.format,
    )
    from edgeexport.cli import show

    record = compress(request, Progress() if helps() else show.progress(), use_cache=cache)
    if record is not None:
        print_record(record, output, json)
    return 0


def _parted(assignments: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of the stage, and of the target."""
    from edgeexport.recipe import parse_assignments
    from edgeexport.stages import Qat

    both: Mapping[str, Any] = parse_assignments(assignments)
    own = set(Qat.__struct_fields__)
    return (
        {key: value for key, value in both.items() if key in own},
        {key: value for key, value in both.items() if key not in own},
    )
