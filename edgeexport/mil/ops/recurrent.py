"""Recurrent layers over sequences [steps, batch, inputs] (all since iOS 15)."""

from __future__ import annotations

from collections.abc import Callable

import torch

from edgeexport.errors import ModelError
from edgeexport.mil.memory import OBJECT, claim
from edgeexport.mil.table import Tensor, op

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "hard_sigmoid": lambda x: torch.clamp(0.2 * x + 0.5, 0, 1),
    "linear": lambda x: x,
    "relu": torch.relu,
    "scaled_tanh": torch.tanh,  # Core ML scales by one here, as coremltools' own tests on devices have it.
    "sigmoid": torch.sigmoid,
    "sigmoid_hard": lambda x: torch.clamp(0.2 * x + 0.5, 0, 1),
    "tanh": torch.tanh,
}


def _activation(name: str) -> Callable[[Tensor], Tensor]:
    if name.lower() not in _ACTIVATIONS:
        raise ModelError(f"there is no activation {name!r}")
    return _ACTIVATIONS[name.lower()]


def _project(x: Tensor, weight: Tensor, bias: Tensor | None, reverse: bool) -> Tensor:
    """The inputs' part of all gates for all steps, in one product, in the order in which steps run."""
    claim((*x.shape[:-1], weight.shape[0]))
    claim((x.shape[0],), OBJECT)
    gates = torch.nn.functional.linear(x, weight, bias)
    return gates.flip(0) if reverse else gates


def _outputs(steps: list[Tensor], output_sequence: bool) -> Tensor:
    """All steps in the order in which they ran, which is what Core ML gives for ``reverse``, or the last."""
    return torch.stack(steps) if output_sequence else steps[-1].unsqueeze(0)


def _reversed(direction: str) -> bool:
    if direction not in ("forward", "reverse"):
        raise ModelError(f"there is no direction {direction!r} here")
    return direction == "reverse"


@op("rnn")
def rnn(
    x: Tensor,
    initial_h: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None = None,
    direction: str = "forward",
    output_sequence: bool = False,
    activation: str = "tanh",
) -> tuple[Tensor, Tensor]:
    """h = activation(W_ih·x + W_hh·h + bias)."""
    reverse, act = _reversed(direction), _activation(activation)
    h, steps = initial_h, []
    for gates in _project(x, weight_ih, bias, reverse):
        h = act(torch.addmm(gates, h, weight_hh.t()))
        steps.append(h)
    return _outputs(steps, output_sequence), h


def _gru(
    x: Tensor,
    h: Tensor,
    weights: tuple[Tensor, Tensor],
    biases: tuple[Tensor | None, Tensor | None],
    reset_after: bool,
    reverse: bool,
    output_sequence: bool,
    activations: tuple[str, str],
) -> tuple[Tensor, Tensor]:
    """As coremltools' own tests on devices have it: the formula of its documentation has the reset gate elsewhere."""
    gate, act = map(_activation, activations)
    weight_ih, weight_hh = weights
    bias, input_bias = biases
    w_r, w_o, w_z = weight_hh.chunk(3)
    b_r, b_o, b_z = (None, None, None) if bias is None else bias.chunk(3)
    linear, steps = torch.nn.functional.linear, []
    for gates in _project(x, weight_ih, input_bias, reverse):
        r_in, o_in, z_in = gates.chunk(3, -1)
        r, z = gate(r_in + linear(h, w_r, b_r)), gate(z_in + linear(h, w_z, b_z))
        o = act(o_in + (r * linear(h, w_o, b_o) if reset_after else linear(r * h, w_o, b_o)))
        h = (1 - z) * o + z * h
        steps.append(h)
    return _outputs(steps, output_sequence), h


@op("gru")
def gru(
    x: Tensor,
    initial_h: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None = None,
    direction: str = "forward",
    output_sequence: bool = False,
    recurrent_activation: str = "sigmoid",
    activation: str = "tanh",
) -> tuple[Tensor, Tensor]:
    """h = (1 - z)·o + z·h, o = activation(W_io·x + W_ho·(r·h) + bias); gates are in the order reset, output, update."""
    weights, how = (weight_ih, weight_hh), (recurrent_activation, activation)
    return _gru(x, initial_h, weights, (bias, None), False, _reversed(direction), output_sequence, how)


@op("gru", since=18)
def gru_resetting_after(
    x: Tensor,
    initial_h: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None = None,
    direction: str = "forward",
    output_sequence: bool = False,
    recurrent_activation: str = "sigmoid",
    activation: str = "tanh",
    reset_after: bool = False,
    input_bias: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """As before iOS 18; after the product, the reset gate scales W_ho·h + bias, as PyTorch's does."""
    weights, how = (weight_ih, weight_hh), (recurrent_activation, activation)
    return _gru(x, initial_h, weights, (bias, input_bias), reset_after, _reversed(direction), output_sequence, how)


@op("lstm")
def lstm(
    x: Tensor,
    initial_h: Tensor,
    initial_c: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None = None,
    peephole: Tensor | None = None,
    weight_ih_back: Tensor | None = None,
    weight_hh_back: Tensor | None = None,
    bias_back: Tensor | None = None,
    peephole_back: Tensor | None = None,
    direction: str = "forward",
    output_sequence: bool = False,
    recurrent_activation: str = "sigmoid",
    cell_activation: str = "tanh",
    activation: str = "tanh",
    clip: float | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """c = f·c + i·z, h = o·activation(c), with gates in the order input, forget, output, cell.

    The new c is clipped to ±clip, as coremltools' own tests on devices have it; its documentation says the cell gate.
    Both directions side by side in one, where ``direction`` is ``bidirectional``.
    """
    functions = (_activation(recurrent_activation), _activation(cell_activation), _activation(activation))

    def one(h: Tensor, c: Tensor, weights: tuple[Tensor | None, ...], reverse: bool) -> tuple[Tensor, Tensor, Tensor]:
        w_ih, w_hh, b, p = weights
        if w_ih is None or w_hh is None:
            raise ModelError("the weights of one direction are missing")
        steps = []
        for gates in _project(x, w_ih, b, reverse):
            h, c = _cell(torch.addmm(gates, h, w_hh.t()), c, p, functions, clip)
            steps.append(h)
        return _outputs(steps, output_sequence), h, c

    forward = (weight_ih, weight_hh, bias, peephole)
    if direction != "bidirectional":
        return one(initial_h, initial_c, forward, _reversed(direction))
    backward = (weight_ih_back, weight_hh_back, bias_back, peephole_back)
    (h, h_back), (c, c_back) = initial_h.chunk(2, -1), initial_c.chunk(2, -1)
    y, h, c = one(h, c, forward, False)
    y_back, h_back, c_back = one(h_back, c_back, backward, True)
    # Side by side, both directions are in the order of the inputs.
    return torch.cat((y, y_back.flip(0)), -1), torch.cat((h, h_back), -1), torch.cat((c, c_back), -1)


def _cell(
    gates: Tensor,
    c: Tensor,
    peephole: Tensor | None,
    functions: tuple[Callable[[Tensor], Tensor], ...],
    clip: float | None,
) -> tuple[Tensor, Tensor]:
    """One step: the new hidden and cell state."""
    gate, cell_act, act = functions
    i, f, o, z = gates.chunk(4, -1)
    if peephole is not None:
        p_i, p_f, p_o = peephole.chunk(3)
        i, f = i + p_i * c, f + p_f * c
    c = gate(f) * c + gate(i) * cell_act(z)
    if clip is not None:
        c = torch.clamp(c, -clip, clip)
    if peephole is not None:
        o = o + p_o * c
    return gate(o) * act(c), c
