"""Where outputs part from float32's on one runtime, as a page shows it."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from edgeexport.analysis import Divergence, LayerError
from edgeexport.report.grid import Column, Grid, number
from edgeexport.report.layer_plot import FORMS, draw
from edgeexport.report.words import decibels, percent


@dataclass(frozen=True)
class DivergenceView:
    """Attributes: place; pictures, one a form; worst layers and all of them, as tables."""

    place: str
    pictures: list[Markup]
    worst: Grid | None
    layers: Grid | None


def views(divergences: tuple[Divergence, ...]) -> list[DivergenceView]:
    """One for each run."""
    return [_view(one, index) for index, one in enumerate(divergences)]


def _view(one: Divergence, index: int) -> DivergenceView:
    columns = (
        number("No."),
        Column("Layer", code=True),
        Column("Operator", code=True),
        number("SNR, dB"),
        number("Clipped"),
        number("Lowest"),
        number("Highest"),
        number("Samples"),
    )
    by_path = {layer.path: layer for layer in reversed(one.layers)}
    worst = [by_path[path] for path in one.worst if path in by_path]
    return DivergenceView(
        place=f"{one.runtime} on {one.device} ({one.evidence})",
        pictures=[draw(one, f"layers-{index}", form) for form in FORMS],
        worst=Grid.of(
            "The first layers where outputs part",
            columns,
            [_row(str(place), layer) for place, layer in enumerate(worst, 1)],
        ),
        layers=Grid.of(
            "All layers in the order of execution",
            columns,
            [_row(str(place), layer) for place, layer in enumerate(one.layers, 1)],
        ),
    )


def _row(place: str, layer: LayerError) -> tuple[str, ...]:
    return (
        place,
        layer.path,
        layer.operator,
        decibels(layer.snr_db),
        percent(layer.clipped),
        f"{layer.low:.4g}",
        f"{layer.high:.4g}",
        f"{layer.samples:,}",
    )
