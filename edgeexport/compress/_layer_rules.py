"""What layers, norms and attention do to scaled channels; see :mod:`edgeexport.compress._rules`."""

from __future__ import annotations

from typing import Any

import torch

from edgeexport.compress._rules import RULES, broadcast, labels_of, rule, tie
from edgeexport.compress._tracer import PREFIX, Folded, Parameter, Tracer, compact

__all__ = ["RULES"]


@rule("linear")
def _linear(tracer: Tracer, node: Any, given: Any, weight: Any, bias: Any = None) -> Any:
    if not _scalable(given, weight, bias):
        return NotImplemented
    read = tracer.alike(given, range(given.ndim - 1)).reshape(-1)
    made = tracer.fresh(weight.shape[:1])
    tracer.edit(weight, gives=made[:, None], takes=read[None], role="layer", inputs=read)
    _bias(tracer, bias, made)
    return made.expand(node.meta["val"].shape)


@rule("addmm")
def _addmm(tracer: Tracer, node: Any, bias: Any, given: Any, weight: Any, **options: Any) -> Any:
    """A layer whose weight is [in, out], as GPT-2 has it."""
    if options or not _scalable(given, weight, bias) or len(bias.shape) != 1:
        return NotImplemented
    read = tracer.alike(given, [0]).reshape(-1)
    made = tracer.fresh(weight.shape[1:])
    tracer.edit(weight, gives=made[None], takes=read[:, None], role="layer", inputs=read)
    _bias(tracer, bias, made)
    return made.expand(node.meta["val"].shape)


@rule("conv1d conv2d conv3d")
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


@rule("embedding")
def _looked_up(tracer: Tracer, node: Any, weight: Any, *_more: Any, **_options: Any) -> Any:
    if not isinstance(weight, Parameter) or weight.shared:
        return NotImplemented
    made = tracer.fresh(weight.shape[1:])
    tracer.edit(weight, gives=made[None], role="layer")
    return made.expand(node.meta["val"].shape)


@rule("batch_norm")
def _batch_norm(tracer: Tracer, node: Any, given: Any, weight: Any, bias: Any, *more: Any) -> Any:
    """Its statistics are of the unscaled input, so the scale goes into its own weight and bias."""
    training, epsilon = more[2], more[4]
    if training or not isinstance(given, torch.Tensor):
        return NotImplemented
    if isinstance(weight, Parameter):
        _note_folded(tracer, node, weight, float(epsilon))
    return _normed(tracer, node, given, (weight, bias), axis=1)


@rule("group_norm")
def _group_norm(
    tracer: Tracer, node: Any, given: Any, _groups: int, weight: Any = None, bias: Any = None, *_more: Any
) -> Any:
    return _normed(tracer, node, given, (weight, bias), axis=1)


@rule("layer_norm")
def _layer_norm(
    tracer: Tracer, node: Any, given: Any, _shape: Any, weight: Any = None, bias: Any = None, *_more: Any
) -> Any:
    return _normed(tracer, node, given, (weight, bias))


@rule("rms_norm")
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


@rule("matmul bmm mm")
def _matmul(tracer: Tracer, _node: Any, first: Any, second: Any) -> Any:
    """Of two activations: [..., n, k] by [..., k, m]."""
    first, second = labels_of(tracer, first), labels_of(tracer, second)
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


@rule("scaled_dot_product_attention")
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
    tie(tracer, first, second, -1)


def _product_shape(first: torch.Tensor, second: torch.Tensor) -> tuple[int, ...]:
    batch = broadcast(first.shape[:-2], second.shape[:-2])
    return (*batch, first.shape[-2], second.shape[-1])


def _owned(*parameters: Any) -> bool:
    return all(one is None or (isinstance(one, Parameter) and not one.shared) for one in parameters)


def _scalable(given: Any, weight: Any, bias: Any) -> bool:
    return isinstance(given, torch.Tensor) and isinstance(weight, Parameter) and _owned(weight, bias)


def _bias(tracer: Tracer, bias: Parameter | None, made: torch.Tensor) -> None:
    if bias is not None:
        tracer.edit(bias, gives=made)
