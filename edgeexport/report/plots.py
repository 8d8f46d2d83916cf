"""Size against loss of everything that a search tried, or of several targets, as inline SVG."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from edgeexport.report.svg import Box, drawing, element, log_ticks, text_width, ticks

Mark = Literal["kept", "failed", "partial", "chosen", "closest"]
FORMS = {"wide": (520.0, 380.0), "narrow": (324.0, 330.0)}
_LEFT, _RIGHT, _TOP, _BOTTOM = 50.0, 16.0, 18.0, 46.0
_FONT = 12.0
_RADIUS = 6.0
_WORD = "budget"
_LEAST = 0.02
"""Room beside the points, as a share of their figures: those that differ by less are drawn as what they are, equal."""
_FAR = 8.0
"""Factor between the points from which on a ratio is drawn by its logarithm."""
_STARS = ("chosen", "closest")


@dataclass(frozen=True)
class Point:
    """Something tried: less of either is better.

    Attributes:
        x, y: in the axes' units.
        label: drawn beside it.
        title: said of it.
        mark: its shape: a circle for what keeps the budget, a cross for what does not, a ring for what only some
            samples were run on, a star for what was chosen, hollow where it breaks the budget.
    """

    x: float
    y: float
    label: str
    title: str
    mark: Mark


@dataclass(frozen=True)
class Axis:
    """One direction of a plot.

    Attributes:
        title: what is measured, with its unit.
        limit: of the budget, drawn as a line; None is none.
        ratio: whether equal factors may be drawn as equal distances, where the points are far apart.
    """

    title: str
    limit: float | None = None
    ratio: bool = False


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Those that no other beats in one figure without losing in the other, by rising x; less is better in both.

    Args:
        points: x and y of each.

    Returns:
        Indices. Of equal points the first.
    """
    front: list[int] = []
    for index in sorted(range(len(points)), key=lambda each: (*points[each], each)):
        if not front or points[index][1] < points[front[-1]][1]:
            front.append(index)
    return front


def scatter(identity: str, title: str, points: Sequence[Point], axes: tuple[Axis, Axis], form: str) -> Markup:
    """The points, the front through those that were wholly evaluated, and the budget's lines.

    Args:
        identity: unique on the page.
        title: what is shown.
        points: at least one.
        axes: x and y.
        form: of :data:`FORMS`.
    """
    x, y = axes
    frame = _Frame.around(points, x, y, form)
    whole = [point for point in points if point.mark != "partial"]
    front = [whole[index] for index in pareto_front([(point.x, point.y) for point in whole])]
    taken = _points(frame, points)
    said = "; ".join(point.title for point in front) or "none"
    return drawing(
        f"{identity}-{form}",
        frame.width,
        frame.height,
        title,
        f"{len(points)} points. Best trade-offs: {said}.",
        *_allowed(frame, x, y, taken),
        *_axes(frame, x, y),
        _front_line(frame, front),
        *(_symbol(frame, point) for point in sorted(points, key=lambda each: each.mark in _STARS)),
        *_labels(frame, points, front, taken),
        css=f"plot {form}",
    )


@dataclass(frozen=True)
class _Frame:
    width: float
    height: float
    low: tuple[float, float]
    high: tuple[float, float]
    logarithmic: bool = False

    @classmethod
    def around(cls, points: Sequence[Point], x: Axis, y: Axis, form: str) -> _Frame:
        """Room for all points and limits, and for zero where it is near."""
        lows, highs = [], []
        for values, limit in (([point.x for point in points], x.limit), ([point.y for point in points], y.limit)):
            held = [*values, *([] if limit is None else [limit])]
            low, high = min(held), max(held)
            if 0 < low <= high / 2:
                low = 0.0
            room = max((high - low) * 0.12, abs(high) * _LEAST) or 1.0
            lows.append(low if low == 0 and min(held) > 0 else low - room)
            highs.append(high + room)
        width, height = FORMS[form]
        held = [*(point.x for point in points), *([] if x.limit is None else [x.limit])]
        logarithmic = x.ratio and min(held) > 0 and max(held) / min(held) > _FAR
        if logarithmic:
            room = (max(held) / min(held)) ** 0.12
            lows[0], highs[0] = min(held) / room, max(held) * room
        return cls(width, height, (lows[0], lows[1]), (highs[0], highs[1]), logarithmic)

    def across(self, value: float) -> float:
        low, high = self.low[0], self.high[0]
        share = math.log(value / low) / math.log(high / low) if self.logarithmic else (value - low) / (high - low)
        return _LEFT + share * (self.width - _LEFT - _RIGHT)

    def up(self, value: float) -> float:
        share = (value - self.low[1]) / (self.high[1] - self.low[1])
        return self.height - _BOTTOM - share * (self.height - _TOP - _BOTTOM)


def _allowed(frame: _Frame, x: Axis, y: Axis, taken: list[Box]) -> list[Markup]:
    """What the budget allows, tinted, and its bounds as dashed lines, each with a word, which is then taken too."""
    if x.limit is None and y.limit is None:
        return []
    right = frame.width - _RIGHT if x.limit is None else frame.across(x.limit)
    top = _TOP if y.limit is None else frame.up(y.limit)
    bottom = frame.height - _BOTTOM
    shapes = [element("rect", x=_LEFT, y=top, width=right - _LEFT, height=bottom - top, css="allowed")]
    words = _words(frame, x, y, taken)
    if x.limit is not None:
        shapes.append(element("line", x1=right, x2=right, y1=_TOP, y2=bottom, css="limit"))
    if y.limit is not None:
        shapes.append(element("line", x1=_LEFT, x2=frame.width - _RIGHT, y1=top, y2=top, css="limit"))
    taken += words
    taken += [] if x.limit is None else [Box(right - 1, _TOP, 2, bottom - _TOP)]
    taken += [] if y.limit is None else [Box(_LEFT, top - 1, frame.width - _LEFT - _RIGHT, 2)]
    shapes += [element("text", _WORD, x=box.x, y=box.y + _FONT - 2, css="label muted") for box in words]
    return shapes


def _words(frame: _Frame, x: Axis, y: Axis, taken: Sequence[Box]) -> list[Box]:
    """A place beside each bound where no point is, if there is one."""
    width = text_width(_WORD, _FONT)
    found: list[Box] = []
    for vertical, limit in ((True, x.limit), (False, y.limit)):
        if limit is None:
            continue
        if vertical:
            at = frame.across(limit)
            places = [
                Box(left, above, width, _FONT)
                for above in range(int(_TOP), int(frame.height - _BOTTOM - _FONT), 14)
                for left in (at - width - 3, at + 5)
            ]
        else:
            right, line = int(frame.width - _RIGHT - width), frame.up(limit)
            places = [
                Box(left, top, width, _FONT) for left in range(right, int(_LEFT), -14) for top in (line - 16, line + 4)
            ]
        inside = [box for box in places if box.x > _LEFT and box.x + width <= frame.width - _RIGHT]
        free = [box for box in inside if not any(box.overlaps(other) for other in (*taken, *found))]
        found += free[:1]
    return found


def _points(frame: _Frame, points: Sequence[Point]) -> list[Box]:
    """What the symbols cover."""
    return [
        Box(frame.across(point.x) - _RADIUS, frame.up(point.y) - _RADIUS, 2 * _RADIUS, 2 * _RADIUS) for point in points
    ]


def _axes(frame: _Frame, x: Axis, y: Axis) -> list[Markup]:
    bottom = frame.height - _BOTTOM
    shapes = [element("path", d=f"M{_LEFT:g} {_TOP:g}V{bottom:g}H{frame.width - _RIGHT:g}", css="axis")]
    for value in (log_ticks if frame.logarithmic else ticks)(frame.low[0], frame.high[0], 5):
        at = frame.across(value)
        shapes.append(element("line", x1=at, x2=at, y1=bottom, y2=bottom + 4, css="axis"))
        shapes.append(element("text", f"{value:.6g}", x=at, y=bottom + 17, text_anchor="middle", css="label muted"))
    for value in ticks(frame.low[1], frame.high[1], 5):
        at = frame.up(value)
        shapes.append(element("line", x1=_LEFT, x2=frame.width - _RIGHT, y1=at, y2=at, css="grid"))
        shapes.append(element("text", f"{value:.6g}", x=_LEFT - 6, y=at + 4, text_anchor="end", css="label muted"))
    title = f"{x.title}, logarithmic" if frame.logarithmic else x.title
    shapes.append(element("text", y.title, x=4, y=11, css="label"))
    shapes.append(element("text", title, x=frame.width - _RIGHT, y=frame.height - 8, text_anchor="end", css="label"))
    return shapes


def _front_line(frame: _Frame, front: Sequence[Point]) -> Markup:
    """Steps: between two points of the front nothing is both as small and as near as the better of each."""
    if len(front) < 2:
        return Markup("")
    path = f"M{frame.across(front[0].x):.1f} {frame.up(front[0].y):.1f}"
    for point in front[1:]:
        path += f"H{frame.across(point.x):.1f}V{frame.up(point.y):.1f}"
    return element("path", d=path, css="front")


def _symbol(frame: _Frame, point: Point) -> Markup:
    x, y = frame.across(point.x), frame.up(point.y)
    if point.mark in _STARS:
        shape = element("path", d=_star(x, y, 2 * _RADIUS), css=f"mark {point.mark}")
    elif point.mark == "failed":
        r = _RADIUS - 1
        shape = element(
            "path",
            d=f"M{x - r:.1f} {y - r:.1f}l{2 * r:g} {2 * r:g}m0 {-2 * r:g}l{-2 * r:g} {2 * r:g}",
            css="mark failed",
        )
    else:
        shape = element(
            "circle", cx=x, cy=y, r=_RADIUS if point.mark != "partial" else _RADIUS - 2, css=f"mark {point.mark}"
        )
    return element("g", element("title", point.title), shape)


def _star(x: float, y: float, radius: float) -> str:
    corners = []
    for number in range(10):
        reach = radius if number % 2 == 0 else radius * 0.45
        angle = math.pi * (number / 5 - 0.5)
        corners.append(f"{x + reach * math.cos(angle):.1f} {y + reach * math.sin(angle):.1f}")
    return f"M{'L'.join(corners)}Z"


def _labels(frame: _Frame, points: Sequence[Point], front: Sequence[Point], taken: list[Box]) -> list[Markup]:
    """Each beside its point where no point, label or line of the front is, else nowhere: its title has it still."""
    for left, right in itertools.pairwise(front):
        (x, y), (end, below) = ((frame.across(one.x), frame.up(one.y)) for one in (left, right))
        taken += [Box(x, y - 1, end - x, 2), Box(end - 1, y, 2, below - y)]
    shapes = []
    for point in sorted(points, key=lambda each: each.mark not in _STARS):
        size = (text_width(point.label, _FONT), _FONT)
        reach = (2 * _RADIUS if point.mark in _STARS else _RADIUS) + 6
        for box in _around(frame.across(point.x), frame.up(point.y), *size, reach):
            inside = box.x >= _LEFT and box.x + box.width <= frame.width - 2 and box.y >= _TOP - 4
            if (
                inside
                and box.y + box.height < frame.height - _BOTTOM
                and not any(box.overlaps(other) for other in taken)
            ):
                taken.append(box)
                shapes.append(element("text", point.label, x=box.x, y=box.y + _FONT - 2, css="label strong halo"))
                break
    return shapes


def _around(x: float, y: float, width: float, height: float, reach: float) -> list[Box]:
    return [
        Box(x + reach, y - height / 2, width, height),
        Box(x - width / 2, y - reach - height, width, height),
        Box(x - width / 2, y + reach, width, height),
        Box(x - reach - width, y - height / 2, width, height),
        Box(x + reach, y - reach - height, width, height),
        Box(x + reach, y + reach, width, height),
        Box(x - reach - width, y - reach - height, width, height),
        Box(x - reach - width, y + reach, width, height),
    ]
