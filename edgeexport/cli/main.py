"""The command line: ``edgeexport COMMAND``."""

from __future__ import annotations

import typer

from edgeexport import __version__
from edgeexport.cli import (
    demo,
    devices,
    distill,
    doctor,
    export,
    generate,
    inspect,
    lint,
    qat,
    report,
    size,
    targets,
    verify,
)
from edgeexport.cli.guard import BAD_INPUT, fail, guarded

app = typer.Typer(
    name="edgeexport",
    help="Take a trained model to the devices people own, and prove that it arrived intact.\n\n"
    "Exit codes: 0 every check passed; 1 a check failed; 2 bad input or interrupted; 3 this machine lacks something.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # rich's help takes longer to draw than everything else
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command("export", help=export.__doc__)(guarded(export.export))
app.command("verify", help=verify.__doc__)(guarded(verify.verify))
app.command("generate", help=generate.__doc__)(guarded(generate.generate))
app.command("report", help=report.report.__doc__)(guarded(report.report))
app.command("inspect", help=inspect.__doc__)(guarded(inspect.inspect))
app.command("lint", help=lint.__doc__)(guarded(lint.lint))
app.command("size", help=size.size.__doc__)(guarded(size.size))
app.command("distill", help=distill.__doc__)(guarded(distill.distill))
app.command("qat", help=qat.__doc__)(guarded(qat.qat))
app.command("targets", help=targets.__doc__)(guarded(targets.targets))
app.add_typer(devices.app, name="devices")
app.command("demo", help=demo.__doc__)(guarded(demo.demo))
app.command("doctor", help=doctor.__doc__)(guarded(doctor.doctor))


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _top(
    version: bool = typer.Option(
        False, "--version", help="Print the version and exit.", callback=_print_version, is_eager=True
    ),
) -> None:
    del version


def main() -> None:
    """Run the command line."""
    try:
        app()
    except KeyboardInterrupt:
        fail("Interrupted; nothing was left half-written.", None, BAD_INPUT)
