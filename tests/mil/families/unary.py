"""Elementwise operators of one operand, against NumPy."""

import math

import numpy as np

from tests.mil.harness import case, seeded

_random = seeded("unary")
_x = _random.normal(size=(3, 4, 5)).astype(np.float32)
_inside = _random.uniform(-0.9, 0.9, (4, 5)).astype(np.float32)
_positive = _random.uniform(0.1, 5, (4, 5)).astype(np.float32)
_i = _random.integers(-9, 9, (3, 7)).astype(np.int32)
_halves = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 0.49], np.float32)


def _one(op, **settings):
    return lambda mb, x: getattr(mb, op)(x=x, **settings)


for _name, _data, _reference in (
    ("abs", _x, np.abs),
    ("acos", _inside, np.arccos),
    ("asin", _inside, np.arcsin),
    ("atan", _x, np.arctan),
    ("atanh", _inside, np.arctanh),
    ("ceil", _x, np.ceil),
    ("cos", _x, np.cos),
    ("cosh", _x, np.cosh),
    ("erf", _x, np.vectorize(math.erf, otypes=[np.float32])),
    ("exp", _x, np.exp),
    ("exp2", _x, np.exp2),
    ("floor", _x, np.floor),
    ("identity", _x, np.array),
    ("round", _halves, np.round),
    ("sign", _x, np.sign),
    ("sin", _x, np.sin),
    ("sinh", _x, np.sinh),
    ("sqrt", _positive, np.sqrt),
    ("square", _x, np.square),
    ("tan", _inside, np.tan),
    ("tanh", _x, np.tanh),
):
    case(_name, "real", _one(_name), {"x": _data}, _reference(_data))
case("abs", "integers", _one("abs"), {"x": _i}, np.abs(_i))
case("square", "integers", _one("square"), {"x": _i}, _i * _i)
case("logical_not", "truth", _one("logical_not"), {"x": _i > 0}, _i <= 0)
case("clip", "both ends", _one("clip", alpha=-0.5, beta=0.75), {"x": _x}, np.clip(_x, -0.5, 0.75))
case("threshold", "real", _one("threshold", alpha=0.25), {"x": _x}, np.maximum(_x, 0.25))
case("inverse", "default", _one("inverse"), {"x": _positive}, 1 / (_positive + 1e-4))
case("inverse", "epsilon", _one("inverse", epsilon=0.5), {"x": _positive}, 1 / (_positive + 0.5))
case("log", "default", _one("log"), {"x": _positive}, np.log(_positive))
case("log", "epsilon", _one("log", epsilon=0.5), {"x": _positive}, np.log(_positive + 0.5))
case("rsqrt", "default", _one("rsqrt"), {"x": _positive}, 1 / np.sqrt(_positive))
case("rsqrt", "epsilon", _one("rsqrt", epsilon=0.5), {"x": _positive}, 1 / np.sqrt(_positive + 0.5))
case("cast", "cut off", _one("cast", dtype="int32"), {"x": _x * 5}, np.trunc(_x * 5).astype(np.int32))
case("cast", "to real", _one("cast", dtype="fp32"), {"x": _i}, _i.astype(np.float32))
case("cast", "to truth", _one("cast", dtype="bool"), {"x": _i}, _i != 0)
case("cast", "to int8", _one("cast", dtype="int8"), {"x": _i}, _i.astype(np.int8), ios=17)
for _type, _values in {
    "int8": [-128, -3, 0, 7, 127],
    "int16": [-30000, -3, 0, 7, 30000],
    "uint8": [0, 1, 7, 200, 255],
    "uint16": [0, 1, 7, 40000, 65535],
}.items():
    _given = np.array(_values, _type)
    case("cast", f"from {_type}", _one("cast", dtype="fp32"), {"x": _given}, _given.astype(np.float32))
    case(
        "cast",
        f"cut off to {_type}",
        _one("cast", dtype=_type),
        {"x": _given + np.sign(_given) * np.float32(0.4)},
        _given,
    )
_wrapping = np.array([-1, -70000, 70000, 300, 65536, 5], np.int32)
for _type in ("int8", "int16", "uint8", "uint16"):
    case("cast", f"around {_type}", _one("cast", dtype=_type), {"x": _wrapping}, _wrapping.astype(_type))
case("cast", "truth to real", _one("cast", dtype="fp32"), {"x": _i > 0}, (_i > 0).astype(np.float32))
case("cast", "truth to integers", _one("cast", dtype="int32"), {"x": _i > 0}, (_i > 0).astype(np.int32), ios=15)
_small = np.array([0, 1, -1, 0.25], np.float32)
case("cast", "real to truth", _one("cast", dtype="bool"), {"x": _small}, _small != 0)
case("exp2", "integers", _one("exp2"), {"x": np.abs(_i)}, 2 ** np.abs(_i))
case("exp2", "negative integers", _one("exp2"), {"x": _i}, np.trunc(2.0**_i).astype(np.int32))
case("sign", "integers", _one("sign"), {"x": _i}, np.sign(_i))
case("threshold", "integers", _one("threshold", alpha=np.int32(2)), {"x": _i}, np.maximum(_i, 2))
case("log", "zero", _one("log"), {"x": np.zeros(2, np.float32)}, np.log(np.full(2, 1e-45, np.float32)))
case("inverse", "zero", _one("inverse"), {"x": np.zeros(2, np.float32)}, np.full(2, 1e4, np.float32))
case("rsqrt", "zero", _one("rsqrt"), {"x": np.zeros(2, np.float32)}, np.full(2, 1e6, np.float32))
case("clip", "iOS 15", _one("clip", alpha=-2.0, beta=0.5), {"x": _x}, np.minimum(np.maximum(_x, -2), 0.5), ios=15)
case("identity", "integers", _one("identity"), {"x": _i}, _i)
