"""Modules that no TFLite target can take, as torch factories: ``misfits:unsupported`` and others."""

import torch
from torch import nn


class _Misfit(nn.Module):
    def __init__(self, example, forward, axes=None):
        super().__init__()
        self.dense = nn.Linear(4, 4)
        self.body = _Body(forward)
        self.example_inputs = {"x": example}
        self.output_names = ["y"]
        self.dynamic_axes = {"x": axes or {0: "batch"}}

    def forward(self, x):
        return self.dense(self.body(x))


class _Body(nn.Module):
    def __init__(self, forward):
        super().__init__()
        self._forward = forward

    def forward(self, x):
        return self._forward(x)


def unsupported():
    """Singular values, in a module called ``body``."""
    return _Misfit(torch.ones(1, 4, 4), torch.linalg.svdvals)


def complex_input():
    """A spectrum."""
    return _Misfit(torch.zeros(1, 4, dtype=torch.complex64), torch.abs)


def bfloat16_input():
    """An element type that NumPy lacks."""
    return _Misfit(torch.zeros(1, 4, dtype=torch.bfloat16), torch.Tensor.float)


def two_axes():
    """Any height and any width."""
    return _Misfit(torch.zeros(1, 4, 6, 8), lambda x: x.mean((2, 3)), {0: "batch", 2: "height", 3: "width"})


def large_input():
    """A quarter of a mebibyte, and a byte more, where inputs are int8."""
    return _Misfit(torch.zeros(1, 512, 513), lambda x: x.mean(1)[:, :4])
