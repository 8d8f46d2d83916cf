"""Quantizing and dequantizing activations: NumPy, and coremltools' value inference."""

import numpy as np

from tests.mil.harness import case, seeded

_random = seeded("quantization")
_x = _random.normal(size=(2, 3, 4)).astype(np.float32)
_scales = np.float32([0.125, 0.03, 0.5])
_halves = np.float32([[-2.5, -1.5, -0.5, 0.5], [1.5, 2.5, 3.5, 400.0], [-400.0, 0.0, 127.0, 127.5]])


def _quantized(x, scale, zero, axis, low, high):
    result = np.zeros(x.shape, np.int64)
    for place in np.ndindex(x.shape):
        s = scale if axis is None else scale[place[axis]]
        z = zero if axis is None or np.ndim(zero) == 0 else zero[place[axis]]
        result[place] = min(max(int(np.rint(np.float32(x[place]) / s)) + int(z), low), high)
    return result


case(
    "quantize",
    "halves",
    lambda mb, x: mb.quantize(input=x, scale=np.float32(1), output_dtype="int8"),
    {"x": _halves},
    _quantized(_halves, np.float32(1), 0, None, -128, 127).astype(np.int8),
)
case(
    "quantize",
    "unsigned",
    lambda mb, x: mb.quantize(input=x, scale=np.float32(0.01), zero_point=np.uint8(121), output_dtype="uint8"),
    {"x": _x},
    _quantized(_x, np.float32(0.01), 121, None, 0, 255).astype(np.uint8),
)
for _label, _axis in (("axis", 1), ("negative axis", -2)):
    case(
        "quantize",
        _label,
        lambda mb, x, axis=_axis: mb.quantize(
            input=x, scale=_scales, zero_point=np.int8([-3, 0, 90]), axis=np.int32(axis), output_dtype="int8"
        ),
        {"x": _x * 20},
        _quantized(_x * 20, _scales, np.int8([-3, 0, 90]), 1, -128, 127).astype(np.int8),
    )
_signed = _random.integers(-128, 128, (4, 3, 2)).astype(np.int8)
_unsigned = _random.integers(0, 256, (3, 5)).astype(np.uint8)
case(
    "dequantize",
    "scale",
    lambda mb, x: mb.dequantize(input=x, scale=np.float32(0.1)),
    {"x": _signed},
    _signed.astype(np.float32) * np.float32(0.1),
    tolerance=1e-7,
)
case(
    "dequantize",
    "beyond the range of int8",
    lambda mb, x: mb.dequantize(input=x, scale=_scales, zero_point=np.int8([-128, 0, 127]), axis=np.int32(1)),
    {"x": _signed},
    _scales[:, None] * (_signed.astype(np.float32) - np.float32([-128, 0, 127])[:, None]),
    tolerance=1e-7,
)
case(
    "dequantize",
    "unsigned",
    lambda mb, x: mb.dequantize(input=x, scale=_scales, zero_point=np.uint8([7, 0, 255]), axis=np.int32(-2)),
    {"x": _unsigned},
    _scales[:, None] * (_unsigned.astype(np.float32) - np.float32([7, 0, 255])[:, None]),
    tolerance=1e-7,
)
