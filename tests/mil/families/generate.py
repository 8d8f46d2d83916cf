"""Operators that make tensors, against NumPy and loops."""

import numpy as np

from tests.mil.harness import case, seeded

_random = seeded("generate")
_x = _random.normal(size=(2, 3, 4)).astype(np.float32)
_i = _random.integers(1, 50, (2, 3, 4)).astype(np.int32)
_anchor = np.float32([1])
_count = np.int32([1])


def _made(op, **parameters):
    """The operator on constants only: its result goes through an addition, so that the program has an input."""
    return lambda mb, x: mb.add(x=getattr(mb, op)(**parameters), y=x)


def _with(op, **parameters):
    return lambda mb, x: getattr(mb, op)(x=x, **parameters)


case("fill", "real", _made("fill", shape=[2, 3], value=2.5), {"x": _anchor}, np.full((2, 3), 3.5, np.float32))
case("fill", "integers", _made("fill", shape=[4], value=7), {"x": _count}, np.full(4, 8, np.int32), ios=15)
case(
    "fill",
    "truth",
    lambda mb, x: mb.logical_and(x=mb.fill(shape=[2, 2], value=True), y=x),
    {"x": np.array([True])},
    np.ones((2, 2), bool),
)
case(
    "fill",
    "computed shape",
    lambda mb, x: mb.fill(shape=x, value=-1.5),
    {"x": np.int32([3, 1, 2])},
    np.full((3, 1, 2), -1.5, np.float32),
)
_like = {"x": _i}
case(
    "fill_like",
    "real",
    lambda mb, x: mb.fill_like(ref_tensor=x, value=0.25),
    _like,
    np.full(_i.shape, 0.25, np.float32),
    ios=16,
)
case(
    "fill_like",
    "integers",
    lambda mb, x: mb.fill_like(ref_tensor=x, value=3),
    {"x": _x},
    np.full(_x.shape, 3, np.int32),
)
case(
    "fill_like",
    "truth",
    lambda mb, x: mb.fill_like(ref_tensor=x, value=True),
    {"x": _x},
    np.ones(_x.shape, bool),
)
for _start, _end, _step in ((2, 11, 3), (0, 5, 1), (9, -4, -2), (1, 12, 11), (-3, 4, 2)):
    case(
        "range_1d",
        f"{_start} to {_end} by {_step}",
        lambda mb, start, end, step: mb.range_1d(
            start=mb.squeeze(x=start), end=mb.squeeze(x=end), step=mb.squeeze(x=step)
        ),
        {"start": np.int32([_start]), "end": np.int32([_end]), "step": np.int32([_step])},
        np.arange(_start, _end, _step, dtype=np.int32),
    )
for _start, _end, _step in ((0.5, 3.0, 0.5), (1.0, -2.2, -0.75), (0.0, 1.0, 0.125)):
    case(
        "range_1d",
        f"{_start} to {_end} by {_step}",
        lambda mb, start, end, step: mb.range_1d(
            start=mb.squeeze(x=start), end=mb.squeeze(x=end), step=mb.squeeze(x=step)
        ),
        {"start": np.float32([_start]), "end": np.float32([_end]), "step": np.float32([_step])},
        np.arange(_start, _end, _step).astype(np.float32),
    )
# In real numbers the step as it is held fits once more; in the program's type, by which the shape is declared, it not.
case(
    "range_1d",
    "constants",
    _made("range_1d", start=np.float32(0), end=np.float32(1), step=np.float32(0.1)),
    {"x": _anchor},
    1 + np.arange(10, dtype=np.float32) / 10,
)


def _hot(indices, size, axis, on, off):
    result = np.full((*indices.shape, size), off)
    for place in np.ndindex(indices.shape):
        if 0 <= indices[place] < size:
            result[(*place, indices[place])] = on
    return np.moveaxis(result, -1, axis)


def _one_hot(**parameters):
    return lambda mb, x: mb.one_hot(indices=x, **parameters)


_indices = np.int32([[0, 2, 1], [3, 1, 0]])
for _axis in (-1, 0, 1, 2, -2, -3):
    case(
        "one_hot",
        f"axis {_axis}",
        _one_hot(one_hot_vector_size=5, axis=_axis, on_value=2.5, off_value=-1.0),
        {"x": _indices},
        _hot(_indices, 5, _axis, np.float32(2.5), np.float32(-1)),
    )
case(
    "one_hot",
    "default",
    _one_hot(one_hot_vector_size=4),
    {"x": _indices},
    _hot(_indices, 4, -1, np.int32(1), np.int32(0)),
)
_outside = np.int32([-1, 4, 2, 0, 99])
case("one_hot", "out of range", _one_hot(one_hot_vector_size=4), {"x": _outside}, _hot(_outside, 4, -1, 1, 0))
case(
    "one_hot",
    "computed size, truth",
    lambda mb, x, n: mb.one_hot(indices=x, one_hot_vector_size=mb.squeeze(x=n), on_value=False, off_value=True),
    {"x": _indices, "n": np.int32([6])},
    _hot(_indices, 6, -1, False, True),
)

_PADS = {
    "last": ([1, 2], [(0, 0), (0, 0), (1, 2)]),
    "last two": ([1, 0, 2, 3], [(0, 0), (1, 0), (2, 3)]),
    "all": ([1, 1, 0, 2, 3, 0], [(1, 1), (0, 2), (3, 0)]),
}
for _label, (_pad, _pairs) in _PADS.items():
    case("pad", f"zero, {_label}", _with("pad", pad=_pad), {"x": _x}, np.pad(_x, _pairs))
    case("pad", f"edge, {_label}", _with("pad", pad=_pad, mode="replicate"), {"x": _x}, np.pad(_x, _pairs, mode="edge"))
    case(
        "pad",
        f"reflection, {_label}",
        _with("pad", pad=_pad, mode="reflect"),
        {"x": _x},
        np.pad(_x, _pairs, mode="reflect"),
    )
case(
    "pad",
    "constant",
    _with("pad", pad=[1, 2, 2, 1], mode="constant", constant_val=-3.5),
    {"x": _x},
    np.pad(_x, [(0, 0), (1, 2), (2, 1)], constant_values=-3.5),
    ios=15,
)
case(
    "pad",
    "computed",
    lambda mb, x, pad: mb.pad(x=x, pad=pad),
    {"x": _x, "pad": np.int32([0, 1, 2, 0, 1, 1])},
    np.pad(_x, [(0, 1), (2, 0), (1, 1)]),
)
_line = _random.normal(size=5).astype(np.float32)
case(
    "pad", "of a vector", _with("pad", pad=[4, 3], mode="reflect"), {"x": _line}, np.pad(_line, (4, 3), mode="reflect")
)


def _band(x, lower, upper):
    result = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        m, n = place[-2:]
        if (lower < 0 or m - n <= lower) and (upper < 0 or n - m <= upper):
            result[place] = x[place]
    return result


for _lower, _upper in ((0, -1), (-1, 0), (0, 0), (1, 2), (-1, 1), (9, 9)):
    _expected = _band(_x, _lower, _upper)
    case("band_part", f"{_lower}, {_upper}", _with("band_part", lower=_lower, upper=_upper), {"x": _x}, _expected)
case("band_part", "default", _with("band_part"), {"x": _x}, _x, ios=15)
case("band_part", "upper default", _with("band_part", lower=0), {"x": _x}, _band(_x, 0, -1))
case(
    "band_part",
    "truth",
    _with("band_part", lower=1, upper=0),
    {"x": np.ones((4, 3), bool)},
    _band(np.ones((4, 3), bool), 1, 0),
)
case(
    "band_part",
    "infinity",
    _with("band_part", lower=0),
    {"x": _x / np.float32([1, 2, 3, np.nan])},
    _band(_x / np.float32([1, 2, 3, np.nan]), 0, -1),
)
_sparse = np.where(_random.random((3, 4, 2)) < 0.5, 0, _random.normal(size=(3, 4, 2))).astype(np.float32)
for _label, _value in {"real": _sparse, "integers": (_sparse * 9).astype(np.int32), "truth": _sparse != 0}.items():
    case("non_zero", _label, _with("non_zero"), {"x": _value}, np.argwhere(_value).astype(np.int32))
