"""Source: the float32 model that everything else is compared with."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from edgeexport.errors import ModelError
from edgeexport.preprocess import Preprocess
from edgeexport.signature import Signature

if TYPE_CHECKING:
    import numpy as np
    import torch

    from edgeexport.decoder import Decoder
    from edgeexport.settings import Interface

Task = Literal["classification", "regression", "embedding", "generation", "generic"]
"""``classification``: the first output holds one score a class, last axis; ``regression``: it holds numbers, judged by
R² (see :mod:`edgeexport.verify.accuracy`); ``embedding``: it holds one vector a sample, compared by cosine;
``generation``: a language model, judged by perplexity and its likeliest tokens; ``generic``: outputs are compared as
numbers and there is no task metric."""

LABELLED: tuple[Task, ...] = ("classification", "regression")
"""Tasks whose metric compares with labels."""


@dataclass(frozen=True)
class SourceOptions:
    """What a user may say about a source.

    Attributes:
        trust_remote_code: let a Transformers folder run Python code of its own.
    """

    trust_remote_code: bool = False


class Source(abc.ABC):
    """A model to export. Opening one is cheap; weights are loaded when a property needs them.

    Attributes:
        name: for reports.
        preprocess: from raw samples to the model's inputs.
        assets: the folder that holds the files ``preprocess`` names, or None.
        task: what the outputs mean.
        labels: class names by index, or None.
        decoder: how the exported model is driven, of a language model with a cache; None of any other.
    """

    decoder: Decoder | None = None
    name: str
    preprocess: Preprocess
    assets: Path | None
    task: Task
    labels: tuple[str, ...] | None

    @abc.abstractmethod
    def fingerprint(self) -> str:
        """SHA-256 over everything that decides the outputs: weights, configuration, code."""

    @property
    @abc.abstractmethod
    def signature(self) -> Signature:
        """Inputs and outputs, with named dynamic dimensions."""

    @property
    @abc.abstractmethod
    def float32_bytes(self) -> int:
        """Four bytes for every unique parameter and floating-point buffer; tied weights count once."""

    @abc.abstractmethod
    def reference(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The float32 outputs for one sample, by output name."""

    @abc.abstractmethod
    def write_onnx(self, path: Path) -> None:
        """Write the model as float32 ONNX, with the names of :attr:`signature`.

        Raises:
            ConversionError: the exporter cannot.
        """

    def module(self) -> torch.nn.Module:
        """The model as a torch module that takes the signature's inputs in order and returns a tuple of outputs.

        Raises:
            ModelError: this kind of source has none.
        """
        raise ModelError(f"{self.name} cannot be had as a torch module")

    def exported(self, interface: Interface) -> Source:
        """The model as it is exported: itself, but for a language model, which gets a cache.

        Raises:
            ModelError, RecipeError: that is not possible, or not with this interface.
        """
        del interface
        return self

    def editable(self) -> Editable:
        """A copy of the model for compression to change.

        Raises:
            ModelError: this kind of source cannot be changed and written again.
        """
        raise ModelError(
            f"{self.name} cannot be trained or changed: its graph is fixed",
            "Start from the Transformers folder or the package.module:factory that it was made from.",
        )


class Editable(abc.ABC):
    """A float32 copy of a source's model, to be changed and written to a folder that opens as a source again.

    Attributes:
        name: the source's.
        model: the torch module, on the CPU, in evaluation mode, its parameters taking gradients. For a Transformers
            folder the ``PreTrainedModel`` itself, with its ``config``.
        inputs: names of what :meth:`run` takes.
        outputs: names of what it gives.
    """

    name: str
    model: torch.nn.Module
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @abc.abstractmethod
    def run(self, inputs: Mapping[str, torch.Tensor], **more: bool) -> dict[str, torch.Tensor]:
        """The outputs by name for a batch of inputs by name, on the model's device and in its mode.

        Args:
            inputs: tensors whose first axis is the batch.
            more: ``output_hidden_states`` and ``output_attentions`` of Transformers models, whose tuples are then
                there under ``hidden_states`` and ``attentions``.
        """

    @abc.abstractmethod
    def replaced(self, model: torch.nn.Module) -> Editable:
        """The same with another model in place of this one, such as a smaller one of the same architecture."""

    @abc.abstractmethod
    def save(self, folder: Path) -> None:
        """Write weights as safetensors, and everything else that the source had, to the empty ``folder``.

        Raises:
            ModelError: the model's values are not finite.
        """


@dataclass
class TorchReference:
    """Runs a torch module on named arrays; what the torch-based sources share.

    One thread: at batch 1 more gain little, cost twenty times the time where another process has a core, and make the
    last bits of the outputs depend on how many cores a machine has.
    """

    module: torch.nn.Module
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]

    def __call__(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """One sample through the module, without gradients."""
        import torch

        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with torch.inference_mode():
                outputs = self.module(*(torch.from_numpy(feeds[name].copy()) for name in self.input_names))
        finally:
            torch.set_num_threads(threads)
        if isinstance(outputs, torch.Tensor):
            outputs = (outputs,)
        return {
            name: output.float().numpy() if output.is_floating_point() else output.numpy()
            for name, output in zip(self.output_names, outputs, strict=True)
        }


def float32_bytes(module: torch.nn.Module) -> int:
    """Bytes of a module's parameters and floating-point buffers in float32; a tied tensor counts once."""
    seen = {}
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.is_floating_point():
            seen[(tensor.data_ptr(), tensor.numel())] = tensor.numel()
    return 4 * sum(seen.values())
