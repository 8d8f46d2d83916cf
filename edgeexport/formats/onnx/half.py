"""Float16 weights and arithmetic, with float32 inputs and outputs."""

from __future__ import annotations

import warnings
from collections.abc import Collection
from typing import Any


def to_float16(model: Any, left: Collection[str] = ()) -> Any:
    """Convert a float32 ``ModelProto``; values beyond ±65504 are clipped to it rather than becoming infinite.

    Args:
        model: consumed.
        left: names of nodes that keep computing in float32.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return convert_float_to_float16(
            model, keep_io_types=True, min_positive_val=5.96e-8, max_finite_val=65504.0, node_block_list=sorted(left)
        )
