"""The table of operators: a name, the iOS release that defines it, and the function that executes it.

An operator is a plain function with the parameters of its specification. Annotations say what it takes, and the machine
converts constants once, when a program is loaded:

- ``Tensor``: a :class:`torch.Tensor`; floating elements are float32 whatever the program declares;
- ``Tensors``: a tuple of them, for parameters that take several values;
- ``int``, ``float``, ``bool``, ``str``: a scalar;
- ``Ints``, ``Bools``: a list, from a vector;
- ``Any``: whatever the program has, such as a list or a state;
- ``Call``: not a parameter of the program; it gives the operation, and runs its blocks.

A default of None is a parameter that may be left out. The function gives one tensor, or a tuple of as many as the
operation has outputs. The machine brings integers to the declared type and checks shapes, so that an operator need not.
An operator whose result can be larger than its operands calls :func:`edgeexport.mil.memory.claim` first.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import Any

import torch

from edgeexport.errors import ModelError
from edgeexport.mil.memory import claim
from edgeexport.mil.program import Operation

Tensor = torch.Tensor
Tensors = tuple[torch.Tensor, ...]
Ints = list[int]
Bools = list[bool]

_ITEM = 40
"""Bytes that a number takes in a list of Python's."""


@dataclass(frozen=True)
class Call:
    """What an operator may know of where it stands.

    Attributes:
        operation: with the declared types of its outputs.
        run_block: runs the operation's block of that number on values for its inputs; gives its outputs.
        iterate: to be called for each iteration of a loop; raises an error after too many.
        state: the states by name; writing replaces a value.
    """

    operation: Operation
    run_block: Callable[[int, Sequence[Any]], tuple[Any, ...]]
    iterate: Callable[[], None]
    state: dict[str, Tensor]


@dataclass(frozen=True)
class Op:
    """One row.

    Attributes:
        name: in the opset.
        since: the iOS release from which on this form of it holds.
        run: executes it.
        family: the module that has it.
        parameters: what it takes, by name, as annotated; without :class:`Call`.
        required: parameters without a default.
        wants_call: the name of the parameter that takes the :class:`Call`, if any.
    """

    name: str
    since: int
    run: Callable[..., Any]
    family: str
    parameters: dict[str, Any]
    required: frozenset[str]
    wants_call: str | None


_table: dict[str, list[Op]] = {}


_Function = typing.TypeVar("_Function", bound=Callable[..., Any])


def op(name: str, since: int = 15) -> Callable[[_Function], _Function]:
    """Enter a function as the operator ``name``, in the form that iOS ``since`` defines."""

    def enter(function: _Function) -> _Function:
        hints = typing.get_type_hints(function)
        given = inspect.signature(function).parameters
        call = next((key for key in given if hints[key] is Call), None)
        parameters = {key: _plain(hints[key]) for key in given if key != call}
        required = frozenset(key for key in parameters if given[key].default is inspect.Parameter.empty)
        family = function.__module__.rpartition(".")[2]
        _table.setdefault(name, []).append(Op(name, since, function, family, parameters, required, call))
        return function

    return enter


def executed() -> dict[str, list[Op]]:
    """All operators that are executed, each with its forms from the oldest on."""
    _load()
    return {name: sorted(forms, key=lambda form: form.since) for name, forms in sorted(_table.items())}


def refused() -> dict[str, str]:
    """Operators of the opset that are not executed, and why."""
    _load()
    from edgeexport.mil.ops import REFUSED

    return dict(REFUSED)


def find(name: str, opset: int) -> Op:
    """The form of an operator that a function of iOS ``opset`` uses.

    Raises:
        ModelError: it is refused, unknown, or younger than the function.
    """
    forms = executed_forms().get(name)
    if forms is None:
        reason = refused().get(name, "it is no operator of the opset up to iOS 18")
        raise ModelError(f"the operator {name!r} is not executed: {reason}")
    fitting = [form for form in forms if form.since <= opset]
    if not fitting:
        raise ModelError(f"the operator {name!r} is there from iOS {forms[0].since} on; the program is for iOS {opset}")
    return fitting[-1]


@cache
def executed_forms() -> dict[str, list[Op]]:
    """As :func:`executed`, built once."""
    return executed()


def convert(value: Any, kind: Any) -> Any:
    """Bring a constant or a computed value to what an operator's annotation asks for.

    Raises:
        ModelError: it has another form, such as a vector for a scalar.
    """
    # By value: typing makes generic aliases anew where it resolves annotations.
    if kind is Any or kind == Tensors:
        return value
    if kind is Tensor:
        if not isinstance(value, torch.Tensor):
            raise ModelError(f"a tensor is needed, and the program has {_shortly(value)}")
        return value
    if kind is str:
        if not isinstance(value, str):
            raise ModelError("text is needed, and the program has something else")
        return value
    if not isinstance(value, torch.Tensor):
        raise ModelError(f"numbers are needed, and the program has {_shortly(value)}")
    if kind in (Ints, Bools):
        claim(value.shape, _ITEM)
        return value.reshape(-1).tolist()
    if value.numel() != 1:
        raise ModelError(f"one number is needed, and the program has a tensor of shape {list(value.shape)}")
    return kind(value.item())


def _shortly(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _plain(hint: Any) -> Any:
    """The annotation without ``| None``."""
    if isinstance(hint, UnionType) or typing.get_origin(hint) is typing.Union:
        kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
        return kinds[0] if len(kinds) == 1 else Any
    return hint


def _load() -> None:
    from edgeexport.mil import ops

    ops.load_all()
