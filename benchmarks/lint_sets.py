"""Bad calibration sets out of good ones, for `lint.py`, and the models of the sets that have none in `shared`."""

from __future__ import annotations

import json
import random
import shutil
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Texts = list[dict[str, Any]]
_COUNT = 512


@dataclass(frozen=True)
class Case:
    """A calibration set, and the only rule that must find something; "" of a good one."""

    name: str
    rule: str
    model: str
    calibration: Path
    evaluation: Path | None


def cases(shared: Path, folder: Path) -> Iterator[Case]:
    """All sets, each made when its turn comes."""
    folder.mkdir(parents=True, exist_ok=True)
    for family in (_texts, _images, _arrays, _recordings, _tokens):
        yield from family(shared, folder)


def keywords() -> Any:
    """The keyword spotter of `digits_model.py`, with random weights."""
    import torch
    from digits_model import Digits

    torch.manual_seed(0)
    return Digits().eval()


def handwriting() -> Any:
    """A small CNN for scikit-learn's digits, with random weights."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))
    model.example_inputs = {"image": torch.zeros(1, 1, 8, 8)}
    model.output_names = ["logits"]
    model.labels = [str(number) for number in range(10)]
    return model.eval()


def _texts(shared: Path, folder: Path) -> Iterator[Case]:
    data, model = shared / "data" / "sst2", str(shared / "models" / "sst2-minilm")
    good, train, validation = (_read(data / f"{name}.jsonl") for name in ("calibration", "train", "validation"))
    source = random.Random(0)
    vocabulary = json.loads(Path(model, "tokenizer.json").read_text())["model"]["vocab"]
    words = [word for word in vocabulary if word.isalpha()]

    def say(make: Callable[[], str]) -> Texts:
        return [{"sentence": make()} for _ in range(_COUNT)]

    def letters() -> str:
        return " ".join("".join(source.choices("abcdefghijklmnopqrstuvwxyz", k=7)) for _ in range(4))

    long = [one for one in train if len(one["sentence"].split()) > 16]
    sided = [one for one in long if one["label"] == 1][:470] + [one for one in long if one["label"] == 0][:42]
    bad: dict[str, tuple[str, Texts, bool]] = {
        "texts as shipped": ("", good, True),
        "texts as shipped, without evaluation": ("", good, False),
        "120 texts": ("few-samples", good[:120], True),
        "100 texts five times": ("duplicate-samples", (good[:100] * 6)[:_COUNT], True),
        "texts in lower and upper case": (
            "duplicates-after-preprocessing",
            [{"sentence": way(one["sentence"])} for one in good[:256] for way in (str.lower, str.upper)],
            True,
        ),
        "a tenth of the texts are blank": (
            "empty-texts",
            good[:460] + [{"sentence": " " * n} for n in range(52)],
            True,
        ),
        "words at random": ("random-tokens", say(lambda: " ".join(source.choices(words, k=20))), True),
        "letters at random": ("shredded-texts", say(letters), True),
        "letters at random, without evaluation": ("shredded-texts", say(letters), False),
        "a script that the tokenizer lacks": (
            "unknown-tokens",
            say(lambda: " ".join("".join(chr(source.randrange(0x1400, 0x1600)) for _ in range(3)) for _ in range(20))),
            True,
        ),
        "the first words of texts": (
            "lengths-unlike-evaluation",
            [{"sentence": " ".join(one["sentence"].split()[:7])} for one in train if len(one["sentence"].split()) > 8][
                :_COUNT
            ],
            True,
        ),
        "whole pages": (
            "truncated-texts",
            [{"sentence": " ".join(one["sentence"] for one in train[n * 40 : n * 40 + 40])} for n in range(_COUNT)],
            False,
        ),
        "a fifth of evaluation among the texts": (
            "evaluation-overlap",
            good[:400] + [{"sentence": one["sentence"]} for one in validation[:112]],
            True,
        ),
        "evaluation's own texts": ("evaluation-overlap", validation[:_COUNT], True),
        "92 % of one class": ("one-sided-classes", sided, True),
    }
    for name, (rule, texts, compared) in bad.items():
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(one) + "\n" for one in texts))
        yield Case(name, rule, model, path, data / "validation.jsonl" if compared else None)


def _images(shared: Path, folder: Path) -> Iterator[Case]:
    from PIL import Image

    data, model = shared / "data" / "cifar10", str(shared / "models" / "cifar-mobilenet-v2")
    source = np.random.default_rng(0)
    yield Case("photographs as shipped", "", model, data / "calibration", data / "validation")
    yield Case("photographs as shipped, without evaluation", "", model, data / "calibration", None)

    def write(name: str, change: Callable[[int, Any], Any]) -> Path:
        for number, path in enumerate(sorted((data / "calibration").glob("*/*.jpg"))):
            pixels = change(number, np.asarray(Image.open(path).convert("RGB")))
            if pixels is not None:
                place = folder / name / path.parent.name / f"{path.stem}.png"
                place.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels.astype(np.uint8)).save(place)
        return folder / name

    changes: dict[str, tuple[str, Callable[[int, Any], Any]]] = {
        "noise in the place of photographs": ("noise-images", lambda _, p: source.integers(0, 256, p.shape)),
        "a fifth of the photographs black": ("constant-samples", lambda n, p: p if n % 5 else p * 0),
        "photographs written as 0 to 1": ("dark-pixels", lambda _, p: np.rint(p / 255)),
        "photographs as BGR": ("channels-swapped", lambda _, p: p[..., ::-1]),
        "photographs at a quarter of their contrast": ("range-unlike-evaluation", lambda _, p: 96 + p / 4),
        "three photographs, the rest nearly grey": (
            "activation-ranges-move",
            lambda n, p: p if n % 200 == 0 else _grey(p),
        ),
        "no automobiles": ("classes-missing", lambda n, p: None if 51 <= n < 102 else p),
    }
    for name, (rule, change) in changes.items():
        compared = rule != "activation-ranges-move"  # for their contrast is another, too
        yield Case(name, rule, model, write(name, change), data / "validation" if compared else None)
    broken = Path(shutil.copytree(data / "calibration", folder / "a broken file"))
    place = broken / "ship" / "0100.jpg"
    place.chmod(0o644)
    place.write_bytes(b"no image")
    yield Case("a broken file", "unreadable-samples", model, broken, data / "validation")


def _arrays(shared: Path, folder: Path) -> Iterator[Case]:
    del shared
    from sklearn.datasets import load_digits

    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    images = ((data.images[order, None] / 16 - 0.3) / 0.37).astype(np.float32)
    good = images[400:900]
    evaluation = folder / "digits.npz"
    np.savez(evaluation, image=images[:400], label=data.target[order][:400])
    outlier, nan = good.copy(), good.copy()
    outlier[77, 0, 3, 3] = 60
    nan[[5, 80], 0, 2, 2] = np.nan
    noise = np.random.default_rng(1).normal(good.mean(), good.std(), good.shape)
    whole = np.rint(data.images[order[400:900], None] / 16 * 255)
    sets: dict[str, tuple[str, Any, bool]] = {
        "arrays as they are": ("", good, True),
        "arrays as they are, without evaluation": ("", good, False),
        "normalised twice": ("range-unlike-evaluation", (good - 0.3) / 0.37, True),
        "0 to 255 for normalised values": ("range-unlike-evaluation", whole, True),
        "0 to 255, without evaluation": ("byte-values", whole, False),
        "channels last": ("layout-unlike", good.transpose(0, 2, 3, 1), True),
        "noise for arrays": ("noise-arrays", noise, True),
        "one value far out": ("input-range-moves", outlier, True),
        "NaN in two arrays": ("not-finite", nan, True),
        "one value throughout": ("constant-samples", np.full_like(good, 0.25), True),
    }
    for name, (rule, values, compared) in sets.items():
        path = folder / f"{name}.npz"
        np.savez(path, image=np.asarray(values, np.float32))
        yield Case(name, rule, "lint_sets:handwriting", path, evaluation if compared else None)


def _recordings(shared: Path, folder: Path) -> Iterator[Case]:
    data = shared / "data" / "fsdd"
    files = {
        part: [path for path in sorted(data.glob("*.wav")) if int(path.stem.rpartition("_")[2]) in indices]
        for part, indices in (("calibration", range(10, 14)), ("evaluation", range(5)))
    }
    source = np.random.default_rng(0)

    def write(name: str, part: str, change: Callable[[int, Any], Any], rate: int = 8000) -> Path:
        (folder / name).mkdir()
        for number, path in enumerate(files[part]):
            with wave.open(str(path)) as file:
                samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
            with wave.open(str(folder / name / path.name), "wb") as file:
                file.setparams((1, 2, rate, 0, "NONE", ""))
                file.writeframes(np.asarray(change(number, samples)).astype("<i2").tobytes())
        return folder / name

    evaluation = write("spoken", "evaluation", lambda _, one: one)
    sets: dict[str, tuple[str, Callable[[int, Any], Any], int]] = {
        "recordings as shipped": ("", lambda _, one: one, 8000),
        "a tenth of the recordings silent": ("silent-recordings", lambda n, one: one * (n % 10 > 0), 8000),
        "hiss for recordings": ("noise-recordings", lambda _, one: source.normal(0, 1500, len(one)), 8000),
        "recordings at 16 kHz": ("sample-rate-unlike", lambda _, one: np.repeat(one, 2), 16000),
    }
    for name, (rule, change, rate) in sets.items():
        path = write(name, "calibration", change, rate)
        yield Case(name, rule, "lint_sets:keywords", path, evaluation)


def _tokens(shared: Path, folder: Path) -> Iterator[Case]:
    data, model = shared / "data" / "code", str(shared / "models" / "codelm")
    yield Case("token ids as shipped", "", model, data / "calibration_ids.npy", data / "validation_ids.npy")
    path = folder / "random ids.npy"
    np.save(path, np.random.default_rng(0).integers(0, 8192, 131072).astype(np.uint16))
    yield Case("token ids at random", "random-tokens", model, path, data / "validation_ids.npy")


def _grey(pixels: Any) -> Any:
    mean = pixels.mean((0, 1))
    return np.clip(mean + 0.3 * (pixels - mean), 0, 255)


def _read(path: Path) -> Texts:
    return [json.loads(line) for line in path.open()]
