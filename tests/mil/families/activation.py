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
