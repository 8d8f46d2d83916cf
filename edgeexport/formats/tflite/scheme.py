"""What quantization-aware training imitates of TFLite's integer graphs; see :mod:`edgeexport.scheme`."""

from __future__ import annotations

from typing import Any

from edgeexport.scheme import Emit, Scheme

_ACTIVATIONS = ("relu", "relu6", "hardtanh", "clamp")
_LAYERS = ("linear", "conv1d", "conv2d", "conv3d")


def open_scheme() -> Scheme:
    """The scheme of this module: int8 tensors between operators, with the scales that the specification fixes.

    See https://ai.google.dev/edge/litert/models/quantization_spec.
    """
    return Scheme(
        operators={
            "linear": "FULLY_CONNECTED",
            "matmul": "BATCH_MATMUL",
            "bmm": "BATCH_MATMUL",
            "conv2d": "CONV_2D",
            "conv_transpose2d": "TRANSPOSE_CONV",
            "add": "ADD",
            "sub": "SUB",
            "rsub": "SUB",
            "mul": "MUL",
            "div": "MUL",
            "square": "SQUARED_DIFFERENCE",
            "rsqrt": "RSQRT",
            "mean": "MEAN",
            "adaptive_avg_pool2d": "MEAN",
            "avg_pool2d": "AVERAGE_POOL_2D",
            "max_pool2d": "MAX_POOL_2D",
            "relu": "RELU",
            **dict.fromkeys(("relu6", "hardtanh", "clamp"), "RELU6"),
            "gelu": "GELU",
            "tanh": "TANH",
            "sigmoid": "LOGISTIC",
            "softmax": "SOFTMAX",
            "cat": "CONCATENATION",
            "embedding": "EMBEDDING_LOOKUP",
        },
        rewrites={"layer_norm": _layer_norm, "silu": _silu},
        merges={"linear": _linear_after_scale},
        # A difference is squared by one operator, with no integers between.
        fused={**dict.fromkeys((*_LAYERS, "add"), _ACTIVATIONS), "sub": ("square",)},
        fixed={"softmax": (0.0, 255 / 256), "sigmoid": (0.0, 255 / 256), "tanh": (-1.0, 127 / 128)},
        float_constants={**dict.fromkeys(_LAYERS, (2,)), "conv_transpose2d": (2,)},
    )


def _layer_norm(emit: Emit, x: Any, shape: Any, *more: Any) -> Any:
    """As the converter writes it: every step is an operator, and has integers of its own."""
    weight, bias, eps = (*more, *(None, None, 1e-5)[len(more) :])[:3]
    axes = list(range(-len(shape), 0))
    mean = emit("mean.dim", x, axes, True)
    variance = emit("mean.dim", emit("square", emit("sub.Tensor", x, mean)), axes, True)
    scale = emit("rsqrt", emit("add.Tensor", variance, eps))
    shift = emit("rsub.Scalar", emit("mul.Tensor", scale, mean), 0.0)
    normal = emit("add.Tensor", emit("mul.Tensor", x, scale), shift)
    scaled = normal if weight is None else emit("mul.Tensor", normal, weight)
    return scaled if bias is None else emit("add.Tensor", scaled, bias)


def _silu(emit: Emit, x: Any) -> Any:
    return emit("mul.Tensor", x, emit("sigmoid", x))


def _linear_after_scale(emit: Emit, x: Any, weight: Any, bias: Any = None) -> Any:
    """Scale and shift before a layer go into its weight and bias: ``(x γ + β) Wᵀ + b = x (W γ)ᵀ + (β Wᵀ + b)``."""
    shifted = _constant_operand(x, "add")
    scaled = None if shifted is None else _constant_operand(shifted[0], "mul")
    if shifted is None or scaled is None:
        return None
    merged = emit("linear", shifted[1], weight)
    if bias is not None:
        merged = emit("add.Tensor", merged, bias)
    return emit("linear", scaled[0], emit("mul.Tensor", weight, scaled[1]), merged)


def _constant_operand(node: Any, name: str) -> tuple[Any, Any] | None:
    """The activation and the parameter vector of an addition or a multiplication, or None."""
    if getattr(node.target, "overloadpacket", None) is None or node.target.overloadpacket.__name__ != name:
        return None
    x, constant = node.args[:2]
    if getattr(constant, "op", "") != "get_attr" or constant.meta["val"].ndim != 1:
        return None
    return x, constant
