"""A small CNN that tells pictures by the direction of their stripes, as a torch factory: ``stripes:factory``.

It takes pictures through an image preprocessing. ``train`` writes weights and pictures to a folder; the factory reads
the weights from ``EDGEEXPORT_STRIPES``.
"""

import os
from pathlib import Path

import numpy as np
import torch
from torch import nn

from edgeexport.preprocess import ImagePreprocess

WEIGHTS = "stripes.pt"
LABELS = ("across", "down", "slant")
PREPROCESS = ImagePreprocess(input="image", resize=(16, 24), mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))


class Stripes(nn.Module):
    """Pictures of 16 rows and 24 columns to three classes."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
        )
        self.head = nn.Linear(32, 3)
        self.example_inputs = {"image": torch.zeros(1, 3, 16, 24)}
        self.output_names = ["scores"]
        self.labels = list(LABELS)
        self.preprocess = PREPROCESS

    def forward(self, image):
        return self.head(self.features(image).mean((2, 3)))


def factory():
    model = Stripes()
    model.load_state_dict(torch.load(Path(os.environ["EDGEEXPORT_STRIPES"]) / WEIGHTS, weights_only=True))
    return model


def picture(kind, source):
    """Stripes of one of three directions in two colours, with noise, as bytes [16, 24, 3]."""
    rows, columns = np.mgrid[:16, :24]
    place = (rows, columns, rows + columns)[kind]
    wave = 0.5 + 0.5 * np.sin(2 * np.pi * place / source.uniform(4, 7) + source.uniform(0, 6))
    dark, light = source.uniform(0, 110, 3), source.uniform(145, 255, 3)
    pixels = dark + wave[..., None] * (light - dark) + source.normal(0, 12, (16, 24, 3))
    return np.clip(pixels, 0, 255).astype(np.uint8)


def train(folder):
    """Write the weights, ``calibration`` (100 pictures) and ``evaluation`` (90, in a folder a class)."""
    from PIL import Image

    torch.manual_seed(0)
    source = np.random.default_rng(0)
    kinds = np.arange(900) % 3
    pixels = np.stack([picture(kind, source) for kind in kinds])
    mean, std = np.float32(PREPROCESS.mean), np.float32(PREPROCESS.std)
    images = torch.from_numpy(((pixels / np.float32(255) - mean) / std).astype(np.float32).transpose(0, 3, 1, 2))
    labels = torch.from_numpy(kinds.astype(np.int64))
    model = Stripes()
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(12):
        for start in range(190, len(images), 64):
            optimizer.zero_grad()
            scores = model(images[start : start + 64])
            nn.functional.cross_entropy(scores, labels[start : start + 64]).backward()
            optimizer.step()
    torch.save(model.state_dict(), folder / WEIGHTS)
    for number in range(190):
        name = "calibration" if number < 100 else f"evaluation/{LABELS[kinds[number]]}"
        (folder / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[number]).save(folder / name / f"{number:03}.png")
