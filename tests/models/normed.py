"""A CNN with batch normalization on scikit-learn's digits, one channel far above the others: ``normed:factory``."""

import os
from pathlib import Path

import torch
from torch import nn

WEIGHTS = "normed.pt"


class Normed(nn.Module):
    """8x8 grey images to ten classes: a convolution, a depthwise and a pointwise one, each normalized."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU6(),
            nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 1),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.head = nn.Linear(512, 10)
        self.example_inputs = {"image": torch.zeros(1, 1, 8, 8)}
        self.output_names = ["logits"]
        self.labels = [str(number) for number in range(10)]

    def forward(self, image):
        return self.head(self.features(image).flatten(1))


def factory():
    model = Normed()
    weights = Path(os.environ["EDGEEXPORT_NORMED"]) / WEIGHTS
    model.load_state_dict(torch.load(weights, weights_only=True))
    return model


def train(folder):
    """Write the weights, and ``train.npz`` (900), ``calibration.npz`` (300), ``evaluation.npz`` (400)."""
    import numpy as np
    from digits import fit

    torch.manual_seed(0)
    model = Normed()
    images, labels = fit(model)
    _spread(model.eval())
    torch.save(model.state_dict(), folder / WEIGHTS)
    np.savez(folder / "train.npz", image=images[400:1300], label=labels[400:1300])
    np.savez(folder / "calibration.npz", image=images[400:700])
    np.savez(folder / "evaluation.npz", image=images[:400], label=labels[:400])


@torch.no_grad()
def _spread(model):
    """Make the depthwise channels differ by up to three hundred times, and the next layer undo it."""
    factors = torch.logspace(0, 2.5, 16)
    model.features[4].weight *= factors
    model.features[4].bias *= factors
    model.features[6].weight /= factors[None, :, None, None]
