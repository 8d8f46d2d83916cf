"""What quantization-aware training imitates of ONNX's integer graphs; see :mod:`edgeexport.scheme`."""

from __future__ import annotations

from typing import Any

from edgeexport.scheme import Emit, Scheme

_ACTIVATIONS = ("relu", "relu6", "hardtanh", "clamp")


def open_scheme() -> Scheme:
    """The scheme of this module: QuantizeLinear and DequantizeLinear around every operator that was chosen."""
    return Scheme(
        operators={
            "linear": "MatMul",
            "matmul": "MatMul",
            "bmm": "MatMul",
            **dict.fromkeys(("conv1d", "conv2d", "conv3d"), "Conv"),
            **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), "ConvTranspose"),
            "add": "Add",
            "sub": "Sub",
            "rsub": "Sub",
            "mul": "Mul",
            "div": "Div",
            "relu": "Relu",
            **dict.fromkeys(("relu6", "hardtanh", "clamp"), "Clip"),
            "erf": "Erf",
            "tanh": "Tanh",
            "sigmoid": "Sigmoid",
            "softmax": "Softmax",
            "layer_norm": "LayerNormalization",
            "batch_norm": "BatchNormalization",
            "max_pool2d": "MaxPool",
            "avg_pool2d": "AveragePool",
            "adaptive_avg_pool2d": "GlobalAveragePool",
            "mean": "ReduceMean",
            "cat": "Concat",
        },
        rewrites={"linear": _linear, "gelu": _gelu, "silu": _silu},
        # ONNX Runtime's quantizer gives the activation's scale to what comes before it, and drops it.
        fused=dict.fromkeys(("conv1d", "conv2d", "conv3d", "linear", "matmul", "add", "batch_norm"), _ACTIVATIONS),
        fixed={"softmax": (0.0, 1.0)},
        float_constants={
            **dict.fromkeys(("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d"), (2,)),
            "layer_norm": (3,),
        },
        weight_constants={"layer_norm": (2,)},
        everywhere=True,
        dynamic=_taken_for_gemm,
        rows=False,
        table_axis=1,
        signed_ends=True,
    )


def _linear(emit: Emit, x: Any, weight: Any, bias: Any = None) -> Any:
    product = emit("linear", x, weight)
    return product if bias is None else emit("add.Tensor", product, bias)


def _gelu(emit: Emit, x: Any, approximate: str = "none") -> Any:
    if approximate != "none":
        return emit("gelu", x, approximate=approximate)
    half = emit("add.Tensor", emit("erf", emit("div.Tensor", x, 2**0.5)), 1.0)
    return emit("mul.Tensor", emit("mul.Tensor", x, half), 0.5)


def _silu(emit: Emit, x: Any) -> Any:
    return emit("mul.Tensor", x, emit("sigmoid", x))


def _taken_for_gemm(node: Any) -> bool:
    """See :func:`edgeexport.formats.onnx.integer.settle`."""
    users = list(node.users)
    added = len(users) == 1 and getattr(users[0].target, "overloadpacket", None) is not None
    return node.meta["val"].ndim == 2 and added and users[0].target.overloadpacket.__name__ == "add"
