"""Operators that rearrange a tensor: its shape, the order of its elements, and space against depth or batch."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from edgeexport.errors import ModelError
from edgeexport.mil.memory import claim
from edgeexport.mil.table import Ints, Tensor, Tensors, op


def axis_of(axis: int, rank: int) -> int:
    """The axis counted from the front."""
    if not -rank <= axis < rank:
        raise ModelError(f"an axis {axis} of a tensor of rank {rank}")
    return axis % rank


def _axes_of(axes: Ints, rank: int) -> Ints:
    found = [axis_of(axis, rank) for axis in axes]
    if len(set(found)) < len(found):
        raise ModelError(f"the axes {axes} of a tensor of rank {rank} name one twice")
    return found


def _rank_four(x: Tensor) -> tuple[int, int, int, int]:
    if x.dim() != 4:
        raise ModelError(f"a tensor of rank {x.dim()}; rank 4 is needed")
    batch, channels, height, width = x.shape
    return batch, channels, height, width


def _positive(*sizes: int) -> None:
    if min(sizes) < 1:
        raise ModelError(f"a block of {min(sizes)}; at least 1 is needed")


@op("reshape", since=15)
def reshape(x: Tensor, shape: Ints) -> Tensor:
    """x in another shape: 0 is x's own size where the ranks are equal, -1 what remains (iOS 15 and 16)."""
    if 0 in shape and len(shape) != x.dim():
        raise ModelError(f"a shape {shape} with a 0 for a tensor of rank {x.dim()}; before iOS 17 ranks must be equal")
    return _reshaped(x, [own if size == 0 else size for size, own in _right_aligned(shape, x)])


@op("reshape", since=17)
def reshape_right(x: Tensor, shape: Ints) -> Tensor:
    """x in another shape: 0 is x's own size counted from the right, or 1; -1 what remains (since iOS 17)."""
    return _reshaped(x, [own if size == 0 else size for size, own in _right_aligned(shape, x)])


def _right_aligned(shape: Ints, x: Tensor) -> list[tuple[int, int]]:
    """Each size with that of x in the same place from the right, 1 where x has none."""
    missing = max(len(shape) - x.dim(), 0)
    own = [1] * missing + list(x.shape[max(x.dim() - len(shape), 0) :])
    return list(zip(shape, own, strict=True))


def _reshaped(x: Tensor, shape: Ints) -> Tensor:
    known = math.prod(size for size in shape if size != -1)
    fits = shape.count(-1) == 1 and known > 0 and x.numel() % known == 0
    if min(shape, default=0) < -1 or not (fits or (-1 not in shape and known == x.numel())):
        raise ModelError(f"a tensor of shape {list(x.shape)} does not go into the shape {shape}")
    return x.reshape([x.numel() // known if size == -1 else size for size in shape])


@op("reshape_like", since=16)
def reshape_like(x: Tensor, ref_tensors: Tensors, begins: Tensors, ends: Tensors, end_masks: Tensors) -> Tensor:
    """x in the shape of ref_tensors' shapes from begins to ends, or to the last, one after another (since iOS 16)."""
    if not len(ref_tensors) == len(begins) == len(ends) == len(end_masks):
        raise ModelError(
            f"{len(ref_tensors)} tensors with {len(begins)} begins, {len(ends)} ends and {len(end_masks)} masks"
        )
    shape: Ints = []
    for like, begin, end, mask in zip(ref_tensors, begins, ends, end_masks, strict=True):
        shape += like.shape[int(begin) :] if bool(mask) else like.shape[int(begin) : int(end)]
    return _reshaped(x, shape)


@op("expand_dims")
def expand_dims(x: Tensor, axes: Ints) -> Tensor:
    """x with sizes of 1 inserted so that they are at axes of the result."""
    for axis in sorted(_axes_of(axes, x.dim() + len(axes))):
        x = x.unsqueeze(axis)
    return x


@op("squeeze")
def squeeze(x: Tensor, axes: Ints | None = None) -> Tensor:
    """x without the axes, or any, whose size is 1; others stay."""
    if axes is None:
        return x.squeeze()
    return x.squeeze(tuple(_axes_of(axes, x.dim())))


@op("flatten2d")
def flatten2d(x: Tensor, axis: int = 1) -> Tensor:
    """x as a matrix: sizes before the axis, by those from it on."""
    before, after = math.prod(x.shape[:axis]), math.prod(x.shape[axis:])
    return x.reshape(before, after)


@op("shape")
def shape(x: Tensor) -> Tensor:
    """The sizes of x."""
    return torch.tensor(list(x.shape), dtype=torch.int32)


@op("transpose")
def transpose(x: Tensor, perm: Ints) -> Tensor:
    """x with its axis perm[i] as axis i."""
    if len(perm) != x.dim():
        raise ModelError(f"a permutation {perm} of a tensor of rank {x.dim()}")
    return x.permute(_axes_of(perm, x.dim()))


@op("reverse")
def reverse(x: Tensor, axes: Ints | None = None) -> Tensor:
    """x backwards along the axes, or all."""
    return x.flip(list(range(x.dim())) if axes is None else _axes_of(axes, x.dim()))


@op("reverse_sequence")
def reverse_sequence(x: Tensor, lengths: Tensor, seq_axis: int = 0, batch_axis: int = 0) -> Tensor:
    """x with the first lengths[i] elements along seq_axis backwards, for each i along batch_axis."""
    along, batch = axis_of(seq_axis, x.dim()), axis_of(batch_axis, x.dim())
    if along == batch:
        raise ModelError(f"the axis {along} is that of sequences and that of batches")
    if lengths.dim() != 1 or lengths.shape[0] != x.shape[batch]:
        raise ModelError(f"lengths of shape {list(lengths.shape)} for {x.shape[batch]} sequences")
    if lengths.numel() and not 0 <= int(lengths.min()) <= int(lengths.max()) <= x.shape[along]:
        raise ModelError(f"lengths from {int(lengths.min())} to {int(lengths.max())} of {x.shape[along]} elements")
    claim((x.shape[batch], x.shape[along]), 8)
    places = torch.arange(x.shape[along])
    ends = lengths.long().unsqueeze(1)
    source = torch.where(places < ends, ends - 1 - places, places)
    source = source if batch < along else source.t()
    full = [size if axis in (along, batch) else 1 for axis, size in enumerate(x.shape)]
    return torch.gather(x, along, source.reshape(full).expand(x.shape))


@op("depth_to_space")
def depth_to_space(x: Tensor, block_size: int) -> Tensor:
    """Channel (i·b + j)·C + c to the element (i, j) of each b × b block of channel c."""
    batch, channels, height, width = _rank_four(x)
    _positive(block_size)
    if channels % (block_size * block_size):
        raise ModelError(f"{channels} channels in blocks of {block_size} by {block_size}")
    fewer = channels // (block_size * block_size)
    parts = x.reshape(batch, block_size, block_size, fewer, height, width).permute(0, 3, 4, 1, 5, 2)
    return parts.reshape(batch, fewer, height * block_size, width * block_size)


@op("space_to_depth")
def space_to_depth(x: Tensor, block_size: int) -> Tensor:
    """The element (i, j) of each b × b block of channel c to channel (i·b + j)·C + c."""
    batch, channels, height, width = _rank_four(x)
    high, wide = _blocks(height, block_size), _blocks(width, block_size)
    parts = x.reshape(batch, channels, high, block_size, wide, block_size).permute(0, 3, 5, 1, 2, 4)
    return parts.reshape(batch, channels * block_size * block_size, high, wide)


@op("pixel_shuffle")
def pixel_shuffle(x: Tensor, upscale_factor: int) -> Tensor:
    """Channel c·f² + i·f + j to the element (i, j) of each f × f block of channel c."""
    _rank_four(x)
    return functional.pixel_shuffle(x, upscale_factor)


@op("pixel_unshuffle", since=16)
def pixel_unshuffle(x: Tensor, downscale_factor: int) -> Tensor:
    """The element (i, j) of each f × f block of channel c to channel c·f² + i·f + j (since iOS 16)."""
    _rank_four(x)
    return functional.pixel_unshuffle(x, downscale_factor)


@op("space_to_batch")
def space_to_batch(x: Tensor, block_shape: Ints, paddings: Ints) -> Tensor:
    """x padded with 0, and the element (i, j) of each block to the batch (i·b + j)·N + n."""
    batch, channels, height, width = _rank_four(x)
    (tall, broad), (top, bottom, left, right) = _pair(block_shape), _edges(paddings)
    claim((batch, channels, height + top + bottom, width + left + right))
    x = functional.pad(x, (left, right, top, bottom))
    high, wide = _blocks(x.shape[2], tall), _blocks(x.shape[3], broad)
    parts = x.reshape(batch, channels, high, tall, wide, broad).permute(3, 5, 0, 1, 2, 4)
    return parts.reshape(batch * tall * broad, channels, high, wide)


@op("batch_to_space")
def batch_to_space(x: Tensor, block_shape: Ints, crops: Ints) -> Tensor:
    """The batch (i·b + j)·N + n to the element (i, j) of each block, and edges cut off."""
    batch, channels, height, width = _rank_four(x)
    (tall, broad), (top, bottom, left, right) = _pair(block_shape), _edges(crops)
    _positive(tall, broad)
    fewer = _blocks(batch, tall * broad)
    parts = x.reshape(tall, broad, fewer, channels, height, width).permute(2, 3, 4, 0, 5, 1)
    whole = parts.reshape(fewer, channels, height * tall, width * broad)
    if top + bottom > whole.shape[2] or left + right > whole.shape[3]:
        raise ModelError(f"{crops} are cut off {whole.shape[2]} by {whole.shape[3]} elements")
    return whole[:, :, top : whole.shape[2] - bottom, left : whole.shape[3] - right]


def _blocks(size: int, block: int) -> int:
    _positive(block)
    if size % block:
        raise ModelError(f"a dimension of {size} in blocks of {block}")
    return size // block


def _pair(block: Ints) -> tuple[int, int]:
    if len(block) != 2:
        raise ModelError(f"a block {block}; it has two sizes")
    return block[0], block[1]


def _edges(sizes: Ints) -> tuple[int, int, int, int]:
    if len(sizes) != 4 or min(sizes) < 0:
        raise ModelError(f"edges {sizes}; they are four, none negative")
    return sizes[0], sizes[1], sizes[2], sizes[3]
