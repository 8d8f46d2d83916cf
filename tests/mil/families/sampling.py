"""Sampling at coordinates: PyTorch's ``grid_sample`` and NumPy by pixel."""

import itertools

import numpy as np
import torch
import torch.nn.functional as F

from tests.mil.harness import case, seeded

_random = seeded("sampling")
_x = _random.normal(size=(2, 3, 5, 4)).astype(np.float32)
_at = _random.uniform(-1.7, 1.7, (2, 3, 6, 2)).astype(np.float32)
_TORCH = {"constant": "zeros", "border": "border", "reflection": "reflection", "symmetric": "reflection"}


def _resample(sampling, padding, value, coordinates, align):
    return lambda mb, x, at: mb.resample(
        x=x,
        coordinates=at,
        sampling_mode=sampling,
        padding_mode=padding,
        padding_value=np.float32(value),
        coordinates_mode=coordinates,
        align_corners=align,
    )


for _sampling, _padding, _align in itertools.product(("bilinear", "nearest"), _TORCH, (True, False)):
    if (_padding == "reflection" and not _align) or (_padding == "symmetric" and _align):
        continue  # PyTorch reflects at centers or at edges, as align_corners says.
    _wanted = F.grid_sample(
        torch.from_numpy(_x), torch.from_numpy(_at), _sampling, _TORCH[_padding], align_corners=_align
    ).numpy()
    for _coordinates, _given in (("normalized_minus_one_to_one", _at), ("normalized_zero_to_one", (_at + 1) / 2)):
        case(
            "resample",
            f"{_sampling}, {_padding}, {_coordinates}, {'centers' if _align else 'edges'}",
            _resample(_sampling, _padding, 0, _coordinates, _align),
            {"x": _x, "at": _given},
            _wanted,
            tolerance=1e-4,
        )


def _pixel(image, row, column, padding, value):
    places = []
    for start, size in ((row, image.shape[1]), (column, image.shape[2])):
        place = start
        if padding == "constant" and not 0 <= place < size:
            return np.full(image.shape[0], value, np.float64)
        if padding == "border":
            place = min(max(place, 0), size - 1)
        while not 0 <= place < size:
            edge = 0 if padding == "reflection" else 1
            place = -place - edge if place < 0 else 2 * (size - 1) - place + edge
        places.append(place)
    return image[:, places[0], places[1]].astype(np.float64)


def _by_pixel(x, at, sampling, padding, value):
    """In pixels; every pixel beyond the image is what the padding says."""
    result = np.zeros((x.shape[0], x.shape[1], *at.shape[1:3]), np.float32)
    for b, h, w in np.ndindex(at.shape[:3]):
        column, row = (float(v) for v in at[b, h, w])
        if sampling == "nearest":
            total = _pixel(x[b], round(row), round(column), padding, value)
        else:
            top, left = int(np.floor(row)), int(np.floor(column))
            total = 0
            for i, j in itertools.product((0, 1), (0, 1)):
                weight = (1 - abs(row - top - i)) * (1 - abs(column - left - j))
                total = total + weight * _pixel(x[b], top + i, left + j, padding, value)
        result[b, :, h, w] = total
    return result


_pixels = _random.uniform(-9, 13, (2, 4, 3, 2)).astype(np.float32)
for _sampling, _padding in itertools.product(("bilinear", "nearest"), _TORCH):
    case(
        "resample",
        f"{_sampling}, {_padding}, in pixels",
        _resample(_sampling, _padding, 6.25, "unnormalized", False),
        {"x": _x, "at": _pixels},
        _by_pixel(_x, _pixels, _sampling, _padding, 6.25),
        tolerance=1e-4,
    )
case(
    "resample",
    "whole coordinates",
    _resample("bilinear", "constant", 1.5, "unnormalized", True),
    {"x": _x, "at": _pixels.astype(np.int32)},
    _by_pixel(_x, _pixels.astype(np.int32), "nearest", "constant", 1.5),
)

_matrices = _random.uniform(-1.1, 1.1, (2, 6)).astype(np.float32)
for _label, _matrix, _size in (("each its own", _matrices, (3, 6)), ("one for all", _matrices[:1], (6, 2))):
    _theta = torch.from_numpy(np.broadcast_to(_matrix, (2, 6)).copy()).reshape(2, 2, 3)
    case(
        "affine",
        _label,
        lambda mb, x, matrix, size=_size: mb.affine(
            x=x,
            transform_matrix=matrix,
            output_height=size[0],
            output_width=size[1],
            sampling_mode="bilinear",
            padding_mode="constant",
            padding_value=0.0,
            coordinates_mode="normalized_minus_one_to_one",
            align_corners=True,
        ),
        {"x": _x, "matrix": _matrix},
        F.grid_sample(
            torch.from_numpy(_x), F.affine_grid(_theta, (2, 3, *_size), align_corners=True), align_corners=True
        ),
        tolerance=1e-4,
    )

_square = np.arange(1, 17, dtype=np.float32).reshape(1, 1, 4, 4)
# What coremltools' own tests find on a device.
_FOUND = (
    ("corners aligned", [1, 1, 2, 2], 2, False, [6, 7, 10, 11]),
    (
        "finer",
        [1, 1, 2, 2],
        4,
        False,
        [6, 19 / 3, 20 / 3, 7, 22 / 3, 23 / 3, 8, 25 / 3, 26 / 3, 9, 28 / 3, 29 / 3, 10, 31 / 3, 32 / 3, 11],
    ),
    ("one pixel", [1, 1, 2, 2], 1, False, [8.5]),
    ("numbered, normalized", [0, 0, 0, 1 / 3, 1 / 3], 2, True, [1, 2, 5, 6]),
    ("backwards", [2, 2, 1, 1], 2, False, [11, 10, 7, 6]),
)
for _label, _box, _size, _normalized, _expected in _FOUND:
    for _ios in (15, 16):
        case(
            "crop_resize",
            f"{_label}, iOS {_ios}",
            lambda mb, x, box=_box, size=_size, normalized=_normalized: mb.crop_resize(
                x=x,
                roi=np.float32(box).reshape(1, 1, len(box), 1, 1),
                target_height=size,
                target_width=size,
                normalized_coordinates=normalized,
                sampling_mode="ALIGN_CORNERS",
            ),
            {"x": _square},
            np.float32(_expected).reshape(1, 1, 1, _size, _size),
            ios=_ios,
        )
_boxes = np.float32([[0.1, 0.3, 1.3, 1], [0.5, 1.8, 1, 0.3], [0, 0.4, 0.6, 0.7]])
_beyond = np.float32([3.1, 5.2, 10, 10, 10, 7.9, 10, 13.9, 2.2, 3.1, 9.4, 10.3])
case(
    "crop_resize",
    "beyond the image, iOS 16",
    lambda mb, x: mb.crop_resize(
        x=x,
        roi=np.pad(_boxes, [(0, 0), (1, 0)]).reshape(3, 1, 5, 1, 1),
        target_height=2,
        target_width=2,
        normalized_coordinates=True,
        sampling_mode="ALIGN_CORNERS",
        pad_value=np.float32(10),
    ),
    {"x": _square},
    _beyond.reshape(3, 1, 1, 2, 2),
    ios=16,
)
case(
    "crop_resize",
    "beyond the image, iOS 17",
    lambda mb, x: mb.crop_resize(
        x=x,
        boxes=_boxes,
        box_indices=np.int32([0, 0, 0]),
        target_height=2,
        target_width=2,
        normalized_coordinates=True,
        sampling_mode="ALIGN_CORNERS",
        pad_value=np.float32(10),
    ),
    {"x": _square},
    _beyond.reshape(3, 1, 2, 2),
)


def _in_box(start, end, count, mode):
    """The points of ``resize_bilinear`` for an interval of end - start + 1 pixels, from start on."""
    size = end - start + 1
    i = np.arange(count)
    if mode == "ALIGN_CORNERS" and count == 1:
        return np.array([start + (size - 1) / 2])
    if mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        points = i * (size - 1) / max(count - 1, 1)
    elif mode == "DEFAULT":
        points = i * (size - size / count) / max(count - 1, 1)
    elif mode == "OFFSET_CORNERS":
        points = (0.5 + i) * max(1, size - 1) / count
    else:
        points = i * size / count + 0.5 * size / count - 0.5
    return start + np.clip(points, 0, size - 1)


def _cropped(x, boxes, numbers, size, mode, value):
    result = np.zeros((len(boxes), x.shape[1], *size), np.float32)
    for n, (top, left, bottom, right) in enumerate(np.float64(boxes)):
        rows, columns = _in_box(top, bottom, size[0], mode), _in_box(left, right, size[1], mode)
        at = np.stack(np.meshgrid(columns, rows), -1)[None]
        result[n] = _by_pixel(x[numbers[n]][None], at, "bilinear", "border", 0)[0]
        beyond = (at[0] < 0).any(-1) | (at[0, ..., 0] > x.shape[3] - 1) | (at[0, ..., 1] > x.shape[2] - 1)
        result[n][:, beyond] = value
    return result


_corners = np.float32([[0.5, 0.25, 3.5, 2], [1, 1, 6, 2.5], [-1, 0, 3, 3]])
_middles = np.concatenate([(_corners[:, :2] + _corners[:, 2:]) / 2, _corners[:, 2:] - _corners[:, :2]], 1)
for _mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "DEFAULT", "OFFSET_CORNERS", "UNALIGN_CORNERS"):
    case(
        "crop_resize",
        _mode,
        lambda mb, x, boxes, mode=_mode: mb.crop_resize(
            x=x,
            boxes=boxes,
            box_indices=np.int32([1, 0, 1]),
            target_height=3,
            target_width=4,
            sampling_mode=mode,
            pad_value=np.float32(-2.5),
        ),
        {"x": _x, "boxes": _corners},
        _cropped(_x, _corners, [1, 0, 1], (3, 4), _mode, -2.5),
    )
for _mode, _given in {
    "CORNERS_HEIGHT_FIRST": _corners,
    "CORNERS_WIDTH_FIRST": _corners[:, [1, 0, 3, 2]],
    "CENTER_SIZE_HEIGHT_FIRST": _middles,
    "CENTER_SIZE_WIDTH_FIRST": _middles[:, [1, 0, 3, 2]],
}.items():
    case(
        "crop_resize",
        f"{_mode}, scaled",
        lambda mb, x, boxes, mode=_mode: mb.crop_resize(
            x=x,
            boxes=boxes,
            target_height=2,
            target_width=5,
            spatial_scale=np.float32(0.5),
            box_coordinate_mode=mode,
        ),
        {"x": _x, "boxes": _given[:2] * 2},
        _cropped(_x, _corners[:2], [0, 1], (2, 5), "DEFAULT", 0),
    )
case(
    "crop_resize",
    "each box of every image",
    lambda mb, x: mb.crop_resize(
        x=x, roi=_corners.reshape(3, 1, 4, 1, 1), target_height=2, target_width=3, sampling_mode="ALIGN_CORNERS"
    ),
    {"x": _x},
    _cropped(_x, np.repeat(_corners, 2, 0), [0, 1] * 3, (2, 3), "ALIGN_CORNERS", 0).reshape(3, 2, 3, 2, 3),
    ios=15,
)
