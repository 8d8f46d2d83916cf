"""Random numbers where nothing is left to chance; the others are in the hostile and statistical tests."""

import numpy as np

from tests.mil.harness import case

_anchor = np.float32([1])
_shape = np.int32([2, 3])


def _drawn(op, **parameters):
    return lambda mb, x: getattr(mb, op)(shape=x, **parameters)


case(
    "random_uniform",
    "one number",
    _drawn("random_uniform", low=2.5, high=2.5, seed=3),
    {"x": _shape},
    np.full((2, 3), 2.5, np.float32),
)
case(
    "random_uniform",
    "another, iOS 15",
    _drawn("random_uniform", low=-4.0, high=-4.0),
    {"x": _shape},
    np.full((2, 3), -4, np.float32),
    ios=15,
)
case(
    "random_normal",
    "one number",
    _drawn("random_normal", mean=3.0, stddev=0.0, seed=3),
    {"x": _shape},
    np.full((2, 3), 3, np.float32),
)
case(
    "random_normal",
    "another, iOS 15",
    _drawn("random_normal", mean=-0.5, stddev=0.0),
    {"x": _shape},
    np.full((2, 3), -0.5, np.float32),
    ios=15,
)
case(
    "random_bernoulli",
    "certain",
    _drawn("random_bernoulli", prob=1.0, seed=3),
    {"x": _shape},
    np.ones((2, 3), np.float32),
)
_logits = np.float32([[-1e30, 0, -1e30], [-1e30, -1e30, 0]])
_probs = np.float32([[[0, 0.5, 0, 0]], [[0, 0, 0, 2]]])
case(
    "random_categorical",
    "logits",
    lambda mb, x: mb.random_categorical(x=x, seed=5),
    {"x": _logits},
    np.float32([[1], [2]]),
)
case(
    "random_categorical",
    "several of probabilities",
    lambda mb, x: mb.random_categorical(x=x, mode="probs", size=4),
    {"x": _probs},
    np.float32([[[1] * 4], [[3] * 4]]),
    ios=15,
)
