"""Products of matrices (since iOS 15 where nothing else is said)."""

from __future__ import annotations

import torch
from torch.nn import functional

from edgeexport.errors import ModelError
from edgeexport.mil.memory import claim
from edgeexport.mil.table import Tensor, Tensors, op


@op("linear")
def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x·weightᵀ + bias, weight [outputs, inputs]; from iOS 17 on, the types may differ, and x has the result's."""
    claim((*x.shape[:-1], weight.shape[0]))
    if x.dtype is weight.dtype and (bias is None or bias.dtype is x.dtype):
        return functional.linear(x, weight, bias)
    # One of them is float32.
    return functional.linear(x.float(), weight.float(), None if bias is None else bias.float()).to(x.dtype)


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
    if x.dtype is not y.dtype:  # From iOS 17 on, where one is constant; the machine knows the result's type.
        x, y = x.float(), y.float()
    return torch.matmul(x, y)


@op("einsum")
def einsum(values: Tensors, equation: str) -> Tensor:
    """Einstein's summation of two operands, of which either may have one element along an axis that both have."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    if not arrow or len(values) != 2:
        raise ModelError(f"two operands and a result are needed, and the equation is {equation!r}")
    sizes: dict[str, int] = {}
    for part, value in zip(left.split(","), values, strict=True):
        for key, size in zip(part, value.shape, strict=True):
            sizes[key] = size if sizes.get(key, 1) == 1 else sizes[key]
    claim(sizes[key] for key in right)
    return torch.einsum(equation, *values)


@op("scaled_dot_product_attention", since=18)
def scaled_dot_product_attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None) -> Tensor:
    """softmax(query·keyᵀ / √width + mask)·value; false in a mask of truth values leaves a key out."""
    batch = torch.broadcast_shapes(query.shape[:-2], key.shape[:-2], value.shape[:-2])  # type: ignore[no-untyped-call]
    claim((*batch, query.shape[-2], max(key.shape[-2], value.shape[-1])))
    if attn_mask is not None and attn_mask.dim() == 1:
        attn_mask = attn_mask.unsqueeze(0)  # PyTorch wants an axis of queries.
    return functional.scaled_dot_product_attention(query, key, value, attn_mask)
