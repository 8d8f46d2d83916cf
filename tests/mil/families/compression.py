"""Compressed weights: NumPy loops over the formulas of the specification."""

import numpy as np

from tests.mil.harness import builder, case, seeded

_random = seeded("compression")


def _sub(name):
    builder()
    from coremltools.converters.mil.mil import types

    return types.nptype_from_builtin(getattr(types, name))


def _packed(values, bits):
    planes = (np.asarray(values).reshape(-1, 1) >> np.arange(bits)) & 1
    return np.packbits(planes.reshape(-1).astype(np.uint8), bitorder="little")


# iOS 16: affine.
_data = _random.integers(-128, 128, (2, 3, 4)).astype(np.int8)
_scale = np.float32([0.5, 0.03, 0.2])
_zero = np.int8([-128, 0, 100])
_wide = _data.astype(np.float32)
for _label, _arguments, _expected in (
    (
        "axis",
        {"zero_point": _zero, "scale": _scale, "axis": 1},
        _scale[:, None] * (_wide - _zero[:, None].astype("f4")),
    ),
    ("negative axis", {"zero_point": np.int8(3), "scale": _scale, "axis": -2}, _scale[:, None] * (_wide - 3)),
    ("one", {"zero_point": np.int8(-5), "scale": np.float32(0.25), "axis": 0}, 0.25 * (_wide + 5)),
):
    case(
        "constexpr_affine_dequantize",
        _label,
        lambda mb, x, arguments=_arguments: mb.add(
            x=x, y=mb.constexpr_affine_dequantize(quantized_data=_data, **arguments)
        ),
        {"x": np.zeros((1,), np.float32)},
        _expected,
    )
_bytes = _random.integers(0, 256, (3, 2)).astype(np.uint8)
case(
    "constexpr_affine_dequantize",
    "unsigned",
    lambda mb, x: mb.add(
        x=x,
        y=mb.constexpr_affine_dequantize(
            quantized_data=_bytes, zero_point=np.uint8(200), scale=np.float32([0.5, 0.1]), axis=1
        ),
    ),
    {"x": np.ones((1,), np.float32)},
    1 + np.float32([0.5, 0.1]) * (_bytes.astype(np.float32) - 200),
)
_half = _random.normal(size=(3, 2)).astype(np.float16)
for _ios in (16, 18):
    case(
        "constexpr_cast",
        f"iOS {_ios}",
        lambda mb, x: mb.mul(x=x, y=mb.constexpr_cast(source_val=_half, output_dtype="fp32")),
        {"x": np.ones((1,), np.float32)},
        _half.astype(np.float32),
        ios=_ios,
    )

# iOS 16: packed tables and masks.
for _bits in (1, 2, 4, 6, 8):
    _indices = _random.integers(0, 2**_bits, (3, 5, 7))
    _lut = _random.normal(size=2**_bits).astype(np.float32)
    case(
        "constexpr_lut_to_dense",
        f"packed, {_bits} bits",
        lambda mb, x, indices=_indices, lut=_lut, bits=_bits: mb.add(
            x=x, y=mb.constexpr_lut_to_dense(indices=_packed(indices, bits), lut=lut, shape=np.uint32([3, 5, 7]))
        ),
        {"x": np.zeros((1,), np.float32)},
        _lut[_indices],
    )
for _kind in (np.int8, np.uint8):
    _indices = _random.integers(0, 4, (3, 3))
    _lut = np.array([7, 100, 0, 55], _kind)
    case(
        "constexpr_lut_to_dense",
        f"packed, of {_kind.__name__}",
        lambda mb, x, indices=_indices, lut=_lut: mb.dequantize(
            input=mb.constexpr_lut_to_dense(indices=_packed(indices, 2), lut=lut, shape=np.uint32([3, 3])),
            scale=np.float32(1),
        ),
        {"x": np.zeros((1,), np.float32)},
        _lut[_indices].astype(np.float32),
    )
_mask = _random.integers(0, 2, (3, 7)).astype(np.uint8)
_values = _random.normal(size=int(_mask.sum())).astype(np.float32) + 3
_dense = np.zeros(_mask.shape, np.float32)
_dense[_mask == 1] = _values
case(
    "constexpr_sparse_to_dense",
    "packed",
    lambda mb, x, values=_values, mask=_mask: mb.add(
        x=x, y=mb.constexpr_sparse_to_dense(nonzero_data=values, mask=_packed(mask, 1), shape=np.uint32([3, 7]))
    ),
    {"x": np.zeros((1,), np.float32)},
    _dense,
)


# iOS 18: by block.
def _shifted(data, scale, offset):
    result = np.zeros(data.shape, np.float32)
    for place in np.ndindex(data.shape):
        block = tuple(i // (n // g) for i, n, g in zip(place, data.shape, scale.shape, strict=True))
        result[place] = scale[block] * (np.float32(data[place]) - (0 if offset is None else np.float32(offset[block])))
    return result


for _kind, _low, _high in (("int4", -8, 8), ("uint4", 0, 16), ("int8", -128, 128), ("uint8", 0, 256)):
    _blocked = _random.integers(_low, _high, (4, 6, 3))
    _scales = _random.uniform(0.1, 2, (2, 3, 1)).astype(np.float32)
    _offsets = _random.integers(_low, _high, (2, 3, 1))
    for _given in (None, _offsets):
        case(
            "constexpr_blockwise_shift_scale",
            f"{_kind}{'' if _given is None else ', offset'}",
            lambda mb, x, data=_blocked, scale=_scales, offset=_given, kind=_kind: mb.add(
                x=x,
                y=mb.constexpr_blockwise_shift_scale(
                    data=data.astype(_sub(kind)),
                    scale=scale,
                    offset=None if offset is None else offset.astype(_sub(kind)),
                ),
            ),
            {"x": np.zeros((1,), np.float32)},
            _shifted(_blocked, _scales, _given),
            ios=18,
        )
_floats = _random.uniform(-2, 2, (2, 3, 1)).astype(np.float32)
case(
    "constexpr_blockwise_shift_scale",
    "offset in float",
    lambda mb, x, data=_blocked, scale=_scales: mb.add(
        x=x, y=mb.constexpr_blockwise_shift_scale(data=data.astype(np.uint8), scale=scale, offset=_floats)
    ),
    {"x": np.zeros((1,), np.float32)},
    _shifted(_blocked, _scales, _floats),
    ios=18,
)


def _looked_up(indices, lut, axis):
    vector = lut.shape[-1]
    shape = list(indices.shape)
    shape[axis] *= vector
    result = np.zeros(shape, lut.dtype)
    for place in np.ndindex(indices.shape):
        group = tuple(i // (n // g) for i, n, g in zip(place, indices.shape, lut.shape, strict=False))
        for number in range(vector):
            target = list(place)
            target[axis] = place[axis] * vector + number
            result[tuple(target)] = lut[(*group, indices[place], number)]
    return result


_LUTS = (
    ("one table", 4, (3, 5), (1, 1), 1, None),
    ("groups", 2, (6, 4), (2, 1), 1, None),
    ("groups of both", 3, (6, 4, 2), (2, 4, 1), 1, None),
    ("6 bits", 6, (3, 2), (3, 1), 1, None),
    ("8 bits", 8, (3, 2), (1, 2), 1, None),
    ("vectors", 1, (2, 2, 2), (1, 1, 1), 3, 1),
    ("vectors along the last", 2, (2, 3), (1, 3), 2, -1),
    ("vectors of groups", 2, (4, 3), (2, 3), 2, 0),
)
for _label, _bits, _shape, _groups, _vector, _axis in _LUTS:
    _indices = _random.integers(0, 2**_bits, _shape)
    _lut = _random.normal(size=(*_groups, 2**_bits, _vector)).astype(np.float32)
    case(
        "constexpr_lut_to_dense",
        _label,
        lambda mb, x, indices=_indices, lut=_lut, axis=_axis, bits=_bits: mb.add(
            x=x,
            y=mb.constexpr_lut_to_dense(
                indices=indices.astype(_sub(f"uint{bits}")),
                lut=lut,
                vector_axis=None if axis is None else np.int32(axis),
            ),
        ),
        {"x": np.zeros((1,), np.float32)},
        _looked_up(_indices, _lut, _axis or 0),
        ios=18,
    )
    _mask = _random.integers(0, 2, _shape).astype(np.uint8)
    _mask.reshape(-1)[0] = 1
    _expected = _looked_up(_indices, _lut, _axis or 0)
    _expected_mask = np.repeat(_mask, _vector, axis=_axis or 0)
    case(
        "constexpr_lut_to_sparse",
        _label,
        # Both outputs are seen through the dense tensor that they stand for, and the values alone.
        lambda mb, x, mask=_mask, indices=_indices, lut=_lut, axis=_axis, bits=_bits: _sparse(
            mb,
            x,
            mb.constexpr_lut_to_sparse(
                indices_mask=mask.astype(_sub("uint1")),
                indices_nonzero_data=indices[mask == 1].astype(_sub(f"uint{bits}")),
                lut=lut,
                vector_axis=None if axis is None else np.int32(axis),
            ),
        ),
        {"x": np.zeros((1,), np.float32)},
        (_expected * _expected_mask, _expected[_expected_mask == 1]),
        ios=18,
    )


def _sparse(mb, x, outputs):
    mask, values = outputs
    dense = mb.constexpr_sparse_to_dense(nonzero_data=values, mask=mask)
    return mb.add(x=x, y=dense), mb.add(x=x, y=values)


for _kind in (np.float32, np.int8):
    _mask = _random.integers(0, 2, (3, 2, 5)).astype(np.uint8)
    _values = (_random.normal(size=int(_mask.sum())) * 20 + 3).astype(_kind)
    _dense = np.zeros(_mask.shape, np.float32)
    _dense[_mask == 1] = _values

    def _build(mb, x, mask=_mask, values=_values):
        dense = mb.constexpr_sparse_to_dense(nonzero_data=values, mask=mask.astype(_sub("uint1")))
        if values.dtype == np.int8:
            dense = mb.constexpr_blockwise_shift_scale(data=dense, scale=np.ones((1, 1, 1), np.float32))
        return mb.add(x=x, y=dense)

    case(
        "constexpr_sparse_to_dense",
        _kind.__name__,
        _build,
        {"x": np.zeros((1,), np.float32)},
        _dense,
        ios=18,
    )
for _given in (None, _offsets):
    _mask = _random.integers(0, 2, _blocked.shape).astype(np.uint8)
    _expected = _shifted(_blocked, _scales, _given)
    case(
        "constexpr_sparse_blockwise_shift_scale",
        "offset" if _given is not None else "scale",
        lambda mb, x, mask=_mask, offset=_given, data=_blocked, scale=_scales: _sparse(
            mb,
            x,
            mb.constexpr_sparse_blockwise_shift_scale(
                data_mask=mask.astype(_sub("uint1")),
                nonzero_data=data[mask == 1].astype(np.uint8),
                scale=scale,
                offset=None if offset is None else offset.astype(np.uint8),
            ),
        ),
        {"x": np.zeros((1,), np.float32)},
        (_expected * _mask, _expected[_mask == 1]),
        ios=18,
    )
