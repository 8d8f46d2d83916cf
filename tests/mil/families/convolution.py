"""Convolutions: NumPy loops over the formula of the specification."""

import numpy as np

from tests.mil.harness import case, seeded

_random = seeded("convolution")


def _tensor(*shape):
    return _random.normal(size=shape).astype(np.float32)


def _convolved(x, weight, bias, strides, pads, dilations, groups):
    x = np.pad(x.astype(np.float64), [(0, 0), (0, 0), *pads])
    kernel = weight.shape[2:]
    out = [(n - (k - 1) * d - 1) // s + 1 for n, k, d, s in zip(x.shape[2:], kernel, dilations, strides, strict=True)]
    result = np.zeros((x.shape[0], weight.shape[0], *out))
    fed, made = weight.shape[1], weight.shape[0] // groups
    for n, o, *place in np.ndindex(result.shape):
        group = o // made
        for tap in np.ndindex(kernel):
            at = tuple(i * s + k * d for i, s, k, d in zip(place, strides, tap, dilations, strict=True))
            result[(n, o, *place)] += (
                x[(n, slice(group * fed, group * fed + fed), *at)] @ weight[(o, slice(None), *tap)]
            )
    if bias is not None:
        result += bias.reshape(-1, *[1] * len(kernel))
    return result.astype(np.float32)


def _same(size, kernel, stride, dilation, lower):
    total = max(0, (int(np.ceil(size / stride)) - 1) * stride + (kernel - 1) * dilation + 1 - size)
    less = total // 2
    return (total - less, less) if lower else (less, total - less)


_CONVS = (
    ("1-D", (2, 3, 9), (4, 3, 3), {"strides": [2]}),
    ("2-D", (1, 3, 7, 5), (4, 3, 3, 2), {}),
    ("3-D", (1, 2, 4, 5, 3), (3, 2, 2, 3, 1), {"strides": [1, 2, 1]}),
    ("symmetric pad", (2, 2, 5, 4), (3, 2, 3, 3), {"pad_type": "custom", "pad": [1, 1, 2, 2]}),
    ("pads", (1, 2, 5, 4), (3, 2, 3, 2), {"pad_type": "custom", "pad": [0, 2, 3, 1]}),
    ("1-D pads", (1, 2, 5), (3, 2, 3), {"pad_type": "custom", "pad": [0, 2]}),
    ("same", (1, 2, 6, 7), (3, 2, 3, 4), {"pad_type": "same", "strides": [2, 3]}),
    ("same_lower", (1, 2, 6, 7), (3, 2, 3, 4), {"pad_type": "same_lower", "strides": [2, 3]}),
    ("same, 1-D, even kernel", (1, 2, 6), (3, 2, 4), {"pad_type": "same"}),
    ("same, stride beyond kernel", (1, 2, 7, 6), (3, 2, 1, 2), {"pad_type": "same", "strides": [3, 3]}),
    ("same_lower, 3-D", (1, 1, 4, 5, 3), (2, 1, 2, 3, 2), {"pad_type": "same_lower", "strides": [1, 2, 1]}),
    ("dilated", (1, 2, 9, 8), (3, 2, 3, 2), {"dilations": [2, 3], "strides": [1, 2]}),
    ("dilated, same", (1, 2, 9, 8), (3, 2, 2, 2), {"dilations": [3, 1], "pad_type": "same"}),
    ("groups", (1, 6, 5, 4), (4, 3, 2, 3), {"groups": 2}),
    ("by channel", (1, 4, 5, 4), (8, 1, 3, 3), {"groups": 4, "pad_type": "same"}),
)


def _plain(options):
    return {key: np.int32(value) if not isinstance(value, str) else value for key, value in options.items()}


for _label, _shape, _kernel, _options in _CONVS:
    _x, _weight = _tensor(*_shape), _tensor(*_kernel)
    _bias = _tensor(_kernel[0]) if len(_label) % 2 else None
    _rank = len(_shape) - 2
    _strides, _dilations = _options.get("strides", [1] * _rank), _options.get("dilations", [1] * _rank)
    _type = _options.get("pad_type", "valid")
    _pads = [(0, 0)] * _rank
    if _type == "custom":
        _pads = list(zip(_options["pad"][::2], _options["pad"][1::2], strict=True))
    elif _type != "valid":
        _pads = [
            _same(n, k, s, d, _type == "same_lower")
            for n, k, s, d in zip(_shape[2:], _kernel[2:], _strides, _dilations, strict=True)
        ]
    case(
        "conv",
        _label,
        lambda mb, x, weight=_weight, bias=_bias, options=_options: mb.conv(
            x=x, weight=weight, **({} if bias is None else {"bias": bias}), **_plain(options)
        ),
        {"x": _x},
        _convolved(_x, _weight, _bias, _strides, _pads, _dilations, _options.get("groups", 1)),
    )
_x, _weight, _bias = _tensor(1, 2, 5, 4), _tensor(3, 2, 2, 2), _tensor(3)
case(
    "conv",
    "weights computed",
    lambda mb, x, weight, bias: mb.conv(x=x, weight=weight, bias=bias),
    {"x": _x, "weight": _weight, "bias": _bias},
    _convolved(_x, _weight, _bias, [1, 1], [(0, 0), (0, 0)], [1, 1], 1),
)


def _transposed(x, weight, bias, strides, dilations, groups, before, out):
    made, fed = weight.shape[1], x.shape[1] // groups
    result = np.zeros((x.shape[0], made * groups, *out))
    for n, c, *place in np.ndindex(x.shape):
        group = c // fed
        for o, *tap in np.ndindex(weight.shape[1:]):
            at = [i * s + k * d - b for i, s, k, d, b in zip(place, strides, tap, dilations, before, strict=True)]
            if all(0 <= a < size for a, size in zip(at, out, strict=True)):
                result[(n, group * made + o, *at)] += np.float64(x[(n, c, *place)]) * weight[(c, o, *tap)]
    if bias is not None:
        result += bias.reshape(-1, *[1] * len(strides))
    return result.astype(np.float32)


# Options, then what is cut before each dimension and the size of the result.
_TRANSPOSES = (
    ("1-D", (2, 3, 4), (3, 2, 3), {"strides": [2]}, [0], [9]),
    ("2-D", (1, 3, 4, 3), (3, 2, 3, 2), {}, [0, 0], [6, 4]),
    ("strides", (1, 2, 3, 4), (2, 3, 3, 2), {"strides": [2, 3]}, [0, 0], [7, 11]),
    ("3-D", (1, 2, 2, 3, 2), (2, 3, 2, 3, 1), {"strides": [1, 2, 2]}, [0, 0, 0], [3, 7, 3]),
    ("pad", (1, 2, 3, 4), (2, 3, 3, 4), {"strides": [2, 2], "pad_type": "custom", "pad": [1, 1, 2, 2]}, [1, 2], [5, 6]),
    ("pads", (1, 2, 3, 4), (2, 3, 4, 4), {"pad_type": "custom", "pad": [0, 2, 2, 1]}, [0, 2], [4, 4]),
    ("little at the end", (1, 2, 3), (2, 3, 4), {"strides": [2], "pad_type": "custom", "pad": [2, 1]}, [2], [5]),
    ("same", (1, 2, 3, 4), (2, 3, 3, 4), {"strides": [2, 2], "pad_type": "same"}, [0, 1], [6, 8]),
    ("same, stride beyond kernel", (1, 2, 3), (2, 3, 2), {"strides": [4], "pad_type": "same"}, [0], [12]),
    ("dilated", (1, 2, 3, 4), (2, 3, 3, 2), {"dilations": [2, 3]}, [0, 0], [7, 7]),
    ("groups", (1, 4, 3, 2), (4, 3, 2, 2), {"groups": 2, "strides": [2, 1]}, [0, 0], [6, 3]),
    (
        "output_shape",
        (1, 2, 3, 4),
        (2, 3, 3, 3),
        {"strides": [2, 2], "pad_type": "custom", "pad": [1, 0, 1, 1], "output_shape": [1, 3, 6, 7]},
        [1, 1],
        [6, 7],
    ),
    (
        "output_shape, same",
        (1, 2, 3, 3),
        (2, 3, 3, 2),
        {"strides": [2, 2], "pad_type": "same", "output_shape": [1, 3, 5, 5]},
        [1, 0],
        [5, 5],
    ),
)
for _label, _shape, _kernel, _options, _before, _out in _TRANSPOSES:
    _rank = len(_shape) - 2
    _groups = _options.get("groups", 1)
    _x, _weight = _tensor(*_shape), _tensor(*_kernel)
    _bias = _tensor(_kernel[1] * _groups) if len(_label) % 2 else None
    _expected = _transposed(
        _x,
        _weight,
        _bias,
        _options.get("strides", [1] * _rank),
        _options.get("dilations", [1] * _rank),
        _groups,
        _before,
        _out,
    )
    case(
        "conv_transpose",
        _label,
        lambda mb, x, weight=_weight, bias=_bias, options=_options: mb.conv_transpose(
            x=x, weight=weight, **({} if bias is None else {"bias": bias}), **_plain(options)
        ),
        {"x": _x},
        _expected,
    )
