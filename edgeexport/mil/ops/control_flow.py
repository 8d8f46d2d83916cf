"""Branches, loops, lists, and the result of a classifier (all since iOS 15)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from edgeexport.errors import ModelError
from edgeexport.mil.dtypes import BY_NAME
from edgeexport.mil.memory import OBJECT, claim
from edgeexport.mil.table import Call, Ints, Tensor, Tensors, op


@op("cond")
def cond(pred: bool, call: Call) -> tuple[Any, ...]:
    """What the first block gives where pred holds, else what the second gives."""
    return call.run_block(0 if pred else 1, ())


@op("while_loop")
def while_loop(loop_vars: Tensors, call: Call) -> tuple[Any, ...]:
    """The values, replaced by what the second block gives of them for as long as the first gives true."""
    values: tuple[Any, ...] = loop_vars
    while True:
        (more,) = call.run_block(0, values)
        if not bool(more):
            return values
        call.iterate()
        values = call.run_block(1, values)


@op("select")
def select(cond: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """a where cond holds, else b, broadcast."""
    claim(torch.broadcast_shapes(cond.shape, a.shape, b.shape), a.element_size())  # type: ignore[no-untyped-call]
    return torch.where(cond, a, b)


@dataclass(frozen=True)
class MilList:
    """A list of tensors of one shape; writing gives another list.

    Attributes:
        elements: None where nothing is written yet.
        shape: of an element; None for a size that is known when the program runs, and as a whole where none is said.
        dtype: of an element, as it is held.
        dynamic: whether writing past the end makes it longer.
    """

    elements: tuple[Tensor | None, ...]
    shape: tuple[int | None, ...] | None
    dtype: torch.dtype
    dynamic: bool

    def read(self, index: int) -> Tensor:
        """The element, zeros where nothing is written."""
        if not 0 <= index < len(self.elements):
            raise ModelError(f"the index {index} is out of range of a list of {len(self.elements)}")
        element = self.elements[index]
        if element is not None:
            return element
        if self.shape is None or None in self.shape:
            raise ModelError(f"the element {index} of a list is read before it is written, and its shape is not known")
        sizes = [size or 0 for size in self.shape]
        claim(sizes, self.dtype.itemsize)
        return torch.zeros(sizes, dtype=self.dtype)

    def write(self, indices: Ints, values: list[Tensor]) -> MilList:
        """The list with the values at the indices."""
        last = max(indices, default=-1)
        if min(indices, default=0) < 0 or (last >= len(self.elements) and not self.dynamic):
            wrong = min(indices) if min(indices) < 0 else last
            raise ModelError(f"the index {wrong} is out of range of a list of {len(self.elements)}")
        for value in values:
            if self.shape is not None and not _fits(tuple(value.shape), self.shape):
                raise ModelError(f"an element of shape {list(value.shape)} in a list of shape {list(self.shape)}")
        length = max(last + 1, len(self.elements))
        claim((length,), 8)
        elements = list(self.elements) + [None] * (length - len(self.elements))
        for index, value in zip(indices, values, strict=True):
            elements[index] = value
        return replace(self, elements=tuple(elements))


def _fits(found: tuple[int, ...], declared: tuple[int | None, ...]) -> bool:
    return len(found) == len(declared) and all(b is None or a == b for a, b in zip(found, declared, strict=True))


def _list(value: Any) -> MilList:
    if not isinstance(value, MilList):
        raise ModelError("a list is needed, and the program has something else")
    return value


@op("make_list")
def make_list(
    elem_shape: Any = None, init_length: int = 1, dynamic_length: bool = True, dtype: str = "fp32"
) -> MilList:
    """A list of init_length elements of a shape, whose named sizes are known later; it grows if dynamic_length."""
    if dtype not in BY_NAME:
        raise ModelError(f"a list of elements of the type {dtype!r}, which is not known")
    kind = BY_NAME[dtype].held
    parts = elem_shape if isinstance(elem_shape, tuple) or elem_shape is None else (elem_shape,)
    shape = None
    if parts is not None:
        shape = tuple(size for part in parts for size in _sizes(part))
        # What an element takes that was never written; and the list itself.
        claim((init_length, *(size for size in shape if size is not None)), kind.itemsize)
    claim((init_length,), 8)
    return MilList((None,) * init_length, shape, kind, dynamic_length)


def _sizes(part: Any) -> list[int | None]:
    return part.reshape(-1).tolist() if isinstance(part, torch.Tensor) else [None]


@op("list_length")
def list_length(ls: Any) -> Tensor:
    """How many elements a list has."""
    return torch.tensor(len(_list(ls).elements), dtype=torch.int32)


@op("list_read")
def list_read(ls: Any, index: int) -> Tensor:
    """The element at index, zeros where none is written."""
    return _list(ls).read(index)


@op("list_write")
def list_write(ls: Any, index: int, value: Tensor) -> MilList:
    """The list with value at index."""
    return _list(ls).write([index], [value])


@op("list_gather")
def list_gather(ls: Any, indices: Ints) -> Tensor:
    """The elements at indices along a new first axis."""
    found = _list(ls)
    if not indices:
        sizes = [size or 0 for size in found.shape or ()]
        return torch.zeros([0, *sizes], dtype=found.dtype)
    first = found.read(indices[0])
    claim((len(indices), *first.shape), first.element_size())
    elements = [found.read(index) for index in indices]
    if any(element.shape != first.shape for element in elements):
        raise ModelError("elements of a list have different shapes")
    return torch.stack(elements)


@op("list_scatter")
def list_scatter(ls: Any, indices: Ints, value: Tensor) -> MilList:
    """The list with value[i] at indices[i]."""
    if value.dim() == 0 or value.shape[0] != len(indices):
        raise ModelError(f"a value of shape {list(value.shape)} for {len(indices)} indices")
    claim((len(indices),), OBJECT)
    return _list(ls).write(indices, list(value))


@op("classify")
def classify(probabilities: Tensor, classes: Any) -> tuple[Any, ...]:
    """The class of the largest probability, and a dictionary of the probability of each class."""
    if not isinstance(classes, list | tuple | torch.Tensor):
        raise ModelError("classes are needed, and the program has something else")
    if len(classes) != probabilities.numel() or not len(classes):
        raise ModelError(f"{probabilities.numel()} probabilities of {len(classes)} classes")
    claim((len(classes),), OBJECT)
    labels = [label.item() if isinstance(label, torch.Tensor) else label for label in classes]
    values = probabilities.reshape(-1).tolist()
    return labels[int(probabilities.reshape(-1).argmax())], dict(zip(labels, values, strict=True))
