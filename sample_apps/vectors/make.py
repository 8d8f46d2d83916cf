"""Writes what the Android and iOS apps are tested against, computed by edgeexport, and their tables of characters.

    python sample_apps/vectors/make.py [FOLDER]     FOLDER: in the place of sample_apps

    vectors/tokenizer-uncased.json, tokenizer-cased.json    two small WordPiece tokenizers
    vectors/text.json       cases of {tokenizer, preprocess, texts, arrays}
    vectors/image.json      cases of {preprocess, width, height, pixels (RGB, rows from the top), shape, values}
    vectors/log-mel.json    cases of {preprocess, samples (16-bit integers), shape, values}
    BertCharacters.kt, BertCharacters.swift    which characters BERT's normalizer removes, splits at, or strips

The same versions of edgeexport's dependencies give the same bytes.
"""

from __future__ import annotations

import json
import sys
import tempfile
import wave
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from characters import tables, written
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from edgeexport.preprocess import ImagePreprocess, LogMelPreprocess, TokenizerPreprocess, to_dict
from edgeexport.sample_files import Sample

APPS = Path(__file__).parent.parent
KOTLIN = "android/core/src/main/kotlin/dev/edgeexport/sample/BertCharacters.kt"
SWIFT = "ios/Sources/EdgeBundle/BertCharacters.swift"

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = "the a of film movie un bo ring great good bad end ##s ##ing ##able ##ring ##ful cafe naive don resume uber"
TEXTS = (
    "",
    " ",
    "the film",
    "Unbearable, BORING endings!",
    "don't [MASK] the [SEP]film[CLS] , [mask] [UNK]x",
    "caf\u00e9 na\u00efve r\u00e9sum\u00e9 \u00dcber \u0130stanbul Stra\u00dfe",
    "cafe\u0301 o\u0308 \u1e69 \u1ea5 \uac00\ub098 \u03a3\u03b1\u03c2",
    "\u4e2d\u6587 film\u65e5\u672c\u8a9e\u304b\u306a \U00020000 \uf900",
    "tab\tnew\nline\r\nnbsp\u00a0thin\u2009ideographic\u3000vt\x0bff\x0cnel\x85end",
    "zero\u200bwidth soft\u00adhyphen bom\ufeff replace\ufffd nul\x00 bell\x07 private\ue000",
    "emoji \U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 flags \U0001f1e9\U0001f1ea \u2764\ufe0f",
    "$9.99 (50%) a+b=c <tag> ^_^ `x` ~ \u2014 \u201cquoted\u201d \u2026 \u00bf\u00a1 \u3002 \u20ac \u00a9",
    "x" * 100,
    "x" * 101,
    "\u00e9" * 101 + " the film",
    "the " * 40,
    "\u0915\u094d\u0937\u093f \u0e01\u0e33 \u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627 \u0406\u0439",
)
PAIRS = (
    ("the film", "great"),
    ("the film", ""),
    ("the " * 20, "a good movie"),
    ("bad", "ending " * 20),
    ("the " * 20, "film " * 21),
    ("great " * 9, "boring " * 9),
)


def tokenizer(lowercase: bool) -> Tokenizer:
    """A WordPiece tokenizer that knows every printable ASCII character, a few others and a few words."""
    letters = [chr(code) for code in range(33, 127)] + list(
        "\u00e9\u00e4\u00df\u03b1\u03c3\u4e2d\u6587\u0456\u0439\u20ac\u2014"
    )
    words = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters), *WORDS.split()]
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys(words))}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    made.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if lowercase:
        made.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
    else:
        made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    made.add_special_tokens(list(SPECIAL))
    return made


def text_cases(folder: Path) -> list[dict[str, Any]]:
    """Every text by both tokenizers, whole and cut at either end, and pairs."""
    whole = TokenizerPreprocess(max_length=128, fields=("a",))
    settings: list[tuple[str, TokenizerPreprocess, Iterable[tuple[str, ...]]]] = [
        ("uncased", whole, ((text,) for text in TEXTS)),
        ("cased", whole, ((text,) for text in TEXTS)),
        (
            "uncased",
            TokenizerPreprocess(
                max_length=10,
                fields=("a",),
                lengths=(6, 12),
                dtype="int32",
                pad_id=4,
                pad_type_id=1,
                inputs=("attention_mask", "input_ids", "position_ids", "token_type_ids"),
            ),
            ((text,) for text in TEXTS),
        ),
        ("cased", TokenizerPreprocess(max_length=7, fields=("a",), truncation_side="left"), ((t,) for t in TEXTS)),
        ("uncased", TokenizerPreprocess(max_length=16, fields=("a", "b")), PAIRS),
        ("cased", TokenizerPreprocess(max_length=15, fields=("a", "b"), truncation_side="left"), PAIRS),
    ]
    cases = []
    for name, preprocess, samples in settings:
        encode = preprocess.prepare(folder / name)
        for texts in samples:
            record = dict(zip(preprocess.fields, texts, strict=True))
            arrays = encode(Sample(name, record))
            found = {key: array[0].tolist() for key, array in arrays.items()}
            cases.append({"tokenizer": name, "preprocess": to_dict(preprocess), "texts": texts, "arrays": found})
    return cases


def image_cases(folder: Path) -> list[dict[str, Any]]:
    """Noise in several shapes through every filter, larger and smaller, cropped, padded and normalised."""
    from PIL import Image

    normal = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.25, 0.3)}
    settings = [
        ((9, 7), ImagePreprocess(resize=None)),
        ((9, 7), ImagePreprocess(resize=(5, 4), resample="nearest", layout="NHWC", rescale=None)),
        ((9, 7), ImagePreprocess(resize=(4, 12), resample="bilinear", **normal)),
        ((13, 8), ImagePreprocess(resize=6, resample="bicubic", crop=(6, 6), layout="NHWC", **normal)),
        ((8, 13), ImagePreprocess(resize=5, resample="bicubic", crop=(5, 4), channels="BGR")),
        ((11, 5), ImagePreprocess(resize=(3, 3), resample="lanczos", rescale=1 / 127.5)),
        ((5, 4), ImagePreprocess(resize=(9, 9), resample="lanczos", crop=(12, 7))),
        ((7, 7), ImagePreprocess(resize=(3, 4), resample="box")),
        ((7, 6), ImagePreprocess(resize=(4, 3), resample="hamming", channels="BGR", **normal)),
        ((5, 5), ImagePreprocess(crop=(8, 3), layout="NHWC")),
        ((8, 10), ImagePreprocess(resize=(6, 6), resample="bicubic", rescale=None)),  # shrinks by 4 down and 2 across
        ((8, 11), ImagePreprocess(resize=(6, 6), resample="bicubic", rescale=None)),  # by 5 and 2
    ]
    source = np.random.default_rng(3)
    cases = []
    for (width, height), preprocess in settings:
        pixels = source.integers(0, 256, (height, width, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "image.png")
        array = preprocess.prepare()(Sample("image", folder / "image.png"))[preprocess.input]
        shape = {"width": width, "height": height, "pixels": pixels.ravel().tolist(), "shape": list(array.shape)}
        cases.append({"preprocess": to_dict(preprocess), **shape, "values": rounded(array)})
    return cases


def log_mel_cases(folder: Path) -> list[dict[str, Any]]:
    """A tone with noise, too short and too long, by both mel scales and every other choice."""
    common: dict[str, Any] = {"sample_rate": 4000, "n_fft": 64, "win_length": 64, "hop_length": 32, "n_mels": 6}
    settings = [
        LogMelPreprocess(**common, f_max=2000.0, mel_scale="htk", norm="none", frames=5),
        LogMelPreprocess(
            **{**common, "win_length": 50, "n_mels": 5},
            f_min=80.0,
            f_max=1800.0,
            mel_scale="slaney",
            norm="slaney",
            power=1.0,
            log="log10",
            floor=1e-5,
            frames=6,
            center=False,
            mean=-3.0,
            std=2.0,
            layout="frames-mels-channel",
        ),
        LogMelPreprocess(
            **{**common, "n_fft": 60, "win_length": 60}, f_max=1500.0, mel_scale="slaney", norm="none", frames=4
        ),
    ]
    source = np.random.default_rng(4)
    cases = []
    for preprocess in settings:
        for count in (150, 300):
            tone = np.sin(np.arange(count) * 0.7) * 9000 + source.normal(0, 500, count)
            samples = np.rint(tone).astype("<i2")
            with wave.open(str(folder / "sound.wav"), "wb") as file:
                file.setparams((1, 2, preprocess.sample_rate, len(samples), "NONE", ""))
                file.writeframes(samples.tobytes())
            array = preprocess.prepare()(Sample("sound", folder / "sound.wav"))[preprocess.input]
            shape = {"samples": samples.tolist(), "shape": list(array.shape)}
            cases.append({"preprocess": to_dict(preprocess), **shape, "values": rounded(array)})
    return cases


def rounded(array: np.ndarray) -> list[float]:
    """The shortest decimals that give every float32 back."""
    return [float(str(value)) for value in array.ravel()]


def write(folder: Path) -> None:
    """Write everything below ``folder``."""
    vectors = folder / "vectors"
    vectors.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        for case, lowercase in (("uncased", True), ("cased", False)):
            (work / case).mkdir()
            tokenizer(lowercase).save(str(work / case / "tokenizer.json"), pretty=False)
            (vectors / f"tokenizer-{case}.json").write_bytes((work / case / "tokenizer.json").read_bytes() + b"\n")
        cases = {"text": text_cases(work), "image": image_cases(work), "log-mel": log_mel_cases(work)}
    for kind, listed in cases.items():
        lines = ",\n".join(json.dumps(case) for case in listed)  # ASCII, a case a line
        (vectors / f"{kind}.json").write_text(f"[\n{lines}\n]\n")
    found = tables()
    for place in (KOTLIN, SWIFT):
        path = folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(written(found, path.suffix))


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else APPS)
