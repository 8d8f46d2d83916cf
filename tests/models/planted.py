"""Layers of which one alone loses what int8 has: ``planted:factory``. Labels are the model's own answers."""

import numpy as np
import torch
from torch import nn

WIDTH, CLASSES = 32, 6


class Planted(nn.Module):
    """16 values to six classes; ``middle`` reads a channel a thousand times above the others, which it takes away."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(4)
        self.first, self.middle = nn.Linear(16, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.third, self.last = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, CLASSES)
        for layer in (self.first, self.middle, self.third, self.last):
            layer.weight.data = torch.randn(layer.weight.shape, generator=generator) / layer.in_features**0.5
            layer.bias.data = 0.1 * torch.randn(layer.bias.shape, generator=generator)
        self.middle.weight.data[:, 0] = 0
        self.loud = nn.Parameter(torch.ones(WIDTH).index_fill(0, torch.tensor([0]), 1000.0))
        self.example_inputs = {"x": torch.zeros(1, 1, 16)}
        self.output_names = ["logits"]
        self.labels = [str(number) for number in range(CLASSES)]

    def forward(self, x):
        hidden = torch.relu(self.first(x)) * self.loud
        hidden = torch.relu(self.middle(hidden))
        hidden = torch.relu(self.third(hidden))
        return self.last(hidden).mean(1)


def factory():
    return Planted().eval()


def save(folder):
    """``calibration.npz`` (200) and ``evaluation.npz`` (400, with labels)."""
    random = np.random.default_rng(5)
    x = random.standard_normal((600, 1, 16)).astype(np.float32)
    with torch.no_grad():
        label = factory()(torch.from_numpy(x)).argmax(-1).numpy()
    np.savez(folder / "calibration.npz", x=x[:200])
    np.savez(folder / "evaluation.npz", x=x[200:], label=label[200:])
