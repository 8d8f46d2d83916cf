"""Hold the bytes of a bundle to limits, for continuous integration: nothing is run, and no source is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeexport.cli.export import AsJson, print_result
from edgeexport.cli.quantities import parse_bytes, parse_share

if TYPE_CHECKING:
    from edgeexport.pipeline.sizing import Sized
    from edgeexport.verify.size_gate import SizeLimits


def size(
    bundle: Annotated[
        Path, typer.Argument(metavar="BUNDLE", help="A bundle, or an .onnx, .tflite or .mlpackage model.")
    ],
    max_bytes: Annotated[
        int | None,
        typer.Option(metavar="BYTES", parser=parse_bytes, help="At most so large: 25MB, 800kB, 25MiB."),
    ] = None,
    max_ratio: Annotated[
        float | None,
        typer.Option(metavar="SHARE", parser=parse_share, help="At most this share of the float32 source: .27 or 27%."),
    ] = None,
    against: Annotated[
        Path | None, typer.Option(metavar="BUNDLE", help="Another bundle or model, to compare with module by module.")
    ] = None,
    max_growth: Annotated[
        float | None,
        typer.Option(metavar="SHARE", parser=parse_share, help="At most so much larger than that: 1%; default: 0."),
    ] = None,
    junit: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write the checks as JUnit XML, for continuous integration."),
    ] = None,
    json: AsJson = False,
) -> int:
    """Check where a bundle's bytes are against limits; without any, against the bundle's own."""
    from edgeexport.errors import RecipeError
    from edgeexport.pipeline.sizing import measure_path
    from edgeexport.results import Report, overall
    from edgeexport.verify.size_gate import gate

    if max_growth is not None and against is None:
        raise RecipeError("--max-growth needs something to compare with", "Name it with --against BUNDLE.")
    found = measure_path(bundle)
    if max_ratio is not None and not found.size.source_float32_bytes:
        raise RecipeError(
            f"{bundle} is a model without its bundle, which does not tell how large its float32 source is",
            "Give the bundle, or leave --max-ratio out.",
        )
    limits = _limits(found, max_bytes, max_ratio, max_growth, against)
    checks = tuple(gate(found.size, limits, measure_path(against).size if against else None))
    report = Report(
        target=found.target,
        model=found.name,
        precision=found.precision,
        verdict=overall(checks),
        size=found.size,
        runs=(),
        checks=checks,
    )
    if junit is not None:
        from edgeexport.disk import readable_disk_errors, write_whole
        from edgeexport.report.junit import render

        with readable_disk_errors(junit):
            write_whole(junit, render(report))
    return print_result(bundle, report, json)


def _limits(
    found: Sized, most: int | None, ratio: float | None, growth: float | None, against: Path | None
) -> SizeLimits:
    """As given; the bundle's own where none is."""
    from edgeexport.verify.size_gate import SizeLimits

    given = most is not None or ratio is not None or against is not None
    own = SizeLimits(found.limits.artifact_bytes, found.limits.size_ratio)
    return SizeLimits(most, ratio, (growth or 0.0) if against else None) if given else own
