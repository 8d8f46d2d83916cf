"""Decoder: how a causal language model is run with a cache, in whatever format it was exported.

One function of tokens and past, whose caller owns the cache:

    input_ids       [1, sequence]                             the new tokens
    position_ids    [1, sequence]                             their places in the text, from 0
    attention_mask  [1, 1, sequence, past + sequence]         added to the scores: 0 where a new token (row) may look at
                                                              a slot (column), ``MASKED`` where not; slots come first
    past_key_N, past_value_N   [1, kv_heads, past, head_dim]  the slots of layer N, in any order
    logits          [1, sequence, vocabulary]                 for the token after each of the new ones
    new_key_N, new_value_N     [1, kv_heads, sequence, head_dim]   what the caller writes into free slots

The order of slots means nothing to attention, so a window slides by overwriting the oldest. A format with fixed shapes
has ``past`` slots always, and one signature for one token and one for each length in :attr:`Decoder.prefill`, whose
padding is masked and not kept. With ``cache`` as ``state`` the slots lie in the runtime: ``past_*`` and ``new_*`` are
not there, and ``slot`` (int32 [1]) says where the first new token goes; the mask then has one column a slot.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from edgeexport.signature import Signature, TensorSpec

if TYPE_CHECKING:
    import numpy as np

MASKED = -1e4
"""In the mask: a softmax gives exactly zero for it, and it fits float16."""

LONGEST_CONTEXT = 1024
"""Slots where nobody asks for a number, of a model with more positions."""

_PREFILL = 64
Count = Annotated[int, msgspec.Meta(ge=1)]


class Decoder(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a caller must know to drive a decoder; in a bundle's manifest.

    Attributes:
        layers, kv_heads, head_dim: of the cache.
        context: slots at most: how many tokens the model looks back on.
        vocabulary: how many token ids there are.
        slides: whether a text may go on past the context, by overwriting the oldest slot. A model with a table of
            positions has none for what comes then.
        prefill: the lengths of several tokens at once that a format with fixed shapes takes; empty takes any.
        stop_ids: the tokens that end a text.
        cache: ``slots`` of the caller's, or a ``state`` in the runtime.
    """

    layers: Count
    kv_heads: Count
    head_dim: Count
    context: Count
    vocabulary: Count
    slides: bool
    prefill: tuple[Count, ...] = ()
    stop_ids: tuple[int, ...] = ()
    cache: Literal["slots", "state"] = "slots"

    def past_names(self) -> list[str]:
        """``past_key_0``, ``past_value_0``, ``past_key_1``, …"""
        return [f"past_{kind}_{layer}" for layer in range(self.layers) for kind in ("key", "value")]

    def new_names(self) -> list[str]:
        """``new_key_0``, ``new_value_0``, ``new_key_1``, …"""
        return [f"new_{kind}_{layer}" for layer in range(self.layers) for kind in ("key", "value")]

    def cache_bytes(self) -> int:
        """Of a full cache in float32."""
        return 4 * 2 * self.layers * self.kv_heads * self.head_dim * self.context


def decoding_signature(decoder: Decoder) -> Signature:
    """What the exported function takes and gives, with ``sequence``, ``past`` and ``total`` dynamic."""
    past = (1, decoder.kv_heads, "past", decoder.head_dim)
    new = (1, decoder.kv_heads, "sequence", decoder.head_dim)
    return Signature(
        (
            TensorSpec("input_ids", "int64", (1, "sequence")),
            TensorSpec("position_ids", "int64", (1, "sequence")),
            TensorSpec("attention_mask", "float32", (1, 1, "sequence", "total")),
            *(TensorSpec(name, "float32", past) for name in decoder.past_names()),
        ),
        (
            TensorSpec("logits", "float32", (1, "sequence", decoder.vocabulary)),
            *(TensorSpec(name, "float32", new) for name in decoder.new_names()),
        ),
    )


def text_signature(decoder: Decoder) -> Signature:
    """What one sample is, and what is compared of it: see :mod:`edgeexport.runtimes.decoder`'s ``score``.

    ``nll`` [tokens - 1] is the negative log likelihood of each token but the first, in nats; ``token`` [tokens] the
    likeliest one after each; ``logits`` [vocabulary] those after the last.
    """
    return Signature(
        (TensorSpec("input_ids", "int64", (1, "sequence")),),
        (
            TensorSpec("nll", "float32", ("predicted",)),
            TensorSpec("token", "int64", ("sequence",)),
            TensorSpec("logits", "float32", (decoder.vocabulary,)),
        ),
    )


def prefill_feeds(decoder: Decoder, ids: np.ndarray, signature: Signature) -> Iterator[dict[str, np.ndarray]]:
    """A text as the exported function takes it, with nothing in the cache: for calibration.

    Args:
        decoder: the model's; its cache must be ``slots``.
        ids: [1, tokens].
        signature: the artifact's, which decides types and whether shapes are fixed.

    Yields:
        One dict of arrays a piece: the whole text where any length is taken, else pieces of the longest length that
        fits whole, the last one padded; each as if the text began there.
    """
    import numpy as np

    types = {spec.name: spec.dtype for spec in signature.inputs}
    longest = max(decoder.prefill, default=ids.shape[1])
    slots = decoder.context if decoder.prefill else 0
    for start in range(0, ids.shape[1], longest):
        piece = ids[:, start : start + longest]
        count, length = piece.shape[1], longest if decoder.prefill else piece.shape[1]
        padded = np.zeros((1, length), types["input_ids"])
        padded[:, :count] = piece
        mask = np.full((1, 1, length, slots + length), MASKED, np.float32)
        mask[..., slots:] = np.triu(np.full((length, length), MASKED, np.float32), 1)
        past = np.zeros((1, decoder.kv_heads, slots, decoder.head_dim), np.float32)
        yield {
            "input_ids": padded,
            "position_ids": np.arange(length, dtype=types["position_ids"])[None],
            "attention_mask": mask,
            **dict.fromkeys(decoder.past_names(), past),
        }


def with_fixed_lengths(decoder: Decoder, asked: tuple[int, ...]) -> Decoder:
    """The same in a format that fixes shapes.

    Args:
        decoder: as the source gives it.
        asked: ``interface.prefill``; empty is 64 tokens at once, or the context where that is less.
    """
    return msgspec.structs.replace(decoder, prefill=tuple(sorted(set(asked))) or (min(_PREFILL, decoder.context),))


def to_runner(decoder: Decoder, signature: Signature) -> dict[str, Any]:
    """As :class:`edgeexport.runtimes.decoder.Decoder` takes it, plain values."""
    ids = next(spec.dtype for spec in signature.inputs if spec.name == "input_ids")
    return {**msgspec.to_builtins(decoder), "ids": ids, "masked": MASKED}
