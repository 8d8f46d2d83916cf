"""Students cut out of a teacher: some of its layers, or all of them narrower, with the weights that remain."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from edgeexport.errors import RecipeError
from edgeexport.source import Editable

_OTHERS = "Choose the student yourself: --student FOLDER."
_BY_LAYER = ("layer_types", "no_rope_layers")
"""Settings that hold a value for each layer."""
_FEED_FORWARD = ("intermediate_size", "hidden_dim", "ffn_dim", "n_inner")
_FUSED = ("c_attn", "qkv", "qkv_proj")
"""Queries, keys and values one after the other in one matrix. In ``query_key_value`` they lie head by head."""


@dataclass(frozen=True)
class Cut:
    """A student and where it comes from.

    Attributes:
        student: float32, on the CPU.
        layers: for each of its layers the teacher's that it was.
    """

    student: Editable
    layers: tuple[int, ...]


def cut(teacher: Editable, layers: int | Sequence[int] | None, width: float) -> Cut:
    """A Transformers model of the teacher's class with fewer layers or channels, initialised from it.

    Channels are kept in whole groups of an attention head's size, those whose embeddings weigh most; of each
    feed-forward layer the neurons whose weights do.

    Args:
        teacher: left as it is.
        layers: numbers counted from 0, or how many, spread evenly from the first to the last; None takes all.
        width: share of hidden size, attention heads and feed-forward size.

    Raises:
        RecipeError: the teacher has no such layers, or is no Transformers model with one stack of them.
    """
    config = getattr(teacher.model, "config", None)
    count = getattr(config, "num_hidden_layers", None)
    if config is None or not isinstance(count, int):
        raise RecipeError(f"{teacher.name} has no stack of layers to choose from", _OTHERS)
    chosen = _chosen(teacher.name, layers, count)
    stack = _stack(teacher, count)
    smaller = copy.deepcopy(config)
    smaller.num_hidden_layers = len(chosen)
    for key in _BY_LAYER:
        if getattr(config, key, None):
            setattr(smaller, key, [getattr(config, key)[number] for number in chosen])
    if width < 1:
        _narrow(smaller, width, teacher.name)
    attention = getattr(config, "_attn_implementation", None)
    model = type(teacher.model)._from_config(smaller, attn_implementation=attention)  # type: ignore[attr-defined]
    if len(model.get_submodule(stack)) != len(chosen):
        raise RecipeError(f"{teacher.name}: its configuration says layer by layer what it is made of", _OTHERS)
    _fill(model, teacher, stack, chosen)
    return Cut(teacher.replaced(model.eval()), chosen)


def _chosen(name: str, layers: int | Sequence[int] | None, count: int) -> tuple[int, ...]:
    if layers is None:
        return tuple(range(count))
    if isinstance(layers, int):
        if layers > count:
            raise RecipeError(f"{name} has {count} layers, and {layers} are asked for", "Ask for fewer.")
        return tuple(int(number) for number in np.rint(np.linspace(0, count - 1, layers)))
    chosen = tuple(layers)
    if not chosen or max(chosen) >= count or list(chosen) != sorted(set(chosen)):
        raise RecipeError(
            f"layers {list(chosen)} are not some of {name}'s {count}, counted from 0, in order and each once",
            f"For example: [0, {count // 2}, {count - 1}].",
        )
    return chosen


def _stack(teacher: Editable, count: int) -> str:
    """The name of the one list of layers, such as ``bert.encoder.layer``."""
    found = [
        name
        for name, module in teacher.model.named_modules()
        if isinstance(module, torch.nn.ModuleList) and len(module) == count
    ]
    outermost = [name for name in found if not any(name.startswith(f"{other}.") for other in found)]
    if len(outermost) != 1:
        what = "several stacks" if outermost else "no stack"
        raise RecipeError(f"{teacher.name} has {what} of {count} layers to choose from", _OTHERS)
    return str(outermost[0])


def _narrow(config: Any, width: float, name: str) -> None:
    """Scale heads, hidden and feed-forward size; a head keeps its size."""
    heads, hidden = getattr(config, "num_attention_heads", None), getattr(config, "hidden_size", None)
    if not isinstance(heads, int) or not isinstance(hidden, int):
        raise RecipeError(f"{name} has no one number of heads and channels; its width cannot be scaled", _OTHERS)
    head = getattr(config, "head_dim", None) or hidden // heads
    fewer = max(1, round(heads * width))
    if fewer == heads:
        raise RecipeError(
            f"a width of {width:g} leaves {name} all of its {heads} heads",
            f"At most {(heads - 1) / heads:.2g} is less.",
        )
    if hidden != heads * head:
        raise RecipeError(f"{name}'s heads do not make up its hidden size; its width cannot be scaled", _OTHERS)
    groups = getattr(config, "num_key_value_heads", None) or heads
    if groups != heads:
        raise RecipeError(f"{name} shares keys among heads; its width cannot be scaled", _OTHERS)
    config.hidden_size, config.num_attention_heads = fewer * head, fewer
    if getattr(config, "num_key_value_heads", None):
        config.num_key_value_heads = fewer
    if getattr(config, "embedding_size", None) == hidden:
        config.embedding_size = fewer * head
    for key in _FEED_FORWARD:
        value = getattr(config, key, None)
        if isinstance(value, int):
            setattr(config, key, max(1, round(value * fewer / heads)))


def _fill(model: torch.nn.Module, teacher: Editable, stack: str, chosen: Sequence[int]) -> None:
    """Copy the teacher's weights, of wider ones the channels that are kept."""
    given = teacher.model.state_dict()
    numbered = re.compile(rf"^{re.escape(stack)}\.(\d+)\.")
    sizes: _Sizes | None = None
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            origin = numbered.sub(lambda match: f"{stack}.{chosen[int(match[1])]}.", name)
            source = given[origin]
            if source.shape != tensor.shape:
                sizes = sizes or _Sizes(teacher, model)
                layer = numbered.match(origin)
                source = sizes.select(origin, source, tensor.shape, layer[0] if layer else "")
            tensor.copy_(source)
    for name, parameter in model.named_parameters():
        origin = numbered.sub(lambda match: f"{stack}.{chosen[int(match[1])]}.", name)
        parameter.requires_grad_(teacher.model.get_parameter(origin).requires_grad)


class _Sizes:
    """Which channels of the teacher a narrower student has."""

    def __init__(self, teacher: Editable, student: Any) -> None:
        model: Any = teacher.model
        config = model.config
        self._name, self._given = teacher.name, model.state_dict()
        self._wide, self._slim = config.hidden_size, student.config.hidden_size
        stated = (getattr(config, key, None) for key in _FEED_FORWARD)
        self._neurons_wide = next((value for value in stated if isinstance(value, int)), 4 * self._wide)
        table = getattr(model.get_input_embeddings(), "weight", None)
        head = self._wide // config.num_attention_heads
        self._hidden = _heaviest_groups(table, self._wide, self._slim, head)
        self._neurons: dict[tuple[str, int, int], torch.Tensor] = {}

    def select(self, name: str, source: torch.Tensor, shape: Sequence[int], layer: str) -> torch.Tensor:
        """The part of ``source`` that has ``shape``.

        Raises:
            RecipeError: what an axis holds is not known.
        """
        for axis, (wide, slim) in enumerate(zip(source.shape, shape, strict=True)):
            if wide == slim:
                continue
            if (wide, slim) == (self._wide, self._slim):
                chosen = self._hidden
            elif (wide, slim) == (3 * self._wide, 3 * self._slim) and any(part in _FUSED for part in name.split(".")):
                chosen = torch.cat([self._hidden + part * self._wide for part in range(3)])
            elif layer and wide == self._neurons_wide:
                chosen = self._heaviest_neurons(self._given, layer, wide, slim)
            else:
                raise RecipeError(f"{self._name}: what {name} becomes at another width is not known", _OTHERS)
            source = source.index_select(axis, chosen)
        return source

    def _heaviest_neurons(self, given: Mapping[str, torch.Tensor], layer: str, wide: int, slim: int) -> torch.Tensor:
        """Of one layer's neurons those whose weights are largest, in their order."""
        key = (layer, wide, slim)
        if key not in self._neurons:
            weight = torch.zeros(wide)
            for name, tensor in given.items():
                for axis in (axis for axis, size in enumerate(tensor.shape) if size == wide and name.startswith(layer)):
                    weight += tensor.square().movedim(axis, 0).flatten(1).sum(1) if tensor.ndim > 1 else 0
            self._neurons[key] = weight.topk(slim).indices.sort().values
        return self._neurons[key]


def _heaviest_groups(table: torch.Tensor | None, wide: int, slim: int, size: int) -> torch.Tensor:
    """Channels in whole groups of ``size``, those with the largest embeddings, in their order."""
    groups = wide // size
    if table is None or table.shape[-1] != wide:
        return torch.arange(slim)
    weight = table.detach().square().sum(0).reshape(groups, size).sum(1)
    chosen = weight.topk(slim // size).indices.sort().values
    return (chosen[:, None] * size + torch.arange(size)).flatten()
