"""A package's function as something to call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import torch

from edgeexport.errors import ModelError
from edgeexport.mil.blob import BlobFile
from edgeexport.mil.dtypes import Dtype
from edgeexport.mil.findings import Finding
from edgeexport.mil.machine import Machine, Mode, Watch
from edgeexport.mil.memory import claim, limited
from edgeexport.mil.package import Package
from edgeexport.mil.program import Function, Named, Reader

if TYPE_CHECKING:
    import numpy as np

_ITERATIONS = 1_000_000
_KINDS = {"float": "f", "bool": "b"}
"""Of arrays that are given for values; integers, signed or not, for all others."""


class Model:
    """One function of an ``.mlpackage``; see :func:`edgeexport.mil.load`.

    Attributes:
        inputs: names and types of what a call takes, states left out.
        states: names and types of states.
        outputs: names of what a call gives.
    """

    def __init__(self, path: Path, mode: Mode, function: str | None, largest: int) -> None:
        if mode not in get_args(Mode):
            raise ValueError(f"mode is 'exact' or 'device', not {mode!r}")
        self._largest = largest
        with limited(largest):
            try:
                chosen = functions(path, function)[0]
                self._machine = Machine(chosen, mode, _ITERATIONS)
            except ModelError as error:
                raise error if str(path) in str(error) else ModelError(f"{path}: {error}") from error
        self.inputs: tuple[Named, ...] = tuple(v for v in chosen.inputs if v.type.container != "state")
        self.states: tuple[Named, ...] = tuple(v for v in chosen.inputs if v.type.container == "state")
        self.outputs: tuple[str, ...] = chosen.block.outputs

    def __call__(
        self, inputs: Mapping[str, np.ndarray], state: dict[str, torch.Tensor] | None = None
    ) -> dict[str, np.ndarray]:
        """Run the function on arrays of the declared types; without ``state``, states begin at zero.

        Raises:
            ModelError: an input is missing, unknown, or has another type or shape; an operation failed.
        """
        return self.run(inputs, state)

    def run(
        self,
        inputs: Mapping[str, np.ndarray],
        state: dict[str, torch.Tensor] | None = None,
        watch: Watch | None = None,
    ) -> dict[str, Any]:
        """As calling the model; ``watch`` is told the name and tensor of every result as it is made."""
        with limited(self._largest):
            state = self.new_state() if state is None else state
            values = {**_tensors(inputs, self.inputs), **{value.name: value.name for value in self.states}}
            results = self._machine.run(values, state, watch)
        return {name: _array(result) for name, result in zip(self.outputs, results, strict=True)}

    def intermediates(self, inputs: Mapping[str, np.ndarray], names: Sequence[str] | None = None) -> dict[str, Any]:
        """The results of all operations, or of those that give ``names``, as arrays."""
        found: dict[str, Any] = {}
        wanted = None if names is None else set(names)

        def keep(name: str, tensor: torch.Tensor) -> None:
            if wanted is None or name in wanted:
                found[name] = tensor.numpy().copy()

        self.run(inputs, watch=keep)
        if wanted is not None and wanted - set(found):
            raise ModelError(f"no operation that ran gives '{min(wanted - set(found))}'")
        return found

    def new_state(self) -> dict[str, torch.Tensor]:
        """States at zero, for a sequence of calls that share them."""
        state = {}
        for value in self.states:
            shape = [1 if size is None else size for size in value.type.shape or ()]
            claim(shape, value.type.dtype.held.itemsize)
            state[value.name] = torch.zeros(shape, dtype=value.type.dtype.held)
        return state

    @property
    def findings(self) -> list[Finding]:
        """Results that left the range of float16, in any run so far; only in the mode ``device``."""
        return list(self._machine.findings.found.values())


def functions(path: Path, name: str | None = None) -> list[Function]:
    """The functions of a package, the one called ``name`` or the default one first.

    Raises:
        ModelError: it is damaged, holds something else, or has no such function.
    """
    package = Package(path)
    model = package.specification()
    if model.WhichOneof("Type") != "mlProgram":
        raise ModelError(f"{path} holds {model.WhichOneof('Type') or 'nothing'}, not an ML Program")

    @cache
    def file(name: str) -> BlobFile:
        return BlobFile(package.weights(name))

    def blob(name: str, offset: int, dtype: Dtype, shape: tuple[int, ...]) -> torch.Tensor:
        return file(name).tensor(offset, dtype, shape)

    found = Reader(blob).functions(model.mlProgram)
    name = name or model.description.defaultFunctionName or "main"
    if name not in found:
        raise ModelError(f"{path} has no function {name!r}; it has {', '.join(found) or 'none'}")
    return [found.pop(name), *found.values()]


def _tensors(inputs: Mapping[str, np.ndarray], declared: Sequence[Named]) -> dict[str, torch.Tensor]:
    import numpy as np

    unknown = set(inputs) - {value.name for value in declared}
    if unknown:
        known = ", ".join(value.name for value in declared)
        raise ModelError(f"the model has no input '{min(unknown)}'; it takes {known}")
    tensors = {}
    for value in declared:
        if value.name not in inputs:
            raise ModelError(f"the input '{value.name}' is missing")
        array = np.asarray(inputs[value.name])
        if array.dtype.kind not in _KINDS.get(value.type.dtype.kind, "iu"):
            raise ModelError(f"'{value.name}' is {value.type}, and {array.dtype} was given")
        shape = value.type.shape
        if shape is not None and (
            len(shape) != array.ndim or any(b is not None and a != b for a, b in zip(array.shape, shape, strict=True))
        ):
            raise ModelError(f"'{value.name}' is {value.type}, and an array of shape {list(array.shape)} was given")
        _see_range(value, array)
        held = torch.empty(0, dtype=value.type.dtype.held).numpy().dtype
        tensors[value.name] = torch.from_numpy(np.require(array, held, ("C", "W")))
    return tensors


def _see_range(value: Named, array: np.ndarray) -> None:
    """See that integers are of the declared type, whatever the array's is."""
    if array.dtype.kind not in "iu" or array.size == 0:
        return
    bits, signed = value.type.dtype.bits, value.type.dtype.kind == "int"
    least, most = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    low, high = int(array.min()), int(array.max())
    if low < least or high > most:
        raise ModelError(f"'{value.name}' is {value.type}, and {low if low < least else high} was given")


def _array(result: Any) -> Any:
    return result.numpy().copy() if isinstance(result, torch.Tensor) else result
