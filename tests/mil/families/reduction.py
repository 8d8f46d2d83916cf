"""Values of an axis and orders, against NumPy."""

import numpy as np

from tests.mil.harness import case, seeded

_random = seeded("reduction")
_x = _random.normal(size=(2, 3, 4)).astype(np.float32)
_positive = np.abs(_x) + 0.2
_i = _random.permutation(24).reshape(2, 3, 4).astype(np.int32)
_log_sum_exp = lambda v, **k: np.log(np.sum(np.exp(v.astype(np.float64)), **k)).astype(np.float32)  # noqa: E731

for _name, _data, _reference in (
    ("reduce_sum", _x, np.sum),
    ("reduce_mean", _x, np.mean),
    ("reduce_max", _x, np.max),
    ("reduce_min", _x, np.min),
    ("reduce_prod", _x, np.prod),
    ("reduce_l1_norm", _x, lambda v, **k: np.abs(v).sum(**k)),
    ("reduce_l2_norm", _x, lambda v, **k: np.sqrt((v * v).sum(**k))),
    ("reduce_log_sum", _positive, lambda v, **k: np.log(v.sum(**k))),
    ("reduce_log_sum_exp", _x, _log_sum_exp),
    ("reduce_sum_square", _x, lambda v, **k: (v * v).sum(**k)),
):
    for _label, _axes, _keep in (("two axes", (0, -1), False), ("kept", (1,), True)):
        case(
            _name,
            _label,
            lambda mb, x, _name=_name, _axes=_axes, _keep=_keep: getattr(mb, _name)(x=x, axes=_axes, keep_dims=_keep),
            {"x": _data},
            _reference(_data, axis=tuple(_axes), keepdims=_keep),
        )
case("reduce_sum", "all", lambda mb, x: mb.reduce_sum(x=x), {"x": _x}, np.sum(_x))
case("reduce_prod", "all", lambda mb, x: mb.reduce_prod(x=x), {"x": _x}, np.prod(_x))
case("reduce_sum", "integers", lambda mb, x: mb.reduce_sum(x=x, axes=[1]), {"x": _i}, _i.sum(1, dtype=np.int32))
_ties = np.array([[1, 3, 3, 0], [0, 0, 2, 2]], np.float32)
for _name, _reference in (("reduce_argmax", np.argmax), ("reduce_argmin", np.argmin)):
    for _ios in (15, 17):
        case(
            _name,
            f"axis, iOS {_ios}",
            lambda mb, x, _name=_name: getattr(mb, _name)(x=x, axis=1),
            {"x": _x},
            _reference(_x, axis=1),
            ios=_ios,
        )
    case(
        _name,
        "first of equals",
        lambda mb, x, _name=_name: getattr(mb, _name)(x=x, axis=-1, keep_dims=True),
        {"x": _ties},
        _reference(_ties, axis=-1, keepdims=True),
    )
case("argsort", "descending", lambda mb, x: mb.argsort(x=x, axis=1), {"x": _x}, np.argsort(-_x, 1))
case("argsort", "ascending", lambda mb, x: mb.argsort(x=x, axis=-1, ascending=True), {"x": _x}, np.argsort(_x, -1))
case("cumsum", "axis", lambda mb, x: mb.cumsum(x=x, axis=1), {"x": _x}, np.cumsum(_x, 1))
case("cumsum", "default", lambda mb, x: mb.cumsum(x=x), {"x": _i}, np.cumsum(_i, 0, dtype=np.int32))
case(
    "cumsum",
    "exclusive, reverse",
    lambda mb, x: mb.cumsum(x=x, axis=2, exclusive=True, reverse=True),
    {"x": _i},
    (np.cumsum(_i[..., ::-1], 2) - _i[..., ::-1])[..., ::-1].astype(np.int32),
)
_order = np.argsort(-_x, 1)[:, :2]
for _ios in (15, 16, 17):
    case(
        "topk",
        f"largest, iOS {_ios}",
        lambda mb, x: mb.topk(x=x, k=2, axis=1),
        {"x": _x},
        (np.take_along_axis(_x, _order, 1), _order),
        ios=_ios,
    )
case(
    "topk",
    "smallest, no places",
    lambda mb, x: mb.topk(x=x, k=3, axis=-1, ascending=True, return_indices=False),
    {"x": _x},
    np.sort(_x, -1)[..., :3],
)
