"""Elementwise operators of two operands, against NumPy."""

import numpy as np

from tests.mil.harness import case, seeded

_random = seeded("binary")
_x = _random.normal(size=(2, 3, 4)).astype(np.float32)
_y = _random.normal(size=(3, 1)).astype(np.float32)
_positive = np.abs(_x) + 0.5
_i = _random.integers(-20, 20, (2, 5)).astype(np.int32)
_j = _random.choice([-7, -3, -2, 2, 3, 5], (2, 5)).astype(np.int32)
_p = _random.integers(0, 2, (4, 3)).astype(bool)
_q = _random.integers(0, 2, (4, 3)).astype(bool)


def _two(op):
    return lambda mb, x, y: getattr(mb, op)(x=x, y=y)


for _name, _reference in {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "real_div": np.divide,
    "floor_div": np.floor_divide,
    "mod": np.mod,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "less": np.less,
    "less_equal": np.less_equal,
}.items():
    case(_name, "broadcast", _two(_name), {"x": _x, "y": _y}, _reference(_x, _y))
for _name, _reference in {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "floor_div": np.floor_divide,
    "mod": np.mod,
    "equal": np.equal,
    "not_equal": np.not_equal,
    "less": np.less,
}.items():
    case(_name, "integers", _two(_name), {"x": _i, "y": _j}, _reference(_i, _j))
for _name, _reference in {
    "logical_and": np.logical_and,
    "logical_or": np.logical_or,
    "logical_xor": np.logical_xor,
}.items():
    case(_name, "truth", _two(_name), {"x": _p, "y": _q}, _reference(_p, _q))
case("pow", "real", _two("pow"), {"x": _positive, "y": _y}, np.power(_positive, _y))
case("equal", "itself", _two("equal"), {"x": _x, "y": _x.copy()}, np.ones_like(_x, bool))
case(
    "real_div",
    "the least integer by -1 wraps around",
    lambda mb, x, y: mb.real_div(x=x, y=y),
    {"x": np.int32([-(2**31), 7, -7]), "y": np.int32([-1, -1, 2])},
    np.int32([-(2**31), -7, -3]),
)
