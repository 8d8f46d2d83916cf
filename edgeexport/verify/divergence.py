"""Where a quantized model parts from its float32 form: figures of inner values, gathered one sample at a time.

Of every layer the noise, Σ (reference − output)², is held against the signal, Σ reference². The share of noise in a
layer's output, N / (S + N), is taken of all values and of the median channel, and the larger one counts: where a few
channels are far larger than the others, their signal hides that steps so wide leave nothing of the rest. It is
compared with the largest share among the layers that are read: what is more than that began in the layer itself.

1. A layer that the quantized model computes as float32 does (the same operator on floats) is never blamed: what it
   has more than it reads, it amplified.
2. A layer is to blame where its noise is at least 6 dB above that of anything it reads. Errors of independent inputs
   add up to 3 dB over the larger one. Noise 30 dB below the signal is what 8-bit steps leave where the range
   reaches 14 deviations to either side: nothing is blamed for that.
3. A loss counts as far as it lives on in the layers that read it, up to three steps on: the mean that a normalization
   takes off is near zero, so that any step is large beside it, and nothing beside what it is taken off.
4. Of those, the layers stay whose own share, what lives on less what was read, is at least a quarter of the largest.
   They are named in the order of execution: once a model is off, what follows is off for that reason.

Reference values beyond ±1e30, and infinite ones, are an attention mask's: quantizing raises them on purpose, and they
are left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from edgeexport.analysis import LayerError
from edgeexport.errors import RunFailed
from edgeexport.job import Device, Job
from edgeexport.observation import Layer, Observed
from edgeexport.results import Parity
from edgeexport.verify.harness import job_folder
from edgeexport.verify.parity import ParityMeter

Arrays = Mapping[str, np.ndarray]
_MASK = 1e30
_BLAMED_DB = 6.0
_NEAR_WORST = 0.25
_STEPS = 3
_HARMLESS_DB = 30.0
_BYTES_A_JOB = 256 << 20


class _Sums:
    """What is gathered of one layer."""

    def __init__(self) -> None:
        self.signal = self.noise = 0.0
        self.low, self.high = math.inf, -math.inf
        self.clipped = self.count = self.samples = 0
        self.finite = self.alike = True
        self.channels: np.ndarray | None = None  # signal and noise of each, [2, channels]
        self.uneven = False  # whether samples differ in their number of channels

    @property
    def share(self) -> float:
        """Of noise in the output, 0 to 1: of all values or of the median channel, whichever is larger."""
        return max(_share(self.signal, self.noise), self.channel_share) if self.finite else 1.0

    @property
    def channel_share(self) -> float:
        """Of noise in the median channel; 0 where there are no channels."""
        if self.channels is None or self.uneven:
            return 0.0
        signal, noise = self.channels
        live = signal > 0
        return float(np.median(noise[live] / (signal[live] + noise[live]))) if live.any() else 0.0

    def snr_db(self, share: float) -> float | None:
        """Signal over noise of a share, in dB."""
        return 10 * math.log10((1 - share) / share) if self.finite and 0 < share < 1 else None


class DivergenceMeter:
    """Compares inner values of two models sample by sample in constant memory.

    Args:
        layers: see :class:`edgeexport.observation.Observed`.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = layers
        self._sums = [_Sums() for _ in layers]
        self._readers: list[list[int]] = [[] for _ in layers]
        for place, layer in enumerate(layers):
            for number in layer.reads:
                self._readers[number].append(place)

    def add(self, reference: Arrays, output: Arrays) -> None:
        """Take one sample's values, by the names that the layers have for them.

        A layer whose values have another shape or number in the two models is left out from then on.
        """
        for layer, sums in zip(self._layers, self._sums, strict=True):
            expected, actual = reference[layer.reference], output[layer.output]
            if expected.dtype.kind != "f" or expected.shape != actual.shape or not sums.alike:
                sums.alike = False
                continue
            _gather(sums, layer, expected.astype(np.float64), actual)

    def errors(self) -> tuple[LayerError, ...]:
        """The figures of each layer so far; layers whose values could not be compared are left out."""
        kept = [number for number, sums in enumerate(self._sums) if sums.alike and sums.count]
        places = {number: place for place, number in enumerate(kept)}
        return tuple(
            LayerError(
                path=layer.path,
                operator=layer.operator,
                snr_db=sums.snr_db(_share(sums.signal, sums.noise)),
                channel_snr_db=sums.snr_db(sums.channel_share),
                clipped=sums.clipped / sums.count if layer.grid is not None else None,
                low=sums.low,
                high=sums.high,
                samples=sums.samples,
                finite=sums.finite,
                reads=tuple(places[number] for number in layer.reads if number in places),
            )
            for layer, sums in zip(self._layers, self._sums, strict=True)
            if sums.alike and sums.count
        )

    def worst(self) -> tuple[str, ...]:
        """Paths of the layers to blame, in the order of execution; see the module's rules."""
        own: dict[int, float] = {}
        for place, (layer, sums) in enumerate(zip(self._layers, self._sums, strict=True)):
            if layer.own and sums.alike and sums.count:
                read = max((self._sums[number].share for number in layer.reads), default=0.0)
                least = max(10 ** (_BLAMED_DB / 10) * _ratio(read), 10 ** (-_HARMLESS_DB / 10))
                lasting = self._lasting(place, _STEPS)
                if _ratio(sums.share) >= least and lasting > read:
                    own[place] = lasting - read
        most = max(own.values(), default=0.0)
        named = (self._layers[place].path for place, share in own.items() if share >= _NEAR_WORST * most)
        return tuple(dict.fromkeys(named))

    def _lasting(self, place: int, steps: int) -> float:
        """The share of noise in a layer's output that is also in those of its readers, ``steps`` far."""
        share = self._sums[place].share
        readers = self._readers[place]
        if steps == 0 or not readers:
            return share
        return min(share, max(self._lasting(reader, steps - 1) for reader in readers))


@dataclass(frozen=True)
class Comparison:
    """What came of comparing two observed models.

    Attributes:
        layers, worst: see :class:`edgeexport.analysis.Divergence`.
        notes: what the figures are of.
    """

    layers: tuple[LayerError, ...]
    worst: tuple[str, ...]
    notes: tuple[str, ...]


def compare(
    device: Device,
    observed: Observed,
    feeds: Iterable[tuple[Arrays, Arrays]],
    *,
    runtime: str,
    model: Path,
    threads: int,
    timeout_s: float,
) -> Comparison:
    """Run both observed models on a device, and the quantized one as it is.

    Args:
        device: where.
        observed: the models.
        feeds: inputs of the float32 model and of the quantized one, a pair a sample.
        runtime: module name in :mod:`edgeexport.runtimes`.
        model: the quantized model without further outputs, to see whether observing changed what is computed.
        threads: intra-op threads.
        timeout_s: limit of one job.

    Raises:
        RunFailed: the runtime failed, or gave other outputs than the models declare.
    """
    meter = DivergenceMeter(observed.layers)
    changed = ParityMeter(classes=False)
    pending = iter(feeds)
    at_once = 1  # the first sample shows how much comes back
    while some := list(islice(pending, at_once)):
        size = 1
        with job_folder() as one, job_folder() as two, job_folder() as three:
            jobs = ((observed.float32, 0, one), (observed.quantized, 1, two), (model, 1, three))
            answers = []
            for path, which, folder in jobs:
                inputs = [pair[which] for pair in some]
                job = Job(runtime=runtime, models=(path,), inputs=inputs, threads=threads, timeout_s=timeout_s)
                answers.append(_run(device, job, folder))
            for reference, output, plain in zip(*answers, strict=True):
                size = max(size, sum(array.nbytes for array in (*reference.values(), *output.values())))
                try:
                    meter.add(reference, output)
                    changed.add(plain, output)
                except KeyError as missing:
                    raise RunFailed(f"the runtime gave no value for {missing}") from missing
        at_once = max(1, _BYTES_A_JOB // size)
    return Comparison(meter.errors(), meter.worst(), (_remark(changed.result("golden")),))


def _remark(changed: Parity) -> str:
    """Whether the values are those of the kernels that run without observation."""
    if changed.max_abs == 0:
        return f"layers compared over {changed.samples} samples; observing them left the outputs the same to the bit"
    distance = "not finite" if changed.snr_db is None else f"{changed.snr_db:.1f} dB"
    return (
        f"layers compared over {changed.samples} samples; observing them keeps the runtime from fusing some operators, "
        f"so that they are computed by other kernels: its outputs with and without are at {distance} of each other"
    )


def _run(device: Device, job: Job, folder: Path) -> Iterable[Arrays]:
    result = device.run(job, folder)
    if result.samples != len(list(job.inputs)):
        raise RunFailed(f"the runner answered {result.samples} samples for {len(list(job.inputs))}")
    return result.outputs


def _gather(sums: _Sums, layer: Layer, expected: np.ndarray, actual: np.ndarray) -> None:
    kept = np.abs(expected) < _MASK
    if not kept.any():
        return
    real = layer.grid.real(actual) if layer.grid is not None and layer.integers else actual.astype(np.float64)
    shown = expected[kept]
    sums.samples += 1
    sums.count += shown.size
    sums.low, sums.high = min(sums.low, float(shown.min())), max(sums.high, float(shown.max()))
    if layer.grid is not None:
        sums.clipped += int(layer.grid.clips(shown).sum())
    if not np.isfinite(real[kept]).all():
        sums.finite = False
        return
    signal = np.square(np.where(kept, expected, 0.0))
    noise = np.square(np.where(kept, expected - real, 0.0))
    sums.signal += float(signal.sum())
    sums.noise += float(noise.sum())
    _gather_channels(sums, signal, noise, layer.axis)


def _gather_channels(sums: _Sums, signal: np.ndarray, noise: np.ndarray, axis: int) -> None:
    if signal.ndim <= max(axis, 0):
        sums.uneven = True
        return
    others = tuple(number for number in range(signal.ndim) if number != axis % signal.ndim)
    found = np.stack([signal.sum(others), noise.sum(others)])
    if sums.channels is None:
        sums.channels = found
    elif sums.channels.shape == found.shape:
        sums.channels += found
    else:
        sums.uneven = True


def _share(signal: float, noise: float) -> float:
    """Of noise in both together; 0 of zeros, which noise cannot be held against."""
    return noise / (signal + noise) if signal > 0 else 0.0


def _ratio(share: float) -> float:
    """Noise over signal from noise's share of both."""
    return share / (1 - share) if share < 1 else math.inf
