"""Products of matrices, against NumPy in float64."""

import numpy as np

from tests.mil.harness import case, seeded

_random = seeded("linear")


def _draw(*shape):
    return _random.normal(size=shape).astype(np.float32)


_x, _w, _b = _draw(2, 3, 6), _draw(5, 6), _draw(5)
_wide = _x.astype(np.float64)
case("linear", "bias", lambda mb, x: mb.linear(x=x, weight=_w, bias=_b), {"x": _x}, (_wide @ _w.T + _b).astype("f4"))
case("linear", "none", lambda mb, x: mb.linear(x=x, weight=_w), {"x": _x}, (_wide @ _w.T).astype("f4"))
_p, _q = _draw(2, 1, 3, 4), _draw(5, 4, 6)
case("matmul", "broadcast", lambda mb, x, y: mb.matmul(x=x, y=y), {"x": _p, "y": _q}, np.matmul(_p, _q))
case(
    "matmul",
    "transposed",
    lambda mb, x, y: mb.matmul(x=x, y=y, transpose_x=True, transpose_y=True),
    {"x": _p.swapaxes(-1, -2).copy(), "y": _q.swapaxes(-1, -2).copy()},
    np.matmul(_p, _q),
)
_left, _right = _draw(2, 3, 4, 5), _draw(2, 5, 4, 6)
case(
    "einsum",
    "nchw,nwhu->nchu",
    lambda mb, x, y: mb.einsum(values=(x, y), equation="nchw,nwhu->nchu"),
    {"x": _left, "y": _right},
    np.einsum("nchw,nwhu->nchu", _left, _right),
)
_query, _key, _value = _draw(2, 3, 4, 8), _draw(2, 3, 5, 8), _draw(2, 3, 5, 7)
_mask = _draw(2, 1, 4, 5)
_keep = _random.random((4, 5)) < 0.7
_keep[:, 0] = True


def _attention(bias):
    scores = _query.astype(np.float64) @ _key.swapaxes(-1, -2) / np.sqrt(8) + bias
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return ((weights / weights.sum(-1, keepdims=True)) @ _value).astype(np.float32)


_three = {"q": _query, "k": _key, "v": _value}
_name = "scaled_dot_product_attention"
case(_name, "plain", lambda mb, q, k, v: getattr(mb, _name)(query=q, key=k, value=v), _three, _attention(0), ios=18)
case(
    _name,
    "added mask",
    lambda mb, q, k, v, m: getattr(mb, _name)(query=q, key=k, value=v, attn_mask=m),
    {**_three, "m": _mask},
    _attention(_mask),
    ios=18,
)
case(
    _name,
    "mask of truth values",
    lambda mb, q, k, v, m: getattr(mb, _name)(query=q, key=k, value=v, attn_mask=m),
    {**_three, "m": _keep},
    _attention(np.where(_keep, 0, -np.inf)),
    ios=18,
)
_a, _c, _d = (_random.integers(-9, 9, shape).astype(np.int32) for shape in ((2, 3, 6), (5, 6), (5,)))
case("linear", "integers", lambda mb, x: mb.linear(x=x, weight=_c, bias=_d), {"x": _a}, _a @ _c.T + _d)
case("linear", "weights of another type", lambda mb, x: mb.linear(x=x, weight=_c, bias=_d), {"x": _x}, _x @ _c.T + _d)
case("linear", "vector, iOS 15", lambda mb, x: mb.linear(x=x, weight=_w), {"x": _x[0, 0]}, _w @ _x[0, 0], ios=15)
case("matmul", "integers", lambda mb, x, y: mb.matmul(x=x, y=y, transpose_y=True), {"x": _a, "y": _c}, _a @ _c.T)
case("matmul", "constant of another type", lambda mb, x: mb.matmul(x=x, y=_c.T.copy()), {"x": _x}, _x @ _c.T)
case("matmul", "vector", lambda mb, x, y: mb.matmul(x=x, y=y), {"x": _x[0, 0], "y": _w.T.copy()}, _w @ _x[0, 0])
case(
    "matmul",
    "left transposed",
    lambda mb, x, y: mb.matmul(x=x, y=y, transpose_x=True),
    {"x": _p, "y": _p},
    np.einsum("abki,abkj->abij", _p, _p),
)
_left3, _right3 = _draw(3, 1, 5), _draw(5, 4, 6)
case(
    "einsum",
    "broadcast, rank 3",
    lambda mb, x, y: mb.einsum(values=(x, y), equation="abc,cbd->abd"),
    {"x": _left3, "y": _right3},
    np.matmul(_left3[:, 0], _right3.reshape(5, -1)).reshape(3, 4, 6),
)
_narrow = _draw(1, 5, 1, 6)
case(
    "einsum",
    "broadcast, rank 4",
    lambda mb, x, y: mb.einsum(values=(x, y), equation="nchw,nwhu->nchu"),
    {"x": _left, "y": _narrow},
    np.matmul(_left, _narrow[0, :, 0]),
)
case(
    _name,
    "one mask for all queries",
    lambda mb, q, k, v, m: getattr(mb, _name)(query=q, key=k, value=v, attn_mask=m),
    {**_three, "m": _mask[0, 0, 0]},
    _attention(_mask[0, 0, 0]),
    ios=18,
)
case(
    _name,
    "rank 3",
    lambda mb, q, k, v: getattr(mb, _name)(query=q, key=k, value=v),
    {key: value[1] for key, value in _three.items()},
    _attention(0)[1],
    ios=18,
)
