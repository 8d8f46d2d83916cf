"""Weights on a grid, and GPTQ's rounding."""

import itertools

import numpy as np
import pytest
import torch

from edgeexport.compress._steps import Grid, compensated

GRIDS = [Grid(4, True), Grid(4, False), Grid(8, True)]


def layer(outputs=12, inputs=64, seed=0):
    """A weight, and inputs of which neighbours are alike, so that one can make up for another."""
    draw = np.random.default_rng(seed)
    mixing = draw.standard_normal((inputs // 4, inputs))
    x = draw.standard_normal((500, inputs // 4)) @ mixing + 0.3 * draw.standard_normal((500, inputs))
    return torch.from_numpy(draw.standard_normal((outputs, inputs))).float(), torch.from_numpy(x).float()


def nearest(weight, grid, block):
    return grid.round(weight, grid.scales(weight, block, torch.ones(weight.shape[1]), 0))


def error(weight, rounded, x):
    return float(((x @ (rounded - weight).T) ** 2).sum())


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("block", [16, 32, 64])
def test_rounding_again_to_the_nearest_changes_no_code(grid, block):
    weight, x = layer()
    rounded = compensated(weight, x.T @ x, grid, block, damping=0.01, clips=4)
    again = nearest(rounded, grid, block)
    if grid.signed_ends:  # a power of two over the end: the scale is found again exactly
        assert torch.equal(again, rounded)
    steps = grid.scales(rounded, block, torch.ones(64), 0)
    assert torch.equal(torch.round(again / steps), torch.round(rounded / steps))
    assert torch.allclose(again, rounded, rtol=1e-6, atol=0)


@pytest.mark.parametrize("grid", GRIDS[:2])
def test_outputs_are_nearer_than_by_rounding_to_the_nearest(grid):
    weight, x = layer()
    plain = error(weight, nearest(weight, grid, 32), x)
    made_up = error(weight, compensated(weight, x.T @ x, grid, 32, damping=0.01, clips=0), x)
    assert made_up < 0.6 * plain


def test_independent_inputs_leave_nothing_to_make_up_for():
    weight, _ = layer()
    rounded = compensated(weight, torch.eye(64), GRIDS[0], 32, damping=0.01, clips=0)
    assert torch.equal(rounded, nearest(weight, GRIDS[0], 32))


def test_two_columns_as_the_paper_has_them():
    """The second column takes over the first one's error, by the regression of one input on the other."""
    hessian = torch.tensor([[4.0, 2.0], [2.0, 2.0]])
    weight = torch.tensor([[0.33, 1.0]])
    scale = 1 / 7
    first = round(0.33 / scale) * scale
    # The second column is its block's largest and stays at the end, whatever it should take over.
    assert torch.allclose(
        compensated(weight, hessian, Grid(4, False), 2, damping=1e-9, clips=0), torch.tensor([[first, 1.0]])
    )
    apart = compensated(torch.tensor([[1.0, 0.33, 0.47]]), _of(3), Grid(4, False), 3, damping=1e-9, clips=0)
    assert torch.allclose(apart * 7, _by_hand(torch.tensor([1.0, 0.33, 0.47]), _of(3)) * 7, atol=1e-4)


def _of(size):
    x = torch.from_numpy(np.random.default_rng(1).standard_normal((20, size)) @ np.triu(np.ones((size, size))))
    return (x.T @ x).float()


def _by_hand(weight, hessian):
    """Round column after column, with the rest solved by least squares each time; the largest at the end."""
    order = torch.argsort(hessian.diagonal(), descending=True).tolist()
    target, value = weight.double(), weight.double().clone()
    hessian = hessian.double()
    for position, column in enumerate(order):
        code = torch.round(value[column] * 7).clamp(-7, 7)
        value[column] = 7 / 7 if column == int(weight.abs().argmax()) else code / 7
        rest, fixed = order[position + 1 :], order[: position + 1]
        if rest:
            wrong = value[fixed] - target[fixed]
            value[rest] = target[rest] - torch.linalg.solve(hessian[rest][:, rest], hessian[rest][:, fixed] @ wrong)
    return value.float()


def test_a_smaller_scale_is_taken_where_it_errs_less():
    draw = np.random.default_rng(3)
    weight = torch.from_numpy(draw.standard_normal((50, 32))).float()
    for grid in GRIDS[:2]:
        ones = torch.ones(32)
        whole, clipped = (grid.scales(weight, 32, ones, clips) for clips in (0, 8))
        before, after = (((grid.round(weight, one) - weight) ** 2).sum(1) for one in (whole, clipped))
        assert (after <= before).all()
        assert after.sum() < 0.97 * before.sum()
        assert (clipped.abs() <= whole.abs()).all()


@pytest.mark.parametrize("grid", GRIDS)
def test_zeros_short_blocks_and_dead_inputs(grid):
    weight, x = layer(inputs=40)
    weight[:, 16:32] = 0
    x[:, 3] = 0
    rounded = compensated(weight, x.T @ x, grid, 16, damping=0.01, clips=4)
    assert torch.isfinite(rounded).all()
    assert (nearest(rounded, grid, 16) - rounded).abs().max() < 1e-6
    for start, stop in itertools.pairwise((0, 16, 32, 40)):
        steps = grid.scales(rounded, 16, torch.ones(40), 0)[:, start:stop]
        codes = rounded[:, start:stop] / steps
        assert (codes - codes.round()).abs().max() < 1e-4
