"""Where layers part from float32, as a table for a terminal: the layers to blame and what they read."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from edgeexport.analysis import Divergence, LayerError
from edgeexport.report.words import decibels, layer_ratio, percent

_MOST, _READ = 5, 3
_EXACT = 200.0


def render(divergence: Divergence) -> Iterator[RenderableType]:
    """A sentence, and a table where a layer is to blame.

    Each layer to blame follows the worst of those that it reads: the loss is the step from their ratio to its own.
    """
    place = f"{divergence.runtime} on {divergence.device}, {divergence.evidence}"
    if not divergence.layers:
        yield Text(f"{place}: no layer could be compared with float32")
        return
    samples = max(layer.samples for layer in divergence.layers)
    blamed = blame(divergence)
    if not blamed:
        yield Text(f"{place}: no single layer is to blame ({len(divergence.layers)} layers, {samples} samples)")
        return
    title = f"Where it parts from float32: {place}, {len(divergence.layers)} layers, {samples} samples"
    table = Table(title=Text(title), title_justify="left")
    table.add_column("Layer", overflow="fold")
    table.add_column("Operator")
    for heading in ("SNR dB", "Median channel", "Clipped", "float32 range"):
        table.add_column(heading, justify="right")
    for number in blamed[:_MOST]:
        layer = divergence.layers[number]
        for before in worst_read(divergence, number)[:_READ]:
            _add(table, before, "  reads ", "dim")
        _add(table, layer, "", "bold")
        table.add_section()
    yield table
    if len(blamed) > _MOST:
        yield Text(f"and {len(blamed) - _MOST} later layers, which are in the report")


def blame(divergence: Divergence) -> list[int]:
    """The places of the layers to blame, in order: of those with a path in ``worst``, the one that loses most."""
    found = []
    for path in divergence.worst:
        same = [number for number, layer in enumerate(divergence.layers) if layer.path == path]
        if same:
            found.append(max(same, key=lambda number: _loss(divergence, number)))
    return found


def worst_read(divergence: Divergence, number: int) -> list[LayerError]:
    """The layers that one reads, those that lost most first."""
    return sorted((divergence.layers[place] for place in divergence.layers[number].reads), key=_decibels)


def _loss(divergence: Divergence, number: int) -> float:
    """The share of noise that a layer has more than the worst that it reads."""
    layer = divergence.layers[number]
    return _share(layer) - max((_share(divergence.layers[place]) for place in layer.reads), default=0.0)


def _share(layer: LayerError) -> float:
    return 1 / (1 + 10 ** (_decibels(layer) / 10))


def _decibels(layer: LayerError) -> float:
    if not layer.finite:
        return -_EXACT
    known = [ratio for ratio in (layer.snr_db, layer.channel_snr_db) if ratio is not None]
    return min(known, default=_EXACT)


def _add(table: Table, layer: LayerError, before: str, style: str) -> None:
    table.add_row(
        Text(f"{before}{layer.path}", style),
        Text(layer.operator, style),
        Text(layer_ratio(layer), style),
        Text(decibels(layer.channel_snr_db), style),
        Text(percent(layer.clipped), style),
        Text(f"{layer.low:.3g} … {layer.high:.3g}", style),
    )
