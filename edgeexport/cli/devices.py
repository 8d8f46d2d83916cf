"""Where bundles can be verified."""

from __future__ import annotations

from typing import Annotated

import typer

from edgeexport.cli.guard import guarded

app = typer.Typer(help="List the devices that are ready, or create an emulated one.", rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def devices(context: typer.Context) -> None:
    """List the devices that are ready, or create an emulated one."""
    if context.invoked_subcommand is None:
        guarded(_list)()


def _list() -> int:
    from edgeexport import discover
    from edgeexport.pipeline import open_device

    for kind in discover.names("edgeexport.devices"):
        module = discover.load("edgeexport.devices", kind)
        for name in module.list_devices() if module is not None else ():
            about = open_device(name).describe()
            typer.echo(f"{about.name:28}  {about.evidence:9}  {about.machine:8}  {about.cpu}")
    typer.echo("\n`edgeexport devices create TARGET` builds the emulated board of a target.")
    return 0


def _create(target: Annotated[str, typer.Argument(metavar="TARGET", help="Such as raspberry-pi-4.")]) -> int:
    from edgeexport.devices import emulated

    emulated.create(target.removeprefix("emulated:"), typer.echo)
    return 0


app.command("create", help="Build the emulated board of a target, in about a minute and 200 MB of your cache.")(
    guarded(_create)
)
