"""Recordings to log-mel spectrograms, with NumPy and the standard library."""

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from bundle import BundleError


def read_wav(path: Path, rate: int) -> np.ndarray:
    """A mono recording of 16-bit samples as float64 in [-1, 1).

    Raises:
        BundleError: it is no such recording, is empty, or has another sample rate.
    """
    try:
        with wave.open(str(path), "rb") as file:
            shape = (file.getnchannels(), 8 * file.getsampwidth(), file.getframerate())
            data = file.readframes(file.getnframes())
    except (OSError, EOFError, wave.Error) as error:
        raise BundleError(f"{path} cannot be read as a .wav recording: {error}") from error
    if shape != (1, 16, rate):
        raise BundleError(
            f"{path} has {shape[0]} channel(s), {shape[1]} bits and {shape[2]} Hz; the model takes one channel, "
            f"16 bits and {rate} Hz: sox IN -c 1 -b 16 -r {rate} OUT"
        )
    if not data:
        raise BundleError(f"{path} is an empty recording")
    return np.frombuffer(data, "<i2") / 32768.0


def spectrogram(spec: dict[str, Any]) -> Callable[[np.ndarray], np.ndarray]:
    """The function from a waveform to features [n_mels, frames], float32, by the manifest's ``log-mel`` settings."""
    n_fft, hop, frames = spec["n_fft"], spec["hop_length"], spec["frames"]
    samples = frames * hop if spec["center"] else (frames - 1) * hop + n_fft
    window = np.zeros(n_fft)
    start = (n_fft - spec["win_length"]) // 2
    turns = np.arange(spec["win_length"]) / spec["win_length"]
    window[start : start + spec["win_length"]] = 0.5 - 0.5 * np.cos(2 * np.pi * turns)
    filters = mel_filters(spec).T.copy()
    logarithm = np.log if spec["log"] == "log" else np.log10

    def features(waveform: np.ndarray) -> np.ndarray:
        signal = np.zeros(samples)
        signal[: len(waveform)] = waveform[:samples]
        if spec["center"]:
            signal = np.pad(signal, n_fft // 2, mode="reflect")
        windows = np.lib.stride_tricks.sliding_window_view(signal, n_fft)[::hop][:frames]
        energies = np.abs(np.fft.rfft(windows * window)) ** spec["power"]
        result = logarithm(np.maximum(filters @ energies.T, spec["floor"]))
        if spec["mean"] is not None:
            result = (result - spec["mean"]) / spec["std"]
        return np.ascontiguousarray(result, np.float32)

    return features


def mel_filters(spec: dict[str, Any]) -> np.ndarray:
    """Triangles between neighbours of points equally spaced in mel, [n_fft // 2 + 1, n_mels]."""
    scale = spec["mel_scale"]
    low, high = hertz_to_mel(np.array([spec["f_min"], spec["f_max"]]), scale)
    edges = mel_to_hertz(np.linspace(low, high, spec["n_mels"] + 2), scale)
    bins = np.linspace(0, spec["sample_rate"] / 2, spec["n_fft"] // 2 + 1)[:, None]
    lower, peak, upper = edges[:-2], edges[1:-1], edges[2:]
    bank = np.maximum(0, np.minimum((bins - lower) / (peak - lower), (upper - bins) / (upper - peak)))
    return np.asarray(bank * (2 / (upper - lower)) if spec["norm"] == "slaney" else bank)


def hertz_to_mel(hertz: np.ndarray, scale: str) -> np.ndarray:
    """``htk`` or ``slaney``."""
    if scale == "htk":
        return np.asarray(2595 * np.log10(1 + hertz / 700))
    above = 15 + 27 * np.log(np.maximum(hertz, 1000) / 1000) / np.log(6.4)
    return np.where(hertz >= 1000, above, 3 * hertz / 200)


def mel_to_hertz(mels: np.ndarray, scale: str) -> np.ndarray:
    """The inverse of :func:`hertz_to_mel`."""
    if scale == "htk":
        return np.asarray(700 * (10 ** (mels / 2595) - 1))
    return np.where(mels >= 15, 1000 * np.exp(np.log(6.4) * (mels - 15) / 27), 200 * mels / 3)
