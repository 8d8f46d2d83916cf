"""Operators that rearrange a tensor, against NumPy and loops."""

import numpy as np

from tests.mil.harness import case, seeded

_random = seeded("shape")
_x = _random.normal(size=(2, 3, 4)).astype(np.float32)
_i = _random.integers(-50, 50, (2, 3, 4)).astype(np.int32)
_b = _random.integers(0, 2, (2, 3, 4)).astype(bool)
_image = _random.normal(size=(2, 8, 4, 6)).astype(np.float32)


def _with(op, **parameters):
    return lambda mb, x: getattr(mb, op)(x=x, **parameters)


# reshape.
for _label, _shape, _ios, _expected in (
    ("plain", [4, 6], 15, (4, 6)),
    ("what remains", [3, -1, 2], 15, (3, 4, 2)),
    ("own sizes", [0, -1, 0], 15, (2, 3, 4)),
    ("own size in place", [0, 12, 1], 15, (2, 12, 1)),
    ("own sizes, iOS 17", [0, -1, 1], 17, (2, 12, 1)),
    ("from the right", [1, 0, -1, 0], 17, (1, 2, 3, 4)),
    ("beyond the left", [0, 0, 0, 0], 17, (1, 2, 3, 4)),
    ("shorter", [-1, 0], 17, (6, 4)),
    ("shorter, in the right place", [6, 0], 18, (6, 4)),
):
    case("reshape", _label, _with("reshape", shape=_shape), {"x": _x}, _x.reshape(_expected), ios=_ios)
case("reshape", "integers", _with("reshape", shape=[-1]), {"x": _i}, _i.reshape(-1))
case("reshape", "truth", _with("reshape", shape=[-1]), {"x": _b}, _b.reshape(-1))
case(
    "reshape",
    "to one element less",
    _with("reshape", shape=np.zeros(0, np.int32)),
    {"x": _x[:1, :1, :1]},
    _x[0, 0, 0],
)


def _dynamic(mb, x, like):
    return mb.reshape(x=x, shape=mb.shape(x=like))


case("reshape", "computed", _dynamic, {"x": _x, "like": np.zeros((4, 6), np.float32)}, _x.reshape(4, 6))


def _like(begins, ends, masks):
    return lambda mb, x, a, b: mb.reshape_like(x=x, ref_tensors=(a, b), begins=begins, ends=ends, end_masks=masks)


_ones = {"a": np.ones((2, 3, 4), np.float32), "b": np.ones((1, 5, 6), np.int32)}
_y = _random.normal(size=(6, 30)).astype(np.float32)
case("reshape_like", "ranges", _like((0, 1), (2, 0), (False, True)), {"x": _y, **_ones}, _y.reshape(2, 3, 5, 6), 16)
_z = _random.normal(size=(24, 5)).astype(np.float32)
case("reshape_like", "ends", _like((0, -2), (3, -1), (True, False)), {"x": _z, **_ones}, _z.reshape(2, 3, 4, 5), 17)
case("reshape_like", "integers", _like((1, 0), (3, 1), (False, False)), {"x": _i[:1], **_ones}, _i[:1].reshape(3, 4, 1))

# Axes of size 1.
case("expand_dims", "front and end", _with("expand_dims", axes=[0, 4]), {"x": _x}, _x[None, ..., None])
case("expand_dims", "negative", _with("expand_dims", axes=[-1, -3]), {"x": _x}, _x.reshape(2, 3, 1, 4, 1))
case("expand_dims", "unordered", _with("expand_dims", axes=[3, 1]), {"x": _i}, _i.reshape(2, 1, 3, 1, 4), 15)
case(
    "expand_dims",
    "scalar",
    lambda mb, x: mb.expand_dims(x=mb.squeeze(x=x), axes=[0]),
    {"x": _x[0, 0, :1]},
    _x[0, 0, :1],
)
_thin = _x.reshape(1, 2, 1, 12, 1)
case("squeeze", "all", _with("squeeze"), {"x": _thin}, _x.reshape(2, 12))
case("squeeze", "axes", _with("squeeze", axes=[0, -1]), {"x": _thin}, _x.reshape(2, 1, 12))
case("squeeze", "other sizes stay", _with("squeeze", axes=[0, 1]), {"x": _thin}, _x.reshape(2, 1, 12, 1))
case("squeeze", "to a scalar", _with("squeeze", axes=[0]), {"x": _i[0, 0, :1]}, _i[0, 0, 0])
for _axis, _shape in ((1, (2, 12)), (-1, (6, 4)), (0, (1, 24)), (2, (6, 4)), (3, (24, 1))):
    case("flatten2d", f"axis {_axis}", _with("flatten2d", axis=_axis), {"x": _x}, _x.reshape(_shape))
case("flatten2d", "default", _with("flatten2d"), {"x": _i}, _i.reshape(2, 12))
case("shape", "real", _with("shape"), {"x": _image}, np.int32([2, 8, 4, 6]))
case("shape", "integers", _with("shape"), {"x": _i[0]}, np.int32([3, 4]), ios=15)

# Order.
case("transpose", "positive", _with("transpose", perm=[2, 0, 1]), {"x": _x}, np.transpose(_x, (2, 0, 1)))
case("transpose", "negative", _with("transpose", perm=[-1, 0, -2]), {"x": _i}, np.transpose(_i, (2, 0, 1)))
case("reverse", "all", _with("reverse"), {"x": _x}, _x[::-1, ::-1, ::-1])
case("reverse", "axes", _with("reverse", axes=[0, -1]), {"x": _i}, _i[::-1, :, ::-1])
case("reverse", "truth", _with("reverse", axes=[1]), {"x": _b}, _b[:, ::-1])


def _reversed(x, lengths, along, batch):
    result = x.copy()
    for number, length in enumerate(lengths):
        for place in np.ndindex(x.shape):
            if place[batch] == number and place[along] < length:
                source = list(place)
                source[along] = length - 1 - place[along]
                result[place] = x[tuple(source)]
    return result


for _along, _batch, _lengths in (
    (1, 0, [3, 2]),
    (0, 1, [2, 0, 1]),
    (-1, 0, [4, 3]),
    (0, 2, [1, 2, 2, 0]),
    (2, 1, [4, 2, 3]),
):
    case(
        "reverse_sequence",
        f"{_along} by {_batch}",
        _with("reverse_sequence", lengths=np.int32(_lengths), seq_axis=_along, batch_axis=_batch),
        {"x": _x},
        _reversed(_x, _lengths, _along % 3, _batch),
    )
case(
    "reverse_sequence",
    "sequences first by default",
    _with("reverse_sequence", lengths=np.int32([2, 1, 2]), batch_axis=1),
    {"x": _i},
    _reversed(_i, [2, 1, 2], 0, 1),
)
case(
    "reverse_sequence",
    "batches first by default",
    _with("reverse_sequence", lengths=np.int32([2, 3]), seq_axis=1),
    {"x": _i},
    _reversed(_i, [2, 3], 1, 0),
)


# Space.
def _depth_to_space(x, b, channels_first):
    n, c, h, w = x.shape
    fewer = c // b**2
    result = np.zeros((n, fewer, h * b, w * b), x.dtype)
    for place in np.ndindex(result.shape):
        i, j, k, m = place
        inner = (k % b) * b + m % b
        source = j * b**2 + inner if channels_first else inner * fewer + j
        result[place] = x[i, source, k // b, m // b]
    return result


def _space_to_depth(x, b, channels_first):
    n, c, h, w = x.shape
    result = np.zeros((n, c * b**2, h // b, w // b), x.dtype)
    for i, j, k, m in np.ndindex(x.shape):
        inner = (k % b) * b + m % b
        result[i, j * b**2 + inner if channels_first else inner * c + j, k // b, m // b] = x[i, j, k, m]
    return result


case("depth_to_space", "2", _with("depth_to_space", block_size=2), {"x": _image}, _depth_to_space(_image, 2, False))
_nine = _random.normal(size=(1, 18, 2, 3)).astype(np.float32)
case("depth_to_space", "3", _with("depth_to_space", block_size=3), {"x": _nine}, _depth_to_space(_nine, 3, False), 15)
case("space_to_depth", "2", _with("space_to_depth", block_size=2), {"x": _image}, _space_to_depth(_image, 2, False))
case("pixel_shuffle", "2", _with("pixel_shuffle", upscale_factor=2), {"x": _image}, _depth_to_space(_image, 2, True))
case("pixel_shuffle", "3", _with("pixel_shuffle", upscale_factor=3), {"x": _nine}, _depth_to_space(_nine, 3, True), 15)
case(
    "pixel_unshuffle",
    "2",
    _with("pixel_unshuffle", downscale_factor=np.uint32(2)),
    {"x": _image},
    _space_to_depth(_image, 2, True),
)


def _to_batch(x, block, paddings):
    x = np.pad(x, [(0, 0), (0, 0), *map(tuple, paddings)])
    n, c, h, w = x.shape
    result = np.zeros((n * block[0] * block[1], c, h // block[0], w // block[1]), x.dtype)
    for i, j, k, m in np.ndindex(x.shape):
        number = (k % block[0]) * block[1] + m % block[1]
        result[number * n + i, j, k // block[0], m // block[1]] = x[i, j, k, m]
    return result


def _from_batch(x, block, crops):
    n, c, h, w = x.shape
    fewer = n // (block[0] * block[1])
    result = np.zeros((fewer, c, h * block[0], w * block[1]), x.dtype)
    for i, j, k, m in np.ndindex(x.shape):
        number = i // fewer
        result[i % fewer, j, k * block[0] + number // block[1], m * block[1] + number % block[1]] = x[i, j, k, m]
    (top, bottom), (left, right) = crops
    return result[:, :, top : result.shape[2] - bottom, left : result.shape[3] - right]


for _block, _edges in (([2, 3], [[0, 0], [0, 0]]), ([2, 2], [[1, 1], [0, 2]]), ([3, 2], [[2, 0], [1, 1]])):
    case(
        "space_to_batch",
        f"{_block}, {_edges}",
        _with("space_to_batch", block_shape=_block, paddings=_edges),
        {"x": _image},
        _to_batch(_image, _block, _edges),
    )
_many = _random.normal(size=(12, 2, 3, 4)).astype(np.float32)
for _block, _edges in (([2, 3], [[0, 0], [0, 0]]), ([2, 2], [[1, 0], [0, 2]]), ([3, 2], [[2, 1], [1, 0]])):
    case(
        "batch_to_space",
        f"{_block}, {_edges}",
        _with("batch_to_space", block_shape=_block, crops=_edges),
        {"x": _many},
        _from_batch(_many, _block, _edges),
    )


def _like_one(mb, x, a):
    return mb.reshape_like(x=x, ref_tensors=(a,), begins=(0,), ends=(2,), end_masks=(False,))


_square = np.ones((6, 4, 2), np.float32)
case("reshape_like", "one tensor", _like_one, {"x": _x, "a": _square}, _x.reshape(6, 4))
