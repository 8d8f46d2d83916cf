"""The few parts of SVG that the plots are made of, every text escaped, and how wide a text comes out.

https://www.w3.org/TR/SVG2/
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from markupsafe import Markup, escape

_WIDTHS = {
    **dict.fromkeys("ijlI", 0.38),
    **dict.fromkeys(" .,:;'|!/()[]-", 0.42),
    **dict.fromkeys("ft_r", 0.5),
    **dict.fromkeys("csz", 0.6),
    **dict.fromkeys("akvxyeE", 0.68),
    **dict.fromkeys("wmMW%@", 1.05),
}
"""Of letters in ems, as the widest of the usual fonts has them, DejaVu Sans in bold; others are up to 0.85."""


@dataclass(frozen=True)
class Box:
    """A rectangle, in the units of its drawing."""

    x: float
    y: float
    width: float
    height: float

    def overlaps(self, other: Box) -> bool:
        """Whether any area is common."""
        return (
            self.x < other.x + other.width
            and other.x < self.x + self.width
            and self.y < other.y + other.height
            and other.y < self.y + self.height
        )


def element(tag: str, *children: str, **attributes: str | float) -> Markup:
    """One element; ``css`` is its class, an underscore in an attribute's name a hyphen, and None leaves it out."""
    written = Markup("").join(
        Markup(' {}="{}"').format("class" if key == "css" else key.replace("_", "-"), _number(value))
        for key, value in attributes.items()
        if value is not None
    )
    inner = Markup("").join(escape(child) for child in children)
    return Markup(f"<{tag}{written}>{inner}</{tag}>")


def drawing(identity: str, width: float, height: float, title: str, text: str, *children: str, css: str) -> Markup:
    """A whole picture with its name and description, scaled to the width that it is given.

    Args:
        identity: unique on the page.
        width, height: of its own units.
        title: what it is, for who does not see it.
        text: what it shows, likewise.
        children: elements.
        css: class.
    """
    return element(
        "svg",
        element("title", title, id=f"{identity}-title"),
        element("desc", text, id=f"{identity}-text"),
        *children,
        role="img",
        aria_labelledby=f"{identity}-title {identity}-text",
        viewBox=f"0 0 {width:g} {height:g}",
        css=css,
    )


def text_width(text: str, size: float) -> float:
    """About how wide a text is at a font size, on the safe side for the usual fonts of systems, bold or not."""
    return size * sum(_WIDTHS.get(char, 0.85 if char.isupper() else 0.72) for char in text)


def ticks(low: float, high: float, count: int) -> list[float]:
    """At most ``count`` + 1 round numbers, 1, 2 or 5 times a power of ten apart, from ``low`` to ``high`` inclusive."""
    span = high - low
    if span <= 0:
        return [low]
    rough = span / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(step * power for step in (1, 2, 5, 10) if step * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def log_ticks(low: float, high: float, count: int) -> list[float]:
    """1, 2 and 5 times powers of ten from ``low`` to ``high``, above 0; of more than ``count`` + 1, powers."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    found = [step * 10.0**power for power in powers for step in (1, 2, 5)]
    inside = [value for value in found if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]
    return (
        inside if len(inside) <= count + 1 else [value for value in inside if value in {10.0**each for each in powers}]
    )


def _number(value: str | float) -> str:
    return f"{round(value, 2):g}" if isinstance(value, float) else str(value)
