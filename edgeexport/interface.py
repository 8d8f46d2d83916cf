"""Between samples, a source and an artifact: layout, padding, element types and integer inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from edgeexport.errors import SamplesError
from edgeexport.preprocess import ImagePreprocess, Preprocess, TokenizerPreprocess
from edgeexport.settings import Interface
from edgeexport.signature import Signature, TensorSpec

if TYPE_CHECKING:
    import numpy as np

Arrays = Mapping[str, "np.ndarray"]


def fitted(preprocess: Preprocess, signature: Signature, interface: Interface) -> Preprocess:
    """The source's preprocessing, giving what the artifact takes: padded to its lengths, in its layout and types.

    Integer inputs that stand for real numbers are left to :func:`quantize`.
    """
    if isinstance(preprocess, TokenizerPreprocess):
        dtype = next(spec.dtype for spec in signature.inputs)
        lengths = next(iter(signature.lengths.values()), preprocess.lengths)
        longest = min(preprocess.max_length, max(lengths, default=preprocess.max_length))
        return msgspec.structs.replace(preprocess, dtype=dtype, lengths=lengths, max_length=longest)
    if isinstance(preprocess, ImagePreprocess) and interface.channels_last:
        return msgspec.structs.replace(preprocess, layout="NHWC")
    if isinstance(preprocess, ImagePreprocess) and interface.images:
        return msgspec.structs.replace(preprocess, rescale=None, mean=None, std=None)
    return preprocess


def for_source(
    arrays: Arrays, source: Signature, preprocess: Preprocess, interface: Interface
) -> dict[str, np.ndarray]:
    """What the artifact takes, as real numbers, the way the source takes it, whose preprocessing is ``preprocess``."""
    import numpy as np

    given = {}
    for spec in source.inputs:
        array = arrays[spec.name]
        if interface.channels_last and is_image(spec, preprocess):
            array = np.ascontiguousarray(array.transpose(0, 3, 1, 2))
        if interface.images and isinstance(preprocess, ImagePreprocess) and spec.name == preprocess.input:
            array = preprocess.normalised(array)
        given[spec.name] = array.astype(spec.dtype, copy=False)
    return given


def is_image(spec: TensorSpec, preprocess: Preprocess) -> bool:
    """Whether an input of the source takes images with the axes batch, channels, height, width."""
    return isinstance(preprocess, ImagePreprocess) and preprocess.layout == "NCHW" and spec.name == preprocess.input


def quantize(arrays: Arrays, signature: Signature) -> dict[str, np.ndarray]:
    """Real inputs as the artifact takes them: ``integer = round(real / scale) + zero_point``, clipped to its type.

    Rounding is to the nearest, ties to even, as the runtimes' own QUANTIZE rounds on x86 and ARM.
    """
    import numpy as np

    given = {}
    for spec in signature.inputs:
        array = arrays[spec.name]
        if spec.scale is not None:
            limits = np.iinfo(spec.dtype)
            steps = np.rint(array / np.float32(spec.scale)) + (spec.zero_point or 0)
            array = np.clip(steps, limits.min, limits.max).astype(spec.dtype)
        given[spec.name] = array
    return given


def dequantize_inputs(arrays: Arrays, signature: Signature) -> dict[str, np.ndarray]:
    """The artifact's integer inputs as the real numbers that they stand for, in float32; others as they are."""
    import numpy as np

    scales = {spec.name: (spec.scale, spec.zero_point or 0) for spec in signature.inputs if spec.scale is not None}
    real = dict(arrays)
    for name, (scale, zero_point) in scales.items():
        real[name] = ((arrays[name].astype(np.int32) - zero_point) * np.float32(scale)).astype(np.float32)
    return real


def dequantize(outputs: Arrays, signature: Signature) -> dict[str, np.ndarray]:
    """The artifact's outputs as real numbers: ``real = scale * (integer - zero_point)``."""
    import numpy as np

    specs = {spec.name: spec for spec in signature.outputs}
    real = {}
    for name, array in outputs.items():
        spec = specs.get(name)
        if spec is not None and spec.scale is not None and array.dtype.kind == "i":
            array = ((array.astype(np.int32) - (spec.zero_point or 0)) * np.float32(spec.scale)).astype(np.float32)  # noqa: PLW2901
        real[name] = array
    return real


def clipped_share(arrays: Arrays, signature: Signature) -> float:
    """Share of real input values outside what the artifact's integer inputs can express."""
    import numpy as np

    outside = total = 0
    for spec in signature.inputs:
        if spec.scale is not None:
            limits = np.iinfo(spec.dtype)
            steps = np.rint(arrays[spec.name] / np.float32(spec.scale)) + (spec.zero_point or 0)
            outside += int(((steps < limits.min) | (steps > limits.max)).sum())
            total += steps.size
    return outside / total if total else 0.0


def check_same_scales(stated: Signature, stored: Signature, where: str) -> None:
    """Refuse a model whose integer inputs and outputs have other scales than a manifest states.

    Raises:
        SamplesError: naming the tensor and both scales.
    """
    known = {spec.name: spec for spec in (*stored.inputs, *stored.outputs)}
    for spec in (*stated.inputs, *stated.outputs):
        found = known.get(spec.name)
        if found is None or (found.dtype, found.scale, found.zero_point) != (spec.dtype, spec.scale, spec.zero_point):
            have = "missing" if found is None else f"{found.dtype}, scale {found.scale}, zero point {found.zero_point}"
            raise SamplesError(
                f"{where}: '{spec.name}' is stated as {spec.dtype}, scale {spec.scale}, zero point "
                f"{spec.zero_point}; in the model it is {have}",
                "Integers would be read as other numbers. Export the bundle again.",
            )
