"""A small CNN on scikit-learn's digits, as a torch factory: ``digits:factory``.

``train`` writes weights and sample sets to a folder; the factory reads the weights from ``EDGEEXPORT_DIGITS``.
"""

import os
from pathlib import Path

import numpy as np
import torch
from torch import nn

WEIGHTS = "digits.pt"


class Digits(nn.Module):
    """8x8 grey images to ten classes."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(),
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10))
        self.example_inputs = {"image": torch.zeros(1, 1, 8, 8)}
        self.output_names = ["logits"]
        self.labels = [str(number) for number in range(10)]

    def forward(self, image):
        return self.head(self.features(image))


def factory():
    model = Digits()
    weights = Path(os.environ["EDGEEXPORT_DIGITS"]) / WEIGHTS
    model.load_state_dict(torch.load(weights, weights_only=True))
    return model


def fit(model):
    """Train on all images but the first 400; gives images and labels, shuffled by a seed."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    images = (data.images[order, None] / 16).astype(np.float32)
    labels = data.target[order].astype(np.int64)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(8):
        for start in range(400, len(images), 64):
            optimizer.zero_grad()
            scores = model(torch.from_numpy(images[start : start + 64]))
            nn.functional.cross_entropy(scores, torch.from_numpy(labels[start : start + 64])).backward()
            optimizer.step()
    return images, labels


def train(folder):
    """Write the weights, ``calibration.npz`` (300, no labels) and ``evaluation.npz`` (400, with labels)."""
    torch.manual_seed(0)
    model = Digits()
    images, labels = fit(model)
    torch.save(model.state_dict(), folder / WEIGHTS)
    np.savez(folder / "calibration.npz", image=images[400:700])
    np.savez(folder / "evaluation.npz", image=images[:400], label=labels[:400])
