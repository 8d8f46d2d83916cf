"""Resizing and cropping images: the last dimensions on a regular grid."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from edgeexport.errors import ModelError
from edgeexport.mil.memory import claim
from edgeexport.mil.table import Ints, Tensor, op

_FLOOR, _ROUND = 0.0, 0.5
"""What is added to a point before it is rounded down to a pixel; None for the mean of two pixels."""


@op("crop")
def crop(x: Tensor, crop_height: Ints, crop_width: Ints) -> Tensor:
    """x without so many rows above and below, and columns left and right."""
    if x.dim() < 2 or len(crop_height) != 2 or len(crop_width) != 2 or min(*crop_height, *crop_width) < 0:
        raise ModelError(f"{crop_height} rows and {crop_width} columns cannot be cropped from {list(x.shape)}")
    height = x.shape[-2] - sum(crop_height)
    width = x.shape[-1] - sum(crop_width)
    if height < 0 or width < 0:
        raise ModelError(f"{crop_height} rows and {crop_width} columns are more than {list(x.shape)} has")
    return x.narrow(-2, crop_height[0], height).narrow(-1, crop_width[0], width)


@op("resize", since=17)
def resize(
    x: Tensor,
    shape: Ints,
    resized_dims: int,
    interpolation_mode: str = "LINEAR",
    sampling_mode: str = "DEFAULT",
) -> Tensor:
    """x with its last resized_dims dimensions as shape ends, 0 leaving one as it is (since iOS 17).

    The nearest pixel is that of the point rounded, a half upwards, in all sampling modes: Core ML makes three of two
    as [0, 1, 1], unlike ``resize_nearest_neighbor``.
    """
    if not 0 <= resized_dims <= min(len(shape), x.dim()) or len(shape) > x.dim():
        raise ModelError(f"{resized_dims} dimensions of {list(x.shape)} cannot be resized as {shape} says")
    if interpolation_mode not in ("LINEAR", "NEAREST_NEIGHBOR"):
        raise ModelError(f"interpolation_mode {interpolation_mode!r} is neither LINEAR nor NEAREST_NEIGHBOR")
    first = x.dim() - resized_dims
    wanted = shape[len(shape) - resized_dims :]
    sizes = [size or x.shape[first + i] for i, size in enumerate(wanted)]
    return _resized(x, sizes, sampling_mode, _ROUND if interpolation_mode == "NEAREST_NEIGHBOR" else None)


@op("resize_bilinear")
def resize_bilinear(
    x: Tensor, target_size_height: int = 1, target_size_width: int = 1, sampling_mode: str = "DEFAULT"
) -> Tensor:
    """x at the points of sampling_mode, linear between rows and columns."""
    return _resized(x, [target_size_height, target_size_width], sampling_mode)


@op("resize_nearest_neighbor")
def resize_nearest_neighbor(x: Tensor, target_size_height: int, target_size_width: int) -> Tensor:
    """out[i, j] = x[⌊i · H / H'⌋, ⌊j · W / W'⌋]."""
    return _resized(x, [target_size_height, target_size_width], "DEFAULT", _FLOOR)


@op("upsample_nearest_neighbor")
def upsample_nearest_neighbor(x: Tensor, scale_factor_height: float = 1, scale_factor_width: float = 1) -> Tensor:
    """out[i, j] = x[⌊i · H / H'⌋, ⌊j · W / W'⌋] with H' = ⌊H · scale⌋."""
    return _resized(x, _scaled(x, scale_factor_height, scale_factor_width), "DEFAULT", _FLOOR)


@op("upsample_bilinear")
def upsample_bilinear(
    x: Tensor, scale_factor_height: float = 1, scale_factor_width: float = 1, align_corners: bool = True
) -> Tensor:
    """x resized to ⌊H · scale⌋, linearly: the corners on the corners, or centers as half pixels (iOS 15)."""
    mode = "STRICT_ALIGN_CORNERS" if align_corners else "UNALIGN_CORNERS"
    return _resized(x, _scaled(x, scale_factor_height, scale_factor_width), mode)


@op("upsample_bilinear", since=16)
def upsample_bilinear_centers(
    x: Tensor,
    scale_factor_height: float = 1,
    scale_factor_width: float = 1,
    align_corners: bool = True,
    half_pixel_centers: bool | None = None,
) -> Tensor:
    """As in iOS 15; half_pixel_centers is not align_corners unless given; with neither out[i] is at i · H / H' (16)."""
    if align_corners and half_pixel_centers:
        raise ModelError("align_corners and half_pixel_centers cannot both hold")
    if align_corners or half_pixel_centers is not False:
        return upsample_bilinear(x, scale_factor_height, scale_factor_width, align_corners)
    return _resized(x, _scaled(x, scale_factor_height, scale_factor_width), "DEFAULT")


def grid(size: Tensor | int, count: int, mode: str) -> Tensor:
    """Where ``count`` points lie in the interval [0, size - 1], in float64.

    Each is one division of whole numbers where the size is one, so that points that fall on a pixel, or halfway
    between two, do so exactly. A size may be a column of real ones.

    Raises:
        ModelError: the sampling mode is unknown.
    """
    i = torch.arange(count, dtype=torch.float64)
    if mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        if count == 1:
            return (size - 1) / 2 + i if mode == "ALIGN_CORNERS" else (size - 1) * i
        points = i * (size - 1) / (count - 1)
    elif mode == "DEFAULT":
        points = i * size / count
    elif mode == "OFFSET_CORNERS":
        span = torch.as_tensor(size - 1, dtype=torch.float64).clamp(min=1)
        points = (2 * i + 1) * span / (2 * count)
    elif mode == "UNALIGN_CORNERS":
        points = ((2 * i + 1) * size - count) / (2 * count)
    else:
        raise ModelError(f"the sampling mode {mode!r} is not known")
    # A box of crop_resize may run backwards, and ends at a negative place then.
    end = torch.as_tensor(size - 1, dtype=torch.float64)
    return points.clamp(torch.clamp(end, max=0), torch.clamp(end, min=0))


def _scaled(x: Tensor, height: float, width: float) -> list[int]:
    """⌊size · scale⌋ of the last two dimensions, in float32 as the type of the result is inferred."""
    if x.dim() < 2:
        raise ModelError(f"an image of rank {x.dim()}")
    sizes = torch.tensor(x.shape[-2:], dtype=torch.float32) * torch.tensor([height, width], dtype=torch.float32)
    if not bool(torch.isfinite(sizes).all()):
        raise ModelError(f"scale factors of {height} and {width}")
    return [int(size) for size in sizes.floor().tolist()]


def _resized(x: Tensor, sizes: Sequence[int], mode: str, shift: float | None = None) -> Tensor:
    first = x.dim() - len(sizes)
    if first < 0:
        raise ModelError(f"{len(sizes)} dimensions of a tensor of rank {x.dim()} cannot be resized")
    # Dimensions are resized one after the other, those that shrink first.
    claim([*x.shape[:first], *(max(a, b) for a, b in zip(x.shape[first:], sizes, strict=True))])
    if 0 in x.shape and 0 not in (*x.shape[:first], *sizes):
        raise ModelError(f"nothing can be resized to {list(sizes)}")
    order = sorted(range(len(sizes)), key=lambda i: sizes[i] / max(x.shape[first + i], 1))
    result = x
    for i in order:
        # A single output pixel may still be a mean of two.
        if sizes[i] != x.shape[first + i] or mode == "OFFSET_CORNERS":
            result = _along(result, first + i, sizes[i], mode, shift)
    return result


def _along(x: Tensor, dim: int, count: int, mode: str, shift: float | None = None) -> Tensor:
    last = x.shape[dim] - 1
    points = grid(x.shape[dim], count, mode)
    if shift is not None:
        places = (points + shift).floor().clamp(0, max(last, 0))
        return x.index_select(dim, places.long())
    low = points.floor()
    shape = [-1 if i == dim else 1 for i in range(x.dim())]
    weight = (points - low).float().reshape(shape)
    below = x.index_select(dim, low.long())
    above = x.index_select(dim, (low + 1).clamp(max=last).long())
    if x.is_floating_point():
        return below.lerp_(above, weight.expand_as(below)) if count else below
    # Integers give the mean rounded towards zero, as a cast would.
    return (below + (above - below) * weight.double()).to(x.dtype)
