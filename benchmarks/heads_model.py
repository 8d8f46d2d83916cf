"""A detector whose head gives boxes and a score in one tensor: trains it, and is its torch factory.

``benchmarks.heads_model:detector``. Each 64x64 image has one bright ellipse on a textured background; the model gives
its centre, width and height in pixels and how much it stands out, 0 to 1: [x, y, width, height, score]. One convolution
computes all five, as in detectors of one stage (Redmon et al., arXiv:1506.02640), so integers of 8 bits that span the
boxes leave the score few steps. The factory reads the weights that training writes; ``EDGEEXPORT_HEADS`` names them.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from edgeexport.errors import ModelError

SIZE = 64
COLUMNS = ("x", "y", "width", "height", "score")
UNITS = (SIZE, SIZE, SIZE, SIZE, 1.0)
"""What a column's values are divided by while it is learned."""
SETS = {"train": 6000, "calibration": 256, "evaluation": 1000}
SEED = 11


class Detector(nn.Module):
    """[batch, 1, 64, 64] grey images, 0 to 1, to [batch, 5]."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(_block(1, 8), _block(8, 16), _block(16, 32), _block(32, 32))
        self.neck = nn.Sequential(nn.Conv2d(32, 96, SIZE >> 4), nn.ReLU())
        self.head = nn.Conv2d(96, len(COLUMNS), 1)
        self.example_inputs = {"image": torch.zeros(1, 1, SIZE, SIZE)}
        self.output_names = ["boxes"]
        self.task = "regression"

    def forward(self, image: Tensor) -> Tensor:
        """Boxes in pixels and scores of a batch."""
        return self.head(self.neck(self.body(image))).flatten(1)  # type: ignore[no-any-return]


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def detector() -> Detector:
    """The trained model.

    Raises:
        ModelError: no weights where they are looked for.
    """
    path = Path(os.environ.get("EDGEEXPORT_HEADS", "heads.pt"))
    if not path.is_file():
        raise ModelError(
            f"there are no weights at {path}", "python benchmarks/heads_model.py --output FILE writes them."
        )
    model = Detector()
    model.load_state_dict(torch.load(path, weights_only=True))
    return model.eval()


def images(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images [count, 1, 64, 64] and what is in them [count, 5], float32.

    The score is the ellipse's contrast: the brightness that it adds, as a share of the most that it adds.
    """
    random = np.random.default_rng(seed)
    sides = random.uniform(8, 40, (count, 2))
    centres = random.uniform(sides / 2, SIZE - sides / 2)
    contrast = random.uniform(0.15, 1.0, count)
    grid = np.arange(SIZE) + 0.5
    across = (grid - centres[:, :1]) / (sides[:, :1] / 2)
    down = (grid - centres[:, 1:]) / (sides[:, 1:] / 2)
    distance = np.sqrt(across[:, None, :] ** 2 + down[:, :, None] ** 2)
    soft = np.clip((1 - distance) * sides.min(1)[:, None, None] / 2 + 0.5, 0, 1)  # edges of about a pixel
    coarse = random.uniform(0, 0.25, (count, SIZE // 8, SIZE // 8)).repeat(8, 1).repeat(8, 2)
    fine = random.normal(0, 0.03, (count, SIZE, SIZE))
    pixels = np.clip(coarse + fine + soft * 0.7 * contrast[:, None, None], 0, 1)
    return pixels[:, None].astype(np.float32), np.column_stack([centres, sides, contrast]).astype(np.float32)


def train(data: tuple[np.ndarray, np.ndarray], epochs: int) -> Detector:
    """Learn every column in units of its own, and let the last convolution give pixels in the end."""
    torch.manual_seed(SEED)
    order = torch.Generator().manual_seed(SEED)
    pixels, labels = torch.from_numpy(data[0]), torch.from_numpy(data[1]) / torch.tensor(UNITS)
    model, size = Detector(), 64
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=1e-4)
    steps = epochs * (len(pixels) // size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps, pct_start=0.2)
    for _ in range(epochs):
        for batch in torch.randperm(len(pixels), generator=order)[: len(pixels) // size * size].split(size):
            optimizer.zero_grad()
            nn.functional.smooth_l1_loss(model(pixels[batch]), labels[batch], beta=0.05).backward()
            optimizer.step()
            schedule.step()
    with torch.no_grad():
        units = torch.tensor(UNITS)
        model.head.weight *= units[:, None, None, None]
        assert model.head.bias is not None
        model.head.bias *= units
    return model.eval()


def determination(found: np.ndarray, labels: np.ndarray) -> list[float]:
    """R² of every column."""
    wanted = labels.astype(np.float64)
    spread = ((wanted - wanted.mean(0)) ** 2).sum(0)
    return list(map(float, 1 - ((wanted - found) ** 2).sum(0) / spread))


def main() -> None:
    from bench import Figure, arguments, finish

    options = arguments(
        __doc__,
        ("--output", {"type": Path, "metavar": "FILE", "default": Path("heads.pt"), "help": "default: %(default)s"}),
        ("--epochs", {"type": int, "default": 16, "help": "default: %(default)s; 0 only scores the weights there are"}),
        ("--sets", {"type": Path, "metavar": "DIR", "help": "also write the sets as .npz files there"}),
    )
    torch.set_num_threads(1)  # the model is small; a busy second core would slow every step down
    start = time.perf_counter()
    sets = {name: images(count, SEED + number) for number, (name, count) in enumerate(SETS.items())}
    if options.epochs:
        model = train(sets["train"], options.epochs)
        options.output.parent.mkdir(parents=True, exist_ok=True)
        torch.save(model.state_dict(), options.output)
    else:
        model = Detector().eval()
        model.load_state_dict(torch.load(options.output, weights_only=True))
    seconds = time.perf_counter() - start
    if options.sets is not None:
        options.sets.mkdir(parents=True, exist_ok=True)
        for name, (pixels, labels) in sets.items():
            np.savez(options.sets / f"{name}.npz", image=pixels, labels=labels)
    pixels, labels = sets["evaluation"]
    with torch.inference_mode():
        columns = determination(model(torch.from_numpy(pixels)).numpy(), labels)
    figures = [Figure(f"R² of {name}", value) for name, value in zip(COLUMNS, columns, strict=True)]
    figures += [
        Figure("R²", sum(columns) / len(columns), 0.97, at_least=True),
        Figure("parameters", sum(parameter.numel() for parameter in model.parameters())),
        Figure("seconds", seconds),
    ]
    finish(figures, options.json)


if __name__ == "__main__":
    main()
