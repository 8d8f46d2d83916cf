"""Where bundles can be verified."""

from __future__ import annotations

from typing import Annotated

import typer

from edgeexport.cli.guard import guarded

app = typer.Typer(
    help="List the devices and runtimes that are ready, or create what is lacking.", rich_markup_mode=None
)


@app.callback(invoke_without_command=True)
def devices(context: typer.Context) -> None:
    """List the devices and runtimes that are ready, or create what is lacking."""
    if context.invoked_subcommand is None:
        guarded(_list)()


def _list() -> int:
    from edgeexport import discover
    from edgeexport.devices import emulated, local
    from edgeexport.pipeline import open_device

    for kind in discover.names("edgeexport.devices"):
        module = discover.load("edgeexport.devices", kind)
        for name in module.list_devices() if module is not None else ():
            about = open_device(name).describe()
            typer.echo(f"{about.name:30}  {about.evidence:9}  {about.machine:8}  {about.cpu}")
    for name, hint in emulated.boards().items():
        if hint:
            typer.echo(f"{name:30}  missing: {hint}")
    typer.echo("\nRuntimes on this machine:")
    for runtime, state in local.runtimes().items():
        typer.echo(f"{runtime:30}  {state}")
    typer.echo(
        "\n`edgeexport devices create TARGET` builds the emulated board of a target, "
        "`create local:RUNTIME` the environment that a runtime needs of its own."
    )
    return 0


def _create(
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="Such as raspberry-pi-4 or local:tflite-runtime.")],
    runtime: Annotated[str, typer.Option(help="For an emulated board: one that its target does not name.")] = "",
) -> int:
    from edgeexport import discover
    from edgeexport.errors import DeviceError

    kind, colon, argument = device.partition(":")
    if not colon or "/" in kind:  # a target's name or path
        kind, argument = "emulated", device
    module = discover.load("edgeexport.devices", kind)
    if module is None or not hasattr(module, "create"):
        raise DeviceError(f"'{device}' is nothing that can be created", "Name a target, or local:RUNTIME.")
    module.create(argument, typer.echo, runtime=runtime)
    return 0


app.command("create", help="Build a target's emulated board (a minute, 200 MB) or a runtime's own environment.")(
    guarded(_create)
)
