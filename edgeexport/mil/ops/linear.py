"""Products of matrices (since iOS 15 where nothing else is said)."""

from __future__ import annotations

import torch
from torch.nn import functional

from edgeexport.mil.memory import claim
from edgeexport.mil.table import Tensor, Tensors, op


@op("linear")
def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x·weightᵀ + bias, weight [outputs, inputs]."""
    claim((*x.shape[:-1], weight.shape[0]))
    return functional.linear(x, weight, bias)


@op("matmul")
def matmul(x: Tensor, y: Tensor, transpose_x: bool = False, transpose_y: bool = False) -> Tensor:
    """x·y over the last two axes, the others broadcast."""
    if transpose_x and x.dim() > 1:
        x = x.mT
    if transpose_y and y.dim() > 1:
        y = y.mT
    if x.dim() > 1 and y.dim() > 1:
        batch = torch.broadcast_shapes(x.shape[:-2], y.shape[:-2])  # type: ignore[no-untyped-call]
        claim((*batch, x.shape[-2], y.shape[-1]))
    return torch.matmul(x, y)


@op("einsum")
def einsum(values: Tensors, equation: str) -> Tensor:
    """Einstein's summation of two operands."""
    left, _, right = equation.replace(" ", "").partition("->")
    sizes = {
        key: size
        for part, value in zip(left.split(","), values, strict=True)
        for key, size in zip(part, value.shape, strict=True)
    }
    claim(sizes[key] for key in right)
    return torch.einsum(equation, *values)


@op("scaled_dot_product_attention", since=18)
def scaled_dot_product_attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None) -> Tensor:
    """softmax(query·keyᵀ / √width + mask)·value; false in a mask of truth values leaves a key out."""
    claim((*query.shape[:-1], key.shape[-2]))
    return functional.scaled_dot_product_attention(query, key, value, attn_mask)
