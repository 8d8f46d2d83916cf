"""What operators do to scaled channels; see :mod:`edgeexport.compress._tracer`.

A rule takes the tracer, the graph's node and the operator's arguments, in which a real tensor is the tensor of its
channels, a parameter a :class:`~edgeexport.compress._tracer.Parameter`, and every other tensor None. It gives the
channels of the output, or NotImplemented: then what goes in and out is fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from edgeexport.compress._tracer import CONSTANT, SHARED, Parameter, Tracer

RULES: dict[str, Callable[..., Any]] = {}
"""By the operator's name."""

_LARGEST = 1 << 20
"""Elements of a parameter whose elements are followed one by one."""

_PASSED = """relu leaky_relu prelu abs neg dropout feature_dropout alpha_dropout alias detach clone contiguous to
    _to_copy lift_fresh lift_fresh_copy positive"""
"""f(s x) = s f(x) for s > 0, element by element."""

_MOVED = """permute transpose t unsqueeze squeeze expand slice select split split_with_sizes
    chunk unbind flatten unflatten narrow repeat cat concat stack flip roll movedim swapaxes tile pixel_shuffle
    pixel_unshuffle numpy_T mT channel_shuffle"""
"""Elements move and keep their values."""

_POOLED = """max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d
    adaptive_avg_pool3d upsample_nearest1d upsample_nearest2d upsample_bilinear2d upsample_linear1d"""
"""Within a channel, axis 1, f(s x) = s f(x)."""


def rule(names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter a function as the rule of some operators."""

    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        RULES.update(dict.fromkeys(names.split(), function))
        return function

    return enter


@rule(_PASSED)
def _passed(tracer: Tracer, _node: Any, given: Any, *_more: Any, **_options: Any) -> Any:
    return labels_of(tracer, given)


@rule("clamp_min clamp")
def _clamped(tracer: Tracer, _node: Any, given: Any, least: Any = None, most: Any = None, **named: Any) -> Any:
    bounds = (named.get("min", least), named.get("max", most))
    return labels_of(tracer, given) if bounds == (0, None) else NotImplemented


@rule(_MOVED)
def _moved(tracer: Tracer, node: Any, given: Any, *more: Any, **options: Any) -> Any:
    several = isinstance(given, list | tuple)
    values = [labels_of(tracer, one) for one in (given if several else [given])]
    if any(not isinstance(value, torch.Tensor) for value in values):
        return NotImplemented
    try:
        made = node.target(values if several else values[0], *more, **options)
    except RuntimeError:  # no kernel for integers
        return NotImplemented
    return list(made) if isinstance(made, list | tuple) else made


@rule("view reshape _unsafe_view")
def _reshaped(tracer: Tracer, _node: Any, given: Any, shape: Any) -> Any:
    """What the graph made contiguous before may be expanded here: always a reshape."""
    labels = labels_of(tracer, given)
    return labels.reshape(shape) if isinstance(labels, torch.Tensor) and isinstance(shape, list) else NotImplemented


@rule("pad constant_pad_nd")
def _padded(tracer: Tracer, _node: Any, given: Any, widths: Any, *more: Any, **named: Any) -> Any:
    """Zeros take any scale: their channel is 0."""
    mode, value = (named.get("mode", "constant"), named.get("value"))
    for option in more:
        mode, value = (option, value) if isinstance(option, str) else (mode, option)
    labels = labels_of(tracer, given)
    if not isinstance(labels, torch.Tensor) or value:
        return NotImplemented
    if mode != "constant":  # copies elements, but of floats only
        return torch.nn.functional.pad(labels.double(), list(widths), mode=mode).long()
    return torch.nn.functional.pad(labels, list(widths))


@rule(_POOLED)
def _pooled(tracer: Tracer, node: Any, given: Any, *_more: Any, **_options: Any) -> Any:
    shape = node.meta["val"].shape
    if not isinstance(given, torch.Tensor) or given.ndim != len(shape) or given.shape[1] != shape[1]:
        return NotImplemented
    return tracer.alike(given, range(2, given.ndim)).expand(shape)


@rule("mean sum amax amin")
def _reduced(tracer: Tracer, node: Any, given: Any, axes: Any = None, *_more: Any, **_options: Any) -> Any:
    if not isinstance(given, torch.Tensor):
        return NotImplemented
    wanted = range(given.ndim) if axes is None or axes == [] else [axes] if isinstance(axes, int) else axes
    kept = tracer.alike(given, [axis % given.ndim for axis in wanted])
    return kept.reshape(node.meta["val"].shape)


@rule("add sub")
def _added(tracer: Tracer, _node: Any, first: Any, second: Any, **_options: Any) -> Any:
    first, second = labels_of(tracer, first), labels_of(tracer, second)
    if not isinstance(first, torch.Tensor) or not isinstance(second, torch.Tensor):
        return first if isinstance(first, torch.Tensor) and second == 0 else NotImplemented
    tie(tracer, first, second)
    return _either(first, second)


@rule("where")
def _chosen(tracer: Tracer, node: Any, _condition: Any, first: Any, second: Any) -> Any:
    return _added(tracer, node, first, second)


@rule("masked_fill")
def _filled(_tracer: Tracer, _node: Any, given: Any, _mask: Any, value: Any) -> Any:
    return given if isinstance(given, torch.Tensor) and value == 0 else NotImplemented


@rule("mul")
def _multiplied(tracer: Tracer, _node: Any, first: Any, second: Any) -> Any:
    if isinstance(first, Parameter):
        first, second = second, first
    if isinstance(second, Parameter) and isinstance(first, torch.Tensor) and _own(second):
        return _weighted(tracer, first, second)
    first, second = labels_of(tracer, first), labels_of(tracer, second)
    if isinstance(first, int | float):
        first, second = second, first
    if isinstance(second, int | float) and isinstance(first, torch.Tensor):
        return first
    if not isinstance(first, torch.Tensor) or not isinstance(second, torch.Tensor):
        return NotImplemented
    for one, other in ((first, second), (second, first)):
        if tracer.is_fixed(one):
            return other.expand(broadcast(one.shape, other.shape))
    return NotImplemented


@rule("div")
def _divided(tracer: Tracer, _node: Any, first: Any, second: Any, **options: Any) -> Any:
    first, second = labels_of(tracer, first), labels_of(tracer, second)
    if not isinstance(first, torch.Tensor) or options.get("rounding_mode"):
        return NotImplemented
    if isinstance(second, int | float):
        return first
    if not isinstance(second, torch.Tensor) or not tracer.is_fixed(second):
        return NotImplemented
    return first.expand(broadcast(first.shape, second.shape))


def _weighted(tracer: Tracer, given: torch.Tensor, weight: Parameter) -> torch.Tensor:
    """Times a weight an element, such as a norm's or a layer scale: reads one scale and gives another."""
    missing = given.ndim - len(weight.shape)
    if missing < 0:
        given = given.reshape((1,) * -missing + tuple(given.shape))
        missing = 0
    shape = (1,) * missing + weight.shape
    read = tracer.alike(given, [axis for axis, length in enumerate(shape) if length == 1])
    read = read.reshape(read.shape[missing:])
    made = tracer.fresh(weight.shape)
    tracer.edit(weight, gives=made, takes=read, role="norm")
    return made.expand(broadcast(given.shape, weight.shape))


def labels_of(tracer: Tracer, value: Any) -> Any:
    """A parameter's elements, each a channel of its own; other values as they are."""
    if not isinstance(value, Parameter):
        return value
    if not _own(value):
        return tracer.filled(SHARED if value.shared else CONSTANT, value.shape)
    made = tracer.fresh(value.shape)
    tracer.edit(value, gives=made)
    return made


def _own(parameter: Parameter) -> bool:
    return not parameter.shared and torch.Size(parameter.shape).numel() <= _LARGEST


def tie(tracer: Tracer, first: torch.Tensor, second: torch.Tensor, sign: int = 1) -> None:
    """See :meth:`~edgeexport.compress._channels.Channels.tie`."""
    tracer.channels.tie(first.numpy(), second.numpy(), sign)


def broadcast(*shapes: Sequence[int]) -> tuple[int, ...]:
    """The shape of what is made of tensors of these."""
    return np.broadcast_shapes(*map(tuple, shapes))


def _either(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Channels of a sum: those of a term that is not zero. The first where nothing of it is."""
    shape = broadcast(first.shape, second.shape)
    if bool((first != 0).all()):
        return first.expand(shape)
    return torch.where(first != 0, first, second)
