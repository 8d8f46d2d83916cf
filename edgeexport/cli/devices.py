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
    from edgeexport.devices import browser, emulated, local
    from edgeexport.pipeline import open_device

    for kind in discover.names("edgeexport.devices"):
        module = discover.load("edgeexport.devices", kind)
        for name in module.list_devices() if module is not None else ():
            about = open_device(name).describe()
            typer.echo(f"{about.name:30}  {about.evidence:9}  {about.machine:8}  {about.cpu}")
    for name, hint in {**browser.state(), **emulated.boards()}.items():
        if hint:
            typer.echo(f"{name:30}  missing: {hint}")
    typer.echo("\nRuntimes on this machine:")
    for runtime, state in local.runtimes().items():
        typer.echo(f"{runtime:30}  {state}")
    typer.echo(
        "\n`edgeexport devices create TARGET` builds the emulated board of a target, "
        "`create local:RUNTIME` the environment that a runtime needs of its own, `create browser` what a browser runs."
    )
    return 0


def _create(
    device: Annotated[
        str, typer.Argument(metavar="DEVICE", help="Such as raspberry-pi-4, local:tflite-runtime, browser.")
    ],
    runtime: Annotated[str, typer.Option(help="For an emulated board: one that its target does not name.")] = "",
) -> int:
    from edgeexport import discover
    from edgeexport.errors import DeviceError

    kind, colon, argument = device.partition(":")
    if (not colon and kind != "browser") or "/" in kind:  # a target's name or path
        kind, argument = "emulated", device
    module = discover.load("edgeexport.devices", kind)
    if module is None or not hasattr(module, "create"):
        raise DeviceError(f"'{device}' is nothing that can be created", "Name a target, local:RUNTIME or browser.")
    module.create(argument, typer.echo, runtime=runtime)
    return 0


app.command("create", help="Build a target's emulated board (a minute, 200 MB) or a runtime's own environment.")(
    guarded(_create)
)


def _check(
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="Such as ssh://pi@board, adb:SERIAL or local.")],
    runtime: Annotated[str, typer.Option(help="Only this one; default: all that run on boards.")] = "",
) -> int:
    from edgeexport.errors import MissingRequirement
    from edgeexport.pipeline import open_device
    from edgeexport.runtime_names import module_of, needs_of, runtime_modules

    modules = runtime_modules()
    boards = [name for name, module in modules.items() if (needs := needs_of(module)) is not None and needs.boards]
    asked = [runtime] if runtime else boards
    for name in asked:
        module_of(name)
    opened = open_device(device)
    lacking = 0
    try:
        about = opened.describe()
        typer.echo(f"{about.name}  {about.machine}  {about.cpu}")
        for name in asked:
            try:
                opened.check(modules[name])
                typer.echo(f"{name:30}  ready")
            except MissingRequirement as missing:
                lacking += 1
                typer.echo(f"{name:30}  {missing.what}\n{'':30}  {missing.hint or ''}")
    finally:
        opened.close()
    return MissingRequirement.exit_code if lacking == len(asked) else 0


def _prepare(
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="Such as ssh://pi@board or adb:SERIAL.")],
    runtime: Annotated[str, typer.Option(help="Which it is to run.")] = "onnxruntime",
) -> int:
    from edgeexport.errors import DeviceError
    from edgeexport.pipeline import open_device
    from edgeexport.runtime_names import module_of

    module = module_of(runtime)
    opened = open_device(device)
    try:
        if not hasattr(opened, "prepare"):
            raise DeviceError(f"'{device}' is no board", "`edgeexport devices create` provides what others lack.")
        opened.prepare(module, typer.echo)
    finally:
        opened.close()
    return 0


app.command("check", help="Say what a device lacks and the command that provides it; nothing is installed.")(
    guarded(_check)
)
app.command("prepare", help="Copy a runtime to a board that has Python and no internet.")(guarded(_prepare))
