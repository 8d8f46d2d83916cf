"""What quantization-aware training imitates of Core ML's integer programs; see :mod:`edgeexport.scheme`."""

from __future__ import annotations

from edgeexport.scheme import Scheme


def open_scheme() -> Scheme:
    """The scheme of this module: layers, sums and pools take integers, and give float16."""
    return Scheme(
        operators={
            "linear": "linear",
            "matmul": "matmul",
            **dict.fromkeys(("conv1d", "conv2d", "conv3d"), "conv"),
            **dict.fromkeys(("conv_transpose1d", "conv_transpose2d"), "conv_transpose"),
            "add": "add",
            "avg_pool2d": "avg_pool",
            "max_pool2d": "max_pool",
            "embedding": "gather",
        },
        float_constants=dict.fromkeys(("linear", "conv1d", "conv2d", "conv3d", "conv_transpose2d"), (2,)),
        outputs=False,
        computed=frozenset(("linear", "conv", "add", "avg_pool", "max_pool")),
    )
