"""One pass over a set: all that rules compare, a few numbers a sample. Memory grows by some hundred bytes a sample."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgeexport.errors import SamplesError
from edgeexport.lint import _measures
from edgeexport.lint._media import Look, Seen, no_text, sample_rate
from edgeexport.lint._subject import Subject
from edgeexport.samples import Label, Sample, Samples, check_finite

if TYPE_CHECKING:
    import numpy as np

Arrays = dict[str, "np.ndarray"]


@dataclass
class Input:
    """One input of the model over the samples that were encoded; lists have an entry for each.

    Attributes:
        integers: whether it is one of integers; then only ``counts`` and ``lows``, ``highs`` are filled.
        lows, highs, means, deviations: of a sample's values.
        spreads, neighbours, channels: see :mod:`edgeexport.lint._measures`.
        sizes: values in a sample.
        whole: whether every value of every sample is a whole number.
        counts: how often each integer came.
        rising: whether integers only rise within every sample, as positions do.
    """

    integers: bool
    lows: list[float] = field(default_factory=list)
    highs: list[float] = field(default_factory=list)
    means: list[float] = field(default_factory=list)
    deviations: list[float] = field(default_factory=list)
    spreads: list[float] = field(default_factory=list)
    neighbours: list[tuple[float, ...]] = field(default_factory=list)
    channels: list[np.ndarray] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    whole: bool = True
    counts: Counter[int] = field(default_factory=Counter)
    rising: bool = True

    def add(self, array: np.ndarray) -> None:
        """Take one sample's values, without a batch axis."""
        import numpy as np

        self.lows.append(float(array.min()))
        self.highs.append(float(array.max()))
        self.sizes.append(array.size)
        if self.integers:
            values, counts = np.unique(array, return_counts=True)
            self.counts.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
            self.rising = self.rising and bool((np.diff(array.ravel()) > 0).all())
            return
        self.means.append(float(array.mean(dtype=np.float64)))
        self.deviations.append(float(array.std(dtype=np.float64)))
        self.spreads.append(_measures.spread(array))
        self.neighbours.append(_measures.neighbours(array))
        means = _measures.channel_means(array)
        if means is not None:
            self.channels.append(means)
        self.whole = self.whole and bool((array == np.rint(array)).all())


@dataclass(frozen=True)
class Refusal:
    """A sample that the model cannot take.

    Attributes:
        name: the sample's.
        error: why.
        not_finite: it holds NaN or infinity.
        turned: how its axes would fit in another order, or "".
        rate: the recording's own, where that is not the model's.
        empty: it is a text of white space at most.
    """

    name: str
    error: SamplesError
    not_finite: bool = False
    turned: str = ""
    rate: int | None = None
    empty: bool = False

    @property
    def explained(self) -> bool:
        """Whether a rule of its own tells of it."""
        return self.not_finite or self.empty or bool(self.turned) or self.rate is not None


@dataclass
class Survey:
    """What a pass over a set saw.

    Attributes:
        path: the set's.
        total: its samples.
        records: a digest of each sample as it is, of all.
        labels: how often each label came, over all, where the model tells classes; None counts those without.
        encoded: a digest of each encoded sample: every one up to a bound, else spaced evenly.
        names: of the encoded samples.
        places: their numbers in the set, from 0.
        inputs: by name.
        seen: of each encoded sample, what its text, image or recording has beside.
        refused: samples that could not be encoded.
    """

    path: Path
    total: int = 0
    records: list[bytes] = field(default_factory=list)
    labels: Counter[Label] = field(default_factory=Counter)
    encoded: list[bytes] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    inputs: dict[str, Input] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)

    @property
    def looked(self) -> int:
        """Samples that were encoded, or would not be."""
        return len(self.names) + len(self.refused)

    def blank(self) -> list[bool]:
        """Of each encoded sample, whether there is nothing in it: see :mod:`edgeexport.lint.emptiness`."""
        flat = [False] * len(self.names)
        for one in self.inputs.values():
            if one.spreads and one.sizes[0] >= _LEAST_VALUES:
                whole = max(one.highs) - min(one.lows)
                flat = [was or spread <= _FLAT * whole for was, spread in zip(flat, one.spreads, strict=True)]
        return [was or seen.empty or seen.silent for was, seen in zip(flat, self.seen, strict=True)]


_LEAST_VALUES = 16
_FLAT = 0.02
"""A sample is flat whose values differ by less than this share of the set's range: two grey levels and JPEG's ripple
around them."""


def survey(samples: Samples, encode: Callable[[Sample], Arrays], subject: Subject, look: Look, at_most: int) -> Survey:
    """Look at every sample, and encode ``at_most`` of them, spaced evenly.

    Args:
        samples: the set.
        encode: see :func:`edgeexport.samples.encoder`.
        subject: what encoded samples must fit.
        look: what to see in raw samples beside.
    """
    found = Survey(samples.path, total=len(samples))
    step = max(1.0, len(samples) / at_most)
    for number, sample in enumerate(samples):
        if subject.task == "classification":
            found.labels[sample.label] += 1
        found.records.append(_record_digest(sample))
        if int(number / step) != int((number - 1) / step) or number == 0:
            _encode(found, number, sample, (subject, encode, look))
    return found


def _encode(
    found: Survey, number: int, sample: Sample, means: tuple[Subject, Callable[[Sample], Arrays], Look]
) -> None:
    subject, encode, look = means
    arrays: Arrays = {}
    try:
        arrays = encode(sample)
        subject.signature.check(arrays, sample.name)
        check_finite(arrays, sample)
        seen = look(sample, number)
    except SamplesError as error:
        found.refused.append(_refusal(sample, error, arrays, subject))
        return
    found.places.append(number)
    found.names.append(sample.name)
    found.encoded.append(_arrays_digest(arrays))
    found.seen.append(seen)
    for name, array in arrays.items():
        found.inputs.setdefault(name, Input(array.dtype.kind != "f")).add(array[0])


def _refusal(sample: Sample, error: SamplesError, arrays: Arrays, subject: Subject) -> Refusal:
    import numpy as np

    wanted = {spec.name: spec.shape for spec in subject.signature.inputs}
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            return Refusal(sample.name, error, not_finite=True)
        axes = _measures.transposed(array.shape, wanted.get(name, ()))
        if axes is not None:
            shape = [array.shape[axis] for axis in axes]
            return Refusal(sample.name, error, turned=f"'{name}' has shape {list(array.shape)}, not {shape}")
    if no_text(sample):
        return Refusal(sample.name, error, empty=True)
    rate = sample_rate(sample)
    wanted_rate = getattr(subject.preprocess, "sample_rate", rate)
    return Refusal(sample.name, error, rate=None if rate == wanted_rate else rate)


def _record_digest(sample: Sample) -> bytes:
    if isinstance(sample.record, Path):
        try:
            return hashlib.sha256(sample.record.read_bytes()).digest()
        except OSError as error:
            raise SamplesError(f"{sample.record} cannot be read: {error.strerror or error}") from error
    digest = hashlib.sha256()
    for name, value in sorted(sample.record.items()):
        digest.update(name.encode("utf-8", "surrogatepass"))
        if hasattr(value, "tobytes"):
            digest.update(f"{value.dtype}{value.shape}".encode() + value.tobytes())  # type: ignore[attr-defined]
        else:
            digest.update(repr(value).encode("utf-8", "surrogatepass"))
    return digest.digest()


def _arrays_digest(arrays: Arrays) -> bytes:
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name}{array.shape}".encode() + array.tobytes())
    return digest.digest()
