"""What operators do to scaled channels; see :mod:`edgeexport.compress._tracing`.

A rule takes the tracer, the graph's node and the operator's arguments, in which a real tensor is the tensor of its
channels, a parameter a :class:`~edgeexport.compress._tracing.Parameter`, and every other tensor None. It gives the
channels of the output, or NotImplemented: then what goes in and out is fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from edgeexport.compress._tracing import CONSTANT, PREFIX, SHARED, Folded, Parameter, Tracer, compact

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


def _rule(names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def enter(function: Callable[..., Any]) -> Callable[..., Any]:
        RULES.update(dict.fromkeys(names.split(), function))
        return function

    return enter


@_rule(_PASSED)
def _passed(tracer: Tracer, _node: Any, given: Any, *_more: Any, **_options: Any) -> Any:
    return _labels(tracer, given)


@_rule("clamp_min clamp")
def _clamped(tracer: Tracer, _node: Any, given: Any, least: Any = None, most: Any = None, **named: Any) -> Any:
    bounds = (named.get("min", least), named.get("max", most))
    return _labels(tracer, given) if bounds == (0, None) else NotImplemented


@_rule(_MOVED)
def _moved(tracer: Tracer, node: Any, given: Any, *more: Any, **options: Any) -> Any:
    several = isinstance(given, list | tuple)
    values = [_labels(tracer, one) for one in (given if several else [given])]
    if any(not isinstance(value, torch.Tensor) for value in values):
        return NotImplemented
    made = node.target(values if several else values[0], *more, **options)
    return list(made) if isinstance(made, list | tuple) else made


@_rule("view reshape _unsafe_view")
def _reshaped(tracer: Tracer, _node: Any, given: Any, shape: Any) -> Any:
    """What the graph made contiguous before may be expanded here: always a reshape."""
    labels = _labels(tracer, given)
    return labels.reshape(shape) if isinstance(labels, torch.Tensor) and isinstance(shape, list) else NotImplemented


@_rule("pad constant_pad_nd")
def _padded(tracer: Tracer, _node: Any, given: Any, widths: Any, *more: Any, **named: Any) -> Any:
    """Zeros take any scale: their channel is 0."""
    mode, value = (named.get("mode", "constant"), named.get("value"))
    for option in more:
        mode, value = (option, value) if isinstance(option, str) else (mode, option)
    labels = _labels(tracer, given)
    if mode != "constant" or value or not isinstance(labels, torch.Tensor):
        return NotImplemented
    return torch.nn.functional.pad(labels, list(widths))


@_rule(_POOLED)
def _pooled(tracer: Tracer, node: Any, given: Any, *_more: Any, **_options: Any) -> Any:
    shape = node.meta["val"].shape
    if not isinstance(given, torch.Tensor) or given.ndim != len(shape) or given.shape[1] != shape[1]:
        return NotImplemented
    return tracer.alike(given, range(2, given.ndim)).expand(shape)


@_rule("mean sum amax amin")
def _reduced(tracer: Tracer, node: Any, given: Any, axes: Any = None, *_more: Any, **_options: Any) -> Any:
    if not isinstance(given, torch.Tensor):
        return NotImplemented
    wanted = range(given.ndim) if axes is None or axes == [] else [axes] if isinstance(axes, int) else axes
    kept = tracer.alike(given, [axis % given.ndim for axis in wanted])
    return kept.reshape(node.meta["val"].shape)


@_rule("add sub")
def _added(tracer: Tracer, _node: Any, first: Any, second: Any, **_options: Any) -> Any:
    first, second = _labels(tracer, first), _labels(tracer, second)
    if not isinstance(first, torch.Tensor) or not isinstance(second, torch.Tensor):
        return first if isinstance(first, torch.Tensor) and second == 0 else NotImplemented
    _tie(tracer, first, second)
    return _either(first, second)


@_rule("where")
def _chosen(tracer: Tracer, node: Any, _condition: Any, first: Any, second: Any) -> Any:
    return _added(tracer, node, first, second)


@_rule("masked_fill")
def _filled(_tracer: Tracer, _node: Any, given: Any, _mask: Any, value: Any) -> Any:
    return given if isinstance(given, torch.Tensor) and value == 0 else NotImplemented


@_rule("mul")
def _multiplied(tracer: Tracer, _node: Any, first: Any, second: Any) -> Any:
    if isinstance(first, Parameter):
        first, second = second, first
    if isinstance(second, Parameter) and isinstance(first, torch.Tensor) and _own(second):
        return _weighted(tracer, first, second)
    first, second = _labels(tracer, first), _labels(tracer, second)
    if isinstance(first, int | float):
        first, second = second, first
    if isinstance(second, int | float) and isinstance(first, torch.Tensor):
        return first
    if not isinstance(first, torch.Tensor) or not isinstance(second, torch.Tensor):
        return NotImplemented
    for one, other in ((first, second), (second, first)):
        if tracer.is_fixed(one):
            return other.expand(_broadcast(one.shape, other.shape))
    return NotImplemented


@_rule("div")
def _divided(tracer: Tracer, _node: Any, first: Any, second: Any, **options: Any) -> Any:
    first, second = _labels(tracer, first), _labels(tracer, second)
    if not isinstance(first, torch.Tensor) or options.get("rounding_mode"):
        return NotImplemented
    if isinstance(second, int | float):
        return first
    if not isinstance(second, torch.Tensor) or not tracer.is_fixed(second):
        return NotImplemented
    return first.expand(_broadcast(first.shape, second.shape))


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
    return made.expand(_broadcast(given.shape, weight.shape))


@_rule("linear")
def _linear(tracer: Tracer, node: Any, given: Any, weight: Any, bias: Any = None) -> Any:
    if not _scalable(given, weight, bias):
        return NotImplemented
    read = tracer.alike(given, range(given.ndim - 1)).reshape(-1)
    made = tracer.fresh(weight.shape[:1])
    tracer.edit(weight, gives=made[:, None], takes=read[None], role="layer", inputs=read)
    _bias(tracer, bias, made)
    return made.expand(node.meta["val"].shape)


@_rule("addmm")
def _addmm(tracer: Tracer, node: Any, bias: Any, given: Any, weight: Any, **options: Any) -> Any:
    """A layer whose weight is [in, out], as GPT-2 has it."""
    if options or not _scalable(given, weight, bias) or len(bias.shape) != 1:
        return NotImplemented
    read = tracer.alike(given, [0]).reshape(-1)
    made = tracer.fresh(weight.shape[1:])
    tracer.edit(weight, gives=made[None], takes=read[:, None], role="layer", inputs=read)
    _bias(tracer, bias, made)
    return made.expand(node.meta["val"].shape)


@_rule("conv1d conv2d conv3d")
def _convolved(
    tracer: Tracer,
    node: Any,
    given: Any,
    weight: Any,
    bias: Any = None,
    *more: Any,
) -> Any:
    """Padded with zeros, whatever the scale."""
    groups = int(more[3]) if len(more) > 3 else 1
    if not _scalable(given, weight, bias) or given.ndim != len(weight.shape):
        return NotImplemented
    read = tracer.alike(given, [0, *range(2, given.ndim)]).reshape(-1)
    made = tracer.fresh(weight.shape[:1])
    ones = (1,) * (given.ndim - 2)
    takes = read.reshape(groups, -1).repeat_interleave(len(made) // groups if groups > 1 else 1, 0)
    tracer.edit(
        weight, gives=made.reshape(-1, 1, *ones), takes=takes.reshape(*takes.shape, *ones), role="layer", inputs=read
    )
    _bias(tracer, bias, made)
    return made.reshape(1, -1, *ones).expand(node.meta["val"].shape)


@_rule("embedding")
def _looked_up(tracer: Tracer, node: Any, weight: Any, *_more: Any, **_options: Any) -> Any:
    if not isinstance(weight, Parameter) or weight.shared:
        return NotImplemented
    made = tracer.fresh(weight.shape[1:])
    tracer.edit(weight, gives=made[None], role="layer")
    return made.expand(node.meta["val"].shape)


@_rule("batch_norm")
def _batch_norm(tracer: Tracer, node: Any, given: Any, weight: Any, bias: Any, *more: Any) -> Any:
    """Its statistics are of the unscaled input, so the scale goes into its own weight and bias."""
    training, epsilon = more[2], more[4]
    if training or not isinstance(given, torch.Tensor):
        return NotImplemented
    if isinstance(weight, Parameter):
        _note_folded(tracer, node, weight, float(epsilon))
    return _normed(tracer, node, given, (weight, bias), axis=1)


@_rule("group_norm")
def _group_norm(
    tracer: Tracer, node: Any, given: Any, _groups: int, weight: Any = None, bias: Any = None, *_more: Any
) -> Any:
    return _normed(tracer, node, given, (weight, bias), axis=1)


@_rule("layer_norm")
def _layer_norm(
    tracer: Tracer, node: Any, given: Any, _shape: Any, weight: Any = None, bias: Any = None, *_more: Any
) -> Any:
    return _normed(tracer, node, given, (weight, bias))


@_rule("rms_norm")
def _rms_norm(tracer: Tracer, node: Any, given: Any, _shape: Any, weight: Any = None, *_more: Any) -> Any:
    return _normed(tracer, node, given, (weight, None))


def _normed(tracer: Tracer, node: Any, given: Any, owned: tuple[Any, Any], axis: int | None = None) -> Any:
    """What goes in is fixed; what comes out has the scale of weight and bias, along ``axis`` or the last ones."""
    weight, bias = owned
    if not isinstance(given, torch.Tensor) or not isinstance(weight, Parameter) or not _owned(weight, bias):
        return NotImplemented
    tracer.channels.fix(compact(given).numpy(), node.target.overloadpacket.__name__)
    made = tracer.fresh(weight.shape)
    tracer.edit(weight, gives=made, role="norm")
    _bias(tracer, bias, made)
    shape = node.meta["val"].shape
    if axis is not None:
        made = made.reshape(1, -1, *(1,) * (len(shape) - 2))
    return made.expand(shape)


def _note_folded(tracer: Tracer, node: Any, weight: Parameter, epsilon: float) -> None:
    before, variance = node.args[0], node.args[4]
    target = getattr(before.target, "overloadpacket", None)
    convolution = target is not None and target.__name__ in ("conv1d", "conv2d", "conv3d")
    if convolution and len(before.users) == 1 and before.args[1].name in tracer.names:
        rows, deviation = (tracer.names[one.name].removeprefix(PREFIX) for one in (before.args[1], variance))
        tracer.found.folded[weight.name] = Folded(rows, deviation, epsilon)


@_rule("matmul bmm mm")
def _matmul(tracer: Tracer, _node: Any, first: Any, second: Any) -> Any:
    """Of two activations: [..., n, k] by [..., k, m]."""
    first, second = _labels(tracer, first), _labels(tracer, second)
    if not all(isinstance(one, torch.Tensor) and one.ndim > 1 for one in (first, second)):
        return NotImplemented
    if tracer.is_fixed(first):
        rows = tracer.alike(second, [second.ndim - 2])
        return rows.expand(_product_shape(first, second))
    if tracer.is_fixed(second):
        columns = tracer.alike(first, [first.ndim - 1])
        return columns.expand(_product_shape(first, second))
    _inverse(tracer, first, second.transpose(-1, -2))
    return tracer.filled("matmul", _product_shape(first, second))


@_rule("scaled_dot_product_attention")
def _attention(
    tracer: Tracer,
    _node: Any,
    query: Any,
    key: Any,
    value: Any,
    mask: Any = None,
    *_more: Any,
    **options: Any,
) -> Any:
    """Values pass, averaged over positions; a query's scale is undone by its key's."""
    mask = options.get("attn_mask", mask)
    if not all(isinstance(one, torch.Tensor) for one in (query, key, value)):
        return NotImplemented
    if isinstance(mask, torch.Tensor):
        tracer.channels.fix(compact(mask).numpy(), "attention mask")
    if options.get("enable_gqa"):
        times = query.shape[-3] // key.shape[-3]
        key, value = (one.repeat_interleave(times, -3) for one in (key, value))
    _inverse(tracer, query, key)
    rows = tracer.alike(value, [value.ndim - 2])
    return rows.expand(*query.shape[:-1], value.shape[-1])


def _inverse(tracer: Tracer, first: torch.Tensor, second: torch.Tensor) -> None:
    """Tie [..., n, k] and [..., m, k], whose products over k are taken, to inverse scales."""
    first = tracer.alike(first, [first.ndim - 2])
    second = tracer.alike(second, [second.ndim - 2])
    _tie(tracer, first, second, -1)


def _product_shape(first: torch.Tensor, second: torch.Tensor) -> tuple[int, ...]:
    batch = _broadcast(first.shape[:-2], second.shape[:-2])
    return (*batch, first.shape[-2], second.shape[-1])


def _labels(tracer: Tracer, value: Any) -> Any:
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


def _owned(*parameters: Any) -> bool:
    return all(one is None or (isinstance(one, Parameter) and not one.shared) for one in parameters)


def _scalable(given: Any, weight: Any, bias: Any) -> bool:
    return isinstance(given, torch.Tensor) and isinstance(weight, Parameter) and _owned(weight, bias)


def _bias(tracer: Tracer, bias: Parameter | None, made: torch.Tensor) -> None:
    if bias is not None:
        tracer.edit(bias, gives=made)


def _tie(tracer: Tracer, first: torch.Tensor, second: torch.Tensor, sign: int = 1) -> None:
    tracer.channels.tie(first.numpy(), second.numpy(), sign)


def _broadcast(*shapes: Sequence[int]) -> tuple[int, ...]:
    return np.broadcast_shapes(*map(tuple, shapes))


def _either(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Channels of a sum: those of a term that is not zero. The first where nothing of it is."""
    shape = _broadcast(first.shape, second.shape)
    if bool((first != 0).all()):
        return first.expand(shape)
    return torch.where(first != 0, first, second)
