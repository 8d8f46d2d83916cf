"""Activations, against NumPy and PyTorch's modules in float64."""

import math

import numpy as np
import torch

from tests.mil.harness import case, seeded

_random = seeded("activation")
_x = (_random.normal(size=(2, 3, 4, 5)) * 3).astype(np.float32)
_alpha = np.array([0.1, 0.5, 2.0], np.float32)
_beta = np.array([1.0, 0.3, 1.7], np.float32)
_c = (1, 3, 1, 1)
_phi = np.vectorize(lambda v: 0.5 * (1 + math.erf(v / math.sqrt(2))), otypes=[np.float64])
_wide = _x.astype(np.float64)


def _one(op, **settings):
    return lambda mb, x: getattr(mb, op)(x=x, **settings)


def _enter(op, label, expected, **settings):
    case(op, label, _one(op, **settings), {"x": _x}, np.asarray(expected).astype(np.float32))


_enter("relu", "real", np.maximum(_x, 0))
_enter("relu6", "real", np.minimum(np.maximum(_x, 0), 6))
_enter("sigmoid", "real", 1 / (1 + np.exp(-_wide)))
_enter("silu", "real", _wide / (1 + np.exp(-_wide)))
_enter("softplus", "real", np.log1p(np.exp(_wide)))
_enter("softsign", "real", _wide / (1 + np.abs(_wide)))
_enter("clamped_relu", "real", np.minimum(np.where(_x >= 0, _x, 0.2 * _x), 1.5), alpha=0.2, beta=1.5)
_enter("elu", "real", np.where(_x > 0, _wide, 0.7 * (np.exp(_wide) - 1)), alpha=0.7)
_enter("leaky_relu", "real", np.where(_x >= 0, _x, 0.3 * _x), alpha=0.3)
_enter("linear_activation", "real", 1.5 * _x + 0.25, alpha=1.5, beta=0.25)
_enter("scaled_tanh", "real", 1.7 * np.tanh(0.6 * _wide), alpha=1.7, beta=0.6)
_enter("sigmoid_hard", "real", np.clip(0.2 * _x + 0.5, 0, 1), alpha=0.2, beta=0.5)
_enter("thresholded_relu", "real", np.where(_x >= 1.0, _x, 0), alpha=1.0)
_enter("prelu", "a channel", np.where(_x >= 0, _x, _alpha.reshape(_c) * _x), alpha=_alpha)
_enter(
    "softplus_parametric",
    "a channel",
    _alpha.reshape(_c) * np.log1p(np.exp(_beta.reshape(_c) * _wide)),
    alpha=_alpha,
    beta=_beta,
)
_enter("gelu", "exact", _wide * _phi(_wide), mode="EXACT")
_enter("gelu", "default", _wide * _phi(_wide))
_enter(
    "gelu",
    "tanh",
    0.5 * _wide * (1 + np.tanh(math.sqrt(2 / math.pi) * (_wide + 0.044715 * _wide**3))),
    mode="TANH_APPROXIMATION",
)
_enter("gelu", "sigmoid", _wide / (1 + np.exp(-1.702 * _wide)), mode="SIGMOID_APPROXIMATION")
_e = np.exp(_wide)
_enter("softmax", "last axis", _e / _e.sum(-1, keepdims=True))
_enter("softmax", "axis", _e / _e.sum(1, keepdims=True), axis=1)
_enter("softmax", "large", torch.softmax(torch.from_numpy(_wide) * 1, 2).numpy(), axis=-2)

# Far from zero, where formulas overflow that are not written with care.
_far = np.array([-200, -90, -20, 20, 90, 200], np.float32)
for _name, _expected in {
    "sigmoid": [0, 0, np.exp(-20.0), 1, 1, 1],
    "silu": [0, 0, -20 * np.exp(-20.0), 20, 90, 200],
    "softplus": [0, 0, np.exp(-20.0), 20, 90, 200],
}.items():
    case(_name, "far", _one(_name), {"x": _far}, np.array(_expected, np.float32))
case("elu", "far", _one("elu", alpha=2.0), {"x": _far}, np.array([-2, -2, -2, 20, 90, 200], np.float32))
case("softmax", "far", _one("softmax"), {"x": _far}, np.array([0, 0, 0, 0, 0, 1], np.float32))
_line = _x[0, 0]
for _ios in (15, 17):
    _reference = np.minimum(np.where(_line >= 0, _line, -0.5 * _line), 1.0)
    case(
        "clamped_relu", f"fold, iOS {_ios}", _one("clamped_relu", alpha=-0.5, beta=1.0), {"x": _line}, _reference, _ios
    )
case(
    "thresholded_relu",
    "negative",
    _one("thresholded_relu", alpha=-0.5),
    {"x": _line},
    np.where(_line >= -0.5, _line, 0),
)
case("leaky_relu", "steep", _one("leaky_relu", alpha=2.5), {"x": _line}, np.where(_line >= 0, _line, 2.5 * _line))
_same = np.full(3, 0.3, np.float32)
case("prelu", "rank 3", _one("prelu", alpha=_same), {"x": _x[:, :, 0]}, np.where(_x >= 0, _x, 0.3 * _x)[:, :, 0])
_p3 = _x[:, :, 0].astype(np.float64)
_reference = _alpha[:, None] * np.log1p(np.exp(_beta[:, None] * _p3))
case(
    "softplus_parametric",
    "rank 3",
    _one("softplus_parametric", alpha=_alpha, beta=_beta),
    {"x": _x[:, :, 0]},
    _reference.astype(np.float32),
)
