"""Follow channels through a model's graph: which weights may be scaled together without changing an output.

Every real tensor of the graph has an integer tensor of its shape: the channel of each element (see
:class:`~edgeexport.compress._channels.Channels`). An operator that moves elements, such as a reshape, is run on these
integers; one that commutes with a positive scale passes them on; one that does not fixes them. What is not known is
fixed, so that a missing rule costs an opportunity and never an output.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch

from edgeexport.compress._channels import Channels

PREFIX = "model."
OUTPUT, INPUT, CONSTANT, SHARED = "model output", "model input", "constant", "shared weight"


@dataclass(frozen=True)
class Parameter:
    """A parameter where the graph reads it.

    Attributes:
        name: in the model's state.
        shape: its own.
        shared: whether it is read in several places, so that no scale may go into it.
    """

    name: str
    shape: tuple[int, ...]
    shared: bool


@dataclass(frozen=True)
class Edit:
    """What a scale does to a parameter: times that of ``gives``, over that of ``takes``.

    Attributes:
        gives: channels that it makes, broadcastable to its shape; None where there are none.
        takes: channels that it reads, likewise.
        role: ``layer`` for a weight that int8 rounds, ``norm`` for one that scales channels, ``other`` for a bias.
        inputs: of a layer's weight, the channels of the layer's input, one axis.
    """

    gives: np.ndarray | None = None
    takes: np.ndarray | None = None
    role: Literal["layer", "norm", "other"] = "other"
    inputs: np.ndarray | None = None


@dataclass(frozen=True)
class Folded:
    """A BatchNorm right behind a convolution, into which converters fold it.

    Attributes:
        weight: the convolution's weight.
        variance: the norm's running variance.
        epsilon: that is added to it.
    """

    weight: str
    variance: str
    epsilon: float


@dataclass
class Traced:
    """What was found.

    Attributes:
        channels: and how they are tied.
        edits: by the parameter's name.
        folded: by the name of the BatchNorm's weight.
    """

    channels: Channels = field(default_factory=Channels)
    edits: dict[str, Edit] = field(default_factory=dict)
    folded: dict[str, Folded] = field(default_factory=dict)


class Tracer:
    """Walks an exported program once.

    Args:
        program: of a module whose parameters are under ``model.``
        rules: what operators do, by their names; see :mod:`edgeexport.compress._rules`.
    """

    def __init__(self, program: Any, rules: Mapping[str, Callable[..., Any]]) -> None:
        self._rules = rules
        self.found = Traced()
        self.channels = self.found.channels
        self._program = program
        self._values: dict[Any, Any] = {}
        signature = program.graph_signature
        self.names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        self._parameters = set(signature.inputs_to_parameters)
        self._uses = self._count_uses()

    def run(self) -> Traced:
        """What was found."""
        for node in self._program.graph.nodes:
            if node.op == "placeholder":
                self._values[node] = self._placeholder(node)
            elif node.op == "output":
                for value in self._labelled(node.args):
                    self.channels.fix(value.numpy(), OUTPUT)
            elif node.op == "call_function":
                self._values[node] = self._call(node)
        return self.found

    def _placeholder(self, node: Any) -> Any:
        value = node.meta.get("val")
        if not isinstance(value, torch.Tensor) or not value.is_floating_point():
            return None
        if node.name in self._parameters:
            name = self.names[node.name]
            return Parameter(name.removeprefix(PREFIX), tuple(value.shape), self._uses[self._storage(name)] > 1)
        return self.filled(INPUT if node.name not in self.names else CONSTANT, value.shape)

    def _call(self, node: Any) -> Any:
        if node.target is operator.getitem:
            values = self._values[node.args[0]]
            return values[node.args[1]] if isinstance(values, list) else None
        written, name = _operator(node)
        rule = self._rules.get(name)
        result: Any = NotImplemented
        if rule is not None and _is_real(node.meta.get("val")):
            arguments = torch.fx.node.map_arg(node.args, self._values.get)
            keywords = torch.fx.node.map_arg(node.kwargs, self._values.get)
            result = rule(self, node, *arguments, **keywords)
        if result is NotImplemented or result is None:
            for value in self._given(node):
                if isinstance(value, Parameter):
                    self.found.edits.pop(value.name, None)
            shared = any(isinstance(value, Parameter) and value.shared for value in self._given(node))
            result = self._unknown(node, SHARED if shared else name)
        if written:  # what reads the changed tensor by its old name reads the new values
            self._values[node.args[0]] = result
        return result

    def _unknown(self, node: Any, reason: str) -> Any:
        """Nothing that goes in or comes out may be scaled."""
        for value in self._labelled((node.args, node.kwargs)):
            self.channels.fix(value.numpy(), reason)
        made = node.meta.get("val")
        if isinstance(made, list | tuple):
            return [self.filled(reason, one.shape) if _is_real(one) else None for one in made]
        return self.filled(reason, made.shape) if _is_real(made) else None

    def _given(self, node: Any) -> list[Any]:
        found: list[Any] = []
        torch.fx.node.map_arg((node.args, node.kwargs), lambda one: found.append(self._values.get(one)))
        return found

    def _labelled(self, arguments: Any) -> Iterator[torch.Tensor]:
        nodes: list[Any] = []
        torch.fx.node.map_arg(arguments, nodes.append)
        for node in nodes:
            value = self._values.get(node)
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, torch.Tensor):
                    yield compact(one)

    def _count_uses(self) -> Counter[int]:
        """How often the graph reads each tensor, under whatever name."""
        uses: Counter[int] = Counter()
        for node in self._program.graph.nodes:
            if node.op == "placeholder" and node.name in self._parameters:
                uses[self._storage(self.names[node.name])] += sum(
                    str(user.target) != "aten._assert_tensor_metadata.default" for user in node.users
                )
        return uses

    def _storage(self, name: str) -> int:
        return int(self._program.state_dict[name].untyped_storage().data_ptr())

    # What rules use.

    def filled(self, reason: str, shape: Sequence[int]) -> torch.Tensor:
        """Channels that are fixed."""
        return torch.tensor(self.channels.constant(reason)).expand(tuple(shape))

    def fresh(self, shape: Sequence[int]) -> torch.Tensor:
        """New channels, one an element."""
        return torch.from_numpy(self.channels.fresh(int(np.prod(shape)))).reshape(tuple(shape))

    def is_fixed(self, labels: torch.Tensor) -> bool:
        """Whether none of the channels may be scaled, as far as is known."""
        return not self.channels.free(compact(labels).numpy()).any()

    def alike(self, labels: torch.Tensor, axes: Sequence[int]) -> torch.Tensor:
        """Tie the channels along some axes to each other; the axes keep a length of 1."""
        for axis in axes:
            if labels.stride(axis) == 0 or labels.shape[axis] == 1:
                labels = labels.narrow(axis, 0, 1)
        axes = [axis for axis in axes if labels.shape[axis] > 1]
        if not axes:
            return labels
        first = labels.amax(tuple(axes), keepdim=True)  # not always one of padding, whose number is the least
        self.channels.tie(labels.numpy(), first.numpy())
        return first

    def edit(self, parameter: Parameter, **what: Any) -> None:
        """Note what a scale does to a parameter."""
        arrays: dict[str, Any] = {
            key: compact(value).numpy() if isinstance(value, torch.Tensor) else value for key, value in what.items()
        }
        self.found.edits[parameter.name] = Edit(**arrays)


def compact(labels: torch.Tensor) -> torch.Tensor:
    """With a length of 1 on every axis along which it was expanded; broadcasts to the same."""
    for axis in range(labels.ndim):
        if labels.stride(axis) == 0 and labels.shape[axis] > 1:
            labels = labels.narrow(axis, 0, 1)
    return labels


def _operator(node: Any) -> tuple[bool, str]:
    """Whether it writes into its first argument, and its name without that."""
    if not isinstance(node.target, torch._ops.OpOverload):
        return False, str(getattr(node.target, "__name__", node.target))
    name = node.target.overloadpacket.__name__
    written = name.endswith("_") and not name.endswith("__")
    return written, name.removesuffix("_") if written else name


def _is_real(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return any(_is_real(one) for one in value)
    return isinstance(value, torch.Tensor) and value.is_floating_point()
