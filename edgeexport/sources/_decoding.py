"""A causal language model as it is exported: one function of new tokens and a cache, whatever its architecture.

Transformers lets cache and attention be replaced. The cache here only notes what a pass adds, and the attention reads
the past from where it lies: nothing of the past is copied, joined or returned.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import redirect_stdout
from functools import cached_property
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeexport.decoder import LONGEST_CONTEXT, Decoder, decoding_signature, text_signature
from edgeexport.errors import ConversionError, ModelError, RecipeError
from edgeexport.quiet import native_output
from edgeexport.settings import Interface
from edgeexport.signature import Signature
from edgeexport.source import Source, Task
from edgeexport.sources._naming import name_by_module

if TYPE_CHECKING:
    import numpy as np
    import torch

_TOLERANCE = 1e-4
_OPSET = 18
_PREFILL = 3
_PAST = 5
_POSITIONS = ("max_position_embeddings", "n_positions", "max_sequence_length")


class DecodingSource(Source):
    """See :class:`edgeexport.source.Source`. A sample is a text, and its outputs say how likely it is.

    Args:
        source: the model folder's; its preprocessing gives ``input_ids``.
        model: the ``PreTrainedModel``.
        interface: its ``context`` and ``prefill``.

    Raises:
        ModelError: the model's attention cannot be replaced, or keeps something else than keys and values.
        RecipeError: it has not so many positions.
    """

    task: Task = "generation"
    labels = None
    decoder: Decoder

    def __init__(self, source: Source, model: Any, interface: Interface) -> None:
        self._source, self._model = source, model
        self.name, self.preprocess, self.assets = source.name, source.preprocess, source.assets
        self.decoder = _describe(model, self.name, interface)

    def fingerprint(self) -> str:
        """The folder's."""
        return self._source.fingerprint()

    @property
    def signature(self) -> Signature:
        """Of a text, not of the function; see :func:`edgeexport.decoder.text_signature`."""
        return text_signature(self.decoder)

    @property
    def float32_bytes(self) -> int:
        """See :class:`Source`."""
        return self._source.float32_bytes

    def reference(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """How likely a text is, by Transformers' own attention without a cache."""
        import torch

        from edgeexport.runtimes.decoder import likelihood

        ids = feeds["input_ids"]
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with torch.inference_mode():
                logits = self._model(input_ids=torch.from_numpy(ids.copy()), use_cache=False).logits
        finally:
            torch.set_num_threads(threads)
        found: dict[str, np.ndarray] = likelihood([logits[0].float().numpy()], ids[0])
        return found

    def module(self) -> torch.nn.Module:
        """The function of :func:`edgeexport.decoder.decoding_signature`, with the weights of :meth:`reference`."""
        return self._module

    @cached_property
    def _module(self) -> torch.nn.Module:
        from edgeexport.sources._cached_attention import CachedDecoder, differs

        shared = {id(tensor): tensor for tensor in (*self._model.parameters(), *self._model.buffers())}
        made = CachedDecoder(copy.deepcopy(self._model, shared)).eval()
        try:
            apart = differs(made, self._model, (self.decoder.kv_heads, self.decoder.head_dim), self.decoder.layers)
            problem = "" if apart <= _TOLERANCE else f"its logits were {apart:.2g} apart from the model's own"
        except (RuntimeError, ValueError, TypeError, AttributeError, IndexError) as error:
            problem = f"{type(error).__name__}: {error}"
        if problem:
            raise ModelError(
                f"{self.name} cannot be exported with a cache: {problem}",
                "Export it as one pass over the whole text: --set model.task=generic.",
            )
        return made

    def write_onnx(self, path: Path) -> None:
        """Export by torch's exporter, with any number of new tokens and of slots."""
        import warnings

        import torch

        signature = decoding_signature(self.decoder)
        example = example_inputs(self.decoder, _PREFILL, _PAST)
        dynamic = torch.export.Dim.DYNAMIC
        shapes = tuple(
            {axis: dynamic for axis, length in enumerate(spec.shape) if isinstance(length, str)}
            for spec in signature.inputs
        )
        with warnings.catch_warnings(), native_output(), redirect_stdout(StringIO()):
            warnings.simplefilter("ignore")
            try:
                program = torch.onnx.export(
                    self.module(),
                    example,
                    dynamo=True,
                    opset_version=_OPSET,
                    dynamic_shapes=(*shapes[:3], shapes[3:]),
                    input_names=[spec.name for spec in signature.inputs],
                    output_names=[spec.name for spec in signature.outputs],
                    verbose=False,
                )
                assert program is not None
                name_by_module(program.model.graph, "model")
                model = program.model_proto
            except Exception as error:
                raise ConversionError(
                    f"exporting {self.name} to ONNX failed: {type(error).__name__}: {error}"
                ) from error
        _write(model, signature, path)


def example_inputs(decoder: Decoder, length: int, slots: int) -> tuple[torch.Tensor, ...]:
    """Inputs of the function for ``length`` tokens that see ``slots`` of zeros; in its order."""
    import torch

    past = torch.zeros(1, decoder.kv_heads, slots, decoder.head_dim)
    return (
        torch.zeros(1, length, dtype=torch.long),
        torch.arange(length)[None],
        torch.zeros(1, 1, length, slots + length),
        *(past.clone() for _ in decoder.past_names()),
    )


def _write(model: Any, signature: Signature, path: Path) -> None:
    """Save the model with the signature's names of dimensions."""
    import onnx

    for values, specs in ((model.graph.input, signature.inputs), (model.graph.output, signature.outputs)):
        for value, spec in zip(values, specs, strict=True):
            for dimension, length in zip(value.type.tensor_type.shape.dim, spec.shape, strict=True):
                if isinstance(length, str):
                    dimension.dim_param = length
                else:
                    dimension.dim_value = length
    del model.graph.value_info[:]  # which speak of the dimensions by other names
    del model.functions[:]
    onnx.save(model, str(path))


def _describe(model: Any, name: str, interface: Interface) -> Decoder:
    from edgeexport.sources._cached_attention import obstacle

    config = model.config.get_text_config()
    heads = int(config.num_attention_heads)
    positions = next((int(getattr(config, key)) for key in _POSITIONS if getattr(config, key, None)), LONGEST_CONTEXT)
    rotary = any("rotary" in part for part, _ in model.named_modules())
    if interface.context > positions:
        raise RecipeError(
            f"{name} has {positions} positions, and interface.context asks for {interface.context}",
            "Give it fewer.",
        )
    context = interface.context or min(positions, LONGEST_CONTEXT)
    problem = obstacle(model, context)
    if problem:
        raise ModelError(
            f"{name} cannot be exported with a cache: {problem}",
            "Without one, as one pass over the whole text, it can: --set model.task=generic.",
        )
    if any(length > context for length in interface.prefill):
        raise RecipeError(
            f"interface.prefill has {max(interface.prefill)} tokens at once, more than the context of {context}",
            "Give it shorter pieces.",
        )
    return Decoder(
        layers=int(config.num_hidden_layers),
        kv_heads=int(getattr(config, "num_key_value_heads", None) or heads),
        head_dim=int(getattr(config, "head_dim", None) or config.hidden_size // heads),
        context=context,
        vocabulary=int(config.vocab_size),
        slides=rotary,
        stop_ids=_stop_ids(model),
    )


def _stop_ids(model: Any) -> tuple[int, ...]:
    """Those of ``generation_config.json``, or else of ``config.json``."""
    for config in (getattr(model, "generation_config", None), model.config):
        stop = getattr(config, "eos_token_id", None)
        if stop is not None:
            return tuple(int(token) for token in (stop if isinstance(stop, list | tuple) else [stop]))
    return ()
