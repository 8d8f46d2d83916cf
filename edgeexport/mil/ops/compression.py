"""Weights that a program holds compressed: quantized, as a table with indices, or sparse."""

from __future__ import annotations

import torch

from edgeexport.errors import ModelError
from edgeexport.mil.blob import decode
from edgeexport.mil.dtypes import BY_NAME
from edgeexport.mil.memory import claim
from edgeexport.mil.ops.quantization import along
from edgeexport.mil.table import Ints, Tensor, op

_PALETTES = {2: 1, 4: 2, 16: 4, 64: 6, 256: 8}
"""Bits of an index by the entries of a table."""


@op("constexpr_affine_dequantize", since=16)
def affine_dequantize(quantized_data: Tensor, zero_point: Tensor, scale: Tensor, axis: int) -> Tensor:
    """scale · (quantized_data - zero_point), scale and zero point one or along the axis (since iOS 16)."""
    claim(quantized_data.shape)
    shifted = quantized_data.float() - along(zero_point.float(), quantized_data, axis)
    return shifted.mul_(along(scale, quantized_data, axis))


@op("constexpr_cast", since=16)
def cast(source_val: Tensor, output_dtype: str) -> Tensor:
    """source_val in float32, as which it is held already (since iOS 16)."""
    if output_dtype != "fp32":
        raise ModelError(f"weights are cast to fp32, not to {output_dtype}")
    return source_val.clone()


@op("constexpr_lut_to_dense", since=16)
def packed_lut_to_dense(indices: Tensor, lut: Tensor, shape: Ints) -> Tensor:
    """lut[indices], the indices packed into bytes from the lowest bits on (iOS 16 and 17)."""
    bits = _PALETTES.get(lut.numel())
    if bits is None:
        raise ModelError(f"a table of {lut.numel()} entries; 2, 4, 16, 64 or 256 are possible")
    claim(shape)
    found = decode(indices.numpy().tobytes(), BY_NAME[f"uint{bits}"], shape)
    return lut.reshape(-1).index_select(0, found.reshape(-1).int()).reshape(shape)


@op("constexpr_lut_to_dense", since=18)
def lut_to_dense(indices: Tensor, lut: Tensor, vector_axis: int | None = None) -> Tensor:
    """lut[group, indices]: a table for each block of indices, its vectors along vector_axis (since iOS 18)."""
    rank = indices.dim()
    if lut.dim() != rank + 2:
        raise ModelError(f"a table of rank {lut.dim()} for indices of rank {rank}; it needs two more")
    palettes, vector = lut.shape[-2:]
    if vector > 1 and vector_axis is None:
        raise ModelError("a table of vectors, and no vector_axis")
    axis = _axis(vector_axis or 0, rank)
    claim((*indices.shape, vector))
    if indices.numel() and int(indices.max()) >= palettes:
        raise ModelError(f"an index {int(indices.max())} into a table of {palettes} entries")
    places = indices.int()
    step = int(palettes)
    for dimension in reversed(range(rank)):
        size, groups = indices.shape[dimension], lut.shape[dimension]
        block = _block(size, groups)
        group = torch.arange(size, dtype=torch.int32).div_(block, rounding_mode="floor").mul_(step)
        places = places + group.reshape([-1 if i == dimension else 1 for i in range(rank)])
        step *= groups
    found = lut.reshape(-1, vector).index_select(0, places.reshape(-1)).reshape(*indices.shape, vector)
    return found.movedim(-1, axis + 1).flatten(axis, axis + 1)


@op("constexpr_sparse_to_dense", since=16)
def packed_sparse_to_dense(nonzero_data: Tensor, mask: Tensor, shape: Ints) -> Tensor:
    """nonzero_data where the mask's bits are set, packed from the lowest on, and 0 elsewhere (iOS 16 and 17)."""
    claim(shape)
    return sparse_to_dense(nonzero_data, decode(mask.numpy().tobytes(), BY_NAME["uint1"], shape))


@op("constexpr_sparse_to_dense", since=18)
def sparse_to_dense(nonzero_data: Tensor, mask: Tensor) -> Tensor:
    """nonzero_data where the mask is 1, in its order, and 0 elsewhere (since iOS 18)."""
    claim(mask.shape)
    chosen = mask.bool()
    count = int(chosen.sum())
    if count != nonzero_data.numel():
        raise ModelError(f"a mask has {count} places for {nonzero_data.numel()} values")
    dense = torch.zeros(mask.shape, dtype=nonzero_data.dtype)
    dense[chosen] = nonzero_data.reshape(-1)
    return dense


@op("constexpr_blockwise_shift_scale", since=18)
def blockwise_shift_scale(data: Tensor, scale: Tensor, offset: Tensor | None = None) -> Tensor:
    """scale · (data - offset), a scale and an offset for each block of data (since iOS 18)."""
    if scale.dim() != data.dim():
        raise ModelError(f"scales of rank {scale.dim()} for data of rank {data.dim()}")
    if offset is not None and offset.shape != scale.shape:
        raise ModelError(f"offsets of shape {list(offset.shape)} for scales of shape {list(scale.shape)}")
    claim(data.shape)
    # Data as [groups, block, groups, block, ...], so that scales broadcast without being repeated.
    blocks = [(groups, _block(size, groups)) for size, groups in zip(data.shape, scale.shape, strict=True)]
    values = data.float().reshape([size for pair in blocks for size in pair])
    each = [size for groups, _ in blocks for size in (groups, 1)]
    if offset is not None:
        values = values - offset.float().reshape(each)
    return (values * scale.reshape(each)).reshape(data.shape)


@op("constexpr_lut_to_sparse", since=18)
def lut_to_sparse(
    indices_mask: Tensor, indices_nonzero_data: Tensor, lut: Tensor, vector_axis: int | None = None
) -> tuple[Tensor, Tensor]:
    """The mask, repeated along vector_axis for vectors, and lut[group, indices] where it is 1 (since iOS 18)."""
    dense = lut_to_dense(sparse_to_dense(indices_nonzero_data, indices_mask), lut, vector_axis)
    mask = indices_mask
    if lut.shape[-1] > 1:
        mask = mask.repeat_interleave(lut.shape[-1], _axis(vector_axis or 0, mask.dim()))
    return mask, dense[mask.bool()]


@op("constexpr_sparse_blockwise_shift_scale", since=18)
def sparse_blockwise_shift_scale(
    data_mask: Tensor, nonzero_data: Tensor, scale: Tensor, offset: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The mask, and scale · (data - offset) where it is 1, by blocks of the dense data (since iOS 18)."""
    dense = blockwise_shift_scale(sparse_to_dense(nonzero_data, data_mask), scale, offset)
    return data_mask, dense[data_mask.bool()]


def _block(size: int, groups: int) -> int:
    """Elements that share an entry along one dimension."""
    if groups < 1 or size % groups:
        raise ModelError(f"a dimension of {size} in {groups} blocks")
    return max(size // groups, 1)


def _axis(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise ModelError(f"an axis {axis} of a tensor of rank {rank}")
    return axis % rank
