"""Attention over a past that is handed in, for every Transformers model whose attention can be exchanged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface
from transformers.cache_utils import Cache

NAME = "edgeexport_cached"
Write = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
_LATEST: list[torch.Tensor] = []
"""Past key and value of the layer whose attention comes next, empty where they are among its keys: not all models hand
on to it what they were given."""


class CachedDecoder(nn.Module):
    """See :mod:`edgeexport.decoder`: ``input_ids``, ``position_ids``, ``attention_mask`` and the past of each layer in;
    logits and the new keys and values of each layer out.

    Args:
        model: a causal language model; its attention is exchanged.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        model.set_attn_implementation(NAME)

    def forward(
        self,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        *past: torch.Tensor,
        write: Write | None = None,
    ) -> tuple[torch.Tensor, ...]:
        """In the order of :func:`edgeexport.decoder.decoding_signature`.

        With ``write``, which gives a layer's slots with the new tokens among them, attention looks at those slots
        alone, the mask has a column a slot, and what was written is given in place of the new keys and values.
        """
        cache = _Noted(past, write)
        result = self.model(
            input_ids=input_ids,
            position_ids=position_ids,
            attention_mask=attention_mask,
            past_key_values=cache,
            use_cache=True,
            cache_position=torch.arange(input_ids.shape[1], device=input_ids.device),
        )
        return (result.logits, *cache.new)


class _Noted(Cache):  # type: ignore[misc]
    """Notes what a pass adds."""

    def __init__(self, past: tuple[torch.Tensor, ...], write: Write | None) -> None:
        self.past, self.new = past, []  # type: tuple[torch.Tensor, ...], list[torch.Tensor]
        self.write = write
        self.layers: list[Any] = []
        self.layer_class_to_replicate = None
        self.offloading = False

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *_rest: Any, **_more: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values [1, kv_heads, sequence, head_dim] of one layer, in the order of layers."""
        if len(self.new) != 2 * layer_idx:
            raise ValueError(f"layer {layer_idx} is not the next one")
        past = self.past[2 * layer_idx : 2 * layer_idx + 2]
        if self.write is not None:
            key_states, value_states = self.write(past[0], key_states), self.write(past[1], value_states)
            past = ()
        self.new += [key_states, value_states]
        _LATEST[:] = past
        return key_states, value_states

    def get_seq_length(self, layer_idx: int | None = 0) -> int:  # noqa: ARG002
        """How many slots there are."""
        return self.past[0].shape[-2]

    def get_mask_sizes(self, cache_position: torch.Tensor, layer_idx: int) -> tuple[int, int]:  # noqa: ARG002
        """Of a mask over slots and new tokens."""
        return self.past[0].shape[-2] + cache_position.shape[0], 0


def attend(  # noqa: PLR0917  as AttentionInterface calls it
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor,
    scaling: float | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_more: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of new tokens over past slots and themselves, as Transformers' AttentionInterface has it.

    Query heads of a group are rows of one product with the group's keys, so that keys are never repeated
    (grouped-query attention, https://arxiv.org/abs/2305.13245).

    Args:
        module: the layer's attention, not looked at.
        query: [1, heads, sequence, head_dim].
        key, value: [1, kv_heads, sequence, head_dim].
        attention_mask: [1, 1, sequence, past + sequence], added to the scores; a column a slot where ``key`` and
            ``value`` are written slots.
        scaling: of the scores; None is ``head_dim ** -0.5``.
        softcap: the scores' limit, approached by tanh; None is none.
        s_aux: attention sinks, which are refused.

    Returns:
        [1, sequence, heads, head_dim], and None for the weights.
    """
    del module
    if s_aux is not None:
        raise ValueError("its attention has sinks")
    query = query * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if not _LATEST:
        return _over_slots(query, key, value, attention_mask, softcap), None
    past_key, past_value = _LATEST
    _, heads, length, dim = query.shape
    groups, slots = key.shape[1], past_key.shape[-2]
    rows = heads // groups * length
    grouped = query.reshape(groups, rows, dim)
    # The batch of one goes by squeeze, which is a view in a runtime; an index of 0 is a Gather there, which copies.
    before = grouped @ past_key.squeeze(0).transpose(-1, -2)
    among = grouped @ key.squeeze(0).transpose(-1, -2)
    scores = torch.cat((before, among), -1).reshape(groups, heads // groups, length, -1)
    shares = torch.softmax(_capped(scores, softcap) + attention_mask.squeeze(0), -1).reshape(groups, rows, -1)
    mixed = shares[..., :slots] @ past_value.squeeze(0) + shares[..., slots:] @ value.squeeze(0)
    return mixed.reshape(1, heads, length, -1).transpose(1, 2).contiguous(), None


def _over_slots(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, attention_mask: torch.Tensor, softcap: float | None
) -> torch.Tensor:
    """Attention over written slots [1, kv_heads, context, head_dim], of which no copy is made, not even a slice."""
    heads, groups = query.shape[1], key.shape[1]
    grouped = query.contiguous().reshape(1, groups, -1, query.shape[-1])
    scores = (grouped @ key.transpose(-1, -2)).reshape(groups, heads // groups, -1, key.shape[-2])
    shares = torch.softmax(_capped(scores, softcap) + attention_mask, -1).reshape(1, groups, -1, key.shape[-2])
    # In two steps: for one, torch.export would ask how many tokens there are.
    mixed = (shares @ value).reshape(1, groups, heads // groups, -1, value.shape[-1]).flatten(1, 2)
    return mixed.transpose(1, 2).contiguous()


def _capped(scores: torch.Tensor, limit: float | None) -> torch.Tensor:
    return scores if limit is None else torch.tanh(scores / limit) * limit


AttentionInterface.register(NAME, attend)


def obstacle(model: Any, context: int) -> str | None:
    """Why a model's attention cannot be exchanged for this one, or None where it can.

    Args:
        model: a ``PreTrainedModel``.
        context: how many tokens it shall look back on.
    """
    config = model.config.get_text_config()
    if not getattr(model, "_supports_attention_backend", False):
        return f"the attention of '{config.model_type}' cannot be exchanged"
    if getattr(config, "scale_attn_by_inverse_layer_idx", False) or not getattr(config, "scale_attn_weights", True):
        return "its attention has a scale of its own in each layer"
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    window = getattr(config, "sliding_window", None)
    if kinds - {"full_attention", "sliding_attention"}:
        return f"it has layers of {', '.join(sorted(kinds - {'full_attention', 'sliding_attention'}))}"
    if window and context > window and ("sliding_attention" in kinds or not getattr(config, "layer_types", None)):
        return f"its layers look back on {window} tokens, and the context is {context}: set interface.context={window}"
    return None


def differs(decoder: CachedDecoder, model: Any, heads: tuple[int, int], layers: int) -> float:
    """The largest difference of logits between a decoder, fed in two pieces, and the model it was made of.

    Args:
        decoder, model: with the same weights.
        heads: key and value heads, and their size.
        layers: of the cache.
    """
    ids = torch.arange(1, 9)[None] % model.config.get_text_config().vocab_size
    past = [torch.zeros(1, heads[0], 8, heads[1]) for _ in range(2 * layers)]
    logits = []
    with torch.inference_mode():
        expected = model(input_ids=ids, use_cache=False).logits
        for start, end in ((0, 5), (5, 8)):
            count = end - start
            mask = torch.full((1, 1, count, 8 + count), -1e4)
            mask[..., :start] = 0
            mask[..., 8:] = torch.triu(mask[..., 8:], 1)
            result = decoder(ids[:, start:end], torch.arange(start, end)[None], mask, *past)
            logits.append(result[0])
            for slots, new in zip(past, result[1:], strict=True):
                slots[:, :, start:end] = new
    return float((torch.cat(logits, 1) - expected).abs().max() / expected.abs().max())
