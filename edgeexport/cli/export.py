"""Convert a model for one or more targets, calibrate, pack a bundle and verify it."""

from __future__ import annotations

import json as json_module
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeexport.cli.guard import CHECK_FAILED
from edgeexport.settings import PRECISIONS

if TYPE_CHECKING:
    from edgeexport.results import Report

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A Transformers folder or hub id, package.module:factory, a .pt2 program or an .onnx file.",
    ),
]
TrustRemoteCode = Annotated[
    bool,
    typer.Option("--trust-remote-code", help="Let a model folder run Python code of its own when it loads."),
]
LabelPattern = Annotated[
    str | None,
    typer.Option(
        "--label-pattern",
        metavar="REGEX",
        help="For flat folders of files: a pattern with a group 'label', such as '^(?P<label>[^_]+)_'.",
    ),
]
Limit = Annotated[
    int | None,
    typer.Option("--limit", min=1, metavar="N", help="Verify on the first N samples of the evaluation set."),
]
On = Annotated[
    list[str] | None,
    typer.Option(
        "--on",
        metavar="DEVICE",
        help="Where to verify: local (default), emulated:TARGET, ssh://user@host, adb:SERIAL. Repeat for several; "
        "the first is the reference.",
    ),
]
Explain = Annotated[
    bool | None,
    typer.Option(
        "--explain/--no-explain",
        help="Say layer by layer where the model parts from float32. Default: where a parity check failed.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the report as JSON on standard output.")]


def export(
    model: Model,
    target: Annotated[
        list[str],
        typer.Option("--target", "-t", metavar="NAME", help="A target's name or .toml file. Repeat for several."),
    ],
    calibration: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Samples that set the integer ranges: .npz, .npy, .jsonl, .csv, a folder of images or of .wav files.",
        ),
    ] = None,
    evaluation: Annotated[
        Path | None, typer.Option(metavar="PATH", help="Labelled samples to verify on, in the same forms.")
    ] = None,
    train: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="Samples that the recipe's [[compress]] stages learn from, in the same forms."
        ),
    ] = None,
    label_pattern: LabelPattern = None,
    recipe: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Settings as TOML; they win over the target's.")
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(metavar="NAME", help=f"{', '.join(PRECISIONS)}; default: the target's own."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="One setting, as `edgeexport targets NAME` lists them. Repeatable.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="DIR", help="The bundle's folder; default MODEL-TARGET-PRECISION."),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            metavar="POINTS",
            min=0.0,
            help="Search for the smallest and fastest settings that lose at most so many points of the metric (0.5 is "
            "half a point; of perplexity, percent).",
        ),
    ] = None,
    max_size: Annotated[
        str | None, typer.Option(metavar="SIZE", help="With --max-drop: the model's bytes, at most, such as 25MB.")
    ] = None,
    max_latency_ratio: Annotated[
        float | None,
        typer.Option(metavar="RATIO", min=0.0, help="With --max-drop: latency over float32's, at most, such as 0.5."),
    ] = None,
    trials: Annotated[
        int,
        typer.Option(min=2, metavar="N", help="With --max-drop: models run on half of the evaluation set, at most."),
    ] = 12,
    time: Annotated[
        float | None,
        typer.Option(metavar="MINUTES", min=0.0, help="With --max-drop: begin nothing new after so many minutes."),
    ] = None,
    sensitivity: Annotated[
        bool,
        typer.Option(
            "--sensitivity", help="With --max-drop: measure every layer's, even where all of them may be quantized."
        ),
    ] = False,
    on: On = None,
    limit: Limit = None,
    explain: Explain = None,
    verify: Annotated[
        bool,
        typer.Option("--verify/--no-verify", help="Run the bundle and check it against the target's limits."),
    ] = True,
    cache: Annotated[
        bool, typer.Option("--cache/--no-cache", help="Use what earlier exports of the same inputs left.")
    ] = True,
    trust_remote_code: TrustRemoteCode = False,
    json: AsJson = False,
) -> int:
    """Parse, export to each target, show."""
    from edgeexport.recipe import parse_assignments

    flags = parse_assignments(settings or [])
    if precision is not None:
        flags["precision"] = precision
    _check_arguments(target, recipe, flags, output)
    from edgeexport.cli import show
    from edgeexport.errors import RecipeError
    from edgeexport.pipeline import Request, SearchOptions, budget_of, run_export
    from edgeexport.source import SourceOptions

    budget = budget_of(max_drop, None if max_size is None else parse_bytes(max_size), max_latency_ratio)
    if budget is None and (time is not None or sensitivity):
        idle = "--sensitivity" if time is None else "--time"
        raise RecipeError(
            f"{idle} is of a search for settings, which --max-drop begins", "Add --max-drop, or leave it out."
        )
    options = SearchOptions(trials, None if time is None else 60 * time, sensitivity)
    statuses, listed, verified = [], [], []
    for name in target:
        request = Request(
            model=model,
            target=name,
            calibration=calibration,
            evaluation=evaluation,
            train=train,
            label_pattern=label_pattern,
            recipe=recipe,
            flags=flags,
            output=output,
            options=SourceOptions(trust_remote_code=trust_remote_code),
            use_cache=cache,
        )
        devices = tuple(on or ("local",))
        bundle, report = run_export(
            request,
            show.progress(),
            verify=verify,
            devices=devices,
            limit=limit,
            budget=budget,
            options=options,
            explain=explain,
        )
        if report is not None:
            verified.append((bundle.path, report))
        if json and len(target) > 1:
            listed.append(as_plain(bundle.path, report))
            statuses.append(exit_code(report))
        else:
            statuses.append(print_result(bundle.path, report, json))
    if listed:
        typer.echo(json_module.dumps(listed, indent=2))
    if len(verified) > 1:
        from edgeexport.cli.report import write_comparison

        page = write_comparison(verified)
        typer.echo(f"comparison: {page}", err=json)
    return max(statuses)


def _check_arguments(targets: list[str], recipe: Path | None, flags: Mapping[str, Any], output: Path | None) -> None:
    """Refuse what shows without the model, for every target before the first is exported. Loads nothing heavy."""
    from edgeexport.errors import OutputError, TargetError
    from edgeexport.recipe import read_recipe, resolve
    from edgeexport.target import load_target

    if output is not None and len(targets) > 1:
        raise OutputError(
            f"--output {output} is one folder, and there are {len(targets)} targets",
            "Leave it out: each bundle then has a folder of its own.",
        )
    table = None if recipe is None else read_recipe(recipe)
    names = set()
    for each in targets:
        target = load_target(each)
        resolve(target, table, str(recipe or ""), flags)
        if target.name in names:
            raise TargetError(f"the target '{target.name}' is given twice, and would overwrite its own bundle")
        names.add(target.name)


def parse_bytes(text: str) -> int:
    """``25MB``, ``300 kB`` or ``1.5 MiB`` as bytes.

    Raises:
        RecipeError: it is none of them.
    """
    from edgeexport.errors import RecipeError

    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kKMG]?)(i?)B?\s*", text)
    count = 0
    if found is not None and not (found[3] and not found[2]):
        power = " kMG".index(found[2].lower() if found[2] in "kK" else found[2] or " ")
        count = round(float(found[1]) * (1024 if found[3] else 1000) ** power)
    if not count:
        raise RecipeError(f"{text!r} is no size", "Write bytes, kB, MB or MiB: 25MB.")
    return count


def print_result(path: Path, report: Report | None, as_json: bool) -> int:
    """Show a report, or say where the bundle is; give the exit code."""
    if as_json:
        typer.echo(json_module.dumps(as_plain(path, report), indent=2))
    elif report is None:
        typer.echo(str(path))
    else:
        from edgeexport.cli import show
        from edgeexport.report import table

        console = show.console()
        console.print(table.render(report))
        console.print(f"bundle: {path}", highlight=False, markup=False, soft_wrap=True)
    return exit_code(report)


def as_plain(path: Path, report: Report | None) -> dict[str, Any]:
    """What ``--json`` prints of one bundle."""
    return {"bundle": str(path), **(report.to_dict() if report else {})}


def exit_code(report: Report | None) -> int:
    """1 where a check failed."""
    return CHECK_FAILED if report is not None and report.verdict == "fail" else 0
