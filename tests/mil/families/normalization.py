"""Normalizations, against NumPy in float64."""

import numpy as np

from tests.mil.harness import case, seeded

_random = seeded("normalization")
_x = (_random.normal(size=(2, 6, 4, 5)) * 2 + 1).astype(np.float32)
_wide = _x.astype(np.float64)
_c = (1, 6, 1, 1)
_mean, _beta = (_random.normal(size=6).astype(np.float32) for _ in range(2))
_variance, _gamma = (_random.uniform(0.3, 2, 6).astype(np.float32) for _ in range(2))


def _enter(op, label, expected, **settings):
    case(op, label, lambda mb, x: getattr(mb, op)(x=x, **settings), {"x": _x}, expected.astype(np.float32))


def _scaled(axes, epsilon):
    return (_wide - _wide.mean(axes, keepdims=True)) / np.sqrt(_wide.var(axes, keepdims=True) + epsilon)


_plain = (_wide - _mean.reshape(_c)) / np.sqrt(_variance.reshape(_c) + 1e-5)
_enter("batch_norm", "plain", _plain, mean=_mean, variance=_variance)
_enter(
    "batch_norm",
    "scaled",
    (_wide - _mean.reshape(_c)) / np.sqrt(_variance.reshape(_c) + 0.1) * _gamma.reshape(_c) + _beta.reshape(_c),
    mean=_mean,
    variance=_variance,
    gamma=_gamma,
    beta=_beta,
    epsilon=0.1,
)
_enter("instance_norm", "plain", _scaled((2, 3), 1e-5))
_enter(
    "instance_norm",
    "scaled",
    _scaled((2, 3), 0.1) * _gamma.reshape(_c) + _beta.reshape(_c),
    gamma=_gamma,
    beta=_beta,
    epsilon=0.1,
)
_enter("l2_norm", "epsilon", _wide / np.sqrt((_wide**2).sum((1, 2, 3), keepdims=True) + 0.5), epsilon=0.5)
_enter("layer_norm", "last axes", _scaled((2, 3), 1e-5), axes=[2, 3])
_g, _b = (_random.normal(size=5).astype(np.float32) for _ in range(2))
_enter("layer_norm", "scaled", _scaled((3,), 0.01) * _g + _b, axes=[-1], gamma=_g, beta=_b, epsilon=0.01)
_enter(
    "layer_norm",
    "channels",
    _scaled((1,), 1e-5) * _gamma.reshape(_c) + _beta.reshape(_c),
    axes=[1],
    gamma=_gamma,
    beta=_beta,
)


def _local(size, alpha, beta, k):
    result = np.empty_like(_wide)
    for channel in range(6):
        first = max(0, channel - size // 2)
        squares = (_wide[:, first : channel + (size - 1) // 2 + 1] ** 2).sum(1)
        result[:, channel] = _wide[:, channel] / (k + alpha / size * squares) ** beta
    return result


_enter("local_response_norm", "odd", _local(3, 0.5, 0.75, 2.0), size=3, alpha=0.5, beta=0.75, k=2.0)
_enter("local_response_norm", "default", _local(5, 1e-4, 0.75, 1.0), size=5)
_enter("layer_norm", "all axes", _scaled((0, 1, 2, 3), 1e-5), axes=[0, 1, 2, 3])
_g, _b = (_random.normal(size=(6, 5)).astype(np.float32) for _ in range(2))
_wider = (1, 6, 1, 5)
_enter(
    "layer_norm",
    "axes apart",
    _scaled((1, 3), 1e-5) * _g.reshape(_wider) + _b.reshape(_wider),
    axes=[-1, 1],
    gamma=_g,
    beta=_b,
)
_enter("layer_norm", "gamma alone", _scaled((1,), 1e-5) * _gamma.reshape(_c), axes=[-3], gamma=_gamma)
_enter("instance_norm", "gamma alone", _scaled((2, 3), 1e-5) * _gamma.reshape(_c), gamma=_gamma)
_enter("local_response_norm", "even", _local(4, 0.5, 0.6, 1.5), size=4, alpha=0.5, beta=0.6, k=1.5)
_small = _x[0] * 1e-4
_reference = _small / np.sqrt((_small.astype(np.float64) ** 2).sum() + 1e-6)
case("l2_norm", "default, rank 3", lambda mb, x: mb.l2_norm(x=x), {"x": _small}, _reference.astype(np.float32))
_line = _x[:, :, 0]
for _rank, _value in ((3, _line), (5, _x[..., None] * np.array([1, -2], np.float32))):
    _shape = (1, 6) + (1,) * (_rank - 2)
    case(
        "batch_norm",
        f"rank {_rank}",
        lambda mb, x: mb.batch_norm(x=x, mean=_mean, variance=_variance, beta=_beta),
        {"x": _value},
        (_value - _mean.reshape(_shape)) / np.sqrt(_variance.reshape(_shape) + 1e-5) + _beta.reshape(_shape),
    )
_reference = (_line - _line.mean(-1, keepdims=True)) / np.sqrt(_line.var(-1, keepdims=True) + 1e-5)
case("instance_norm", "rank 3", lambda mb, x: mb.instance_norm(x=x), {"x": _line}, _reference, ios=15)
