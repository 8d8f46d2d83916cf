"""Seeded random inputs, for golden data where the user gave no samples. Never for calibration."""

from __future__ import annotations

from typing import Any

import numpy as np

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
    image_shape = getattr(preprocess, "shape", None)
    return [{spec.name: _values(spec, image_shape, generator) for spec in signature.inputs} for _ in range(count)]


def _values(spec: TensorSpec, image_shape: Any, generator: np.random.Generator) -> np.ndarray:
    shape = tuple(
        length if isinstance(length, int) else (1 if axis == 0 else _LENGTH) for axis, length in enumerate(spec.shape)
    )
    if image_shape is not None and len(image_shape) == len(shape):
        shape = tuple(image_shape)
    if np.dtype(spec.dtype).kind == "f":
        return generator.standard_normal(shape).astype(spec.dtype)
    if spec.name in _CONSTANT:
        return np.full(shape, _CONSTANT[spec.name], spec.dtype)
    if spec.name == "position_ids":
        return np.broadcast_to(np.arange(shape[-1]), shape).astype(spec.dtype)
    return generator.integers(0, _IDS, shape).astype(spec.dtype)
