"""Images sampled where coordinates say, and boxes chosen by their overlap."""

from __future__ import annotations

import torch

from edgeexport.errors import ModelError
from edgeexport.mil.memory import claim
from edgeexport.mil.ops.image import grid
from edgeexport.mil.table import Tensor, op

_BOXES = {
    "CORNERS_HEIGHT_FIRST": (0, 1, False),
    "CORNERS_WIDTH_FIRST": (1, 0, False),
    "CENTER_SIZE_HEIGHT_FIRST": (0, 1, True),
    "CENTER_SIZE_WIDTH_FIRST": (1, 0, True),
}
"""Where a box has its height and its width first, and whether it has a center and a size."""


@op("resample")
def resample(
    x: Tensor,
    coordinates: Tensor,
    sampling_mode: str,
    padding_mode: str,
    padding_value: float,
    *,
    coordinates_mode: str,
    align_corners: bool,
) -> Tensor:
    """out[b, c, h, w] = x[b, c] at the point (x, y) of coordinates[b, h, w], linear or nearest."""
    if x.dim() != 4 or coordinates.dim() != 4 or coordinates.shape[0] != x.shape[0] or coordinates.shape[3] != 2:
        raise ModelError(f"coordinates of shape {list(coordinates.shape)} for images of shape {list(x.shape)}")
    claim([x.shape[0], x.shape[1], *coordinates.shape[1:3]])
    height, width = x.shape[2:]
    where = coordinates.to(torch.float32)
    column = _in_pixels(where[..., 0], width, coordinates_mode, align_corners)
    row = _in_pixels(where[..., 1], height, coordinates_mode, align_corners)
    return _sampled(x, row, column, mode=sampling_mode, padding=padding_mode, value=padding_value)


@op("affine")
def affine(
    x: Tensor,
    transform_matrix: Tensor,
    output_height: int,
    output_width: int,
    sampling_mode: str,
    *,
    padding_mode: str,
    padding_value: float,
    coordinates_mode: str,
    align_corners: bool,
) -> Tensor:
    """out at (x, y) = x at (a0 · x + a1 · y + a2, b0 · x + b1 · y + b2), for rows [a0, a1, a2, b0, b1, b2]."""
    if x.dim() != 4 or transform_matrix.dim() != 2 or transform_matrix.shape[1] != 6:
        raise ModelError(f"a matrix of shape {list(transform_matrix.shape)} for images of shape {list(x.shape)}")
    if transform_matrix.shape[0] not in (1, x.shape[0]):
        raise ModelError(f"{transform_matrix.shape[0]} matrices for {x.shape[0]} images")
    if padding_mode != "constant":
        raise ModelError(f"padding_mode {padding_mode!r} is not constant, the only one that affine has")
    claim([x.shape[0], x.shape[1], output_height, output_width])
    height, width = x.shape[2:]
    across = _places(output_width, coordinates_mode, align_corners)
    down = _places(output_height, coordinates_mode, align_corners)[:, None]
    matrix = transform_matrix.expand(x.shape[0], 6)[:, :, None, None]
    column = matrix[:, 0] * across + matrix[:, 1] * down + matrix[:, 2]
    row = matrix[:, 3] * across + matrix[:, 4] * down + matrix[:, 5]
    column = _in_pixels(column, width, coordinates_mode, align_corners)
    row = _in_pixels(row, height, coordinates_mode, align_corners)
    return _sampled(x, row, column, mode=sampling_mode, padding=padding_mode, value=padding_value)


@op("crop_resize")
def crop_resize_by_roi(
    x: Tensor,
    roi: Tensor,
    target_height: int = 1,
    target_width: int = 1,
    normalized_coordinates: bool = False,
    *,
    spatial_scale: float = 1.0,
    box_coordinate_mode: str = "CORNERS_HEIGHT_FIRST",
    sampling_mode: str = "DEFAULT",
) -> Tensor:
    """As in iOS 16, with 0 beyond the image (iOS 15)."""
    return crop_resize_padded(
        x,
        roi,
        target_height,
        target_width,
        normalized_coordinates,
        spatial_scale=spatial_scale,
        box_coordinate_mode=box_coordinate_mode,
        sampling_mode=sampling_mode,
    )


@op("crop_resize", since=16)
def crop_resize_padded(
    x: Tensor,
    roi: Tensor,
    target_height: int = 1,
    target_width: int = 1,
    normalized_coordinates: bool = False,
    *,
    spatial_scale: float = 1.0,
    box_coordinate_mode: str = "CORNERS_HEIGHT_FIRST",
    sampling_mode: str = "DEFAULT",
    pad_value: float = 0.0,
) -> Tensor:
    """[N, B, C, h, w]: each box of every image; [N, 1, C, h, w] where boxes begin with an image's number (iOS 16)."""
    if x.dim() != 4 or roi.dim() != 5 or roi.shape[2] not in (4, 5) or roi.numel() != roi.shape[0] * roi.shape[2]:
        raise ModelError(f"boxes of shape {list(roi.shape)} for images of shape {list(x.shape)}")
    boxes = roi.reshape(roi.shape[0], roi.shape[2])
    images = x.shape[0]
    if boxes.shape[1] == 5:
        numbers, boxes, images = boxes[:, 0], boxes[:, 1:], 1
    else:
        # Every image has every box.
        claim([boxes.shape[0], images, 4])
        numbers = torch.arange(images).repeat(boxes.shape[0])
        boxes = boxes.repeat_interleave(images, 0)
    found = crop_resize(
        x,
        boxes,
        numbers,
        target_height,
        target_width,
        normalized_coordinates=normalized_coordinates,
        spatial_scale=spatial_scale,
        box_coordinate_mode=box_coordinate_mode,
        sampling_mode=sampling_mode,
        pad_value=pad_value,
    )
    return found.reshape(roi.shape[0], images, *found.shape[1:])


@op("crop_resize", since=17)
def crop_resize(
    x: Tensor,
    boxes: Tensor,
    box_indices: Tensor | None = None,
    target_height: int = 1,
    target_width: int = 1,
    *,
    normalized_coordinates: bool = False,
    spatial_scale: float = 1.0,
    box_coordinate_mode: str = "CORNERS_HEIGHT_FIRST",
    sampling_mode: str = "DEFAULT",
    pad_value: float = 0.0,
) -> Tensor:
    """[N, C, h, w]: x[box_indices[n]] at the grid of sampling_mode in the box, pad_value beyond x (since iOS 17)."""
    count = boxes.shape[0]
    if x.dim() != 4 or boxes.dim() != 2 or boxes.shape[1] != 4:
        raise ModelError(f"boxes of shape {list(boxes.shape)} for images of shape {list(x.shape)}")
    if box_coordinate_mode not in _BOXES:
        raise ModelError(f"box_coordinate_mode {box_coordinate_mode!r} is not known")
    numbers = (torch.arange(count) if box_indices is None else box_indices.reshape(-1)).long()
    if numbers.numel() != count or (count and not 0 <= int(numbers.min()) <= int(numbers.max()) < x.shape[0]):
        raise ModelError(f"the boxes are of images {numbers.tolist()[:8]}, and there are {x.shape[0]}")
    claim([count, x.shape[1], target_height, target_width])
    down, across, centered = _BOXES[box_coordinate_mode]
    sides = []
    for place, size, target in ((down, x.shape[2], target_height), (across, x.shape[3], target_width)):
        first, second = (boxes[:, i].double() * spatial_scale for i in (place, place + 2))
        if normalized_coordinates:
            first, second = first * (size - 1), second * (size - 1)
        start, end = (first - second / 2, first + second / 2) if centered else (first, second)
        sides.append(start[:, None] + grid((end - start + 1)[:, None], target, sampling_mode))
    row, column = sides
    rows = row.float()[:, :, None].expand(count, target_height, target_width)
    columns = column.float()[:, None, :].expand(count, target_height, target_width)
    found = x.new_empty(count, x.shape[1], target_height, target_width)
    for number in sorted(set(numbers.tolist())):
        # Boxes of one image as one tall result, so that the image is not copied for each.
        these = numbers == number
        places = (v[these].reshape(1, -1, target_width) for v in (rows, columns))
        part = _sampled(x[number : number + 1], *places, mode="bilinear", padding="border", value=0.0)
        found[these] = part.reshape(x.shape[1], -1, target_height, target_width).transpose(0, 1)
    beyond = ~((rows >= 0) & (rows <= x.shape[2] - 1) & (columns >= 0) & (columns <= x.shape[3] - 1))
    return found.masked_fill_(beyond[:, None], pad_value)


def _in_pixels(values: Tensor, size: int, mode: str, align_corners: bool) -> Tensor:
    """Coordinates in pixels, the first pixel's center being 0."""
    if mode == "unnormalized":
        return values
    if mode == "normalized_minus_one_to_one":
        values = (values + 1) / 2
    elif mode != "normalized_zero_to_one":
        raise ModelError(f"coordinates_mode {mode!r} is not known")
    return values * (size - 1) if align_corners else values * size - 0.5


def _places(count: int, mode: str, align_corners: bool) -> Tensor:
    """The coordinates of pixels, the inverse of :func:`_in_pixels`."""
    pixels = torch.arange(count, dtype=torch.float32)
    if mode == "unnormalized":
        return pixels
    unit = pixels / max(count - 1, 1) if align_corners else (pixels + 0.5) / max(count, 1)
    if align_corners and count == 1:
        # One pixel lies in the middle, as PyTorch has it.
        unit = unit + 0.5
    return unit * 2 - 1 if mode == "normalized_minus_one_to_one" else unit


def _sampled(x: Tensor, row: Tensor, column: Tensor, *, mode: str, padding: str, value: float) -> Tensor:
    """x [B, C, H, W] at rows and columns [B, h, w] in pixels."""
    if mode not in ("bilinear", "nearest"):
        raise ModelError(f"sampling_mode {mode!r} is neither bilinear nor nearest")
    if padding not in ("constant", "border", "reflection", "symmetric"):
        raise ModelError(f"padding_mode {padding!r} is not known")
    height, width = x.shape[2:]
    if height == 0 or width == 0:
        raise ModelError(f"images of shape {list(x.shape)} have no pixels")
    constant = padding == "constant"
    if not constant:
        row, column = _folded(row, height, padding), _folded(column, width, padding)
    if mode == "nearest":
        return _pixels(x, row.round(), column.round(), value if constant else None)
    top, left = row.floor(), column.floor()
    down, across = (row - top)[:, None], (column - left)[:, None]
    outside = value if constant else None
    above = _pixels(x, top, left, outside) * (1 - across) + _pixels(x, top, left + 1, outside) * across
    below = _pixels(x, top + 1, left, outside) * (1 - across) + _pixels(x, top + 1, left + 1, outside) * across
    return above * (1 - down) + below * down


def _folded(values: Tensor, size: int, padding: str) -> Tensor:
    """Coordinates brought into the image: clamped, or reflected at the border pixels' centers or their edges."""
    if padding == "reflection" and size > 1:
        turned = torch.remainder(values, 2 * (size - 1))
        values = torch.minimum(turned, 2 * (size - 1) - turned)
    elif padding == "symmetric":
        turned = torch.remainder(values + 0.5, 2 * size)
        values = torch.minimum(turned, 2 * size - turned) - 0.5
    return values.clamp(0, size - 1)


def _pixels(x: Tensor, row: Tensor, column: Tensor, outside: float | None) -> Tensor:
    """x at whole rows and columns; ``outside`` where there is none, the nearest if that is None."""
    batch, channels, height, width = x.shape
    rows, columns = (v.nan_to_num(-1, 1e9, -1e9).clamp(-1, n).long() for v, n in ((row, height), (column, width)))
    within = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    places = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)
    places = places.reshape(batch, 1, -1).expand(batch, channels, -1)
    found = x.reshape(batch, channels, -1).gather(2, places).reshape(batch, channels, *row.shape[1:])
    return found if outside is None else found.masked_fill_(~within[:, None], outside)
