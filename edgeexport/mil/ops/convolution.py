"""Convolution and its transpose over one, two or three spatial dimensions."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F  # noqa: N812

from edgeexport.errors import ModelError
from edgeexport.mil.memory import claim
from edgeexport.mil.table import Ints, Tensor, op

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


@op("conv")
def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    strides: Ints | None = None,
    pad_type: str = "valid",
    pad: Ints | None = None,
    dilations: Ints | None = None,
    groups: int = 1,
) -> Tensor:
    """out[o] = Σ weight[o, c, k] · x[c, i · stride + k · dilation - pad] + bias[o], channels in groups."""
    rank = spatial(x, weight.dim())
    strides = per_dimension(strides, rank, "strides")
    dilations = per_dimension(dilations, rank, "dilations")
    _see_groups(groups)
    kernel = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilations, strict=True)]
    pads = padding(pad_type, x.shape[2:], kernel, strides, pad)
    padded = [size + before + after for size, (before, after) in zip(x.shape[2:], pads, strict=True)]
    out = [(size - k) // s + 1 for size, k, s in zip(padded, kernel, strides, strict=True)]
    claim([x.shape[0], weight.shape[0], *out])
    claim([*x.shape[:2], *padded])
    even = [before for before, _ in pads]
    if any(before != after for before, after in pads):
        x, even = F.pad(x, flat(pads)), [0] * rank
    return _CONV[rank](x, weight, bias, strides, even, dilations, groups)


@op("conv_transpose")
def conv_transpose(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    pad: Ints | None = None,
    output_shape: Ints | None = None,
    pad_type: str = "valid",
    strides: Ints | None = None,
    dilations: Ints | None = None,
    groups: int = 1,
) -> Tensor:
    """out[o, i · stride + k · dilation - pad] += weight[c, o, k] · x[c, i], plus bias[o], channels in groups."""
    rank = spatial(x, weight.dim())
    strides = per_dimension(strides, rank, "strides")
    dilations = per_dimension(dilations, rank, "dilations")
    _see_groups(groups)
    kernel = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilations, strict=True)]
    full = [(size - 1) * s + k for size, s, k in zip(x.shape[2:], strides, kernel, strict=True)]
    if output_shape is not None and len(output_shape) != rank + 2:
        raise ModelError(f"an output_shape of {len(output_shape)} numbers for a result of rank {rank + 2}")
    same = pad_type in ("same", "same_lower")
    if output_shape is not None:
        out = output_shape[2:]
    elif same:
        out = [size * s for size, s in zip(x.shape[2:], strides, strict=True)]
    else:
        cut = padding(pad_type, full, kernel, strides, pad)
        out = [size - before - after for size, (before, after) in zip(full, cut, strict=True)]
    # What a convolution of the result would be padded with is cut off here.
    before = [pair[0] for pair in padding(pad_type, out, kernel, strides, pad)]
    after = [start + size - whole for start, size, whole in zip(before, out, full, strict=True)]
    channels = weight.shape[1] * groups
    claim([x.shape[0], channels, *out])
    claim([x.shape[0], channels, *full])
    # PyTorch cuts both ends alike, and gives back some of the far one.
    extra = [start + end for start, end in zip(before, after, strict=True)]
    if all(0 <= e < max(s, d) for e, s, d in zip(extra, strides, dilations, strict=True)):
        return _TRANSPOSED[rank](x, weight, bias, strides, before, extra, groups, dilations)
    whole = _TRANSPOSED[rank](x, weight, None, strides, 0, 0, groups, dilations)
    result = F.pad(whole, flat([(-start, end) for start, end in zip(before, after, strict=True)]))
    return result if bias is None else result + bias.reshape(1, -1, *[1] * rank)


def spatial(x: Tensor, rank: int) -> int:
    """The number of spatial dimensions of x, which is to have the rank."""
    if x.dim() not in (3, 4, 5) or x.dim() != rank:
        raise ModelError(f"x of rank {x.dim()} with a kernel for rank {rank}; 3, 4 and 5 are possible")
    if not x.is_floating_point():
        # PyTorch writes all windows of integers out, which can be any number of times as large as they are.
        raise ModelError(f"windows of {x.dtype}; real numbers are needed")
    return x.dim() - 2


def per_dimension(values: Sequence[int] | None, rank: int, what: str) -> list[int]:
    """One positive number for each spatial dimension; 1 where nothing is given."""
    found = [1] * rank if values is None else list(values)
    if len(found) != rank or min(found) < 1:
        raise ModelError(f"{what} are {found}; {rank} numbers from 1 on are needed")
    return found


def padding(
    pad_type: str, sizes: Sequence[int], kernel: Sequence[int], strides: Sequence[int], pad: Sequence[int] | None
) -> list[tuple[int, int]]:
    """Elements before and after each spatial dimension.

    ``same`` gives ceil(size / stride) results, an odd element after; ``same_lower`` has it before.
    """
    if pad_type == "valid" or (pad_type == "custom" and pad is None):
        return [(0, 0)] * len(sizes)
    if pad_type == "custom":
        if pad is None or len(pad) != 2 * len(sizes) or min(pad) < 0:
            raise ModelError(f"pad is {pad}; {2 * len(sizes)} numbers from 0 on are needed")
        return list(zip(pad[::2], pad[1::2], strict=True))
    if pad_type not in ("same", "same_lower"):
        raise ModelError(f"pad_type {pad_type!r} is none of valid, same, same_lower and custom")
    totals = [max(0, -(-n // s) * s - n + k - s) for n, k, s in zip(sizes, kernel, strides, strict=True)]
    pairs = [(total // 2, total - total // 2) for total in totals]
    return pairs if pad_type == "same" else [(after, before) for before, after in pairs]


def flat(pads: Sequence[tuple[int, int]]) -> list[int]:
    """As F.pad takes them, the last dimension first."""
    return [size for pair in reversed(pads) for size in pair]


def _see_groups(groups: int) -> None:
    if groups < 1:
        raise ModelError(f"{groups} groups of channels")
