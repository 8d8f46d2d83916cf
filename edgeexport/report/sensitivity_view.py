"""What quantizing each layer alone costs: which lose most, and all of them as tables."""

from __future__ import annotations

from markupsafe import Markup

from edgeexport.analysis import Search, Sensitivity
from edgeexport.report.grid import Column, Grid, number
from edgeexport.report.svg import element
from edgeexport.report.words import MISSING, decibels, format_value, percent

_SHOWN = 12


def costliest(search: Search, count: int) -> list[Sensitivity]:
    """The layers that lose most, each once; see :func:`by_layer`."""
    return [own for own, _ in by_layer(search) if noise(own) > 0][:count]


def by_layer(search: Search) -> list[tuple[Sensitivity, list[Sensitivity]]]:
    """Every layer, those that lose most first: in the chosen trial's precision where that was measured, else in the
    first that was, and then in the others."""
    chosen = next((trial.settings.get("precision") for trial in search.trials if trial.number == search.chosen), None)
    found: dict[str, list[Sensitivity]] = {}
    for one in sorted(search.sensitivities, key=lambda each: each.precision != chosen):
        found.setdefault(one.path, []).append(one)
    layers = [(own, others) for own, *others in found.values()]
    return sorted(layers, key=lambda each: (-noise(each[0]), -(each[0].unlike or 0)))


def tables(search: Search) -> tuple[Grid | None, Grid | None]:
    """The layers that lose most when they alone are quantized, and all others."""
    layers = by_layer(search)
    largest = max((noise(own) for own, _ in layers), default=0.0)
    precisions = list(dict.fromkeys(own.precision for own, _ in layers))
    columns = (
        Column("Layer", code=True),
        Column("Noise in the outputs"),
        Column("As"),
        number("SNR, dB"),
        number("Unlike"),
        number("Bytes"),
        number("Work"),
        Column("Otherwise"),
    )
    rows = [_layer(own, others, largest, "" if len(precisions) == 1 else own.precision) for own, others in layers]
    how = f", in {precisions[0]}" if len(precisions) == 1 else ""
    top = Grid.of(f"Layers that cost most, each quantized alone{how}", columns, rows[:_SHOWN])
    return top, Grid.of("The other layers", columns, rows[_SHOWN:])


def noise(one: Sensitivity) -> float:
    """Root of the noise's share of the signal: 20 dB is a tenth."""
    return 0.0 if one.snr_db is None else float(10 ** (-one.snr_db / 20))


def _layer(own: Sensitivity, others: list[Sensitivity], largest: float, precision: str) -> tuple[str, ...]:
    share = noise(own)
    bar = plain_bar(share / largest if largest else 0.0, f"{own.path}: noise {percent(share)} of the signal")
    return (
        own.path,
        bar + Markup(" ") + percent(share),
        precision,
        decibels(own.snr_db),
        MISSING if own.unlike is None else f"{own.unlike} of {own.samples}",
        format_value(own.bytes, "bytes"),
        percent(own.macs),
        ", ".join(f"{one.precision} {percent(noise(one))}" for one in others),
    )


def plain_bar(share: float, title: str) -> Markup:
    """A bar without a limit, as long as the share of its room."""
    return element(
        "svg",
        element("title", title),
        element("rect", x=0, y=2, width=max(share * 100, 0.6), height=8, css="bar"),
        viewBox="0 0 100 12",
        preserveAspectRatio="none",
        role="img",
        css="inline-bar",
    )
