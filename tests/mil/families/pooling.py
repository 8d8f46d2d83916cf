"""Pooling: NumPy loops over windows."""

import numpy as np

from tests.mil.harness import case, seeded

_random = seeded("pooling")

# Shape, kernel, strides, pads, arguments; pads as the specification says for the arguments.
_WINDOWS = (
    ("1-D", (2, 3, 9), [3], [2], [(0, 0)], {"pad_type": "valid"}),
    ("2-D", (1, 2, 7, 6), [3, 2], None, [(0, 0), (0, 0)], {"pad_type": "valid"}),
    ("symmetric pad", (1, 2, 7, 6), [3, 4], [2, 1], [(1, 1), (2, 2)], {"pad_type": "custom", "pad": [1, 1, 2, 2]}),
    ("pads", (1, 2, 7, 6), [3, 4], [2, 1], [(0, 2), (3, 1)], {"pad_type": "custom", "pad": [0, 2, 3, 1]}),
    ("wide pads", (1, 1, 4, 4), [3, 3], [1, 2], [(2, 2), (2, 2)], {"pad_type": "custom", "pad": [2, 2, 2, 2]}),
    ("same", (1, 2, 7, 6), [2, 4], [2, 1], [(0, 1), (1, 2)], {"pad_type": "same"}),
    ("same_lower", (1, 2, 7, 6), [2, 4], [2, 1], [(1, 0), (2, 1)], {"pad_type": "same_lower"}),
    ("same_lower, 1-D", (1, 2, 5), [2], [1], [(1, 0)], {"pad_type": "same_lower"}),
    ("ceil", (1, 2, 7, 8), [2, 3], [2, 3], [(0, 0), (0, 0)], {"pad_type": "valid", "ceil_mode": True}),
    (
        "ceil, pad",
        (1, 2, 7, 6),
        [3, 2],
        [3, 2],
        [(1, 1), (1, 1)],
        {"pad_type": "custom", "pad": [1, 1, 1, 1], "ceil_mode": True},
    ),
    ("3-D", (1, 2, 4, 5, 3), [2, 3, 1], [1, 2, 2], [(0, 0)] * 3, {"pad_type": "valid"}),
    ("same, 3-D", (1, 1, 4, 5, 3), [2, 3, 2], [1, 2, 2], [(0, 1), (1, 1), (0, 1)], {"pad_type": "same"}),
)


def _pooled(x, kernel, strides, pads, ceil, reduce):
    """``reduce`` takes the elements of x in a window, and how many places of it are in x or its padding."""
    out = []
    for size, k, s, (before, after) in zip(x.shape[2:], kernel, strides, pads, strict=True):
        steps = (size + before + after - k) / s
        count = int(np.ceil(steps) if ceil else np.floor(steps)) + 1
        if ceil and before + after and (count - 1) * s >= size + before:
            count -= 1
        out.append(count)
    result = np.zeros((*x.shape[:2], *out), np.float32)
    for n, c, *place in np.ndindex(result.shape):
        inside, places = [], 1
        for i, size, k, s, (before, after) in zip(place, x.shape[2:], kernel, strides, pads, strict=True):
            start, end = i * s - before, min(i * s - before + k, size + after)
            places *= end - start
            inside.append(slice(max(start, 0), min(end, size)))
        result[(n, c, *place)] = reduce(x[(n, c, *inside)].astype(np.float64), places)
    return result


_REDUCTIONS = {
    "max_pool": lambda inside, places: inside.max(),
    "l2_pool": lambda inside, places: np.sqrt((inside**2).sum()),
    "avg_pool": lambda inside, places: inside.sum() / places,
    "avg_pool, excluding": lambda inside, places: inside.mean(),
}


for _name, _reduce in _REDUCTIONS.items():
    for _label, _shape, _kernel, _strides, _pads, _options in _WINDOWS:
        if _name == "l2_pool" and len(_shape) == 5:
            continue
        _op, _, _excluding = _name.partition(", ")
        _x = _random.normal(size=_shape).astype(np.float32)
        _arguments = {"kernel_sizes": _kernel, **_options}
        if _strides is not None:
            _arguments["strides"] = _strides
        if _excluding:
            _arguments["exclude_padding_from_average"] = True
        case(
            _op,
            f"{_label}{', excluding padding' if _excluding else ''}",
            lambda mb, x, op=_op, arguments=_arguments: getattr(mb, op)(x=x, **arguments),
            {"x": _x},
            _pooled(_x, _kernel, _strides or [1] * len(_kernel), _pads, "ceil_mode" in _options, _reduce),
        )
