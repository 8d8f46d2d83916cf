"""From a text, a picture or a recording to a model's inputs, as the ``preprocess`` of a manifest says.

Each kind needs one more package, imported when a bundle asks for it: ``tokenizers`` for texts, ``Pillow`` for pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from audio import read_wav, spectrogram
from bundle import Arrays, Bundle, BundleError

Encode = Callable[[Sequence[str]], Arrays]
FILTERS = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""Pillow's, in the order of their codes."""


def encoder(bundle: Bundle) -> Encode:
    """The function from one sample, as words of a command line, to arrays by input name.

    Raises:
        BundleError: the kind is not known here, or its package is not installed.
    """
    spec = bundle.preprocess
    openers: dict[str, Callable[[dict[str, Any], Path], Encode]] = {
        "tokenizer": _text,
        "image": _image,
        "log-mel": _recording,
    }
    if spec["kind"] not in openers:
        raise BundleError(f"{bundle.path} takes arrays, which no command line gives: only --self-test is for it")
    return openers[spec["kind"]](spec, bundle.path)


def _text(spec: dict[str, Any], folder: Path) -> Encode:
    """Token ids; a sample is one text, or two where the model takes pairs."""
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise BundleError("tokenizers is not installed: pip install -r requirements.txt") from error
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(spec["max_length"], direction=spec["truncation_side"])
    tokenizer.no_padding()
    wanted = max(1, len(spec["fields"]))

    def encode(sample: Sequence[str]) -> Arrays:
        if len(sample) != wanted:
            names = " and ".join(spec["fields"]) or "a text"
            raise BundleError(f"the model takes {names}, which is {wanted} argument(s), not {len(sample)}")
        encoding = tokenizer.encode(*sample)
        if spec["lengths"]:
            length = min(length for length in spec["lengths"] if length >= len(encoding.ids))
            encoding.pad(length, pad_id=spec["pad_id"], pad_type_id=spec["pad_type_id"])
        rows = {
            "input_ids": encoding.ids,
            "token_type_ids": encoding.type_ids,
            "attention_mask": encoding.attention_mask,
            "position_ids": range(len(encoding.ids)),
        }
        return {name: np.array([rows[name]], spec["dtype"]) for name in spec["inputs"]}

    return encode


def _image(spec: dict[str, Any], folder: Path) -> Encode:
    """Pixel values [1, 3, height, width] or [1, height, width, 3], float32."""
    del folder
    try:
        from PIL import Image
    except ImportError as error:
        raise BundleError("Pillow is not installed: pip install -r requirements.txt") from error
    # Each byte has one value in each channel: a table of 256 gives the same bits as the arithmetic, and is faster.
    values = np.broadcast_to(np.arange(256, dtype=np.float32)[None], (3, 256))
    if spec["rescale"] is not None:
        values = (values.astype(np.float64) * spec["rescale"]).astype(np.float32)
    if spec["mean"] is not None:
        mean, std = np.array([spec["mean"], spec["std"]], np.float32)[:, :, None]
        values = (values - mean) / std
    order = (0, 1, 2) if spec["channels"] == "RGB" else (2, 1, 0)

    def encode(sample: Sequence[str]) -> Arrays:
        path = only(sample, "a picture's file")
        try:
            with Image.open(path) as image:
                if image.mode.startswith(("I", "F")):
                    raise BundleError(f"{path} has more than 8 bits a channel; convert it first")
                picture = image.convert("RGB")
        except OSError as error:
            raise BundleError(f"{path} cannot be read as a picture: {error}") from error
        size = resized(spec["resize"], *picture.size)
        if size is not None:
            picture = picture.resize(size, FILTERS.index(spec["resample"]))
        pixels = cropped(np.asarray(picture), spec["crop"])
        channels = [values[channel][pixels[..., source]] for channel, source in enumerate(order)]
        return {spec["input"]: np.stack(channels, 0 if spec["layout"] == "NCHW" else -1)[None].copy()}

    return encode


def resized(resize: int | list[int] | None, width: int, height: int) -> tuple[int, int] | None:
    """Width and height to resize to: one number is the shortest edge, two are height and width."""
    if resize is None:
        return None
    if not isinstance(resize, int):
        return resize[1], resize[0]
    if width <= height:
        return resize, int(resize * height / width)
    return int(resize * width / height), resize


def cropped(pixels: np.ndarray, crop: list[int] | None) -> np.ndarray:
    """Pixels [height, width, 3] cut about the centre; too small a picture is padded with black."""
    if crop is None:
        return pixels
    short = [max(0, want - have) for want, have in zip(crop, pixels.shape, strict=False)]
    if any(short):
        pixels = np.pad(pixels, [*((n - n // 2, n // 2) for n in short), (0, 0)])
    top, left = ((have - want) // 2 for want, have in zip(crop, pixels.shape, strict=False))
    return pixels[top : top + crop[0], left : left + crop[1]]


def _recording(spec: dict[str, Any], folder: Path) -> Encode:
    """Log-mel features of a mono ``.wav`` file."""
    del folder
    features = spectrogram(spec)

    def encode(sample: Sequence[str]) -> Arrays:
        found = features(read_wav(Path(only(sample, "a recording's file")), spec["sample_rate"]))
        if spec["layout"] == "frames-mels-channel":
            return {spec["input"]: found.T[None, :, :, None].copy()}
        return {spec["input"]: found[None, None]}

    return encode


def only(sample: Sequence[str], what: str) -> str:
    """The one argument of a sample."""
    if len(sample) != 1:
        raise BundleError(f"the model takes {what}, which is one argument, not {len(sample)}")
    return sample[0]
