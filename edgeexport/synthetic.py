"""Seeded random inputs, for golden data where the user gave no samples. Never for calibration."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from edgeexport.preprocess import ImagePreprocess, TokenizerPreprocess
from edgeexport.signature import Signature, TensorSpec
from edgeexport.source import Source
from edgeexport.text_features import TOKENIZER_FILE

_SEED = 0
_LENGTH = 16
_IDS = 100
_CONSTANT = {"attention_mask": 1, "token_type_ids": 0}


def synthetic_inputs(
    signature: Signature, preprocess: Any, count: int, vocabulary: int = _IDS
) -> list[dict[str, np.ndarray]]:
    """``count`` samples: floats from a standard normal distribution, ids below 100 and below ``vocabulary``.

    A dynamic axis is 1 for the batch and 16 elsewhere, or less where the tokenizer stops earlier; where the signature
    names lengths, the smallest. An image's height, width and channels are those of its preprocessing.
    """
    generator = np.random.default_rng(_SEED)
    image = _image_lengths(preprocess) if isinstance(preprocess, ImagePreprocess) else {}
    limit = preprocess.max_length if isinstance(preprocess, TokenizerPreprocess) else _LENGTH
    shapes = {spec.name: _shape(spec, signature, image, min(limit, _LENGTH)) for spec in signature.inputs}
    return [
        {spec.name: _values(spec, shapes[spec.name], generator, min(vocabulary, _IDS)) for spec in signature.inputs}
        for _ in range(count)
    ]


def _image_lengths(preprocess: ImagePreprocess) -> dict[int, int]:
    """Height, width and channels of what a square image becomes, by axis."""
    size = preprocess.crop or preprocess.resize or _LENGTH
    height, width = (size, size) if isinstance(size, int) else size
    return {1: 3, 2: height, 3: width} if preprocess.layout == "NCHW" else {1: height, 2: width, 3: 3}


def _shape(spec: TensorSpec, signature: Signature, image: Mapping[int, int], other: int) -> tuple[int, ...]:
    known = {0: 1, **(image if len(spec.shape) == 4 else {})}
    return tuple(
        length if isinstance(length, int) else min(signature.lengths.get(length, (known.get(axis, other),)))
        for axis, length in enumerate(spec.shape)
    )


def _values(spec: TensorSpec, shape: tuple[int, ...], generator: np.random.Generator, ids: int) -> np.ndarray:
    if np.dtype(spec.dtype).kind == "f":
        return generator.standard_normal(shape).astype(spec.dtype)
    if spec.name in _CONSTANT:
        return np.full(shape, _CONSTANT[spec.name], spec.dtype)
    if spec.name == "position_ids":
        return np.broadcast_to(np.arange(shape[-1]), shape).astype(spec.dtype)
    return generator.integers(0, ids, shape).astype(spec.dtype)


def token_count(source: Source) -> int:
    """How many token ids the model's tokenizer gives, or the model has; any number where neither is known."""
    if source.decoder is not None:
        return source.decoder.vocabulary
    path = None if source.assets is None else source.assets / TOKENIZER_FILE
    if path is None or not path.is_file():
        return sys.maxsize
    from tokenizers import Tokenizer  # type: ignore[import-untyped, unused-ignore]

    return int(Tokenizer.from_file(str(path)).get_vocab_size())
