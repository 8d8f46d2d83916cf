"""Recurrent layers, against PyTorch's modules with reordered weights, and against NumPy for what those lack."""

import numpy as np
import torch

from tests.mil.harness import case, seeded

_random = seeded("recurrent")
_S, _B, _I, _H = 5, 2, 3, 4


def _draw(*shape):
    return (_random.normal(size=shape) * 0.7).astype(np.float32)


_x, _h, _c = _draw(_S, _B, _I), _draw(_B, _H), _draw(_B, _H)


def _module(kind, gates, bidirectional=False, **settings):
    """A module with drawn weights; no second bias."""
    module = kind(_I, _H, bidirectional=bidirectional, **settings)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(torch.from_numpy(_draw(*parameter.shape)))
            if name.startswith("bias_hh"):
                parameter.zero_()
    return module


def _ordered(module, order, suffix=""):
    """Weights and bias with the gates in Core ML's order."""
    found = []
    for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0"):
        parts = getattr(module, name + suffix).detach().chunk(len(order))
        found.append(torch.cat([parts[number] for number in order]).numpy().copy())
    return found


def _run(module, reverse, *states):
    x = torch.from_numpy(_x).flip(0) if reverse else torch.from_numpy(_x)
    given = tuple(torch.from_numpy(state)[None] for state in states)
    with torch.no_grad():
        y, last = module(x, given if len(given) > 1 else given[0])
    last = last if isinstance(last, tuple) else (last,)
    return y.numpy(), *(state[0].numpy() for state in last)


_rnn = _module(torch.nn.RNN, 1)
_lstm = _module(torch.nn.LSTM, 4)
for _reverse in (False, True):
    _direction = "reverse" if _reverse else "forward"
    for _whole in (True, False):
        _label = f"{_direction}, {'all steps' if _whole else 'last step'}"
        for _name, _mod, _order in (("rnn", _rnn, [0]),):
            _y, _hn = _run(_mod, _reverse, _h)
            _w, _u, _b = _ordered(_mod, _order)
            case(
                _name,
                _label,
                lambda mb, x, h, _n=_name, _w=_w, _u=_u, _b=_b, _d=_direction, _o=_whole: getattr(mb, _n)(
                    x=x, initial_h=h, weight_ih=_w, weight_hh=_u, bias=_b, direction=_d, output_sequence=_o
                ),
                {"x": _x, "h": _h},
                (_y if _whole else _y[-1:], _hn),
            )
        _y, _hn, _cn = _run(_lstm, _reverse, _h, _c)
        _w, _u, _b = _ordered(_lstm, [0, 1, 3, 2])
        case(
            "lstm",
            _label,
            lambda mb, x, h, c, _w=_w, _u=_u, _b=_b, _d=_direction, _o=_whole: mb.lstm(
                x=x,
                initial_h=h,
                initial_c=c,
                weight_ih=_w,
                weight_hh=_u,
                bias=_b,
                direction=_d,
                output_sequence=_o,
            ),
            {"x": _x, "h": _h, "c": _c},
            (_y if _whole else _y[-1:], _hn, _cn),
        )

_both = _module(torch.nn.LSTM, 4, bidirectional=True)
_h2, _c2 = _draw(_B, 2 * _H), _draw(_B, 2 * _H)
with torch.no_grad():
    _states = tuple(torch.stack(torch.from_numpy(state).chunk(2, -1)) for state in (_h2, _c2))
    _y, _ends = _both(torch.from_numpy(_x), _states)
_there, _back = _ordered(_both, [0, 1, 3, 2]), _ordered(_both, [0, 1, 3, 2], "_reverse")
case(
    "lstm",
    "both directions",
    lambda mb, x, h, c: mb.lstm(
        x=x,
        initial_h=h,
        initial_c=c,
        weight_ih=_there[0],
        weight_hh=_there[1],
        bias=_there[2],
        weight_ih_back=_back[0],
        weight_hh_back=_back[1],
        bias_back=_back[2],
        direction="bidirectional",
        output_sequence=True,
    ),
    {"x": _x, "h": _h2, "c": _c2},
    (_y.numpy(), *(torch.cat(tuple(end), -1).numpy() for end in _ends)),
)

_peephole = _draw(3 * _H)


def _sigmoid(v):
    return 1 / (1 + np.exp(-v))


def _hard(v):
    return np.clip(0.2 * v + 0.5, 0, 1)


def _peeping():
    """The reference of coremltools' tests on devices."""
    w, u, b = (value.astype(np.float64) for value in _ordered(_lstm, [0, 1, 3, 2]))
    h, c, steps = _h.astype(np.float64), _c.astype(np.float64), []
    p_i, p_f, p_o = np.split(_peephole, 3)
    for x in _x.astype(np.float64):
        i, f, o, z = np.split(x @ w.T + b + h @ u.T, 4, -1)
        c = _hard(f + p_f * c) * c + _hard(i + p_i * c) * np.maximum(z, 0)
        c = np.clip(c, -0.3, 0.3)
        h = _hard(o + p_o * c) * np.tanh(c)
        steps.append(h)
    return tuple(np.asarray(value, np.float32) for value in (np.stack(steps), h, c))


case(
    "lstm",
    "peephole, clip and activations",
    lambda mb, x, h, c: mb.lstm(
        x=x,
        initial_h=h,
        initial_c=c,
        weight_ih=_ordered(_lstm, [0, 1, 3, 2])[0],
        weight_hh=_ordered(_lstm, [0, 1, 3, 2])[1],
        bias=_ordered(_lstm, [0, 1, 3, 2])[2],
        peephole=_peephole,
        clip=np.float32(0.3),
        recurrent_activation="hard_sigmoid",
        cell_activation="relu",
        activation="scaled_tanh",
        output_sequence=True,
    ),
    {"x": _x, "h": _h, "c": _c},
    _peeping(),
)


_torch_gru = torch.nn.GRU(_I, _H)
with torch.no_grad():
    for _parameter in _torch_gru.parameters():
        _parameter.copy_(torch.from_numpy(_draw(*_parameter.shape)))
_w, _u, _input_bias = _ordered(_torch_gru, [0, 2, 1])
_parts = _torch_gru.bias_hh_l0.detach().chunk(3)
_bias = torch.cat([_parts[0], _parts[2], _parts[1]]).numpy().copy()
_y, _hn = _run(_torch_gru, False, _h)
case(
    "gru",
    "two biases",
    lambda mb, x, h: mb.gru(
        x=x,
        initial_h=h,
        weight_ih=_w2,
        weight_hh=_u2,
        bias=_bias,
        input_bias=_input_bias,
        output_sequence=True,
        reset_after=True,
    ),
    {"x": _x, "h": _h},
    (_y, _hn),
    ios=18,
)
_w2, _u2 = _w, _u


def _reset_before(reverse):
    """The reference of coremltools' tests on devices."""
    h, steps = _h.astype(np.float64), []
    (w_r, w_o, w_z), (u_r, u_o, u_z), (b_r, b_o, b_z) = (np.split(v, 3) for v in (_w2, _u2, _bias))
    for x in _x[::-1] if reverse else _x:
        r = _sigmoid(x @ w_r.T + h @ u_r.T + b_r)
        z = _sigmoid(x @ w_z.T + h @ u_z.T + b_z)
        o = np.tanh(x @ w_o.T + (r * h) @ u_o.T + b_o)
        h = (1 - z) * o + z * h
        steps.append(h)
    return np.stack(steps).astype(np.float32), h.astype(np.float32)


for _direction in ("forward", "reverse"):
    for _whole in (True, False):
        for _ios in (17, 18):
            _y, _hn = _reset_before(_direction == "reverse")
            case(
                "gru",
                f"{_direction}, {'all steps' if _whole else 'last step'}, iOS {_ios}",
                lambda mb, x, h, _d=_direction, _o=_whole: mb.gru(
                    x=x, initial_h=h, weight_ih=_w2, weight_hh=_u2, bias=_bias, direction=_d, output_sequence=_o
                ),
                {"x": _x, "h": _h},
                (_y if _whole else _y[-1:], _hn),
                ios=_ios,
            )

_w1, _u1, _b1 = _ordered(_rnn, [0])
# Each activation that the specification names; the scaled one scales by one.
for _name, _function in {
    "relu": lambda v: np.maximum(v, 0),
    "tanh": np.tanh,
    "sigmoid": _sigmoid,
    "sigmoid_hard": _hard,
    "scaled_tanh": np.tanh,
    "linear": lambda v: v,
}.items():
    _state, _steps = _h.astype(np.float64), []
    for _step in _x:
        _state = _function(_step @ _w1.T + _b1 + _state @ _u1.T)
        _steps.append(_state)
    case(
        "rnn",
        _name,
        lambda mb, x, h, _a=_name: mb.rnn(
            x=x, initial_h=h, weight_ih=_w1, weight_hh=_u1, bias=_b1, output_sequence=True, activation=_a
        ),
        {"x": _x, "h": _h},
        (np.stack(_steps).astype(np.float32), _state.astype(np.float32)),
    )
_unbiased = torch.nn.LSTM(_I, _H, bias=False)
with torch.no_grad():
    for _parameter, _like in zip(_unbiased.parameters(), _lstm.parameters(), strict=False):
        _parameter.copy_(_like)
_y, _hn, _cn = _run(_unbiased, False, _h, _c)
_w3, _u3, _ = _ordered(_lstm, [0, 1, 3, 2])
case(
    "lstm",
    "no bias, iOS 15",
    lambda mb, x, h, c: mb.lstm(x=x, initial_h=h, initial_c=c, weight_ih=_w3, weight_hh=_u3),
    {"x": _x, "h": _h, "c": _c},
    (_y[-1:], _hn, _cn),
    ios=15,
)
