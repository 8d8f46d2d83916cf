"""Signal to noise of every layer in the order of execution, as inline SVG, the places marked where outputs part."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from edgeexport.analysis import Divergence, LayerError
from edgeexport.report.divergences import blame
from edgeexport.report.svg import Box, drawing, element, text_width, ticks
from edgeexport.report.words import decibels, layer_ratio, percent

FORMS = {"wide": (1040.0, 330.0), "narrow": (324.0, 300.0)}
_LEFT, _RIGHT, _TOP, _BOTTOM = 40.0, 10.0, 40.0, 66.0
_CLIPPED = 26.0
_FONT = 12.0
_MOST = 90.0
"""Decibels that a bar shows at most: what lies above is float32's own rounding, and would press the others down."""
_APART = 6.0
_TELLING = 0.01
"""Of a layer's values; less than that clipped explains no loss, and is not drawn as if it did."""


@dataclass(frozen=True)
class _Frame:
    """Where layers and figures are on the drawing."""

    width: float
    height: float
    step: float
    low: float
    high: float

    @property
    def bottom(self) -> float:
        return self.height - _BOTTOM

    def across(self, index: int) -> float:
        return _LEFT + (index + 0.5) * self.step

    def up(self, value: float) -> float:
        return self.bottom - (value - self.low) / (self.high - self.low) * (self.bottom - _TOP)


def draw(divergence: Divergence, identity: str, form: str) -> Markup:
    """The picture in one of the :data:`FORMS`: a bar a layer, below it one for what was clipped.

    A layer without a figure has no bar. Those to blame have a triangle and their place among them.
    """
    width, height = FORMS[form]
    known = [value for layer in divergence.layers for value in _figures(layer)]
    frame = _Frame(
        width,
        height,
        (width - _LEFT - _RIGHT) / max(len(divergence.layers), 1),
        min([0.0, *known]),
        min(max([10.0, *known]) * 1.05, _MOST),
    )
    blamed = blame(divergence)
    told = ", ".join(divergence.worst) or "no layer"
    return drawing(
        f"{identity}-{form}",
        width,
        height,
        f"Signal to noise by layer, {divergence.runtime} on {divergence.device}",
        f"{len(divergence.layers)} layers in the order of execution. Outputs part first at {told}.",
        *_scale(frame),
        *(_bar(frame, index, layer, index in blamed) for index, layer in enumerate(divergence.layers)),
        *_clipping(frame, divergence.layers),
        *_worst(frame, divergence, blamed),
        css=f"plot {form}",
    )


def _scale(frame: _Frame) -> list[Markup]:
    right = frame.width - _RIGHT
    shapes = [element("text", "dB signal to noise, more is better", x=4, y=12, css="label")]
    for value in ticks(frame.low, frame.high, 5):
        y = frame.up(value)
        css = "axis" if value == 0 else "grid"
        shapes.append(element("line", x1=_LEFT, x2=right, y1=y, y2=y, css=css))
        shapes.append(element("text", f"{value:g}", x=_LEFT - 6, y=y + 4, text_anchor="end", css="label muted"))
    words = "in order →" if frame.width < 500 else "layers in the order of execution →"
    shapes.append(element("text", words, x=right, y=frame.height - 6, text_anchor="end", css="label muted"))
    return shapes


def _figures(layer: LayerError) -> list[float]:
    """What is drawn of a layer."""
    known = [layer.snr_db, layer.channel_snr_db if is_apart(layer) else None]
    return [] if not layer.finite else [value for value in known if value is not None]


def is_apart(layer: LayerError) -> bool:
    """Whether the median channel says more than all values: it is half the signal to noise of theirs, or less."""
    both = layer.snr_db, layer.channel_snr_db
    return layer.finite and both[0] is not None and both[1] is not None and both[0] - both[1] >= _APART


def _bar(frame: _Frame, index: int, layer: LayerError, blamed: bool) -> Markup:
    """A bar, a line across it at the median channel where that is far below, a cross for what is not finite."""
    across, thick = frame.across(index), max(frame.step * 0.72, 0.7)
    title = f"{layer.path} ({layer.operator}): {layer_ratio(layer)}{'' if layer.snr_db is None else ' dB'}"
    if not layer.finite:
        reach = min(max(thick / 2, 3.0), 5.0)
        x, y = across - reach, frame.up(0.0) - 2 * reach
        cross = f"M{x:.1f} {y:.1f}l{2 * reach:.1f} {2 * reach:.1f}m0 {-2 * reach:.1f}l{-2 * reach:.1f} {2 * reach:.1f}"
        return element("g", element("title", title), element("path", d=cross, css="mark failed"))
    if layer.snr_db is None:
        return Markup("")
    top, zero = sorted((frame.up(min(layer.snr_db, frame.high)), frame.up(0.0)))
    css = "bar worst" if blamed else "bar"
    shapes = [element("rect", x=across - thick / 2, y=top, width=thick, height=max(zero - top, 1.0), css=css)]
    if is_apart(layer) and layer.channel_snr_db is not None:
        title += f", median channel {decibels(layer.channel_snr_db)} dB"
        y, half = frame.up(layer.channel_snr_db), max(thick / 2, 1.5)
        shapes.append(element("line", x1=across - half, x2=across + half, y1=y, y2=y, css="median"))
    return element("g", element("title", title), *shapes)


def _clipping(frame: _Frame, layers: tuple[LayerError, ...]) -> list[Markup]:
    """Bars that hang below the others; the largest has the full height, from a percent on, and its figure."""
    largest = max((layer.clipped or 0.0 for layer in layers), default=0.0)
    if largest <= 0:
        return []
    top, thick = frame.bottom + 10, max(frame.step * 0.72, 0.7)
    shapes = [element("line", x1=_LEFT, x2=frame.width - _RIGHT, y1=top, y2=top, css="grid")]
    for index, layer in enumerate(layers):
        if layer.clipped:
            bar = element(
                "rect",
                x=frame.across(index) - thick / 2,
                y=top,
                width=thick,
                height=max(layer.clipped / max(largest, _TELLING) * _CLIPPED, 1.0),
                css="bar clipped",
            )
            shapes.append(element("g", element("title", f"{layer.path}: {percent(layer.clipped)} clipped"), bar))
    said = f"↑ clipped, up to {percent(largest)}"
    shapes.append(element("text", said, x=_LEFT, y=frame.height - 6, css="label"))
    return shapes


def _worst(frame: _Frame, divergence: Divergence, blamed: list[int]) -> list[Markup]:
    """A triangle and a number above the bars of those to blame; numbers that would meet are left out."""
    shapes: list[Markup] = []
    taken: list[Box] = []
    for number, index in enumerate(blamed, 1):
        snr = divergence.layers[index].snr_db
        x, y = frame.across(index), frame.up(max(snr or 0.0, 0.0)) - 4
        shapes.append(element("path", d=f"M{x:.1f} {y:.1f}l-5 -8h10z", css="mark worst"))
        size = text_width(str(number), _FONT)
        place = Box(x - size / 2, y - 22, size, _FONT)
        if not any(place.overlaps(other) for other in taken):
            taken.append(place)
            shapes.append(element("text", str(number), x=x, y=y - 12, text_anchor="middle", css="label strong halo"))
    return shapes
