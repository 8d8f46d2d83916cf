"""A small CNN that tells recordings by the height of their tone, as a torch factory: ``tones:factory``.

It takes recordings through a log-mel preprocessing whose settings are all unlike their defaults. ``train`` writes
weights and recordings to a folder; the factory reads the weights from ``EDGEEXPORT_TONES``.
"""

import os
import wave
from pathlib import Path

import numpy as np
import torch
from torch import nn

from edgeexport.preprocess import LogMelPreprocess
from edgeexport.sample_files import Sample

WEIGHTS = "tones.pt"
LABELS = ("low", "middle", "high")
PREPROCESS = LogMelPreprocess(
    sample_rate=4000,
    n_fft=128,
    win_length=100,
    hop_length=64,
    n_mels=15,
    f_min=50.0,
    f_max=1900.0,
    mel_scale="slaney",
    norm="slaney",
    power=2.0,
    log="log10",
    floor=1e-7,
    frames=15,
    center=True,
    mean=-4.0,
    std=1.5,
    layout="frames-mels-channel",
    input="features",
)


class Tones(nn.Module):
    """[batch, 15, 15, 1] features to three classes; odd lengths need no padding at strides in TFLite."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 8, 3, stride=2, padding=1)
        self.second = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.head = nn.Conv2d(16, 3, 1)
        self.example_inputs = {"features": torch.zeros(1, 15, 15, 1)}
        self.output_names = ["scores"]
        self.labels = list(LABELS)
        self.task = "classification"
        self.preprocess = PREPROCESS

    def forward(self, features):
        maps = torch.relu(self.second(torch.relu(self.first(features.permute(0, 3, 1, 2)))))
        return self.head(maps).permute(0, 2, 3, 1).mean((1, 2))


def factory():
    model = Tones()
    model.load_state_dict(torch.load(Path(os.environ["EDGEEXPORT_TONES"]) / WEIGHTS, weights_only=True))
    return model.eval()


def recording(kind, source):
    """A tone with an overtone and noise, int16, of 0.15 to 0.35 seconds: shorter and longer than the features."""
    seconds = np.arange(int(4000 * source.uniform(0.15, 0.35))) / 4000
    hertz = (150, 400, 1000)[kind] * source.uniform(0.8, 1.25)
    tone = np.sin(2 * np.pi * hertz * seconds) + 0.3 * np.sin(2 * np.pi * 1.7 * hertz * seconds)
    values = source.uniform(0.05, 0.6) * tone + source.normal(0, 0.01, len(seconds))
    return np.clip(np.rint(values * 32767), -32768, 32767).astype("<i2")


def write(path, samples):
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 4000, len(samples), "NONE", ""))
        file.writeframes(samples.tobytes())


def train(folder):
    """Write the weights, ``calibration`` (100 recordings) and ``evaluation`` (60), labels in the file names."""
    torch.manual_seed(0)
    source = np.random.default_rng(0)
    for name in ("train", "calibration", "evaluation"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    encode = PREPROCESS.prepare()
    features, kinds = [], np.arange(460) % 3
    for number, kind in enumerate(kinds):
        name = "calibration" if number < 100 else "evaluation" if number < 160 else "train"
        path = folder / name / f"{LABELS[kind]}_{number:03}.wav"
        write(path, recording(kind, source))
        features.append(encode(Sample(path.name, path))["features"])
    data, labels = torch.from_numpy(np.concatenate(features)), torch.from_numpy(kinds.astype(np.int64))
    model = Tones()
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(30):
        for start in range(160, len(data), 50):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(data[start : start + 50]), labels[start : start + 50]).backward()
            optimizer.step()
    torch.save(model.state_dict(), folder / WEIGHTS)
