"""Show the reports of bundles again, and write them as a page."""

from __future__ import annotations

import json as json_module
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeexport.cli.export import AsJson, as_plain, exit_code, print_result

if TYPE_CHECKING:
    from edgeexport.artifact import Bundle
    from edgeexport.results import Report

Bundles = Annotated[list[Path], typer.Argument(metavar="BUNDLE…", help="Folders that `edgeexport export` wrote.")]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", metavar="FILE", help="Write an HTML page: of one bundle its report, of several a comparison."
    ),
]


def report(bundles: Bundles, output: Output = None, json: AsJson = False) -> int:
    """Show the report of each bundle's latest verification; with -o as one HTML page."""
    from edgeexport.artifact import load_bundle
    from edgeexport.results import Report

    listed = [(bundle, Report.read(bundle.report_path)) for bundle in map(load_bundle, bundles)]
    if output is not None:
        _write(output, _page(listed, output))
    if json and len(listed) > 1:
        typer.echo(json_module.dumps([as_plain(bundle.path, found) for bundle, found in listed], indent=2))
    elif json or output is None:
        for bundle, found in listed:
            print_result(bundle.path, found, json)
    else:
        typer.echo(str(output))
    return max(exit_code(found) for _, found in listed)


def write_comparison(results: Sequence[tuple[Path, Report]]) -> Path:
    """Write ``MODEL-comparison.html`` beside the bundles, over an earlier one; give its path.

    Raises:
        OutputError: it cannot be written.
    """
    from edgeexport.report import comparison

    path, first = results[0]
    output = path.parent / f"{Path(first.model).name}-comparison.html"
    _write(output, comparison.render(results, output.parent))
    return output


def _page(listed: Sequence[tuple[Bundle, Report]], output: Path) -> str:
    from edgeexport.report import comparison, html

    if len(listed) == 1:
        ((bundle, found),) = listed
        return html.render(found, bundle.manifest)
    return comparison.render([(bundle.path, found) for bundle, found in listed], output.parent)


def _write(path: Path, page: str) -> None:
    from edgeexport.disk import readable_disk_errors, write_whole

    with readable_disk_errors(path):
        write_whole(path, page.encode())
