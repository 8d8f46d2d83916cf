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
