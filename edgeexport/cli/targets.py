"""List the targets, or show every rule of one and where it is documented."""

from __future__ import annotations

from typing import Annotated

import typer


def targets(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A target's name, or the path of a .toml file.")
    ] = None,
) -> int:
    """Parse, read, print. Plain text: this answers before rich could be imported."""
    from edgeexport.recipe import resolve
    from edgeexport.target import load_target, shipped_targets

    if name is None:
        titles = shipped_targets()
        width = max(map(len, titles), default=0)
        for each, title in titles.items():
            typer.echo(f"{each:{width}}  {title}")
        typer.echo("\n`edgeexport targets NAME` shows a target's rules; --target takes a .toml file of yours as well.")
        return 0
    target = load_target(name)
    for precision in target.precisions:
        resolve(target, flags={"precision": precision})  # refuses an unknown rule
    typer.echo(f"{target.name}: {target.title}\nformat {target.format}, processor {target.machine}\n")
    for key, (value, documented) in target.rules().items():
        typer.echo(f"{key} = {value}")
        if documented:
            typer.echo(f"    {documented}")
    return 0
