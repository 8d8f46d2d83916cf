"""Teach a smaller model what a larger one gives, and write it as a model folder.

On several GPUs: accelerate launch -m edgeexport distill TEACHER …
"""

from __future__ import annotations

import json as json_module
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeexport.cli.export import LabelPattern, TrustRemoteCode

if TYPE_CHECKING:
    from edgeexport.pipeline.compressing import Record

Train = Annotated[
    Path,
    typer.Option("--train", metavar="PATH", help="Samples to learn from: .jsonl, .csv, .npz, a folder of images."),
]
Evaluation = Annotated[
    Path | None,
    typer.Option("--evaluation", metavar="PATH", help="Labelled samples that only score, in the same forms."),
]
Output = Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="The new model's folder.")]
Assignments = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="One setting of the stage, such as training.epochs=5. Repeatable."),
]
StageRecipe = Annotated[
    Path | None,
    typer.Option("--recipe", metavar="FILE", help="A recipe whose [[compress]] table has the stage's settings."),
]
Cached = Annotated[
    bool, typer.Option("--cache/--no-cache", help="Use what earlier runs of the same inputs left, finished or not.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print what happened as JSON on standard output.")]


def distill(
    teacher: Annotated[
        str, typer.Argument(metavar="TEACHER", help="A Transformers folder or hub id, or package.module:factory.")
    ],
    train: Train,
    output: Output,
    evaluation: Evaluation = None,
    layers: Annotated[
        str | None,
        typer.Option(metavar="N|A,B,C", help="How many of the teacher's layers the student has, or which, from 0."),
    ] = None,
    width: Annotated[
        float | None, typer.Option(metavar="SHARE", help="Of the teacher's hidden size, heads and feed-forward size.")
    ] = None,
    student: Annotated[
        str | None, typer.Option(metavar="MODEL", help="A student of your own: a folder, hub id or factory.")
    ] = None,
    settings: Assignments = None,
    recipe: StageRecipe = None,
    label_pattern: LabelPattern = None,
    cache: Cached = True,
    trust_remote_code: TrustRemoteCode = False,
    json: AsJson = False,
) -> int:
    """Parse, teach, show."""
    given: dict[str, Any] = {}
    if layers is not None:
        given["layers"] = parse_layers(layers)
    if width is not None:
        given["width"] = width
    if student is not None:
        given["student"] = student
    table = stage_table("distill", recipe, settings, given)
    from edgeexport.pipeline import StageRequest, compress
    from edgeexport.pipeline.compressing import Sets, helps, stage_from
    from edgeexport.progress import Progress
    from edgeexport.samples import open_samples
    from edgeexport.source import SourceOptions

    stage = stage_from("distill", table)
    sets = Sets(
        train=open_samples(train, label_pattern),
        evaluation=None if evaluation is None else open_samples(evaluation, label_pattern),
    )
    options = SourceOptions(trust_remote_code=trust_remote_code)
    request = StageRequest(model=teacher, stage=stage, sets=sets, output=output, options=options)
    from edgeexport.cli import show

    record = compress(request, Progress() if helps() else show.progress(), use_cache=cache)
    if record is not None:
        print_record(record, output, json)
    return 0


def parse_layers(text: str) -> int | list[int]:
    """``3`` or ``0,2,5``.

    Raises:
        RecipeError: neither.
    """
    from edgeexport.errors import RecipeError

    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise RecipeError(f"--layers {text!r} is neither a number nor numbers", "For example: --layers 3, or 0,2,5.")
    numbers = [int(part) for part in parts]
    return numbers if "," in text else numbers[0]


def stage_table(
    method: str, recipe: Path | None, assignments: list[str] | None, given: Mapping[str, Any], needed: bool = True
) -> dict[str, Any]:
    """A stage's settings: the recipe's, then ``--set``, then options of their own.

    Args:
        method: the stage's.
        recipe: a recipe file, or None.
        assignments: of ``--set``.
        given: by options of their own.
        needed: whether a recipe must have such a stage.

    Raises:
        RecipeError: the recipe has no such stage and one is needed, or it has several.
    """
    from edgeexport.errors import RecipeError
    from edgeexport.merge import merge
    from edgeexport.recipe import parse_assignments, read_recipe

    table: dict[str, Any] = {}
    if recipe is not None:
        stages = read_recipe(recipe).get("compress", [])
        found = [one for one in stages if isinstance(one, dict) and one.get("method") == method]
        if len(found) > 1 or (needed and not found):
            raise RecipeError(
                f"{recipe} has {len(found) or 'no'} [[compress]] tables of the method {method}",
                "`edgeexport export --recipe` runs all stages of a recipe.",
            )
        table = {key: value for one in found for key, value in one.items() if key != "method"}
    return merge(merge(table, parse_assignments(assignments or [])), given)


def print_record(record: Record, output: Path, as_json: bool) -> None:
    """Show what a stage did."""
    if as_json:
        typer.echo(json_module.dumps({"model": str(output), **record.to_dict()}, indent=2))
    else:
        typer.echo(record.facts["summary"])
        typer.echo(f"model: {output}")
        typer.echo(f"\nNext: edgeexport export {output} --target NAME --calibration FILE --evaluation FILE")
