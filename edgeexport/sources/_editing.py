"""Models that compression changes and writes again: of Transformers folders, and of torch factories."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeexport.compression import RECORD
from edgeexport.errors import ModelError
from edgeexport.source import Editable

if TYPE_CHECKING:
    import torch

_CARRIED = ("*.json", "*.txt", "*.model", "*.jinja", "*.py", "*/config.json")
"""Files of a model folder that go along: tokenizer, image processor, pooling, code."""
_LEFT = ("model.safetensors.index.json", "pytorch_model.bin.index.json", RECORD)
"""But not these: they are of the weights as they were."""

FACTORY = "factory.json"
"""Names the factory that makes the module which a folder's ``model.safetensors`` belongs to."""
STATE = "model.safetensors"


@dataclass(frozen=True)
class EditableTransformers(Editable):
    """See :class:`~edgeexport.source.Editable`.

    Attributes:
        folder: whose other files are taken along.
        prepare: what to do to a model of this architecture before it gives the source's outputs, or None.
    """

    name: str
    model: Any
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    folder: Path
    prepare: Callable[[Any], None] | None

    def run(self, inputs: Mapping[str, torch.Tensor], **more: bool) -> dict[str, torch.Tensor]:
        """See :class:`~edgeexport.source.Editable`."""
        given = {name: inputs[name] for name in self.inputs}
        result = self.model(**given, **more)
        wanted = (*self.outputs, *(key.removeprefix("output_") for key in more))
        return {name: result[name] for name in wanted}

    def replaced(self, model: torch.nn.Module) -> EditableTransformers:
        """See :class:`~edgeexport.source.Editable`."""
        if self.prepare is not None:
            self.prepare(model)
        return replace(self, model=model)

    def save(self, folder: Path) -> None:
        """See :class:`~edgeexport.source.Editable`."""
        _check_finite(self.model, self.name)
        for path in {path for pattern in _CARRIED for path in self.folder.glob(pattern) if path.is_file()}:
            if path.name not in _LEFT:
                place = folder / path.relative_to(self.folder)
                place.parent.mkdir(exist_ok=True)
                shutil.copyfile(path, place)
        self.model.save_pretrained(folder, safe_serialization=True)


@dataclass(frozen=True)
class EditableTorch(Editable):
    """See :class:`~edgeexport.source.Editable`.

    Attributes:
        factory: ``package.module:factory``, which makes the module again.
    """

    name: str
    model: torch.nn.Module
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    factory: str

    def run(self, inputs: Mapping[str, torch.Tensor], **more: bool) -> dict[str, torch.Tensor]:
        """See :class:`~edgeexport.source.Editable`."""
        if any(more.values()):
            raise ModelError(
                f"{self.name} is a torch module of its own, whose hidden states and attentions have no known names",
                "Leave the transfer of hidden states and attentions out.",
            )
        found = self.model(*(inputs[name] for name in self.inputs))
        several = found if isinstance(found, tuple | list) else (found,)
        return dict(zip(self.outputs, several, strict=True))

    def replaced(self, model: torch.nn.Module) -> EditableTorch:
        """See :class:`~edgeexport.source.Editable`."""
        return replace(self, model=model)

    def save(self, folder: Path) -> None:
        """See :class:`~edgeexport.source.Editable`."""
        from safetensors.torch import save_model

        _check_finite(self.model, self.name)
        save_model(self.model, str(folder / STATE))  # tensors that the module shares are stored once
        (folder / FACTORY).write_text(json.dumps({"factory": self.factory}, indent=2) + "\n")


def _check_finite(model: torch.nn.Module, name: str) -> None:
    import torch

    for key, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ModelError(
                f"{name}: the weight '{key}' is not finite; nothing was written", "Lower the learning rate."
            )
