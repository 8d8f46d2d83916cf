"""Verify a bundle again, on this machine or another device, and write its report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeexport.cli.export import AsJson, Explain, LabelPattern, Limit, On, print_result

BundlePath = Annotated[Path, typer.Argument(metavar="BUNDLE", help="A folder that `edgeexport export` wrote.")]


def verify(
    bundle: BundlePath,
    on: On = None,
    evaluation: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Labelled samples; default: the golden samples in the bundle."),
    ] = None,
    label_pattern: LabelPattern = None,
    limit: Limit = None,
    explain: Explain = None,
    float32: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The float32 model of the same format, to time against in turn."),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="An earlier report.json: what got worse since then is a failed check."),
    ] = None,
    junit: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write the checks as JUnit XML, for continuous integration."),
    ] = None,
    json: AsJson = False,
) -> int:
    """Parse, verify, show."""
    from edgeexport.cli import show
    from edgeexport.pipeline import run_verify
    from edgeexport.results import Report
    from edgeexport.samples import open_samples

    earlier = None if against is None else Report.read(against)
    samples = None if evaluation is None else open_samples(evaluation, label_pattern)
    devices = tuple(on or ("local",))
    checked, report = run_verify(
        bundle,
        samples,
        show.progress(),
        devices=devices,
        limit=limit,
        float32=float32,
        earlier=earlier,
        explain=explain,
    )
    if junit is not None:
        from edgeexport.disk import readable_disk_errors, write_whole
        from edgeexport.report.junit import render

        with readable_disk_errors(junit):
            write_whole(junit, render(report))
    return print_result(checked.path, report, json)
