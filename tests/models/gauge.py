"""A small network of real numbers, as a torch factory: ``gauge:factory``. One output is in hundreds, one in ones.

``train`` writes weights and sample sets to a folder; the factory reads the weights from ``EDGEEXPORT_GAUGE``.
"""

import os
from pathlib import Path

import numpy as np
import torch
from torch import nn

WEIGHTS = "gauge.pt"
UNITS = torch.tensor([300.0, 1.0])


class Gauge(nn.Module):
    """[batch, 12] to [batch, 2]."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(12, 48), nn.ReLU(), nn.Linear(48, 48), nn.ReLU())
        self.head = nn.Linear(48, 2)
        self.example_inputs = {"x": torch.zeros(1, 12)}
        self.output_names = ["values"]
        self.task = "regression"

    def forward(self, x):
        return self.head(self.body(x))


def factory():
    model = Gauge()
    model.load_state_dict(torch.load(Path(os.environ["EDGEEXPORT_GAUGE"]) / WEIGHTS, weights_only=True))
    return model


def samples(count, seed):
    """Inputs and what they measure, 0 to 300 and 0 to 1, with some noise on it."""
    random = np.random.default_rng(seed)
    x = random.uniform(-1, 1, (count, 12)).astype(np.float32)
    shares = 1 / (1 + np.exp(-np.stack([x[:, :4].sum(1) + x[:, 4] * x[:, 5], x[:, 6:10].sum(1)], 1)))
    return x, ((shares + random.normal(0, 0.02, shares.shape)) * UNITS.numpy()).astype(np.float32)


def train(folder):
    torch.manual_seed(5)
    model = Gauge()
    x, labels = map(torch.from_numpy, samples(2000, 1))
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(30):
        for start in range(0, len(x), 100):
            optimizer.zero_grad()
            found = model(x[start : start + 100])
            nn.functional.mse_loss(found, labels[start : start + 100] / UNITS).backward()
            optimizer.step()
    with torch.no_grad():
        model.head.weight *= UNITS[:, None]
        model.head.bias *= UNITS
    torch.save(model.state_dict(), folder / WEIGHTS)
    for name, count, seed in (("calibration", 120, 2), ("evaluation", 300, 3)):
        x, labels = samples(count, seed)
        np.savez(folder / f"{name}.npz", x=x, labels=labels)
