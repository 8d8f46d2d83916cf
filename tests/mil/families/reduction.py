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
_n = _random.integers(1, 9, (2, 3, 4)).astype(np.int32)
_signed = _n * np.array([1, -1, -1, 1], np.int32)
for _name, _data, _reference in (
    ("reduce_mean", _signed - 1, np.mean),
    ("reduce_max", _signed, np.max),
    ("reduce_min", _signed, np.min),
    ("reduce_prod", _signed, np.prod),
    ("reduce_l1_norm", _signed, lambda v, axis: np.abs(v).sum(axis)),
    ("reduce_l2_norm", _signed, lambda v, axis: np.sqrt((v * v).sum(axis))),
    ("reduce_log_sum", _n, lambda v, axis: np.log(v.sum(axis))),
    ("reduce_log_sum_exp", _n, lambda v, axis: np.log(np.exp(v.astype(np.float64)).sum(axis))),
    ("reduce_sum_square", _signed, lambda v, axis: (v * v).sum(axis)),
):
    case(
        _name,
        "integers, cut off",
        lambda mb, x, _name=_name: getattr(mb, _name)(x=x, axes=[-2]),
        {"x": _data},
        np.trunc(_reference(_data, axis=1)).astype(np.int32),
    )
for _name, _reference in (("reduce_mean", np.mean), ("reduce_max", np.max), ("reduce_min", np.min)):
    case(_name, "all", lambda mb, x, _name=_name: getattr(mb, _name)(x=x), {"x": _x}, _reference(_x))
    _whole = _reference(_x, keepdims=True)
    case(_name, "all, kept", lambda mb, x, _name=_name: getattr(mb, _name)(x=x, keep_dims=True), {"x": _x}, _whole)
case(
    "reduce_log_sum_exp",
    "large",
    lambda mb, x: mb.reduce_log_sum_exp(x=x, axes=[0]),
    {"x": np.array([200, 199, -300], np.float32)},
    np.float32(200 + np.log1p(np.exp(-1.0))),
)
for _name, _reference in (("reduce_argmax", np.argmax), ("reduce_argmin", np.argmin)):
    case(
        _name,
        "uint16, integers",
        lambda mb, x, _name=_name: getattr(mb, _name)(x=x, axis=0, keep_dims=True, output_dtype="uint16"),
        {"x": _i},
        _reference(_i, axis=0, keepdims=True).astype(np.int32),
    )
    case(_name, "default", lambda mb, x, _name=_name: getattr(mb, _name)(x=x), {"x": _x}, _reference(_x, axis=-1))
case("argsort", "default, integers", lambda mb, x: mb.argsort(x=x), {"x": _i}, np.argsort(-_i, -1))
for _exclusive in (False, True):
    for _reverse in (False, True):
        _data = _x[..., ::-1] if _reverse else _x
        _sums = np.stack([_data[..., : k + 1 - _exclusive].sum(-1) for k in range(4)], -1)
        case(
            "cumsum",
            f"real, {'exclusive' if _exclusive else 'inclusive'}, {'reverse' if _reverse else 'forward'}",
            lambda mb, x, _e=_exclusive, _r=_reverse: mb.cumsum(x=x, axis=-1, exclusive=_e, reverse=_r),
            {"x": _x},
            _sums[..., ::-1] if _reverse else _sums,
        )
# What comes before a large or infinite element is not lost in it.
for _label, _last in (("large", 1e8), ("infinite", np.inf)):
    case(
        "cumsum",
        f"exclusive, before {_label}",
        lambda mb, x: mb.cumsum(x=x, exclusive=True),
        {"x": np.array([1, 3, _last], np.float32)},
        np.array([0, 1, 4], np.float32),
    )
_up = np.argsort(_i, 0)[:1]
case(
    "topk",
    "uint16 places, integers",
    lambda mb, x: mb.topk(x=x, axis=0, ascending=True, output_indices_dtype="uint16"),
    {"x": _i},
    (np.take_along_axis(_i, _up, 0), _up),
)
case(
    "topk", "one", lambda mb, x: mb.topk(x=x), {"x": _x}, (_x.max(-1, keepdims=True), _x.argmax(-1)[..., None]), ios=15
)
_none = np.zeros(0, np.int32)
case("reduce_mean", "no axis", lambda mb, x: mb.reduce_mean(x=x, axes=_none), {"x": _x}, _x)
case("reduce_sum_square", "no axis", lambda mb, x: mb.reduce_sum_square(x=x, axes=_none), {"x": _i}, _i * _i)
