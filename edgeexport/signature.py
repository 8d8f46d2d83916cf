"""Names, element types and shapes of a model's inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from edgeexport.errors import SamplesError

if TYPE_CHECKING:
    import numpy as np

Dimension = int | str
"""A fixed length, or the name of a dynamic dimension such as ``batch`` or ``sequence``."""


@dataclass(frozen=True)
class TensorSpec:
    """One named tensor.

    Attributes:
        name: the name the runtime knows it by.
        dtype: a NumPy dtype name, such as ``float32`` or ``int64``.
        shape: one entry per axis; a string names a dynamic dimension.
        scale: of an integer tensor that stands for real numbers: ``real = scale * (integer - zero_point)``; None of
            any other.
        zero_point: the integer that stands for zero; None likewise.
    """

    name: str
    dtype: str
    shape: tuple[Dimension, ...]
    scale: float | None = None
    zero_point: int | None = None

    def real(self) -> TensorSpec:
        """The same tensor as real numbers, float32 where integers stand for them."""
        return self if self.scale is None else TensorSpec(self.name, "float32", self.shape)

    def mismatch(self, array: np.ndarray) -> str | None:
        """Say how ``array`` differs from this specification, or None where it fits."""
        if str(array.dtype) != self.dtype:
            return f"'{self.name}' has dtype {array.dtype}, the model takes {self.dtype}"
        if array.ndim != len(self.shape) or any(
            isinstance(want, int) and want != have for want, have in zip(self.shape, array.shape, strict=False)
        ):
            wanted = ", ".join(map(str, self.shape))
            return f"'{self.name}' has shape {list(array.shape)}, the model takes [{wanted}]"
        return None

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        plain: dict[str, Any] = {"name": self.name, "dtype": self.dtype, "shape": list(self.shape)}
        if self.scale is not None:
            plain.update(scale=self.scale, zero_point=self.zero_point)
        return plain

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TensorSpec:
        """The inverse of :meth:`to_dict`."""
        scale, zero_point = data.get("scale"), data.get("zero_point")
        return cls(
            str(data["name"]),
            str(data["dtype"]),
            tuple(data["shape"]),
            None if scale is None else float(scale),
            None if zero_point is None else int(zero_point),
        )


@dataclass(frozen=True)
class Signature:
    """A model's inputs and outputs, in the order the model declares them.

    Attributes:
        lengths: the only lengths that a named dimension takes, ascending; one that is not here takes any.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    lengths: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def real(self) -> Signature:
        """The same with real numbers wherever integers stand for them: what samples and the source have."""
        inputs, outputs = (tuple(spec.real() for spec in specs) for specs in (self.inputs, self.outputs))
        return replace(self, inputs=inputs, outputs=outputs)

    def check(self, feeds: Mapping[str, np.ndarray], where: str) -> None:
        """Refuse feeds whose names, dtypes or shapes are not the model's.

        Args:
            feeds: one array per input name.
            where: the file or sample, for the message.

        Raises:
            SamplesError: naming the first mismatch.
        """
        names = [spec.name for spec in self.inputs]
        if set(feeds) != set(names):
            raise SamplesError(
                f"{where}: arrays are named {sorted(feeds)}, the model's inputs are {names}",
                "Rename the arrays to the model's input names; `edgeexport inspect MODEL` lists them.",
            )
        for spec in self.inputs:
            problem = spec.mismatch(feeds[spec.name]) or self._wrong_length(spec, feeds[spec.name])
            if problem is not None:
                raise SamplesError(f"{where}: {problem}", "Convert the samples, or check the preprocessing.")

    def _wrong_length(self, spec: TensorSpec, array: np.ndarray) -> str | None:
        for dimension, length in zip(spec.shape, array.shape, strict=True):
            allowed = self.lengths.get(str(dimension), (length,))
            if length not in allowed:
                return f"'{spec.name}' has {dimension} {length}, the model takes {', '.join(map(str, allowed))}"
        return None

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        plain: dict[str, Any] = {
            "inputs": [spec.to_dict() for spec in self.inputs],
            "outputs": [spec.to_dict() for spec in self.outputs],
        }
        if self.lengths:
            plain["lengths"] = {name: list(lengths) for name, lengths in self.lengths.items()}
        return plain

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Signature:
        """The inverse of :meth:`to_dict`."""
        return cls(
            tuple(TensorSpec.from_dict(spec) for spec in data["inputs"]),
            tuple(TensorSpec.from_dict(spec) for spec in data["outputs"]),
            {str(name): tuple(map(int, lengths)) for name, lengths in data.get("lengths", {}).items()},
        )
