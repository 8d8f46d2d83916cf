"""Seeded random inputs, for golden data where the user gave no samples. Never for calibration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgeexport.preprocess import ImagePreprocess
from edgeexport.signature import Signature, TensorSpec

_SEED = 0
_LENGTH = 16
_IDS = 100
_CONSTANT = {"attention_mask": 1, "token_type_ids": 0}


def synthetic_inputs(signature: Signature, preprocess: Any, count: int) -> list[dict[str, np.ndarray]]:
    """``count`` samples: floats from a standard normal distribution, ids below 100.

    A dynamic axis is 1 for the batch and 16 elsewhere; the height and width of an image are those of its
    preprocessing.
    """
    generator = np.random.default_rng(_SEED)
    image = _image_lengths(preprocess) if isinstance(preprocess, ImagePreprocess) else {}
    return [{spec.name: _values(spec, image, generator) for spec in signature.inputs} for _ in range(count)]


def _image_lengths(preprocess: ImagePreprocess) -> dict[int, int]:
    """Height and width of what a square image becomes, by axis."""
    size = preprocess.crop or preprocess.resize or ()
    height, width = (size, size) if isinstance(size, int) else size or (_LENGTH, _LENGTH)
    first = 2 if preprocess.layout == "NCHW" else 1
    return {first: height, first + 1: width}


def _values(spec: TensorSpec, image: Mapping[int, int], generator: np.random.Generator) -> np.ndarray:
    known = {0: 1} | (image if len(spec.shape) == 4 else {})
    shape = tuple(
        length if isinstance(length, int) else known.get(axis, _LENGTH) for axis, length in enumerate(spec.shape)
    )
    if np.dtype(spec.dtype).kind == "f":
        return generator.standard_normal(shape).astype(spec.dtype)
    if spec.name in _CONSTANT:
        return np.full(shape, _CONSTANT[spec.name], spec.dtype)
    if spec.name == "position_ids":
        return np.broadcast_to(np.arange(shape[-1]), shape).astype(spec.dtype)
    return generator.integers(0, _IDS, shape).astype(spec.dtype)
