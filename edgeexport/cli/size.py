"""Hold the bytes of a bundle to limits, for continuous integration: nothing is run, and no source is loaded."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeexport.cli.export import AsJson, parse_bytes, print_result

if TYPE_CHECKING:
    from edgeexport.pipeline.sizing import Sized
    from edgeexport.verify.size_gate import SizeLimits


def size(
    bundle: Annotated[
        Path, typer.Argument(metavar="BUNDLE", help="A bundle, or an .onnx, .tflite or .mlpackage model.")
    ],
    max_bytes: Annotated[
        str | None,
        typer.Option(metavar="BYTES", help="At most so large: 25MB, 800kB, 25MiB."),
    ] = None,
    max_ratio: Annotated[
        str | None,
        typer.Option(metavar="SHARE", help="At most this share of the float32 source: .27 or 27%."),
    ] = None,
    against: Annotated[
        Path | None, typer.Option(metavar="BUNDLE", help="Another bundle or model, to compare with module by module.")
    ] = None,
    max_growth: Annotated[
        str | None,
        typer.Option(metavar="SHARE", help="At most so much larger than that: 1%; default: 0."),
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
    most = None if max_bytes is None else parse_bytes(max_bytes)
    ratio, growth = (None if text is None else parse_share(text) for text in (max_ratio, max_growth))
    limits = _limits(found, most, ratio, growth, against)
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


def parse_share(text: str) -> float:
    """``1%`` or ``0.01`` as a share of one.

    Raises:
        RecipeError: it is neither.
    """
    from edgeexport.errors import RecipeError

    found = re.fullmatch(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(%?)\s*", text)
    if found is None:
        raise RecipeError(f"{text!r} is no share", "Write 1% or 0.01.")
    return float(found[1]) / (100 if found[2] else 1)


def _limits(
    found: Sized, most: int | None, ratio: float | None, growth: float | None, against: Path | None
) -> SizeLimits:
    """As given; the bundle's own where none is."""
    from edgeexport.verify.size_gate import SizeLimits

    given = most is not None or ratio is not None or against is not None
    own = SizeLimits(found.limits.artifact_bytes, found.limits.size_ratio)
    return SizeLimits(most, ratio, (growth or 0.0) if against else None) if given else own
