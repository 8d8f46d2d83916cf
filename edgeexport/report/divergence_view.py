"""Where outputs part from float32's on one runtime, as a page shows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from markupsafe import Markup

from edgeexport.analysis import Divergence, LayerError
from edgeexport.report.divergences import blame, worst_read
from edgeexport.report.grid import Column, Grid, number
from edgeexport.report.layer_plot import FORMS, draw, is_apart
from edgeexport.report.words import decibels, layer_ratio, percent

_READ = 2


@dataclass(frozen=True)
class DivergenceView:
    """Where outputs part, for the template.

    Attributes:
        place: runtime, device and evidence.
        told: how much was compared, and whether a layer stands out.
        pictures: one a form.
        apart: whether they have marks of median channels.
        infinite: layers with values that are no numbers.
        worst: layers to blame, with what they read, as a table.
        layers: all of them.
    """

    place: str
    told: str
    pictures: list[Markup]
    apart: bool
    infinite: int
    worst: Grid | None
    layers: Grid | None


def views(divergences: tuple[Divergence, ...]) -> list[DivergenceView]:
    """One for each run."""
    return [_view(one, index) for index, one in enumerate(divergences)]


def _view(one: Divergence, index: int) -> DivergenceView:
    columns = (
        Column("Layer", code=True),
        Column("Operator", code=True),
        number("SNR, dB"),
        number("Median channel"),
        number("Clipped"),
        number("Lowest"),
        number("Highest"),
    )
    return DivergenceView(
        place=f"{one.runtime} on {one.device} ({one.evidence})",
        told=_told(one),
        pictures=[draw(one, f"layers-{index}", form) for form in FORMS],
        apart=any(is_apart(layer) for layer in one.layers),
        infinite=sum(not layer.finite for layer in one.layers),
        worst=Grid.of("The first layers where outputs part, each below the worst that it reads", columns, _worst(one)),
        layers=Grid.of(
            "All layers in the order of execution", columns, [_row(layer, layer.path) for layer in one.layers]
        ),
    )


def _told(one: Divergence) -> str:
    samples = max((layer.samples for layer in one.layers), default=0)
    told = f"{len(one.layers):,} layers over {samples:,} samples."
    if not one.layers:
        return "No layer could be compared with float32."
    return told if one.worst else f"{told} No single layer stands out: the loss comes about little by little."


def _worst(one: Divergence) -> Iterator[tuple[str, ...]]:
    """What each layer to blame reads, which tells what it lost itself, and then the layer with its number."""
    for place, at in enumerate(blame(one), 1):
        for before in worst_read(one, at)[:_READ]:
            yield _row(before, Markup('<span class="read">reads {}</span>').format(before.path))
        layer = one.layers[at]
        yield _row(layer, Markup("<strong>▼ {} {}</strong>").format(place, layer.path))


def _row(layer: LayerError, name: str) -> tuple[str, ...]:
    return (
        name,
        layer.operator,
        layer_ratio(layer),
        decibels(layer.channel_snr_db),
        percent(layer.clipped),
        f"{layer.low:.4g}",
        f"{layer.high:.4g}",
    )
