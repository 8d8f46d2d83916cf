"""Operators that take tensors apart and put them together, against NumPy."""

import numpy as np

from tests.mil.harness import case, seeded

_random = seeded("layout")
_x = _random.normal(size=(4, 5, 6)).astype(np.float32)
_y = _random.normal(size=(4, 5, 6)).astype(np.float32)
_i = _random.integers(-50, 50, (4, 5, 6)).astype(np.int32)
_b = _random.integers(0, 2, (4, 5, 6)).astype(bool)
_yes, _no = True, False


def _with(op, **parameters):
    return lambda mb, x: getattr(mb, op)(x=x, **parameters)


_SLICES = {
    "plain": ({"begin": [1, 0, 2], "end": [3, 5, 6]}, np.s_[1:3, 0:5, 2:6]),
    "negative": ({"begin": [-3, 1, -2], "end": [-1, -1, 6]}, np.s_[-3:-1, 1:-1, -2:6]),
    "strides": ({"begin": [0, 1, 0], "end": [4, 5, 6], "stride": [2, 3, 5]}, np.s_[0:4:2, 1:5:3, 0:6:5]),
    "backwards": ({"begin": [3, -1, 5], "end": [0, -4, 1], "stride": [-1, -2, -3]}, np.s_[3:0:-1, -1:-4:-2, 5:1:-3]),
    "open": (
        {"begin": [1, 2, 3], "end": [2, 3, 4], "begin_mask": [_yes, _no, _yes], "end_mask": [_no, _yes, _yes]},
        np.s_[:2, 2:, :],
    ),
    "open backwards": (
        {
            "begin": [1, 2, 3],
            "end": [2, 3, 2],
            "stride": [-1, -2, -1],
            "begin_mask": [_yes, _no, _yes],
            "end_mask": [_yes, _yes, _no],
        },
        np.s_[::-1, 2::-2, :2:-1],
    ),
    "one index": (
        {"begin": [2, 1, -1], "end": [3, 4, 0], "squeeze_mask": [_yes, _no, _yes]},
        np.s_[2, 1:4, -1],
    ),
    "one index and open": (
        {"begin": [2, 1, 1], "end": [9, 9, 9], "end_mask": [_no, _yes, _yes], "squeeze_mask": [_yes, _no, _no]},
        np.s_[2, 1:, 1:],
    ),
    "beyond the end": ({"begin": [0, 1, 2], "end": [9, 70, 6]}, np.s_[0:9, 1:70, 2:6]),
}
for _label, (_parameters, _index) in _SLICES.items():
    if _label != "beyond the end":  # coremltools' own inference of the shape does not clip it
        case("slice_by_index", _label, _with("slice_by_index", **_parameters), {"x": _x}, _x[_index])
    _expected = _x.copy()
    _expected[_index] = _y[_index] if _label != "strides" else _y[_index] + 1
    _update = _expected[_index].copy()
    if _label == "beyond the end":
        continue
    case(
        "slice_update",
        _label,
        lambda mb, x, update, parameters=_parameters: mb.slice_update(x=x, update=update, **parameters),
        {"x": _x, "update": _update},
        _expected,
        ios=18,
    )
case(
    "slice_by_index",
    "integers",
    _with("slice_by_index", begin=[1, 1, 1], end=[3, 4, 5]),
    {"x": _i},
    _i[1:3, 1:4, 1:5],
    15,
)
case("slice_by_index", "truth", _with("slice_by_index", begin=[0, 1, 0], end=[3, 4, 5]), {"x": _b}, _b[0:3, 1:4, 0:5])
case(
    "slice_by_index",
    "to a scalar",
    _with("slice_by_index", begin=[1, 2, 3], end=[0, 0, 0], squeeze_mask=[_yes] * 3),
    {"x": _i},
    _i[1, 2, 3],
)


def _from_shape(mb, x, begin):
    end = mb.shape(x=x)
    return mb.slice_by_index(x=x, begin=begin, end=end)


case("slice_by_index", "computed", _from_shape, {"x": _x, "begin": np.int32([1, 0, 4])}, _x[1:, :, 4:])
_expected = _i.copy()
_expected[1:2, :, 1::2] = 7
case(
    "slice_update",
    "integers",
    lambda mb, x: mb.slice_update(
        x=x, update=np.full((1, 5, 3), 7, np.int32), begin=[1, 0, 1], end=[2, 5, 6], stride=[1, 1, 2]
    ),
    {"x": _i},
    _expected,
    ios=18,
)
case("slice_by_size", "plain", _with("slice_by_size", begin=[1, 0, 2], size=[2, 5, 3]), {"x": _x}, _x[1:3, :, 2:5], 15)
case(
    "slice_by_size",
    "all that follow",
    _with("slice_by_size", begin=[1, 2, 2], size=[-1, 2, -1]),
    {"x": _i},
    _i[1:, 2:4, 2:],
)
case(
    "slice_by_size",
    "negative begin",
    _with("slice_by_size", begin=[-2, 0, -3], size=[1, 1, 3]),
    {"x": _b},
    _b[2:3, :1, 3:6],
)

for _axis, _size, _stride in ((0, 2, 1), (1, 3, 2), (-1, 4, 1), (-2, 1, 3), (2, 6, 1)):
    _places = range(0, _x.shape[_axis] - _size + 1, _stride)
    _windows = np.stack([np.take(_x, range(p, p + _size), _axis) for p in _places], _axis % 3)
    case(
        "sliding_windows",
        f"{_size} along {_axis}, {_stride} apart",
        _with("sliding_windows", axis=_axis, size=_size, stride=_stride),
        {"x": _x},
        _windows,
    )
_windows = np.stack([_i[:, p : p + 2] for p in range(4)], 1)
case("sliding_windows", "default, integers", _with("sliding_windows", axis=1, size=2), {"x": _i}, _windows)


def _two(op, **parameters):
    return lambda mb, x, y: getattr(mb, op)(values=(x, y), **parameters)


_short = _y[:, :2]
case("concat", "axis", _two("concat", axis=1), {"x": _x, "y": _short}, np.concatenate([_x, _short], 1))
case("concat", "negative axis", _two("concat", axis=-3), {"x": _x, "y": _y[:1]}, np.concatenate([_x, _y[:1]]), 15)
case("concat", "integers", _two("concat", axis=2), {"x": _i, "y": _i[..., :1]}, np.concatenate([_i, _i[..., :1]], 2))
for _axis in (0, 1, -1):
    _shape = list(_x.shape)
    _shape[_axis] *= 2
    _mixed = np.zeros(_shape, np.float32)
    _evens, _odds = [[slice(None)] * 3 for _ in range(2)]
    _evens[_axis], _odds[_axis] = slice(0, None, 2), slice(1, None, 2)
    _mixed[tuple(_evens)], _mixed[tuple(_odds)] = _x, _y
    case("concat", f"interleaved {_axis}", _two("concat", axis=_axis, interleave=True), {"x": _x, "y": _y}, _mixed)
case("concat", "truth", _two("concat", axis=0), {"x": _b, "y": ~_b}, np.concatenate([_b, ~_b]))


def _scalars(mb, x, y):
    return mb.concat(values=(mb.squeeze(x=x), mb.squeeze(x=y)), axis=0)


case("concat", "scalars", _scalars, {"x": np.float32([3]), "y": np.float32([4])}, np.float32([3, 4]))
for _axis in (0, 1, 3, -1, -4):
    case("stack", f"axis {_axis}", _two("stack", axis=_axis), {"x": _x, "y": _y}, np.stack([_x, _y], _axis))
case("stack", "integers", _two("stack", axis=1), {"x": _i, "y": _i + 1}, np.stack([_i, _i + 1], 1), 15)
case("split", "number", _with("split", num_splits=3, axis=2), {"x": _x}, np.split(_x, 3, 2))
case("split", "sizes", _with("split", split_sizes=[1, 3, 1], axis=-2), {"x": _x}, np.split(_x, [1, 4], 1))
case("split", "both", _with("split", num_splits=2, split_sizes=[1, 3], axis=0), {"x": _i}, np.split(_i, [1]), 15)
case("tile", "every axis", _with("tile", reps=[2, 1, 3]), {"x": _x}, np.tile(_x, (2, 1, 3)))
case("tile", "integers", _with("tile", reps=[1, 2, 1]), {"x": _i}, np.tile(_i, (1, 2, 1)), 15)
case(
    "tile",
    "computed",
    lambda mb, x, reps: mb.tile(x=x, reps=reps),
    {"x": _b, "reps": np.int32([3, 1, 2])},
    np.tile(_b, (3, 1, 2)),
)
case("concat", "one value", lambda mb, x: mb.concat(values=(x,), axis=1), {"x": _x}, _x)
case("stack", "one value", lambda mb, x: mb.stack(values=(x,), axis=1), {"x": _x}, _x[:, None])
