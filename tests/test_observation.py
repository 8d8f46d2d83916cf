"""Which values are compared, and the steps that integers stand for."""

import numpy as np
import pytest

from edgeexport.observation import Grid, Held, Step, choose


def step(value, *reads, operator="Add", weighted=False, moves=False):
    return Step(value, f"path.{value}", operator, reads, weighted, moves)


PLAIN = [
    step("a", "x", operator="MatMul", weighted=True),
    step("b", "a", operator="Reshape", moves=True),
    step("c", "b", operator="Erf"),
    step("d", "b", "c", operator="Mul"),
    step("e", "d", operator="MatMul", weighted=True),
]


def plain(*names):
    return {name: Held(name, plain=True) for name in names}


def test_layers_and_what_they_read_through_what_only_moves_numbers():
    layers, left_out = choose(PLAIN, plain("a", "b", "c", "d", "e"), 10)
    assert [(layer.reference, layer.own, layer.reads) for layer in layers] == [
        ("a", True, ()),
        ("d", False, (0,)),
        ("e", True, (1,)),
    ]
    assert left_out == 0


def test_what_is_no_longer_float32_counts_as_a_layer():
    grid = Grid(0.5, 3, 0, 255)
    held = {**plain("a", "d", "e"), "c": Held("c_q", plain=False, grid=grid, integers=True)}
    layers, _ = choose(PLAIN, held, 10)
    assert [layer.reference for layer in layers] == ["a", "c", "d", "e"]
    assert (layers[1].output, layers[1].own, layers[1].grid, layers[1].integers) == ("c_q", True, grid, True)
    assert layers[2].reads == (0, 1)


@pytest.mark.parametrize(("most", "kept"), [(1, ["a"]), (2, ["a", "e"]), (3, ["a", "d", "e"])])
def test_weights_come_first_where_there_are_too_many(most, kept):
    layers, left_out = choose(PLAIN, plain("a", "b", "c", "d", "e"), most)
    assert [layer.reference for layer in layers] == kept
    assert left_out == 3 - most
    assert all(number < place for place, layer in enumerate(layers) for number in layer.reads)


def test_what_was_fused_has_the_layers_name():
    steps = [
        step("conv", "x", operator="Conv", weighted=True),
        step("norm", "conv", operator="BatchNormalization"),
        step("relu", "norm", operator="Relu"),
        step("next", "relu", operator="Conv", weighted=True),
    ]
    layers, _ = choose(steps, plain("relu", "next"), 10)
    assert [(layer.path, layer.operator, layer.reference) for layer in layers] == [
        ("path.conv", "Conv", "relu"),
        ("path.next", "Conv", "next"),
    ]


def test_a_value_that_others_read_was_not_fused():
    steps = [
        step("conv", "x", operator="Conv", weighted=True),
        step("relu", "conv", operator="Relu"),
        step("sum", "conv", "relu", operator="Add"),
        step("next", "sum", operator="Conv", weighted=True),
    ]
    layers, _ = choose(steps, plain("relu", "sum", "next"), 10)
    assert [(layer.path, layer.own) for layer in layers] == [("path.sum", False), ("path.next", True)]


def test_nothing_in_common():
    assert choose(PLAIN, {}, 10) == ([], 0)


def test_a_grid():
    grid = Grid(0.5, 128, 0, 255)
    assert (grid.low, grid.high) == (-64.0, 63.5)
    assert list(grid.real(np.array([0, 128, 255], np.uint8))) == [-64.0, 0.0, 63.5]
    values = np.array([-64.26, -64.24, 0.0, 63.74, 63.76])
    assert list(grid.clips(values)) == [True, False, False, False, True]
    assert Grid(0.5, 0, -128, 127).real(np.array([-128], np.int8))[0] == -64.0
