"""Values unlike what the model is fed in use."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from edgeexport.lint._rule import Found, rule
from edgeexport.lint._survey import Input
from edgeexport.lint._view import View

_FAR, _VERY_FAR = 1.5, 3.0
_DARK = 8
_BYTE = 255.0
_BRIGHT = 100.0


@rule("not-finite")
def not_finite(view: View) -> Iterator[Found]:
    """NaN and infinity: one such value makes every range infinite."""
    found = [one for one in view.calibration.refused if one.not_finite]
    if found:
        yield Found(
            "error",
            f"{len(found)} of {view.calibration.looked} samples hold NaN or infinity; the first: {found[0].error.what}",
            "Remove the samples, or repair what wrote them.",
        )


@rule("dark-pixels")
def dark(view: View) -> Iterator[Found]:
    """Images whose bytes all lie near 0: pixels of 0 to 1 were written where 0 to 255 belong."""
    brightest = [one.brightest for one in view.calibration.seen if one.brightest is not None]
    if brightest and 0 < max(brightest) <= _DARK:
        yield Found(
            "error",
            f"the brightest pixel of {len(brightest)} images is {max(brightest)} of 255",
            "Multiply pixels of 0 to 1 by 255 before they are saved as images.",
        )


@rule("range-unlike-evaluation", unless=("dark-pixels", "noise-images", "noise-arrays", "noise-recordings"))
def unlike(view: View) -> Iterator[Found]:
    """Values that spread wider or closer than the evaluation set's, or around another mean."""
    if view.evaluation is None:
        return
    blank = view.calibration.blank()
    for name, ours in view.calibration.inputs.items():
        theirs = view.evaluation.inputs.get(name)
        if ours.integers or theirs is None or theirs.integers or sum(blank) * 2 > len(blank):
            continue
        mean, deviation = _moments(ours, [not one for one in blank])
        other_mean, other = _moments(theirs, [not one for one in view.evaluation.blank()])
        if not deviation or not other:
            continue
        ratio, shift = deviation / other, (mean - other_mean) / other
        far = max(ratio, 1 / ratio, 1 + abs(shift))
        if far > _FAR:
            yield Found(
                "error" if far > _VERY_FAR else "warning",
                f"'{name}' is {mean:.4g} ± {deviation:.4g} from {min(ours.lows):.4g} to {max(ours.highs):.4g}; in the "
                f"evaluation set {other_mean:.4g} ± {other:.4g} from {min(theirs.lows):.4g} to {max(theirs.highs):.4g}",
                _remedy(ratio),
            )


@rule("byte-values")
def bytes_given(view: View) -> Iterator[Found]:
    """Whole numbers of 0 to 255 in a float input of images, with no evaluation set that says this is right."""
    if view.subject.preprocess.accepts != "arrays":
        return
    for name, one in view.calibration.inputs.items():
        image = bool(one.neighbours) and sum(not math.isnan(value) for value in one.neighbours[0]) >= 2
        known = view.evaluation is not None and name in view.evaluation.inputs
        if not one.integers and image and one.whole and not known:
            low, high = min(one.lows), max(one.highs)
            if low >= 0 and _BRIGHT < high <= _BYTE:
                yield Found(
                    "warning",
                    f"'{name}' holds whole numbers of {low:g} to {high:g} only, as bytes of images do",
                    "Normalise them as in training; where the model does that itself, give --evaluation to confirm it.",
                )


def _moments(one: Input, kept: Sequence[bool]) -> tuple[float, float]:
    """Mean and standard deviation over all values of the samples that count."""
    rows = [(mean, deviation) for mean, deviation, keep in zip(one.means, one.deviations, kept, strict=True) if keep]
    if not rows:
        return 0.0, 0.0
    mean = sum(row[0] for row in rows) / len(rows)
    square = sum(row[0] ** 2 + row[1] ** 2 for row in rows) / len(rows)
    return mean, math.sqrt(max(square - mean**2, 0.0))


def _remedy(ratio: float) -> str:
    if 100 < ratio < 1000:
        return "This looks like 0 to 255 in the place of 0 to 1: divide by 255, or normalise as for evaluation."
    if 100 < 1 / ratio < 1000:
        return "This looks like 0 to 1 in the place of 0 to 255: multiply by 255, or normalise as for evaluation."
    return "Preprocess both sets the same way; values may have been normalised twice, or not at all."
