"""Numbers of single samples that rules compare."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

_LEAST_AXIS = 4
"""Shorter axes, such as those of colours, have no neighbours to speak of."""

_MIDDLE = 128
_FRAME = 256


def neighbours(array: np.ndarray) -> tuple[float, ...]:
    """Pearson's correlation of values with the next along each axis of at least 4, NaN along shorter ones.

    The mean over the long axes is taken off first, so that channels of unlike brightness do not count as alike.
    White noise has 0 ± 1/sqrt(values); photographs have 0.6 to 1. Of long axes the middle 128 count, for speed.
    """
    import numpy as np

    long = tuple(axis for axis, length in enumerate(array.shape) if length >= _LEAST_AXIS)
    found = [float("nan")] * array.ndim
    if not long:
        return tuple(found)
    middle = tuple(slice(max(0, (length - _MIDDLE) // 2), (length + _MIDDLE) // 2) for length in array.shape)
    values = array[middle].astype(np.float64)
    values = values - values.mean(axis=long, keepdims=True)
    for axis in long:
        first = values[(slice(None),) * axis + (slice(None, -1),)]
        second = values[(slice(None),) * axis + (slice(1, None),)]
        scale = float(np.sqrt(np.square(first).sum() * np.square(second).sum()))
        if scale > 0:
            found[axis] = float((first * second).sum()) / scale
    return tuple(found)


def channel_axis(shape: tuple[int, ...]) -> int | None:
    """The axis of colours of a sample without its batch axis: of length 3, first or last of three; else None."""
    if len(shape) != 3:
        return None
    return 0 if shape[0] == 3 else 2 if shape[2] == 3 else None


def channel_means(array: np.ndarray) -> np.ndarray | None:
    """float64 [3], or None where there are no three colours."""
    import numpy as np

    axis = channel_axis(array.shape)
    if axis is None:
        return None
    return np.asarray(array.mean(axis=tuple(other for other in range(3) if other != axis), dtype=np.float64))


def spread(array: np.ndarray) -> float:
    """The largest difference of two values of one channel: 0 in an image of one colour."""
    axis = channel_axis(array.shape)
    if axis is None:
        return float(array.max()) - float(array.min())
    others = tuple(other for other in range(3) if other != axis)
    return float((array.max(axis=others) - array.min(axis=others)).max())


def flatness(waveform: np.ndarray) -> float:
    """Spectral flatness: the geometric over the arithmetic mean of the power spectrum (Welch's, Hann, 256 samples).

    1 in white noise, but for its own randomness (0.88 in 1,000 samples); 0.05 to 0.25 in speech.
    """
    import numpy as np

    padded = np.pad(waveform, (0, max(0, _FRAME - len(waveform))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[:: _FRAME // 2] * np.hanning(_FRAME)
    power = np.square(np.abs(np.fft.rfft(frames))).mean(axis=0)[1:] + 1e-20
    return float(np.exp(np.log(power).mean()) / power.mean())


def likeness_of_tokens(counts: Mapping[int, int]) -> float:
    """How far from uniform tokens are: the chance that two of them are equal, times how many kinds were seen.

    About 1 or less where every kind is as likely; texts, whose frequent words are very frequent, have 20 and more.
    """
    total = sum(counts.values())
    if total < 2:
        return float("nan")
    pairs = sum(count * (count - 1) for count in counts.values())
    return pairs / (total * (total - 1)) * len(counts)


def transposed(shape: tuple[int, ...], wanted: tuple[int | str, ...]) -> tuple[int, ...] | None:
    """The order of axes that turns ``shape`` into what is wanted, batch axis first; None where none does."""
    if len(shape) != len(wanted):
        return None
    for order in itertools.permutations(range(1, len(shape))):
        axes = (0, *order)
        if axes != tuple(range(len(shape))) and all(
            isinstance(want, str) or shape[axis] == want for axis, want in zip(axes, wanted, strict=True)
        ):
            return axes
    return None
