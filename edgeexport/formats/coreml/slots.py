"""A cache in Core ML's states: each layer's keys and values lie in the runtime, and a call writes new ones in place.

    key_N, value_N  [1, kv_heads, context, head_dim]   states, float16, as Core ML has no others; zero when made
    slot            int32 [1]                          where the first new token goes

What Core ML runs in place is ``read_state``, ``slice_update`` and ``write_state`` on the same state
(https://apple.github.io/coremltools/docs-guides/source/stateful-models.html). PyTorch has no operator that converts to
``slice_update`` with a place that is known when the program runs, so there is one here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from edgeexport.decoder import Decoder

SLOT = "slot"


@torch.library.custom_op("edgeexport::write_slots", mutates_args=())
def write_slots(slots: torch.Tensor, new: torch.Tensor, start: torch.Tensor, end: torch.Tensor) -> torch.Tensor:
    """``slots`` [1, kv_heads, context, head_dim] with ``new`` [1, kv_heads, sequence, head_dim] in those from ``start``
    [1] to before ``end`` [1]."""
    result = slots.clone()
    result[:, :, int(start) : int(end)] = new
    return result


@write_slots.register_fake
def _(slots: torch.Tensor, new: torch.Tensor, start: torch.Tensor, end: torch.Tensor) -> torch.Tensor:  # noqa: ARG001
    return torch.empty_like(slots)


class StatefulDecoder(nn.Module):
    """``input_ids``, ``position_ids``, ``attention_mask`` [1, 1, sequence, context] and ``slot`` in; logits out.

    Args:
        module: a source's function with a cache; called with ``write``, its attention looks at written slots alone.
        decoder: the source's.
    """

    def __init__(self, module: nn.Module, decoder: Decoder) -> None:
        super().__init__()
        self.inner = module
        self.names = state_names(decoder)
        for name in self.names:
            self.register_buffer(name, torch.zeros(1, decoder.kv_heads, decoder.context, decoder.head_dim))

    def forward(
        self, input_ids: torch.Tensor, position_ids: torch.Tensor, attention_mask: torch.Tensor, slot: torch.Tensor
    ) -> torch.Tensor:
        """One pass, which leaves the new keys and values in the buffers."""
        states = [getattr(self, name) for name in self.names]
        end = slot + input_ids.shape[1]
        logits, *written = self.inner(
            input_ids,
            position_ids,
            attention_mask,
            *states,
            write=lambda slots, new: write_slots(slots, new, slot, end),
        )
        for state, value in zip(states, written, strict=True):
            state.copy_(value)
        return logits  # type: ignore[no-any-return]


def state_names(decoder: Decoder) -> list[str]:
    """``key_0``, ``value_0``, ``key_1``, …"""
    return [name.removeprefix("past_") for name in decoder.past_names()]


def register() -> None:
    """Tell coremltools how the operator is converted."""
    from coremltools.converters.mil import Builder as mb  # noqa: N813
    from coremltools.converters.mil.frontend.torch.torch_op_registry import _TORCH_OPS_REGISTRY as REGISTRY
    from coremltools.converters.mil.frontend.torch.torch_op_registry import register_torch_op

    if REGISTRY.get_func("edgeexport::write_slots") is not None:
        return

    def convert(context: Any, node: Any) -> None:
        slots, new, start, end = (context[name] for name in node.inputs)
        zero = [0]
        begin = mb.concat(values=[zero, zero, mb.cast(x=start, dtype="int32"), zero], axis=0)
        end = mb.concat(values=[zero, zero, mb.cast(x=end, dtype="int32"), zero], axis=0)
        sides = [True, True, False, True]
        # The state is float16, and read as float32: written as it is, or all of it would be converted and back.
        held = slots.op.x if slots.op is not None and slots.op.op_type == "cast" else slots
        update = mb.cast(x=new, dtype="fp16") if held is not slots else new
        result = mb.slice_update(x=held, update=update, begin=begin, end=end, begin_mask=sides, end_mask=sides)
        context.add(mb.cast(x=result, dtype="fp32", name=node.name))

    register_torch_op(convert, torch_alias=["edgeexport::write_slots"])
