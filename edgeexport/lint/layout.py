"""Axes, channels and sample rates in another order than the model takes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import mean, median, stdev

from edgeexport.lint._rule import Found, rule
from edgeexport.lint._survey import Input
from edgeexport.lint._view import View

_CERTAIN = 4.0
_AXES_APART, _AXES_ALIKE = 0.3, 0.15


@rule("layout-unlike")
def layout(view: View) -> Iterator[Found]:
    """Arrays that fit once their axes are in another order, or whose smooth axes are others than in evaluation."""
    turned = [one for one in view.calibration.refused if one.turned]
    if turned:
        yield Found(
            "error",
            f"{len(turned)} of {view.calibration.looked} samples fit with other axes: {turned[0].turned}",
            "Transpose the arrays before saving them.",
        )
    if view.evaluation is None:
        return
    for name, ours in view.calibration.inputs.items():
        theirs = view.evaluation.inputs.get(name)
        if theirs is None or not ours.neighbours or not theirs.neighbours:
            continue
        here, there = _smoothness(ours), _smoothness(theirs)
        if len(here) != len(there) or here.keys() != there.keys() or len(here) < 2:
            continue
        apart = max(abs(here[axis] - there[axis]) for axis in here)
        ranked = zip(sorted(here.values()), sorted(there.values()), strict=True)
        if apart > _AXES_APART and max(abs(a - b) for a, b in ranked) < _AXES_ALIKE:
            yield Found(
                "error",
                f"neighbours in '{name}' correlate by {_show(here)} along its axes, in the evaluation set by "
                f"{_show(there)}: axes look exchanged",
                "Transpose the arrays before saving them.",
            )


@rule("channels-swapped")
def channels(view: View) -> Iterator[Found]:
    """The first and the last colour differ the other way round than in evaluation, by more than chance (4 sigma)."""
    if view.evaluation is None:
        return
    for name, ours in view.calibration.inputs.items():
        theirs = view.evaluation.inputs.get(name)
        if theirs is None or len(ours.channels) < 2 or len(theirs.channels) < 2:
            continue
        (here, error), (there, other) = (_difference(one) for one in (ours, theirs))
        certain = abs(here) > _CERTAIN * error and abs(there) > _CERTAIN * other
        if certain and here * there < 0 and abs(here + there) < abs(here - there) / 2:
            yield Found(
                "warning",
                f"the first channel of '{name}' exceeds the last by {here:+.3g} ± {error:.1g} on average, in the "
                f"evaluation set by {there:+.3g} ± {other:.1g}: red and blue look exchanged",
                "Save images as RGB; OpenCV gives BGR.",
            )


@rule("sample-rate-unlike")
def sample_rate(view: View) -> Iterator[Found]:
    """Recordings whose files say another rate than the features are made for."""
    found = [one for one in view.calibration.refused if one.rate is not None]
    if found:
        rates = ", ".join(f"{rate} Hz" for rate in sorted({one.rate for one in found if one.rate is not None}))
        wanted = getattr(view.subject.preprocess, "sample_rate", "another")
        yield Found(
            "error",
            f"{len(found)} of {view.calibration.looked} recordings are sampled at {rates}, the model takes {wanted} Hz",
            f"Resample them: sox IN -r {wanted} OUT.",
        )


def _smoothness(one: Input) -> dict[int, float]:
    """Median correlation along each axis that has neighbours."""
    axes: dict[int, list[float]] = {}
    for row in one.neighbours:
        for axis, value in enumerate(row):
            if not math.isnan(value):
                axes.setdefault(axis, []).append(value)
    return {axis: median(values) for axis, values in axes.items()}


def _difference(one: Input) -> tuple[float, float]:
    """First channel minus last, and its standard error."""
    rows = [float(row[0] - row[-1]) for row in one.channels]
    return mean(rows), stdev(rows) / math.sqrt(len(rows))


def _show(axes: dict[int, float]) -> str:
    return "/".join(f"{axes[axis]:.2f}" for axis in sorted(axes))
