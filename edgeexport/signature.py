"""Names, element types and shapes of a model's inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
    """

    name: str
    dtype: str
    shape: tuple[Dimension, ...]

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
        return {"name": self.name, "dtype": self.dtype, "shape": list(self.shape)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TensorSpec:
        """The inverse of :meth:`to_dict`."""
        return cls(str(data["name"]), str(data["dtype"]), tuple(data["shape"]))


@dataclass(frozen=True)
class Signature:
    """A model's inputs and outputs, in the order the model declares them."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

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
            problem = spec.mismatch(feeds[spec.name])
            if problem is not None:
                raise SamplesError(f"{where}: {problem}", "Convert the samples, or check the preprocessing.")

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "inputs": [spec.to_dict() for spec in self.inputs],
            "outputs": [spec.to_dict() for spec in self.outputs],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Signature:
        """The inverse of :meth:`to_dict`."""
        return cls(
            tuple(TensorSpec.from_dict(spec) for spec in data["inputs"]),
            tuple(TensorSpec.from_dict(spec) for spec in data["outputs"]),
        )
