"""Resizing: PyTorch where it has the same, else NumPy at the points of the specification's formulas."""

import numpy as np
import torch
import torch.nn.functional as F

from tests.mil.harness import case, seeded

_random = seeded("image")
_x = _random.normal(size=(2, 3, 5, 4)).astype(np.float32)


def _points(size, count, mode):
    """The formulas of ``resize_bilinear``, as they are written there."""
    i = np.arange(count)
    if mode == "ALIGN_CORNERS" and count == 1:
        return np.array([(size - 1) / 2])
    if mode in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS"):
        points = i * ((size - 1) / max(count - 1, 1))
    elif mode == "DEFAULT":
        points = i * ((size - size / count) / max(count - 1, 1))
    elif mode == "OFFSET_CORNERS":
        points = 0.5 * (max(1, size - 1) / count) + i * (max(1, size - 1) / count)
    else:
        points = i * (size / count) + 0.5 * (size / count) - 0.5
    return np.clip(points, 0, size - 1)


def _linear(x, axis, count, mode):
    """Each result as a weighted sum over the whole axis."""
    size = x.shape[axis]
    weights = np.maximum(0, 1 - np.abs(_points(size, count, mode)[:, None] - np.arange(size)))
    return np.moveaxis(np.tensordot(x.astype(np.float64), weights, (axis, 1)), -1, axis)


def _resized(x, sizes, mode):
    for number, size in enumerate(sizes):
        x = _linear(x, x.ndim - len(sizes) + number, size, mode)
    return x.astype(np.float32)


def _torch(x, **options):
    return F.interpolate(torch.from_numpy(x), **options)


_MODES = ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS", "DEFAULT", "OFFSET_CORNERS", "UNALIGN_CORNERS")
for _mode in _MODES:
    for _height, _width in ((7, 3), (1, 9), (5, 4)):
        case(
            "resize_bilinear",
            f"{_mode}, {_height} x {_width}",
            lambda mb, x, mode=_mode, height=_height, width=_width: mb.resize_bilinear(
                x=x, target_size_height=height, target_size_width=width, sampling_mode=mode
            ),
            {"x": _x},
            _resized(_x, (_height, _width), _mode),
        )
    case(
        "resize",
        f"linear, {_mode}",
        lambda mb, x, mode=_mode: mb.resize(x=x, shape=[6, 3], resized_dims=np.uint32(2), sampling_mode=mode),
        {"x": _x},
        _resized(_x, (6, 3), _mode),
    )
case(
    "resize_bilinear",
    "like PyTorch",
    lambda mb, x: mb.resize_bilinear(x=x, target_size_height=8, target_size_width=7, sampling_mode="UNALIGN_CORNERS"),
    {"x": _x},
    _torch(_x, size=(8, 7), mode="bilinear", align_corners=False),
)
case(
    "resize_bilinear",
    "rank 3 to one row",
    lambda mb, x: mb.resize_bilinear(x=x, target_size_width=5),
    {"x": np.float32([[[0, 1]]])},
    np.float32([[[0, 0.4, 0.8, 1, 1]]]),
)
case(
    "resize",
    "one dimension, others from x",
    lambda mb, x: mb.resize(x=x, shape=[9, 0, 6], resized_dims=np.uint32(2)),
    {"x": _x},
    _resized(_x, (5, 6), "DEFAULT"),
)
case(
    "resize",
    "three dimensions",
    lambda mb, x: mb.resize(x=x, shape=[2, 7, 6], resized_dims=np.uint32(3), sampling_mode="UNALIGN_CORNERS"),
    {"x": _x},
    _resized(_x, (2, 7, 6), "UNALIGN_CORNERS"),
)
case(
    "resize",
    "shape computed",
    lambda mb, x, shape: mb.resize(x=x, shape=shape, resized_dims=np.uint32(2)),
    {"x": _x, "shape": np.int32([7, 3])},
    _resized(_x, (7, 3), "DEFAULT"),
)
_whole = _random.integers(-50, 50, (1, 2, 3)).astype(np.int32)
case(
    "resize",
    "nearest, integers",
    lambda mb, x: mb.resize(x=x, shape=[4, 7], resized_dims=np.uint32(2), interpolation_mode="NEAREST_NEIGHBOR"),
    {"x": _whole},
    # A half is rounded up, beyond the last to the last.
    _whole[:, [0, 1, 1, 1]][:, :, [0, 0, 1, 1, 2, 2, 2]],
)
case(
    "resize",
    "linear, integers",
    lambda mb, x: mb.resize(x=x, shape=[4], resized_dims=np.uint32(1)),
    {"x": np.int32([[3, -6]])},
    # 3, -1.5, -6, -6
    np.int32([[3, -1, -6, -6]]),
)
case(
    "resize",
    "nearest as coremltools has it",
    lambda mb, x: mb.resize(x=x, shape=[1, 1, 3, 2], resized_dims=np.uint32(2), interpolation_mode="NEAREST_NEIGHBOR"),
    {"x": np.float32([-6.174, 9.371]).reshape(1, 1, 1, 2, 1)},
    np.float32([-6.174, -6.174, 9.371, 9.371, 9.371, 9.371]).reshape(1, 1, 1, 3, 2),
)
case(
    "resize",
    "nearest, corners aligned",
    lambda mb, x: mb.resize(
        x=x,
        shape=[1, 5],
        resized_dims=np.uint32(2),
        interpolation_mode="NEAREST_NEIGHBOR",
        sampling_mode="STRICT_ALIGN_CORNERS",
    ),
    # At 0, 0.75, 1.5, 2.25 and 3.
    {"x": np.float32([[[10, 20, 30, 40]]])},
    np.float32([[[10, 20, 30, 30, 40]]]),
)
case(
    "resize",
    "nearest, half pixels",
    lambda mb, x: mb.resize(
        x=x,
        shape=[7, 9],
        resized_dims=np.uint32(2),
        interpolation_mode="NEAREST_NEIGHBOR",
        sampling_mode="UNALIGN_CORNERS",
    ),
    {"x": _x},
    _torch(_x, size=(7, 9), mode="nearest-exact"),
)
for _height, _width in ((7, 9), (2, 3), (10, 8), (1, 1)):
    case(
        "resize_nearest_neighbor",
        f"{_height} x {_width}",
        lambda mb, x, height=_height, width=_width: mb.resize_nearest_neighbor(
            x=x, target_size_height=height, target_size_width=width
        ),
        {"x": _x},
        _torch(_x, size=(_height, _width), mode="nearest"),
    )
for _vertical, _horizontal in ((2, 3), (1, 4), (2.5, 0.75), (3.17, 0.67)):
    _size = (int(5 * _vertical), int(4 * _horizontal))
    _up, _across = np.array([_vertical, _horizontal], np.int32 if isinstance(_vertical, int) else np.float32)
    case(
        "upsample_nearest_neighbor",
        f"by {_vertical} and {_horizontal}",
        lambda mb, x, vertical=_up, horizontal=_across: mb.upsample_nearest_neighbor(
            x=x, scale_factor_height=vertical, scale_factor_width=horizontal
        ),
        {"x": _x},
        _torch(_x, size=_size, mode="nearest"),
    )
    for _ios, _align in ((15, True), (15, False), (17, True), (17, False)):
        case(
            "upsample_bilinear",
            f"by {_vertical} and {_horizontal}, {'corners' if _align else 'centers'}, iOS {_ios}",
            lambda mb, x, vertical=_up, horizontal=_across, align=_align: mb.upsample_bilinear(
                x=x, scale_factor_height=vertical, scale_factor_width=horizontal, align_corners=align
            ),
            {"x": _x},
            _torch(_x, size=_size, mode="bilinear", align_corners=_align),
            ios=_ios,
        )
case(
    "upsample_bilinear",
    "corners unless something is said",
    lambda mb, x: mb.upsample_bilinear(x=x, scale_factor_width=2),
    {"x": _x},
    _torch(_x, size=(5, 8), mode="bilinear", align_corners=True),
)
for _half in (False, True):
    case(
        "upsample_bilinear",
        f"half pixels {_half}",
        lambda mb, x, half=_half: mb.upsample_bilinear(
            x=x, scale_factor_height=2, scale_factor_width=3, align_corners=False, half_pixel_centers=half
        ),
        {"x": np.float32([[[[1, 2]]]])},
        np.float32([[[[1, 1, 4 / 3, 5 / 3, 2, 2] if _half else [1, 4 / 3, 5 / 3, 2, 2, 2]] * 2]]),
        ios=16,
    )
case(
    "crop",
    "asymmetric",
    lambda mb, x: mb.crop(x=x, crop_height=[1, 2], crop_width=[0, 1]),
    {"x": _x},
    _x[:, :, 1:3, 0:3],
)
case(
    "crop", "rank 3", lambda mb, x: mb.crop(x=x, crop_height=[0, 1], crop_width=[2, 0]), {"x": _x[0]}, _x[0][:, :4, 2:]
)
