"""Calibration sets of every kind, good ones and the same spoilt in one way each, with what they are for.

Each maker of :data:`GOOD` and :data:`BAD` writes a set to a folder and gives ``(subject, calibration, evaluation)``.
"""

import json
import random
import wave

import numpy as np
import tones

from edgeexport.lint._subject import Subject
from edgeexport.preprocess import ArraysPreprocess, ImagePreprocess, TokenizerPreprocess
from edgeexport.samples import open_samples
from edgeexport.signature import Signature, TensorSpec

COUNT, COMPARED = 240, 120
KINDS = ("cat", "dog", "fish", "owl")
_SYLLABLES = [a + b for a in "bdfgklmnprst" for b in "aeiou"]


def _subject(preprocess, inputs, **more):
    specs = tuple(TensorSpec(name, *spec) for name, spec in inputs.items())
    given = {"assets": None, "task": "classification", "labels": None, "longest": None, "minimum": 100, **more}
    return Subject(preprocess=preprocess, signature=Signature(specs, ()), **given)


# Texts: words of three syllables, the n-th of them with a frequency of 1 / (n + 1), as in languages.

_WORDS = ["".join(random.Random(n).choices(_SYLLABLES, k=3)) for n in range(2000)]


def _sentence(source, low=8, high=40):
    weights = [1 / (n + 1) for n in range(len(_WORDS))]
    return " ".join(source.choices(_WORDS, weights, k=source.randint(low, high)))


def _sentences(count, seed, **lengths):
    source = random.Random(seed)
    return [{"text": _sentence(source, **lengths), "label": ("no", "yes")[n % 2]} for n in range(count)]


def texts(folder, change=None, compared=True, longest=64):
    """``change`` takes the good records and gives others."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    characters = "abcdefghijklmnopqrstuvwxyz"
    names = ["[PAD]", "[UNK]", *characters, *(f"##{one}" for one in characters), *dict.fromkeys(_WORDS)]
    names += [f"filler{n}" for n in range(6000)]  # so that the vocabulary is a large one
    tokenizer = Tokenizer(models.WordPiece({name: n for n, name in enumerate(names)}, unk_token="[UNK]"))
    tokenizer.add_special_tokens(["[PAD]", "[UNK]"])
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    records = _sentences(COUNT, seed=1)
    records = records if change is None else change(records)
    sets = []
    for name, rows in (("calibration", records), ("evaluation", _sentences(COMPARED, seed=2))):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        sets.append(open_samples(folder / f"{name}.jsonl"))
    preprocess = TokenizerPreprocess(max_length=longest, fields=("text",), inputs=("input_ids",))
    inputs = {"input_ids": ("int64", ("batch", "sequence"))}
    subject = _subject(preprocess, inputs, assets=folder, labels=("no", "yes"), longest=longest)
    return subject, sets[0], sets[1] if compared else None


def _of(make):
    """Change every text; labels stay."""
    return lambda records: [{**one, "text": make(n, one["text"])} for n, one in enumerate(records)]


def _evaluation(records):
    return _sentences(COMPARED, seed=2) * (len(records) // COMPARED)


# Pictures: smooth, the red of them brighter than the blue, a folder a kind.


def _smooth(source, height, width):
    """Bilinear between 5x5 random values, [height, width] of 0 to 1."""
    coarse = source.random((5, 5))
    rows, columns = np.linspace(0, 3.999, height), np.linspace(0, 3.999, width)
    top, left = rows.astype(int), columns.astype(int)
    down, right = (rows - top)[:, None], (columns - left)[None]
    upper = coarse[np.ix_(top, left)] * (1 - right) + coarse[np.ix_(top, left + 1)] * right
    lower = coarse[np.ix_(top + 1, left)] * (1 - right) + coarse[np.ix_(top + 1, left + 1)] * right
    return upper * (1 - down) + lower * down


def images(folder, change=None, compared=True, kinds=KINDS):
    """``change`` takes a number and pixels uint8 [24, 24, 3], and gives others."""
    from PIL import Image

    source = np.random.default_rng(0)
    for name, count in (("calibration", COUNT), ("evaluation", COMPARED)):
        for number in range(count):
            base = _smooth(source, 24, 24)
            pixels = np.stack([base * 200 + 50, base * 200 + 25, base * 200], -1) + source.normal(0, 3, (24, 24, 3))
            pixels = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
            chosen = KINDS if name == "evaluation" else kinds
            if change is not None and name == "calibration":
                pixels = np.asarray(change(number, pixels)).astype(np.uint8)
            place = folder / name / chosen[number % len(chosen)]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(place / f"{number:03}.png")
    preprocess = ImagePreprocess(input="image", mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    subject = _subject(preprocess, {"image": ("float32", ("batch", 3, 24, 24))}, labels=KINDS)
    sets = [open_samples(folder / name) for name in ("calibration", "evaluation")]
    return subject, sets[0], sets[1] if compared else None


# Recordings: those of the tones model.


def recordings(folder, change=None, rate=4000):
    """``change`` takes a number and samples int16, and gives others."""
    source = np.random.default_rng(0)
    for name, count in (("calibration", COUNT), ("evaluation", COMPARED)):
        (folder / name).mkdir()
        for number in range(count):
            samples = tones.recording(number % 3, source)
            spoilt = name == "calibration" and change is not None
            samples = np.asarray(change(number, samples)).astype("<i2") if spoilt else samples
            path = folder / name / f"{tones.LABELS[number % 3]}_{number:03}.wav"
            with wave.open(str(path), "wb") as file:
                file.setparams((1, 2, rate if name == "calibration" else 4000, 0, "NONE", ""))
                file.writeframes(samples.tobytes())
    subject = _subject(tones.PREPROCESS, {"features": ("float32", ("batch", 15, 15, 1))}, labels=tones.LABELS)
    return subject, *(open_samples(folder / name) for name in ("calibration", "evaluation"))


# Arrays: smooth fields, normalised.


def arrays(folder, change=None, compared=True):
    """``change`` takes float32 [samples, 1, 12, 16] and gives others."""
    source = np.random.default_rng(0)
    for name, count in (("calibration", COUNT), ("evaluation", COMPARED)):
        fields = np.stack([_smooth(source, 12, 16)[None] for _ in range(count)]).astype(np.float32)
        fields = (fields - 0.5) / 0.2
        if name == "calibration" and change is not None:
            fields = np.asarray(change(fields), np.float32)
        np.savez(folder / f"{name}.npz", field=fields)
    subject = _subject(ArraysPreprocess(), {"field": ("float32", ("batch", 1, "height", "width"))}, task="generic")
    sets = [open_samples(folder / f"{name}.npz") for name in ("calibration", "evaluation")]
    return subject, sets[0], sets[1] if compared else None


def _with(fields, place, value):
    fields = fields.copy()
    fields[place] = value
    return fields


# Token ids: the n-th with a frequency of 1 / (n + 1).


def token_ids(folder, uniform=False):
    """Rows of 32, with a mask of ones."""
    source = np.random.default_rng(0)
    weights = 1 / (np.arange(4000) + 1)
    for name, count in (("calibration", COUNT), ("evaluation", COMPARED)):
        chances = None if uniform and name == "calibration" else weights / weights.sum()
        ids = source.choice(4000, (count, 32), p=chances).astype(np.int64)
        np.savez(folder / f"{name}.npz", input_ids=ids, attention_mask=np.ones_like(ids))
    inputs = dict.fromkeys(("input_ids", "attention_mask"), ("int64", ("batch", "sequence")))
    subject = _subject(ArraysPreprocess(), inputs, task="embedding")
    return subject, *(open_samples(folder / f"{name}.npz") for name in ("calibration", "evaluation"))


def _letters(n, text):
    source = random.Random(n)
    return " ".join("".join(source.choices("abcdefghijklmnopqrstuvwxyz", k=3)) for _ in text.split()[::2])


def _greek(n, text):
    source = random.Random(n)
    return " ".join("".join(source.choices("ΞΨΩΔΦ", k=6)) for _ in text.split())


def _with_nothing(n, text):
    return " " * (n % 7) if n % 10 == 0 else text


def _broken(made):
    path = next(made[1].path.glob("*/*.png"))
    path.write_bytes(b"no image")
    return made


def _same(folder):
    subject, calibration, _ = images(folder)
    return subject, calibration, calibration


GOOD = {
    "texts": texts,
    "texts without evaluation": lambda f: texts(f, compared=False),
    "images": images,
    "images without evaluation": lambda f: images(f, compared=False),
    "recordings": recordings,
    "arrays": arrays,
    "arrays without evaluation": lambda f: arrays(f, compared=False),
    "token ids": token_ids,
}

BAD = {
    "fewer than the minimum": ("few-samples", lambda f: texts(f, lambda r: r[:60])),
    "few": ("few-samples", lambda f: texts(f, lambda r: r[:150])),
    "a broken image": ("unreadable-samples", lambda f: _broken(images(f))),
    "copies": ("duplicate-samples", lambda f: texts(f, lambda r: r[:60] * 4)),
    "copies but for case": (
        "duplicates-after-preprocessing",
        lambda f: texts(f, lambda r: r[:120] + _of(lambda _, t: t.upper())(r[:120])),
    ),
    "blank texts": ("empty-texts", lambda f: texts(f, _of(_with_nothing))),
    "random words": (
        "random-tokens",
        lambda f: texts(f, _of(lambda n, t: " ".join(random.Random(n).choices(_WORDS, k=len(t.split()))))),
    ),
    "random ids": ("random-tokens", lambda f: token_ids(f, uniform=True)),
    "random letters": ("shredded-texts", lambda f: texts(f, _of(_letters))),
    "random letters without evaluation": ("shredded-texts", lambda f: texts(f, _of(_letters), compared=False)),
    "a foreign script": ("unknown-tokens", lambda f: texts(f, _of(_greek))),
    "short texts": (
        "lengths-unlike-evaluation",
        lambda f: texts(f, lambda _: _sentences(COUNT, seed=1, low=6, high=10)),
    ),
    "long texts": ("truncated-texts", lambda f: texts(f, longest=16, compared=False)),
    "some of evaluation": ("evaluation-overlap", lambda f: texts(f, lambda r: r[:200] + _evaluation(r)[:40])),
    "all of evaluation": ("evaluation-overlap", _same),
    "one class": (
        "one-sided-classes",
        lambda f: texts(f, lambda r: [{**one, "label": "no"} for one in r[1:]] + r[1:2]),
    ),
    "a class missing": ("classes-missing", lambda f: images(f, kinds=KINDS[:3])),
    "black images": ("constant-samples", lambda f: images(f, lambda n, p: p if n % 5 else p * 0)),
    "noise for images": (
        "noise-images",
        lambda f: images(f, lambda n, p: np.random.default_rng(n).integers(0, 256, p.shape)),
    ),
    "images of 0 to 1": ("dark-pixels", lambda f: images(f, lambda _, p: np.rint(p / 255))),
    "blue for red": ("channels-swapped", lambda f: images(f, lambda _, p: p[..., ::-1])),
    "faint images": ("range-unlike-evaluation", lambda f: images(f, lambda _, p: 100 + p / 5)),
    "silence": ("silent-recordings", lambda f: recordings(f, lambda n, s: s * (n % 8 > 0))),
    "hiss": (
        "noise-recordings",
        lambda f: recordings(f, lambda n, s: np.random.default_rng(n).normal(0, 4000, len(s))),
    ),
    "another rate": ("sample-rate-unlike", lambda f: recordings(f, rate=8000)),
    "noise for arrays": (
        "noise-arrays",
        lambda f: arrays(f, lambda x: np.random.default_rng(1).normal(x.mean(), x.std(), x.shape)),
    ),
    "normalised twice": ("range-unlike-evaluation", lambda f: arrays(f, lambda x: (x - 0.5) / 0.2)),
    "bytes": ("range-unlike-evaluation", lambda f: arrays(f, lambda x: np.rint((x * 0.2 + 0.5) * 255))),
    "bytes without evaluation": (
        "byte-values",
        lambda f: arrays(f, lambda x: np.rint((x * 0.2 + 0.5) * 255), compared=False),
    ),
    "NaN": ("not-finite", lambda f: arrays(f, lambda x: _with(x, (3, 0, 2, 2), np.nan))),
    "infinity": ("not-finite", lambda f: arrays(f, lambda x: _with(x, (3, 0, 2, 2), np.inf))),
    "channels last": ("layout-unlike", lambda f: arrays(f, lambda x: x.transpose(0, 2, 3, 1))),
    "all alike": ("constant-samples", lambda f: arrays(f, lambda x: np.full_like(x, 0.25))),
    "one far value": ("input-range-moves", lambda f: arrays(f, lambda x: _with(x, (7, 0, 3, 3), 40))),
}
