"""Recordings to log-mel spectrograms.

With x the waveform in [-1, 1), n = ``n_fft``, h = ``hop_length``, w the window and H the mel filter bank:

    w[i]    = 0.5 - 0.5 cos(2 pi i / win_length)        periodic Hann, zero-padded on both sides to n
    X[f, t] = sum_i w[i] x[t h + i] exp(-2 pi j f i / n)    f = 0 .. n/2; with ``center``, x[t h + i - n/2]
    M[m, t] = sum_f H[m, f] |X[f, t]|^power
    y[m, t] = log(max(M[m, t], floor))                  natural or base 10; then (y - mean) / std where given

H has triangles between neighbours of ``n_mels + 2`` points equally spaced in mel from ``f_min`` to ``f_max``,
over frequencies in hertz:

    htk     mel = 2595 log10(1 + f / 700)                               (Young et al., The HTK Book)
    slaney  mel = 3 f / 200 below 1000 Hz, above it 15 + 27 ln(f / 1000) / ln 6.4
                                                                        (Slaney, Auditory Toolbox, 1998)

and with ``norm="slaney"`` each triangle is scaled to unit area, 2 / (upper - lower). These conventions are
those of librosa and ``transformers.audio_utils``; torchaudio's are ``mel_scale="htk", norm="none"``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

import msgspec

from edgeexport.errors import SamplesError
from edgeexport.sample_files import Kind, Sample, wrong_kind

if TYPE_CHECKING:
    import numpy as np

MelScale = Literal["htk", "slaney"]
Count = Annotated[int, msgspec.Meta(ge=1)]
Positive = Annotated[float, msgspec.Meta(gt=0)]


class LogMelPreprocess(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kind", tag="log-mel"
):
    """How a mono recording becomes a log-mel spectrogram, float32, by the formulae above.

    Attributes:
        sample_rate: of the recordings, in hertz; another rate is refused.
        n_fft: samples in a Fourier transform, even.
        win_length: samples under the window, at most ``n_fft``.
        hop_length: samples from a frame to the next.
        n_mels: filters.
        f_min: lower edge of the first filter, in hertz.
        f_max: upper edge of the last, in hertz, at most half the sample rate.
        mel_scale: ``htk`` or ``slaney``.
        norm: ``slaney`` scales filters to unit area; ``none`` leaves their peak at 1.
        power: 2 for energies, 1 for magnitudes.
        log: ``log`` (natural) or ``log10``.
        floor: energies below it are raised to it.
        frames: how many frames come out. The waveform is cut or zero-padded at its end to just what they
            need: ``frames * hop_length`` samples where ``center``, or ``(frames - 1) * hop_length + n_fft``.
        center: frame t is centred on sample ``t * hop_length``, the waveform being mirrored at both ends;
            otherwise it begins there.
        mean: subtracted from the logarithm; None with ``std``.
        std: divides it.
        layout: ``channel-mels-frames`` gives [1, 1, n_mels, frames], ``frames-mels-channel`` gives
            [1, frames, n_mels, 1].
        input: the model's input.
    """

    accepts: ClassVar[Kind] = "audio"
    assets: ClassVar[tuple[str, ...]] = ()

    sample_rate: Count
    n_fft: Annotated[int, msgspec.Meta(ge=2, multiple_of=2)]
    win_length: Count
    hop_length: Count
    n_mels: Count
    f_min: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    f_max: Positive
    mel_scale: MelScale
    norm: Literal["slaney", "none"]
    power: Positive = 2.0
    log: Literal["log", "log10"] = "log"
    floor: Positive = 1e-10
    frames: Count
    center: bool = True
    mean: float | None = None
    std: Positive | None = None
    layout: Literal["channel-mels-frames", "frames-mels-channel"] = "channel-mels-frames"
    input: str = "input_features"

    def __post_init__(self) -> None:
        """Refuse contradictions."""
        if self.win_length > self.n_fft:
            raise ValueError(f"win_length {self.win_length} is more than n_fft {self.n_fft}")
        if not self.f_min < self.f_max <= self.sample_rate / 2:
            raise ValueError(
                f"frequencies must rise from f_min {self.f_min} to f_max {self.f_max}, "
                f"at most half of {self.sample_rate}"
            )
        if self.center and self.samples <= self.n_fft // 2:
            raise ValueError(f"{self.frames} frames are too short to mirror n_fft / 2 samples at their ends")
        if (self.mean is None) != (self.std is None):
            raise ValueError("mean and std belong together: give both or neither")

    @property
    def samples(self) -> int:
        """Samples of the waveform that are used."""
        return self.frames * self.hop_length if self.center else (self.frames - 1) * self.hop_length + self.n_fft

    def prepare(self, assets: Path | None = None) -> Callable[[Sample], dict[str, np.ndarray]]:
        """The encoder; ``assets`` is not used.

        Raises:
            SamplesError: by the result: a file is no recording, is empty, or has several channels or another
                rate.
        """
        del assets
        spectrogram = self._spectrogram()

        def encode(sample: Sample) -> dict[str, np.ndarray]:
            if not isinstance(sample.record, Path):
                raise wrong_kind("audio", f"{sample.name} is none")
            features = spectrogram(self._read(sample.record))
            if self.layout == "frames-mels-channel":
                return {self.input: features.T[None, :, :, None].copy()}
            return {self.input: features[None, None]}

        return encode

    def _spectrogram(self) -> Callable[[np.ndarray], np.ndarray]:
        """The function from a waveform [samples] to features [n_mels, frames], float32, in C order."""
        import numpy as np

        filters = mel_filters(
            self.n_fft,
            self.sample_rate,
            self.n_mels,
            f_min=self.f_min,
            f_max=self.f_max,
            scale=self.mel_scale,
            area=self.norm == "slaney",
        ).T.copy()
        window = np.zeros(self.n_fft)
        start = (self.n_fft - self.win_length) // 2
        turns = np.arange(self.win_length) / self.win_length
        window[start : start + self.win_length] = 0.5 - 0.5 * np.cos(2 * np.pi * turns)
        logarithm = np.log if self.log == "log" else np.log10

        def spectrogram(waveform: np.ndarray) -> np.ndarray:
            signal = np.zeros(self.samples)
            signal[: len(waveform)] = waveform[: self.samples]
            if self.center:
                signal = np.pad(signal, self.n_fft // 2, mode="reflect")
            windows = np.lib.stride_tricks.sliding_window_view(signal, self.n_fft)
            frames = windows[:: self.hop_length][: self.frames]
            energies = np.abs(np.fft.rfft(frames * window)) ** self.power
            features = logarithm(np.maximum(filters @ energies.T, self.floor))
            if self.mean is not None and self.std is not None:
                features = (features - self.mean) / self.std
            return np.ascontiguousarray(features, np.float32)

        return spectrogram

    def _read(self, path: Path) -> np.ndarray:
        import soundfile

        try:
            waveform, rate = soundfile.read(path, dtype="float64", always_2d=True)
        except (soundfile.SoundFileError, OSError) as error:
            raise SamplesError(f"{path} cannot be read as a recording: {error}", "Repair or remove it.") from error
        if rate != self.sample_rate:
            raise SamplesError(
                f"{path} is sampled at {rate} Hz, the model takes {self.sample_rate} Hz",
                f"Resample it first: sox IN -r {self.sample_rate} OUT.",
            )
        if waveform.shape[1] != 1:
            raise SamplesError(f"{path} has {waveform.shape[1]} channels, the model takes one", "Mix it to mono first.")
        if not len(waveform):
            raise SamplesError(f"{path} is an empty recording", "Remove it.")
        result: np.ndarray = waveform[:, 0]
        return result


def mel_filters(
    n_fft: int, sample_rate: int, n_mels: int, *, f_min: float, f_max: float, scale: MelScale, area: bool
) -> np.ndarray:
    """The filter bank, float64 [n_fft // 2 + 1, n_mels]; ``area`` scales each filter to unit area."""
    import numpy as np

    low, high = _hertz_to_mel(np.array([f_min, f_max]), scale)
    edges = _mel_to_hertz(np.linspace(low, high, n_mels + 2), scale)
    bins = np.linspace(0, sample_rate / 2, n_fft // 2 + 1)[:, None]
    lower, peak, upper = edges[:-2], edges[1:-1], edges[2:]
    triangles = np.maximum(0, np.minimum((bins - lower) / (peak - lower), (upper - bins) / (upper - peak)))
    bank: np.ndarray = triangles * (2 / (upper - lower)) if area else triangles
    return bank


def _hertz_to_mel(hertz: np.ndarray, scale: MelScale) -> np.ndarray:
    import numpy as np

    if scale == "htk":
        return np.asarray(2595 * np.log10(1 + hertz / 700))
    above = 15 + 27 * np.log(np.maximum(hertz, 1000) / 1000) / np.log(6.4)
    return np.where(hertz >= 1000, above, 3 * hertz / 200)


def _mel_to_hertz(mels: np.ndarray, scale: MelScale) -> np.ndarray:
    import numpy as np

    if scale == "htk":
        return np.asarray(700 * (10 ** (mels / 2595) - 1))
    return np.where(mels >= 15, 1000 * np.exp(np.log(6.4) * (mels - 15) / 27), 200 * mels / 3)
