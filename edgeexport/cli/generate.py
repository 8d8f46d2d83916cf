"""Go on with a text by a language model's bundle, here or on a device."""

from __future__ import annotations

import dataclasses
import json as json_module
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer


def generate(
    bundle: Annotated[
        Path, typer.Argument(metavar="BUNDLE", help="A language model's, that `edgeexport export` wrote.")
    ],
    prompt: Annotated[
        list[str], typer.Option("--prompt", "-p", metavar="TEXT", help="What to go on from. Repeat for several texts.")
    ],
    on: Annotated[
        str, typer.Option("--on", metavar="DEVICE", help="local, emulated:TARGET, ssh://user@host or adb:SERIAL.")
    ] = "local",
    max_tokens: Annotated[int, typer.Option(min=1, metavar="N", help="New tokens at most.")] = 64,
    temperature: Annotated[
        float, typer.Option(min=0, metavar="T", help="0 takes the likeliest token; higher is more surprising.")
    ] = 0.0,
    top_k: Annotated[int, typer.Option(min=0, metavar="K", help="Draw from the K likeliest tokens; 0 is all.")] = 0,
    top_p: Annotated[
        float, typer.Option(min=0, max=1, metavar="P", help="Draw from the likeliest tokens of this share together.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(min=0, metavar="N", help="Of the draw.")] = 0,
    stop: Annotated[
        list[str] | None,
        typer.Option(metavar="TOKEN", help="A token that ends the text, beside the model's own. Repeatable."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print tokens and milliseconds as JSON, nothing else.")] = False,
) -> int:
    """Parse, generate, show."""
    from edgeexport.pipeline.generating import Sampling, run_generate

    sampling = Sampling(
        count=max_tokens, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed, stop=tuple(stop or ())
    )
    if json:
        found = run_generate(bundle, prompt, sampling, device=on)
        typer.echo(json_module.dumps([dataclasses.asdict(one) for one in found], indent=2))
        return 0
    for text in prompt:
        (one,) = run_generate(bundle, [text], sampling, device=on, heard=_after(text))
        typer.echo()
        first = "" if one.prompt_ms is None else f" in {one.prompt_ms:.1f} ms"
        later = f", {statistics.median(one.token_ms):.2f} ms a token" if one.token_ms else ""
        typer.echo(
            f"{len(one.tokens)} tokens, ended by {one.ended}: {one.prompt_tokens} of the prompt{first}{later}, "
            f"{one.runtime} on {one.device}",
            err=True,
        )
    return 0


def _after(prompt: str) -> Callable[[str], None]:
    """Prints pieces of text as they come, behind the prompt once the first is there."""
    told: list[str] = []

    def tell(piece: str) -> None:
        typer.echo(piece if told else prompt + piece, nl=False)
        told.append(piece)

    return tell
