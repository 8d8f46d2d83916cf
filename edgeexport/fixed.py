"""Dimensions of a source for a format whose artifacts have fixed shapes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from edgeexport.errors import ModelError, RecipeError
from edgeexport.preprocess import ImagePreprocess, TokenizerPreprocess
from edgeexport.settings import Interface
from edgeexport.signature import TensorSpec
from edgeexport.source import Source

_REFUSED = {"complex64", "complex128"}


@dataclass(frozen=True)
class Dimensions:
    """What each dynamic dimension becomes.

    Attributes:
        fixed: dimensions with one length, such as the batch with 1.
        free: the one that may have several, or None.
        lengths: of ``free``, ascending; empty without one.
    """

    fixed: dict[str, int]
    free: str | None
    lengths: tuple[int, ...]

    def shape(self, spec: TensorSpec, length: int) -> tuple[int, ...]:
        """The shape of an input at one length of the free dimension."""
        known = {**self.fixed, **({self.free: length} if self.free else {})}
        return tuple(size if isinstance(size, int) else known[size] for size in spec.shape)


def fixed_dimensions(source: Source, interface: Interface, title: str) -> Dimensions:
    """A length for every dynamic dimension but one, which takes ``interface.lengths``.

    Args:
        source: whose inputs have named dimensions.
        interface: with the lengths.
        title: the format, for messages.

    Raises:
        ModelError: an input has a dtype that no such format has.
        RecipeError: more than one dimension is left, no length is given for it, or one that the model does not take.
    """
    signature = source.signature
    firsts = [spec.shape[0] for spec in (*signature.inputs, *signature.outputs) if spec.shape]
    fixed = {length: 1 for length in firsts if isinstance(length, str)}
    for spec in signature.inputs:
        if spec.dtype in _REFUSED:
            raise ModelError(f"{source.name}: {title} has no inputs of dtype {spec.dtype} ('{spec.name}')")
        if isinstance(source.preprocess, ImagePreprocess) and spec.name == source.preprocess.input:
            sizes = _image_size(source.preprocess, title)
            shape = (1, 3, *sizes) if source.preprocess.layout == "NCHW" else (1, *sizes, 3)
            fixed.update({name: size for name, size in zip(spec.shape, shape, strict=True) if isinstance(name, str)})
    dynamic = dict.fromkeys(name for spec in signature.inputs for name in spec.shape if isinstance(name, str))
    free = [name for name in dynamic if name not in fixed]
    if len(free) > 1:
        raise RecipeError(
            f"{source.name}: {title} has fixed shapes, and the dimensions {', '.join(free)} are all dynamic",
            "Leave all but one out of the module's dynamic_axes.",
        )
    if free and not interface.lengths:
        raise RecipeError(
            f"{source.name}: {title} has fixed shapes, and no length is given for '{free[0]}'",
            "Give the lengths to convert for, such as --set interface.lengths=[64,128].",
        )
    if free:
        check_lengths(source, interface.lengths)
    return Dimensions(fixed, free[0] if free else None, tuple(sorted(set(interface.lengths))) if free else ())


def check_lengths(source: Source, lengths: Collection[int]) -> None:
    """Refuse lengths of a text that a model does not take, such as more tokens than it has positions.

    A length within what the tokenizer gives is not tried.

    Raises:
        RecipeError: with the longest that the tokenizer gives.
    """
    import numpy as np

    longest = source.preprocess.max_length if isinstance(source.preprocess, TokenizerPreprocess) else None
    for length in lengths if longest is not None else ():
        if length <= (longest or 0):
            continue
        feeds = {spec.name: np.zeros(_at(spec, length), spec.dtype) for spec in source.signature.inputs}
        try:
            source.reference(feeds)
        except (RuntimeError, IndexError, ValueError) as error:
            raise RecipeError(
                f"{source.name} does not take texts of {length} tokens, which interface.lengths asks for; its "
                f"tokenizer gives {longest} at most",
                f"Give the lengths that it takes: --set interface.lengths=[{longest}].",
            ) from error


def _at(spec: TensorSpec, length: int) -> list[int]:
    """One sample's shape, its dynamic dimensions beside the batch of this length."""
    return [size if isinstance(size, int) else length if axis else 1 for axis, size in enumerate(spec.shape)]


def _image_size(preprocess: ImagePreprocess, title: str) -> tuple[int, int]:
    if preprocess.crop is not None:
        return preprocess.crop
    if isinstance(preprocess.resize, tuple):
        return preprocess.resize
    raise RecipeError(
        f"{title} has fixed shapes, and the image preprocessing gives images of any size",
        "Give it a crop, or a resize to height and width.",
    )
