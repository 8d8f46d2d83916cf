"""A keyword spotter for microcontrollers: trains it, and is its torch factory, ``digits_model:digits``.

A depthwise-separable CNN after Zhang et al., Hello Edge (arXiv:1711.07128), on the Free Spoken Digit Dataset, whose
files are ``{digit}_{speaker}_{index}.wav``. Indices 0-4 are the test set and only scored, 5-9 choose the epoch, the
rest is trained on. The factory reads the weights that training writes; ``EDGEEXPORT_DIGITS`` names them where they are
not in the user's cache. Training features are those of the exported bundle: the same ``LogMelPreprocess`` makes them.
"""

from __future__ import annotations

import copy
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from edgeexport.errors import ModelError
from edgeexport.preprocess import LogMelPreprocess
from edgeexport.sample_files import Sample

if TYPE_CHECKING:
    from torch import Tensor

# One second, mostly: half of the recordings are shorter than 0.42 s, one in a hundred is longer than 0.92 s. The floor
# is near the noise of the recordings, so that int8 does not spend its range on digital silence.
FEATURES = LogMelPreprocess(
    sample_rate=8000,
    n_fft=256,
    win_length=256,
    hop_length=160,
    n_mels=41,
    f_min=20.0,
    f_max=4000.0,
    mel_scale="htk",
    norm="none",
    floor=1e-4,
    frames=49,
    mean=-7.0,
    std=3.0,
    layout="frames-mels-channel",
    input="features",
)
LABELS = tuple("0123456789")
TEST, CHOOSE, CALIBRATE = range(5), range(5, 10), range(10, 14)
SEED = 7


class Digits(nn.Module):
    """[batch, 49, 41, 1] log-mel features to ten logits.

    A channel-last input of one channel, and lengths that stay odd at every stride of 2 so that torch's symmetric
    padding is TFLite's SAME: the converted graph needs neither TRANSPOSE nor PAD. The widest pair of neighbouring
    tensors, which an arena has to hold, is behind the stem.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.stem = _block(1, width, 1, stride=2)
        self.body = nn.Sequential(
            _separable(width, 2 * width, stride=2),
            _separable(2 * width, 2 * width),
            _separable(2 * width, 3 * width, stride=2),
            _separable(3 * width, 3 * width),
        )
        self.dropout = nn.Dropout(0.2)
        # Before the mean, which it commutes with, as a convolution: TFLite Micro's FULLY_CONNECTED rounds ties another
        # way than LiteRT's reference kernel, and every other operator here gives the same bits in both.
        self.head = nn.Conv2d(3 * width, len(LABELS), 1)
        self.example_inputs = {FEATURES.input: torch.zeros(1, FEATURES.frames, FEATURES.n_mels, 1)}
        self.output_names = ["logits"]
        self.labels = LABELS
        self.task = "classification"
        self.preprocess = FEATURES

    def forward(self, features: Tensor) -> Tensor:
        """Logits of a batch."""
        maps = self.head(self.dropout(self.body(self.stem(features.permute(0, 3, 1, 2)))))
        logits: Tensor = maps.permute(0, 2, 3, 1).mean((1, 2))
        return logits


def _block(inputs: int, outputs: int, groups: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


def _separable(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(_block(inputs, inputs, inputs, stride), _block(inputs, outputs, 1, kernel=1))


def digits() -> Digits:
    """The trained model, for ``edgeexport export digits_model:digits``.

    Raises:
        ModelError: no weights where they are looked for.
    """
    path = weights_path()
    if not path.is_file():
        raise ModelError(f"there are no weights at {path}", "python benchmarks/digits_model.py writes them.")
    model = Digits()
    model.load_state_dict(torch.load(path, weights_only=True))
    return model.eval()


def weights_path() -> Path:
    """``EDGEEXPORT_DIGITS`` where it is set, else a file in the user's cache."""
    chosen = os.environ.get("EDGEEXPORT_DIGITS")
    if chosen:
        return Path(chosen)
    import platformdirs

    return Path(platformdirs.user_cache_dir("edgeexport")) / "benchmarks" / "digits.pt"


def recordings(folder: Path) -> list[tuple[Path, int]]:
    """Every recording with its index, in the order of their names.

    Raises:
        SystemExit: the folder holds none.
    """
    found = [(path, int(path.stem.rpartition("_")[2])) for path in sorted(folder.glob("*_*_*.wav"))]
    if not found:
        raise SystemExit(f"{folder} holds no recordings such as 3_george_12.wav")
    return found


def encoded(paths: list[Path]) -> tuple[Tensor, Tensor]:
    """Features [n, 49, 41, 1] and classes [n]."""
    encode = FEATURES.prepare()
    features = np.concatenate([encode(Sample(path.name, path))[FEATURES.input] for path in paths])
    return torch.from_numpy(features), torch.tensor([LABELS.index(path.name.partition("_")[0]) for path in paths])


def augmented(features: Tensor, random: torch.Generator) -> Tensor:
    """Features of the same recordings later or earlier, louder or softer, with noise, and with a band or time masked.

    All in the log-mel domain, where a gain is an offset and noise of another source adds in energy.
    """
    count, frames, mels, _ = features.shape
    silence = (np.log(FEATURES.floor) - FEATURES.mean) / FEATURES.std

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(count, *shape, 1, generator=random)

    shift = torch.randint(-4, 11, (count, 1), generator=random)
    source = torch.arange(frames) - shift
    rows = torch.arange(count)[:, None]
    moved = features[rows, source.clamp(0, frames - 1)]
    moved[(source < 0) | (source >= frames)] = silence
    gain = uniform(-2.0, 2.0, 1, 1)  # natural logarithm of energy: -8.7 to 8.7 dB
    noise = uniform(-12.0, -2.0, 1, 1) + torch.randn(count, frames, mels, 1, generator=random)
    energy = torch.logaddexp(moved * FEATURES.std + FEATURES.mean + gain, noise)
    result = ((energy - FEATURES.mean) / FEATURES.std).clamp(min=silence)
    for axis, widest in ((1, 6), (2, 6)):
        length = result.shape[axis]
        start, width = uniform(0, length - widest, 1), uniform(0, widest, 1)
        places = torch.arange(length).view(1, length, 1)
        masked = (places >= start) & (places < start + width)
        masked = masked[..., None] if axis == 1 else masked[:, None]
        result = torch.where(masked, torch.tensor(silence, dtype=result.dtype), result)
    return result


def train(data: tuple[Tensor, Tensor], choose: tuple[Tensor, Tensor], epochs: int) -> Digits:
    """Train, and keep the epoch that does best on ``choose``: most right, then the least loss."""
    from bench import note

    torch.manual_seed(SEED)
    random = torch.Generator().manual_seed(SEED)
    model = Digits()
    size = 64
    steps = epochs * (len(data[1]) // size)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=steps, pct_start=0.2)
    best, kept = (-1, 0.0), copy.deepcopy(model.state_dict())
    for epoch in range(epochs):
        model.train()
        order = torch.randperm(len(data[1]), generator=random)
        for batch in order[: len(order) // size * size].split(size):
            optimizer.zero_grad()
            logits = model(augmented(data[0][batch], random))
            nn.functional.cross_entropy(logits, data[1][batch], label_smoothing=0.05).backward()
            optimizer.step()
            schedule.step()
        result = scored(model, choose)
        if result > best:
            best, kept = result, copy.deepcopy(model.state_dict())
        note(f"epoch {epoch + 1} of {epochs}: {result[0]} of {len(choose[1])} right, loss {-result[1]:.4f}")
    model.load_state_dict(kept)
    return model.eval()


@torch.inference_mode()
def scored(model: Digits, data: tuple[Tensor, Tensor]) -> tuple[int, float]:
    """How many are right, and the negative mean loss: more is better in both."""
    model.eval()
    logits = model(data[0])
    return int((logits.argmax(1) == data[1]).sum()), -float(nn.functional.cross_entropy(logits, data[1]))


def link_sets(found: list[tuple[Path, int]], folder: Path) -> None:
    """Fill ``calibration/`` (240 training recordings) and ``evaluation/`` (the test set) with links."""
    for name, indices in (("calibration", CALIBRATE), ("evaluation", TEST)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for path, index in found:
            link = folder / name / path.name
            if index in indices and not link.exists():
                link.symlink_to(path.resolve())


def main() -> None:
    from bench import Figure, arguments, finish, note

    options = arguments(
        __doc__,
        ("--data", {"type": Path, "metavar": "DIR", "help": "the recordings; default: data/fsdd of the shared folder"}),
        ("--output", {"type": Path, "metavar": "FILE", "default": weights_path(), "help": "default: %(default)s"}),
        ("--epochs", {"type": int, "default": 60, "help": "default: %(default)s; 0 only scores the weights there are"}),
        ("--sets", {"type": Path, "metavar": "DIR", "help": "also link calibration/ and evaluation/ sets there"}),
    )
    torch.set_num_threads(1)  # the model is small; a busy second core would slow every step down
    start = time.perf_counter()
    found = recordings(options.data or options.shared / "data" / "fsdd")
    test = encoded([path for path, index in found if index in TEST])
    choose = encoded([path for path, index in found if index in CHOOSE])
    data = encoded([path for path, index in found if index not in TEST and index not in CHOOSE])
    note(f"{len(data[1])} recordings to train on, {len(choose[1])} to choose by, {len(test[1])} to score")
    if options.epochs:
        model = train(data, choose, options.epochs)
        options.output.parent.mkdir(parents=True, exist_ok=True)
        torch.save(model.state_dict(), options.output)
    else:
        model = Digits()
        model.load_state_dict(torch.load(options.output, weights_only=True))
        model.eval()
    seconds = time.perf_counter() - start
    if options.sets is not None:
        link_sets(found, options.sets)
    figures = [
        Figure("share of the test set right", scored(model, test)[0] / len(test[1]), 0.97, at_least=True),
        Figure("right", scored(model, test)[0]),
        Figure("of", len(test[1])),
        Figure("parameters", sum(parameter.numel() for parameter in model.parameters()), 50_000),
        Figure("seconds", seconds),
    ]
    finish(figures, options.json)


if __name__ == "__main__":
    main()
