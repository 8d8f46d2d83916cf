"""What an app sees of a program: images where Vision expects them, and class labels with probabilities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgeexport.errors import RecipeError
from edgeexport.image_features import ImagePreprocess
from edgeexport.interface import is_image
from edgeexport.settings import Interface
from edgeexport.signature import TensorSpec
from edgeexport.source import Source

if TYPE_CHECKING:
    import torch

LABEL = "classLabel"
"""The name that Create ML's own classifiers have; their probabilities are under ``classLabel_probs``."""


def check(source: Source, interface: Interface) -> None:
    """Refuse an interface that the source cannot have.

    Raises:
        RecipeError: naming what is missing.
    """
    if interface.channels_last:
        raise RecipeError("Core ML takes images with channels first", "Leave interface.channels_last out.")
    if interface.images and not any(is_image(spec, source.preprocess) for spec in source.signature.inputs):
        raise RecipeError(
            f"{source.name} takes no images that its preprocessing describes", "Leave interface.images out."
        )
    if not interface.classifier:
        return
    labels, scores = source.labels or (), source.signature.outputs[0]
    if source.task != "classification" or not labels:
        raise RecipeError(
            f"{source.name} is no classifier with names for its classes",
            "Leave interface.classifier out, or name them: model.labels in a recipe, or id2label in config.json.",
        )
    if len(scores.shape) != 2 or scores.shape[1] != len(labels):
        raise RecipeError(
            f"{source.name} names {len(labels)} classes, and '{scores.name}' has the shape {list(scores.shape)}",
            "A classifier gives one score a class, [1, classes].",
        )
    if len(set(labels)) < len(labels):
        raise RecipeError(
            f"{source.name} has two classes of the same name, and Core ML gives probabilities by name",
            "Give every class a name of its own.",
        )


def wrap(module: torch.nn.Module, source: Source, interface: Interface) -> torch.nn.Module:
    """The module taking pixels of 0 to 255 in place of normalised ones, and giving probabilities after its outputs.

    ``ct.ImageType`` has one factor for all channels, where preprocessing divides each by its own standard deviation,
    so the program does both; on a device that is the same multiplication and addition.
    """
    import torch

    names = [spec.name for spec in source.signature.inputs]
    image = names.index(source.preprocess.input) if interface.images else -1  # type: ignore[union-attr]
    factor, offset = _scaling(source.preprocess) if interface.images else (None, None)

    class App(torch.nn.Module):
        factor: torch.Tensor
        offset: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.inner = module
            self.training = False  # not by eval(), which exported programs refuse: they are in it already
            if factor is not None:
                self.register_buffer("factor", torch.tensor(factor).reshape(1, 3, 1, 1))
                self.register_buffer("offset", torch.tensor(offset).reshape(1, 3, 1, 1))

        def forward(self, *arrays: torch.Tensor) -> tuple[torch.Tensor, ...]:
            given = list(arrays)
            if factor is not None:
                given[image] = given[image] * self.factor + self.offset
            outputs = self.inner(*given)
            outputs = (outputs,) if isinstance(outputs, torch.Tensor) else tuple(outputs)
            return (*outputs, torch.softmax(outputs[0], -1)) if interface.classifier else outputs

    return App() if interface.images or interface.classifier else module


def image_type(ct: Any, spec: TensorSpec, shape: tuple[int, ...], preprocess: ImagePreprocess) -> Any:
    """The declaration of an image input; the program takes its pixels as they are."""
    layout = ct.colorlayout.RGB if preprocess.channels == "RGB" else ct.colorlayout.BGR
    return ct.ImageType(name=spec.name, shape=shape, color_layout=layout)


def classifier_config(ct: Any, source: Source, probabilities: str) -> Any:
    """Labels for ``ct.convert``, and the name of the output with their probabilities."""
    return ct.ClassifierConfig(
        list(source.labels or ()), predicted_feature_name=LABEL, predicted_probabilities_output=probabilities
    )


def rename(ct: Any, model: Any, names: Mapping[str, str]) -> Any:
    """The model with other names for its outputs."""
    spec = model.get_spec()
    for old, new in names.items():
        ct.utils.rename_feature(spec, old, new, rename_inputs=False)
    return ct.models.MLModel(spec, weights_dir=model.weights_dir, skip_model_load=True)


def _scaling(preprocess: Any) -> tuple[list[float], list[float]]:
    """Factor and offset of each channel: ``(x · rescale − mean) / std``."""
    mean, std = preprocess.mean or (0.0,) * 3, preprocess.std or (1.0,) * 3
    rescale = 1.0 if preprocess.rescale is None else preprocess.rescale
    return [rescale / wide for wide in std], [-middle / wide for middle, wide in zip(mean, std, strict=True)]
