"""Reading and writing at computed indices, against loops over NumPy arrays."""

import numpy as np

from tests.mil.harness import case, seeded

_random = seeded("scatter_gather")
_x = _random.normal(size=(3, 4, 5)).astype(np.float32)
_n = _random.integers(-50, 50, (3, 4, 5)).astype(np.int32)


def _ask(op, **parameters):
    return lambda mb, x, i: getattr(mb, op)(x=x, indices=i, **parameters)


# gather.
_matrix = np.int32([[0, 2, 1], [2, 2, 0]])
for _axis in (0, 1, -1, -2):
    _wanted = np.take(_x, _matrix, _axis)
    for _ios in (15, 16, 17):
        case("gather", f"axis {_axis}, iOS {_ios}", _ask("gather", axis=_axis), {"x": _x, "i": _matrix}, _wanted, _ios)
_negative = np.int32([-1, 0, -3])
for _ios in (15, 16):
    case(
        "gather", f"from the end, iOS {_ios}", _ask("gather", axis=1), {"x": _x, "i": _negative}, _x[:, _negative], _ios
    )
case("gather", "default, integers", _ask("gather"), {"x": _n, "i": np.int32([2, 0])}, _n[[2, 0]])
case("gather", "validated", _ask("gather", axis=2, validate_indices=True), {"x": _x, "i": np.int32([4])}, _x[:, :, [4]])
case("gather", "of kind uint16", _ask("gather", axis=1), {"x": _x, "i": np.uint16([3, 1])}, _x[:, [3, 1]])
case("gather", "of kind int8", _ask("gather", axis=1), {"x": _x, "i": np.int8([3, 1])}, _x[:, [3, 1]])
case(
    "gather",
    "one index",
    lambda mb, x, i: mb.gather(x=x, indices=mb.squeeze(x=i), axis=1),
    {"x": _x, "i": np.int32([2])},
    _x[:, 2],
)
_rows = np.int32([[1, 0], [3, 3], [2, 1]])
_expected = np.stack([_x[b][_rows[b]] for b in range(3)])
for _ios in (16, 17):
    case("gather", f"batch, iOS {_ios}", _ask("gather", axis=1, batch_dims=1), {"x": _x, "i": _rows}, _expected, _ios)
_expected = np.stack([_x[b][:, _rows[b]] for b in range(3)])
case("gather", "batch, later axis", _ask("gather", axis=2, batch_dims=1), {"x": _x, "i": _rows}, _expected, 16)
_deep = _random.integers(0, 5, (3, 4, 2, 2)).astype(np.int32)
_expected = np.stack([np.stack([_x[b, c][_deep[b, c]] for c in range(4)]) for b in range(3)])
case("gather", "batch of two axes", _ask("gather", axis=-1, batch_dims=2), {"x": _x, "i": _deep}, _expected, 17)

# gather_along_axis.
for _axis, _count in ((0, 2), (1, 6), (-1, 3)):
    _shape = list(_x.shape)
    _size = _shape[_axis]
    _shape[_axis] = _count
    _i = _random.integers(0, _size, _shape).astype(np.int32)
    _signed = (_i - _size * _random.integers(0, 2, _shape)).astype(np.int32)
    _wanted = np.take_along_axis(_x, _i, _axis)
    case("gather_along_axis", f"axis {_axis}", _ask("gather_along_axis", axis=_axis), {"x": _x, "i": _i}, _wanted)
    for _ios in (15, 16):
        _build = _ask("gather_along_axis", axis=_axis)
        case(
            "gather_along_axis",
            f"axis {_axis}, from the end, iOS {_ios}",
            _build,
            {"x": _x, "i": _signed},
            _wanted,
            _ios,
        )
_i = _random.integers(0, 3, (2, 4, 5)).astype(np.int32)
_wanted = np.take_along_axis(_n, _i, 0)
case("gather_along_axis", "default", _ask("gather_along_axis", validate_indices=True), {"x": _n, "i": _i}, _wanted)


# gather_nd.
def _nd(x, indices, batch):
    result = np.zeros((*indices.shape[:-1], *x.shape[batch + indices.shape[-1] :]), x.dtype)
    for place in np.ndindex(indices.shape[:-1]):
        result[place] = x[(*place[:batch], *indices[place])]
    return result


_pairs = np.int32([[[0, 3], [2, 1]], [[1, 1], [2, 3]]])
_triples = np.int32([[0, 3, 4], [2, 1, 0], [2, 3, 2]])
for _ios in (15, 16, 17):
    case("gather_nd", f"rows, iOS {_ios}", _ask("gather_nd"), {"x": _x, "i": _pairs}, _nd(_x, _pairs, 0), _ios)
    case("gather_nd", f"elements, iOS {_ios}", _ask("gather_nd"), {"x": _n, "i": _triples}, _nd(_n, _triples, 0), _ios)
case("gather_nd", "from the end", _ask("gather_nd"), {"x": _x, "i": _pairs - np.int32([3, 0])}, _nd(_x, _pairs, 0), 16)
_inner = np.int32([[[0, 4], [3, 1]], [[1, 1], [2, 3]], [[0, 0], [3, 4]]])
for _ios in (16, 17):
    _build = _ask("gather_nd", batch_dims=1)
    case("gather_nd", f"batch, iOS {_ios}", _build, {"x": _x, "i": _inner}, _nd(_x, _inner, 1), _ios)
_single = np.int32([[[0], [3]], [[1], [2]], [[0], [3]]])
_build = _ask("gather_nd", batch_dims=1, validate_indices=True)
case("gather_nd", "batch of rows", _build, {"x": _x, "i": _single}, _nd(_x, _single, 1))

# scatter.
_MODES = {
    "update": lambda old, new: new,
    "add": lambda old, new: old + new,
    "sub": lambda old, new: old - new,
    "mul": lambda old, new: old * new,
    "div": lambda old, new: old / new,
    "max": max,
    "min": min,
}


def _brought_in(data, pairs, mode):
    """Data after updates of (place, value), one after another."""
    result = data.astype(np.float64)
    for place, value in pairs:
        combined = _MODES[mode](result[place], np.float64(value))
        result[place] = np.trunc(combined) if data.dtype.kind == "i" else combined
    return result.astype(data.dtype)


def _write(op, **parameters):
    return lambda mb, x, i, u: getattr(mb, op)(data=x, indices=i, updates=u, **parameters)


def _axis_pairs(data, indices, updates, axis):
    axis %= data.ndim
    for place in np.ndindex(updates.shape):
        yield (*place[:axis], indices[place[axis]], *place[axis + 1 :]), updates[place]


def _along_pairs(data, indices, updates, axis):
    axis %= data.ndim
    for place in np.ndindex(updates.shape):
        yield (*place[:axis], indices[place], *place[axis + 1 :]), updates[place]


def _nd_pairs(indices, updates):
    for place in np.ndindex(indices.shape[:-1]):
        for rest in np.ndindex(updates.shape[indices.ndim - 1 :]):
            yield (*indices[place], *rest), updates[(*place, *rest)]


_repeated = np.int32([1, 0, 1])
_updates = (_random.uniform(0.5, 2, (3, 3, 5)) * _random.choice([-1, 1], (3, 3, 5))).astype(np.float32)
_whole = _random.choice([-3, -2, 2, 3], (3, 3, 5)).astype(np.int32)
_spread = _random.integers(0, 4, (3, 3, 5)).astype(np.int32)
_where = np.int32([[0, 3], [2, 1], [0, 3]])
_vectors, _whole_vectors = _updates[0], _whole[0]
for _mode in _MODES:
    for _kind, _data, _new, _vector in (("real", _x, _updates, _vectors), ("integers", _n, _whole, _whole_vectors)):
        for _ios in (15, 17):
            _label = f"{_mode}, {_kind}, iOS {_ios}"
            case(
                "scatter",
                _label,
                _write("scatter", axis=1, mode=_mode),
                {"x": _data, "i": _repeated, "u": _new},
                _brought_in(_data, _axis_pairs(_data, _repeated, _new, 1), _mode),
                _ios,
            )
            case(
                "scatter_along_axis",
                _label,
                _write("scatter_along_axis", axis=1, mode=_mode),
                {"x": _data, "i": _spread, "u": _new},
                _brought_in(_data, _along_pairs(_data, _spread, _new, 1), _mode),
                _ios,
            )
            case(
                "scatter_nd",
                _label,
                _write("scatter_nd", mode=_mode),
                {"x": _data, "i": _where, "u": _vector},
                _brought_in(_data, _nd_pairs(_where, _vector), _mode),
                _ios,
            )
_few = _random.normal(size=(3, 4, 2)).astype(np.float32)
for _ios in (15, 16):
    case(
        "scatter",
        f"from the end, iOS {_ios}",
        _write("scatter", axis=-1, mode="update"),
        {"x": _x, "i": np.int32([-1, 2]), "u": _few},
        _brought_in(_x, _axis_pairs(_x, [4, 2], _few, -1), "update"),
        _ios,
    )
    case(
        "scatter_along_axis",
        f"from the end, iOS {_ios}",
        _write("scatter_along_axis", axis=-2),
        {"x": _x, "i": _spread - 4, "u": _updates},
        _brought_in(_x, _along_pairs(_x, _spread, _updates, -2), "add"),
        _ios,
    )
    case(
        "scatter_nd",
        f"from the end, iOS {_ios}",
        _write("scatter_nd"),
        {"x": _x, "i": _where - np.int32([3, 4]), "u": _vectors},
        _brought_in(_x, _nd_pairs(_where, _vectors), "add"),
        _ios,
    )
_slab = _random.normal(size=(2, 4, 5)).astype(np.float32)
case(
    "scatter",
    "default",
    _write("scatter", validate_indices=True),
    {"x": _x, "i": np.int32([2, 2]), "u": _slab},
    _brought_in(_x, _axis_pairs(_x, [2, 2], _slab, 0), "add"),
)
_plane = _random.integers(0, 3, (2, 4, 5)).astype(np.int32)
case(
    "scatter_along_axis",
    "default",
    _write("scatter_along_axis", validate_indices=True),
    {"x": _x, "i": _plane, "u": _slab},
    _brought_in(_x, _along_pairs(_x, _plane, _slab, 0), "add"),
)
case(
    "scatter_nd",
    "elements",
    _write("scatter_nd", mode="update", validate_indices=True),
    {"x": _x, "i": _triples, "u": np.float32([7, 8, 9])},
    _brought_in(_x, _nd_pairs(_triples, np.float32([7, 8, 9])), "update"),
)
case(
    "scatter",
    "div, the least integer by -1 wraps around",
    _write("scatter", mode="div"),
    {"x": np.int32([-(2**31), 7, -7]), "i": np.int32([0, 1, 2]), "u": np.int32([-1, -1, 2])},
    np.int32([-(2**31), -7, -3]),
)
