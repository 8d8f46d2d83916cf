"""Log-mel spectrograms equal those of transformers.audio_utils."""

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from edgeexport.audio_features import mel_filters
from edgeexport.errors import SamplesError
from edgeexport.preprocess import LogMelPreprocess
from edgeexport.samples import Sample, open_samples

SHARED = Path(__file__).parents[1] / ".." / "shared"
RNG = np.random.default_rng(11)
BASE = {
    "sample_rate": 8000,
    "n_fft": 256,
    "win_length": 256,
    "hop_length": 100,
    "n_mels": 20,
    "f_max": 4000.0,
    "mel_scale": "htk",
    "norm": "none",
    "frames": 40,
}
CONFIGS = {
    "htk": {},
    "slaney": {"mel_scale": "slaney", "norm": "slaney"},
    "slaney-peak": {"mel_scale": "slaney", "f_min": 300.0, "f_max": 3600.0},
    "short-window": {"win_length": 201, "n_fft": 512},
    "magnitude": {"power": 1.0, "log": "log10"},
    "floor": {"floor": 1e-3},
    "from-the-start": {"center": False},
    "from-the-start-short-window": {"center": False, "win_length": 160, "hop_length": 80},
    "whisper": {
        **{"sample_rate": 16000, "n_fft": 400, "win_length": 400, "hop_length": 160, "n_mels": 80},
        **{"f_max": 8000.0, "mel_scale": "slaney", "norm": "slaney", "log": "log10"},
    },
}


def refused(error: type, match: str):
    return pytest.raises(error, match=re.escape(match))


def record(path: Path, seconds: float = 0.5, rate: int = 8000, channels: int = 1) -> tuple[Path, np.ndarray]:
    """A noisy sweep, as 16-bit PCM; also the waveform as it is stored."""
    time = np.arange(round(seconds * rate)) / rate
    wave = 0.5 * np.sin(2 * np.pi * (200 + 1500 * time) * time) + 0.05 * RNG.normal(size=time.size)
    steps = np.round(np.clip(wave, -1, 1) * 32767).astype(np.int16)
    soundfile.write(path, np.repeat(steps[:, None], channels, axis=1), rate, subtype="PCM_16")
    return path, steps / 32768


def theirs(preprocess: LogMelPreprocess, wave: np.ndarray) -> np.ndarray:
    p = preprocess
    norm = None if p.norm == "none" else p.norm
    bins = p.n_fft // 2 + 1
    bank = mel_filter_bank(bins, p.n_mels, p.f_min, p.f_max, p.sample_rate, norm, p.mel_scale)
    used = p.frames * p.hop_length if p.center else (p.frames - 1) * p.hop_length + p.n_fft
    padded = np.pad(wave, (0, max(0, used - wave.size)))[:used]
    window = window_function(p.win_length, "hann", frame_length=p.n_fft)
    features = spectrogram(
        padded, window, p.n_fft, p.hop_length, power=p.power, center=p.center, mel_filters=bank,
        mel_floor=p.floor, log_mel=p.log,
    )  # fmt: skip
    return features[:, : p.frames]


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("seconds", [0.5, 0.2, 3.0])
def test_equals_transformers(tmp_path, name, seconds):
    preprocess = LogMelPreprocess(**{**BASE, **CONFIGS[name]})
    path, wave = record(tmp_path / "a.wav", seconds, preprocess.sample_rate)
    mine = preprocess.prepare()(Sample("s", path))["input_features"]
    assert (mine.shape, mine.dtype) == ((1, 1, preprocess.n_mels, preprocess.frames), np.float32)
    # the reference rounds its transform to complex64, so faint energies differ in their last digits
    np.testing.assert_allclose(mine[0, 0], theirs(preprocess, wave), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("scale", ["htk", "slaney"])
@pytest.mark.parametrize("norm", ["slaney", None])
@pytest.mark.parametrize(
    ("n_fft", "rate", "n_mels", "low", "high"),
    [
        (512, 16000, 40, 0, 8000),
        (256, 8000, 20, 20, 4000),
        (400, 16000, 80, 0, 8000),
        (64, 8000, 30, 0, 4000),
    ],
)
@pytest.mark.filterwarnings("ignore:At least one mel filter")
def test_filters_equal_transformers(scale, norm, n_fft, rate, n_mels, low, high):
    expected = mel_filter_bank(n_fft // 2 + 1, n_mels, low, high, rate, norm, scale)
    mine = mel_filters(n_fft, rate, n_mels, f_min=low, f_max=high, scale=scale, area=norm is not None)
    np.testing.assert_allclose(mine, expected, rtol=1e-12, atol=1e-14)


def test_silence_is_the_floor(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(900), 8000)
    features = LogMelPreprocess(**BASE, floor=1e-6).prepare()(Sample("s", tmp_path / "a.wav"))
    np.testing.assert_array_equal(features["input_features"], np.float32(np.log(1e-6)))


def test_layouts_and_normalisation_hold_the_same_numbers(tmp_path):
    path, _ = record(tmp_path / "a.wav")
    plain = LogMelPreprocess(**BASE).prepare()(Sample("s", path))["input_features"]
    last = LogMelPreprocess(**BASE, layout="frames-mels-channel", input="x").prepare()(Sample("s", path))["x"]
    assert last.shape == (1, 40, 20, 1)
    assert last.flags.c_contiguous
    np.testing.assert_array_equal(last[0, :, :, 0].T, plain[0, 0])
    scaled = LogMelPreprocess(**BASE, mean=-4.0, std=2.5).prepare()(Sample("s", path))["input_features"]
    np.testing.assert_allclose(scaled, (plain + 4) / 2.5, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"win_length": 300}, "win_length 300 is more than n_fft 256"),
        ({"f_max": 4001.0}, "frequencies must rise from f_min 0.0 to f_max 4001.0, at most half of 8000"),
        ({"f_min": 4000.0}, "frequencies must rise from f_min 4000.0 to f_max 4000.0"),
        ({"frames": 1}, "1 frames are too short to mirror n_fft / 2 samples at their ends"),
        ({"mean": 1.0}, "mean and std belong together"),
    ],
)
def test_contradictions_are_refused(change, problem):
    with refused(ValueError, problem):
        LogMelPreprocess(**{**BASE, **change})


def test_recordings_that_do_not_fit_are_refused(tmp_path):
    encode = LogMelPreprocess(**BASE).prepare()
    path, _ = record(tmp_path / "rate.wav", rate=16000)
    with refused(SamplesError, f"{path} is sampled at 16000 Hz, the model takes 8000 Hz") as error:
        encode(Sample("s", path))
    assert error.value.hint == "Resample it first: sox IN -r 8000 OUT."
    path, _ = record(tmp_path / "stereo.wav", channels=2)
    with refused(SamplesError, f"{path} has 2 channels, the model takes one"):
        encode(Sample("s", path))
    path, _ = record(tmp_path / "empty.wav", seconds=0)
    with refused(SamplesError, f"{path} is an empty recording"):
        encode(Sample("s", path))


@pytest.mark.parametrize("data", [b"", b"RIFF", b"not a recording at all"])
def test_an_unreadable_recording_is_named_when_it_is_decoded(tmp_path, data):
    (tmp_path / "1_a.wav").write_bytes(data)
    sample = open_samples(tmp_path).head(1)[0]
    with refused(SamplesError, f"{tmp_path / '1_a.wav'} cannot be read as a recording"):
        LogMelPreprocess(**BASE).prepare()(sample)


def test_a_record_that_is_no_file_is_refused():
    with refused(SamplesError, "the model takes recordings; s.jsonl line 1 is none"):
        LogMelPreprocess(**BASE).prepare()(Sample("s.jsonl line 1", {"text": "a"}))


@pytest.mark.shared
def test_spoken_digits_equal_transformers():
    data = SHARED / "data" / "fsdd"
    if not data.is_dir():
        pytest.skip("needs ../shared: data/fsdd")
    samples = open_samples(data)
    assert len(samples) == 3000
    assert {sample.label for sample in samples} == set("0123456789")
    preprocess = LogMelPreprocess(**BASE)
    encode = preprocess.prepare()
    for sample in list(samples)[::150]:
        wave, _ = soundfile.read(sample.record)
        mine = encode(sample)["input_features"][0, 0]
        np.testing.assert_allclose(mine, theirs(preprocess, wave), rtol=1e-5, atol=2e-3)
