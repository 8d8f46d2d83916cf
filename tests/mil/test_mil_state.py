"""States of ML Programs, against the torch module that a program was converted from."""

import logging

import numpy as np
import pytest
import torch

from edgeexport import mil
from edgeexport.errors import ModelError
from tests.mil import harness

_random = np.random.default_rng(5)


class _Average(torch.nn.Module):
    """Adds what it is given to a running sum, and gives its product with the sum; counts its calls too."""

    def __init__(self):
        super().__init__()
        self.register_buffer("total", torch.zeros(2, 3))
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x):
        self.total.add_(x)
        self.calls.add_(1)
        return self.total * x + self.calls


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    import coremltools as ct

    module = _Average().eval()
    traced = torch.jit.trace(module, torch.zeros(2, 3))
    model = ct.convert(
        traced,
        inputs=[ct.TensorType("x", (2, 3), dtype=np.float32)],
        outputs=[ct.TensorType("y", dtype=np.float32)],
        states=[
            ct.StateType(ct.TensorType(shape=(2, 3), dtype=np.float16), name="total"),
            ct.StateType(ct.TensorType(shape=(1,), dtype=np.float16), name="calls"),
        ],
        minimum_deployment_target=ct.target.iOS18,
        compute_precision=ct.precision.FLOAT16,
        skip_model_load=True,
    )
    path = tmp_path_factory.mktemp("state") / "model.mlpackage"
    model.save(str(path))
    return path


def _inputs(count):
    return [_random.integers(-8, 8, (2, 3)).astype(np.float32) / 4 for _ in range(count)]


def _expected(inputs):
    module = _Average().eval()
    with torch.no_grad():
        return [module(torch.from_numpy(x)).numpy() for x in inputs]


@pytest.mark.parametrize("mode", ["exact", "device"])
def test_calls_share_a_state(package, mode):
    model = mil.load(package, mode=mode)
    assert [value.name for value in model.inputs] == ["x"]
    assert {value.name for value in model.states} == {"total", "calls"}
    state = model.new_state()
    inputs = _inputs(5)
    for x, expected in zip(inputs, _expected(inputs), strict=True):
        np.testing.assert_allclose(model({"x": x}, state)["y"], expected, rtol=1e-3)
    np.testing.assert_allclose(state["total"].numpy(), sum(inputs))
    assert state["calls"].item() == 5


def test_without_a_state_every_call_is_the_first(package):
    model = mil.load(package)
    x = _inputs(1)[0]
    first = model({"x": x})["y"]
    np.testing.assert_array_equal(model({"x": x})["y"], first)
    np.testing.assert_allclose(first, x * x + 1, rtol=1e-6)


def test_two_sequences_do_not_meet(package):
    model = mil.load(package)
    left, right = model.new_state(), model.new_state()
    a, b = _inputs(4), _inputs(4)
    found = [(model({"x": x}, left)["y"], model({"x": y}, right)["y"]) for x, y in zip(a, b, strict=True)]
    for (one, other), first, second in zip(found, _expected(a), _expected(b), strict=True):
        np.testing.assert_allclose(one, first, rtol=1e-6)
        np.testing.assert_allclose(other, second, rtol=1e-6)


def test_a_state_is_no_part_of_the_input(package):
    model = mil.load(package)
    state = model.new_state()
    x = _inputs(1)[0]
    model({"x": x}, state)
    before = state["total"].clone()
    x[:] = 99
    assert torch.equal(state["total"], before)


@pytest.mark.parametrize("name", ["read_state", "write_state"])
def test_a_wrong_operator_is_caught(package, monkeypatch, name):
    find = mil.table.find

    def wrong(wanted, opset):
        found = find(wanted, opset)
        if wanted != name:
            return found

        def run(**arguments):
            if "data" in arguments:
                arguments["data"] = arguments["data"] * 1.001
            return harness.perturbed(found.run(**arguments))

        return harness.dataclasses.replace(found, run=run)

    monkeypatch.setattr(mil.table, "find", wrong)
    with pytest.raises(AssertionError):
        test_calls_share_a_state(package, "exact")


def test_a_state_that_is_missing(package):
    model = mil.load(package)
    with pytest.raises(ModelError, match="there is no state"):
        model({"x": _inputs(1)[0]}, {})


def test_a_state_of_another_shape(package):
    model = mil.load(package)
    with pytest.raises(ModelError, match="state"):
        model({"x": _inputs(1)[0]}, {"total": torch.zeros(1, 3), "calls": torch.zeros(1)})
