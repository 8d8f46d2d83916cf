"""Signal to noise of every layer in the order of execution, as inline SVG, the places marked where outputs part."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from edgeexport.analysis import Divergence, LayerError
from edgeexport.report.svg import Box, drawing, element, text_width, ticks
from edgeexport.report.words import decibels, percent

FORMS = {"wide": (1040.0, 330.0), "narrow": (324.0, 300.0)}
_LEFT, _RIGHT, _TOP, _BOTTOM = 40.0, 10.0, 40.0, 66.0
_CLIPPED = 26.0
_FONT = 12.0


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

    A layer without a figure has no bar. The worst have a triangle and their place in :attr:`Divergence.worst`.
    """
    width, height = FORMS[form]
    known = [layer.snr_db for layer in divergence.layers if layer.snr_db is not None]
    frame = _Frame(
        width,
        height,
        (width - _LEFT - _RIGHT) / max(len(divergence.layers), 1),
        min([0.0, *known]),
        max([10.0, *known]) * 1.05,
    )
    told = ", ".join(divergence.worst) or "no layer"
    return drawing(
        f"{identity}-{form}",
        width,
        height,
        f"Signal to noise by layer, {divergence.runtime} on {divergence.device}",
        f"{len(divergence.layers)} layers in the order of execution. Outputs part first at {told}.",
        *_scale(frame),
        *(_bar(frame, index, layer, divergence.worst) for index, layer in enumerate(divergence.layers)),
        *_clipping(frame, divergence.layers),
        *_worst(frame, divergence),
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
    words = "first layer →" if frame.width < 500 else "layers in the order of execution →"
    shapes.append(element("text", words, x=right, y=frame.height - 6, text_anchor="end", css="label muted"))
    return shapes


def _bar(frame: _Frame, index: int, layer: LayerError, worst: tuple[str, ...]) -> Markup:
    if layer.snr_db is None:
        return Markup("")
    top, zero = sorted((frame.up(layer.snr_db), frame.up(0.0)))
    thick = max(frame.step * 0.72, 0.7)
    css = "bar worst" if layer.path in worst else "bar"
    title = f"{layer.path} ({layer.operator}): {decibels(layer.snr_db)} dB"
    rectangle = element(
        "rect", x=frame.across(index) - thick / 2, y=top, width=thick, height=max(zero - top, 1.0), css=css
    )
    return element("g", element("title", title), rectangle)


def _clipping(frame: _Frame, layers: tuple[LayerError, ...]) -> list[Markup]:
    """Bars that hang below the others; the largest has the full height and its figure."""
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
                height=max(layer.clipped / largest * _CLIPPED, 1.0),
                css="bar clipped",
            )
            shapes.append(element("g", element("title", f"{layer.path}: {percent(layer.clipped)} clipped"), bar))
    said = f"↑ clipped, up to {percent(largest)}"
    shapes.append(element("text", said, x=_LEFT, y=frame.height - 6, css="label"))
    return shapes


def _worst(frame: _Frame, divergence: Divergence) -> list[Markup]:
    """A triangle and a number above the bars of the worst; numbers that would meet are left out."""
    shapes: list[Markup] = []
    taken: list[Box] = []
    for number, path in enumerate(divergence.worst, 1):
        index = next((at for at, layer in enumerate(divergence.layers) if layer.path == path), None)
        if index is None:
            continue
        snr = divergence.layers[index].snr_db
        x, y = frame.across(index), frame.up(max(snr or 0.0, 0.0)) - 4
        shapes.append(element("path", d=f"M{x:.1f} {y:.1f}l-5 -8h10z", css="mark worst"))
        size = text_width(str(number), _FONT)
        place = Box(x - size / 2, y - 22, size, _FONT)
        if not any(place.overlaps(other) for other in taken):
            taken.append(place)
            shapes.append(element("text", str(number), x=x, y=y - 12, text_anchor="middle", css="label strong"))
    return shapes
