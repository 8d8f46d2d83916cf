"""A language model with a cache as TFLite: one signature for a single token, one for each length of a prompt's pieces.

All have the names of :func:`edgeexport.decoder.decoding_signature`, and the model's context as the number of slots.
They share their weights, which takes that the converter computes the same constants for each.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeexport.decoder import Decoder, decoding_signature, with_fixed_lengths
from edgeexport.errors import ConversionError
from edgeexport.formats.tflite.export import NARROWED, finish_names, import_converter, readable_errors
from edgeexport.formats.tflite.flatbuffer import read_model, signatures
from edgeexport.formats.tflite.names import source_paths
from edgeexport.quiet import native_output
from edgeexport.settings import Interface
from edgeexport.signature import Signature, TensorSpec
from edgeexport.source import Source

if TYPE_CHECKING:
    import torch

SINGLE = "decode"
"""The signature of one token; those of N are ``prefill_N``."""
_SMALL = 4096
"""Bytes; constants below this, such as shapes, may differ between signatures."""


def write_decoder(source: Source, interface: Interface, path: Path) -> tuple[Signature, Decoder]:
    """Convert a source that has a decoder, and write it to ``path``.

    Args:
        source: its module is the function of :func:`edgeexport.decoder.decoding_signature`.
        interface: its ``prefill``.
        path: the file to write.

    Returns:
        What each call takes and gives, with ``sequence`` as the one length that differs (``total`` is it and the
        slots), and how it is driven.

    Raises:
        MissingRequirement: litert-torch is not installed.
        ConversionError: the converter failed, or gave signatures that do not share their weights.
    """
    assert source.decoder is not None
    decoder = with_fixed_lengths(source.decoder, interface.prefill)
    module = source.module()
    litert_torch = import_converter()
    converter: Any = None
    lengths = tuple(sorted({1, *decoder.prefill}))
    with (
        readable_errors(source.name, module, lambda: _example(decoder, 1)),
        native_output(),
        warnings.catch_warnings(),
        separate_gains(module),
        source_paths(),
    ):
        warnings.simplefilter("ignore")
        for length in lengths:
            name = SINGLE if length == 1 else f"prefill_{length}"
            converter = (converter or litert_torch).signature(name, module, _example(decoder, length))
        converter.convert().export(str(path))
    signature = decoding_signature(decoder)
    finish_names(source, signature, path)
    _check_shared(source.name, path)
    slots = {"past": decoder.context}

    def as_converted(spec: TensorSpec) -> TensorSpec:
        shape = tuple(slots.get(str(length), length) for length in spec.shape)
        return replace(spec, dtype=NARROWED.get(spec.dtype, spec.dtype), shape=shape)

    return (
        Signature(
            tuple(map(as_converted, signature.inputs)),
            tuple(map(as_converted, signature.outputs)),
            {"sequence": lengths, "total": tuple(decoder.context + length for length in lengths)},
        ),
        decoder,
    )


@contextmanager
def separate_gains(module: torch.nn.Module) -> Iterator[None]:
    """Keep the gain of a LayerNorm out of the weights of the layer behind it, while the block runs.

    The converter multiplies it into them where it has one axis. It does so in the signatures of several tokens and not
    in that of one, whose gain it reshapes, and every such weight would be stored twice.
    """
    from torch import nn

    class Apart(nn.Module):
        """The norm, with gain and bias of as many axes as its input."""

        def __init__(self, norm: nn.LayerNorm) -> None:
            super().__init__()
            self.norm = norm

        def forward(self, values: torch.Tensor) -> torch.Tensor:
            norm = self.norm
            shape = (1,) * (values.dim() - len(norm.normalized_shape)) + tuple(norm.normalized_shape)
            normal = nn.functional.layer_norm(values, norm.normalized_shape, None, None, norm.eps)
            scaled = normal * norm.weight.reshape(shape)
            return scaled if norm.bias is None else scaled + norm.bias.reshape(shape)

    found = [
        (parent, name, child)
        for parent in list(module.modules())
        for name, child in list(parent.named_children())
        if type(child) is nn.LayerNorm and child.elementwise_affine
    ]
    for parent, name, child in found:
        setattr(parent, name, Apart(child).eval())
    try:
        yield
    finally:
        for parent, name, child in found:
            setattr(parent, name, child)


def _example(decoder: Decoder, length: int) -> tuple[torch.Tensor, ...]:
    import torch

    past = (1, decoder.kv_heads, decoder.context, decoder.head_dim)
    return (
        torch.ones(1, length, dtype=torch.long),
        torch.arange(length)[None],
        torch.zeros(1, 1, length, decoder.context + length),
        *(torch.zeros(past) for _ in decoder.past_names()),
    )


def _check_shared(name: str, path: Path) -> None:
    """Each weight is read by every signature, or the file is larger by each that is not."""
    model = read_model(path)
    readers: dict[int, set[int]] = {}
    for entry in signatures(model):
        graph = model.subgraphs[entry.subgraph]
        for operator in graph.operators:
            for index in (index for index in operator.inputs if index >= 0):
                buffer = graph.tensors[index].buffer
                data = model.buffers[buffer].data if buffer else None
                if data is not None and len(data) > _SMALL:
                    readers.setdefault(buffer, set()).add(entry.subgraph)
    apart = {buffer: graphs for buffer, graphs in readers.items() if len(graphs) < len(signatures(model))}
    wasted = sum(len(model.buffers[buffer].data) for buffer in apart)
    total = sum(len(model.buffers[buffer].data) for buffer in readers)
    if wasted > total // 20:
        raise ConversionError(
            f"converting {name} to TFLite: {len(apart)} weights of {wasted} bytes are not shared by its signatures",
            "Convert it with one length only: --set interface.prefill=[1].",
        )
