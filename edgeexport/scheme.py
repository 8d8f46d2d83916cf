"""How a format's operators compute what a torch model does: which of its values are integers, and in what steps.

A format offers ``open_scheme()`` in its module ``scheme``. Quantization-aware training imitates what it describes, on
the graph that ``torch.export`` gives; ATen operators go by their names without overloads, such as ``add``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch.fx


class Emit(Protocol):
    """Adds operators to a graph in place of one that is rewritten."""

    def __call__(self, name: str, *arguments: Any, **named: Any) -> torch.fx.Node:
        """A node for the ATen operator ``name``, with its overload after a dot where it is not ``default``."""


Rewrite = Callable[..., Any]
"""Takes an :class:`Emit` and the arguments of an operator; gives the node that stands for its result."""


@dataclass(frozen=True)
class Scheme:
    """A format's integer arithmetic.

    Attributes:
        operators: ATen operator → the format's own name, by which recipes choose operators. Those not named go by
            their ATen names.
        rewrites: ATen operator → how the format writes it with several others.
        merges: like ``rewrites``, tried after them: what the format's converter merges into an operator. Such a
            function gives None where there is nothing to merge.
        fused: ATen operator → those that may follow and are computed with it, with no integers between.
        fixed: ATen operator → the range of its result that the format fixes, whatever calibration sees.
        float_constants: ATen operator → positions of inputs that stay float or have 32 bits, such as a bias.
        weight_constants: ATen operator → positions of inputs that are quantized as weights are, with one scale.
        outputs: whether what an operator gives is rounded, and not only what one takes.
        everywhere: whether a value that one operator takes as integers is rounded for all others too.
        computed: the format's operators that compute with integers, between activations alone where they are no
            layers; None where all may. Others with a weight have integers for that only.
        dynamic: whether a layer finds the range of what it takes while running; takes the layer's node.
        rows: whether what was looked up in a table of integers is rounded again for those that read it.
        table_axis: of an embedding table, the axis with one scale for each index. Tables are integers where a recipe
            names the look-up, or where ``operators`` has no name for it.
        signed_ends: whether the largest weight of a block of them has the code -2^(bits-1), with the sign in the scale,
            rather than ±(2^(bits-1) - 1).
    """

    operators: Mapping[str, str]
    rewrites: Mapping[str, Rewrite] = field(default_factory=dict)
    merges: Mapping[str, Rewrite] = field(default_factory=dict)
    fused: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    fixed: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    float_constants: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    weight_constants: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    outputs: bool = True
    everywhere: bool = False
    computed: frozenset[str] | None = None
    dynamic: Callable[[torch.fx.Node], bool] | None = None
    rows: bool = True
    table_axis: int = 0
    signed_ends: bool = False
