"""Random numbers (all since iOS 15).

They are of the distribution that the program names and are the same in every run, and are not the numbers that a
device draws, for how it draws them is not published. The operator's seed gives them; -1, for which a device takes a
seed of its own, gives numbers that are the operation's own by its name.
"""

from __future__ import annotations

import zlib

import torch

from edgeexport.errors import ModelError
from edgeexport.mil.memory import claim
from edgeexport.mil.table import Call, Ints, Tensor, op


def _generator(seed: int, call: Call) -> torch.Generator:
    # Operations without a seed of their own must not give the same numbers as one another.
    return torch.Generator().manual_seed(zlib.crc32(call.operation.name.encode()) if seed == -1 else seed)


def _empty(shape: Ints) -> Tensor:
    claim(shape)
    return torch.empty(shape)


@op("random_bernoulli")
def random_bernoulli(shape: Ints, call: Call, prob: float = 0.5, seed: int = -1) -> Tensor:
    """1 with the probability prob, else 0."""
    if not 0 <= prob <= 1:
        raise ModelError(f"a probability of {prob}")
    return _empty(shape).bernoulli_(prob, generator=_generator(seed, call))


@op("random_normal")
def random_normal(shape: Ints, call: Call, mean: float = 0.0, stddev: float = 1.0, seed: int = -1) -> Tensor:
    """Of the normal distribution of that mean and standard deviation."""
    if not stddev >= 0:
        raise ModelError(f"a standard deviation of {stddev}")
    return _empty(shape).normal_(mean, stddev, generator=_generator(seed, call))


@op("random_uniform")
def random_uniform(shape: Ints, call: Call, low: float = 0.0, high: float = 1.0, seed: int = -1) -> Tensor:
    """From low on and below high, each as likely; low where both are the same."""
    if not low <= high:
        raise ModelError(f"numbers from {low} to {high}")
    return _empty(shape).uniform_(low, high, generator=_generator(seed, call))


@op("random_categorical")
def random_categorical(x: Tensor, call: Call, mode: str = "logits", size: int = 1, seed: int = -1) -> Tensor:
    """size indices along the last axis, as likely as x says: softmax(x) for logits, x itself for probs."""
    if mode not in ("logits", "probs"):
        raise ModelError(f"the mode {mode!r}; logits and probs are known")
    if size < 1 or x.dim() < 1:
        raise ModelError(f"{size} indices along the last axis of a tensor of rank {x.dim()}")
    claim((*x.shape[:-1], size), 8)
    likely = (x.softmax(-1) if mode == "logits" else x).reshape(-1, x.shape[-1])
    drawn = torch.multinomial(likely, size, replacement=True, generator=_generator(seed, call))
    return drawn.reshape(*x.shape[:-1], size).float()
