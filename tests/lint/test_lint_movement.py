"""Growth of ranges from half of the samples to all, of numbers and inside a torch module."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgeexport.lint import _movement, movement
from edgeexport.lint._movement import Movement, growth, observe
from edgeexport.lint._survey import Survey
from edgeexport.lint._view import View


def test_growth_is_the_mean_over_both_halves():
    # even: -1 to 2 (3 wide), odd: -2 to 4 (6 wide), all: 6 wide
    assert growth([-1, -2, 0, 0], [1, 3, 2, 4]) == pytest.approx((6 / 3 - 1 + 0) / 2)
    assert growth([0, 0, 0, 0], [1, 1, 1, 1]) == 0
    assert growth([5], [9]) == 0
    assert growth([0, 0], [0, 0]) == 0
    assert math.isinf(growth([0, 0], [0, 1])), "a half without any range"


class Both(nn.Module):
    """A layer used twice, one on each half of the features, and a table of positions that has no batch."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(4, 4)
        self.positions = nn.Embedding(3, 4)
        self.last = nn.ReLU()

    def forward(self, x):
        both = self.linear(x[:, :4]) + self.linear(x[:, 4:])
        return self.last(both + self.positions(torch.arange(3)).sum())


def samples(count, size=8):
    source = np.random.default_rng(0)
    return [{"x": source.normal(size=(1, size)).astype(np.float32)} for _ in range(count)]


def ranges(module, given):
    """What observe must find: lows and highs of the layer used twice, sample by sample."""
    with torch.inference_mode():
        rows = [
            torch.cat([module.linear(torch.from_numpy(one["x"][:, part])) for part in (slice(4), slice(4, 8))])
            for one in given
        ]
    return [float(row.min()) for row in rows], [float(row.max()) for row in rows]


@pytest.mark.parametrize("together", [True, False])
def test_observe_sees_each_sample(together):
    module, given = Both().eval(), samples(70)
    seen = observe(module, ["x"], iter(given), len(given), together=together)
    assert seen.samples == 70
    assert set(seen.growth) == {"linear", "last"}, "positions are the same for all samples"
    assert seen.growth["linear"] == pytest.approx(growth(*ranges(module, given)), rel=1e-5)
    assert not module.linear._forward_hooks


def test_observe_batches_by_shape():
    class Mean(nn.Module):
        def __init__(self):
            super().__init__()
            self.relu = nn.ReLU()
            self.sizes = []

        def forward(self, x):
            self.sizes.append(tuple(x.shape))
            return self.relu(x)

    module = Mean()
    given = [one for size in (5, 9) for one in samples(40, size)]
    seen = observe(module, ["x"], iter(given), 80, together=True)
    assert seen.samples == 80
    assert sorted(module.sizes) == [(1, 5), (7, 5), (8, 9), (32, 5), (32, 9)], "the first goes alone, to count work"
    lows, highs = ([float(pick(one["x"].clip(0))) for one in given] for pick in (np.min, np.max))
    assert seen.growth["relu"] == pytest.approx(growth(lows, highs), rel=1e-5)


def test_a_module_that_takes_no_batch_gets_samples_one_by_one():
    class Alone(nn.Module):
        def __init__(self):
            super().__init__()
            self.relu = nn.ReLU()
            self.calls = 0

        def forward(self, x):
            self.calls += 1
            return self.relu(x.reshape(1, 8))

    module, given = Alone(), samples(40)
    seen = observe(module, ["x"], iter(given), 40, together=True)
    assert (seen.samples, module.calls) == (40, 40 + 2), "and two batches that failed"
    lows, highs = ([float(pick(one["x"].clip(0))) for one in given] for pick in (np.min, np.max))
    assert seen.growth["relu"] == pytest.approx(growth(lows, highs), rel=1e-5)


def test_observe_takes_as_many_as_the_work_allows(monkeypatch):
    module, given = Both().eval(), samples(200)
    monkeypatch.setattr(_movement, "_WORK", 2 * 16 * 50)  # the layer of 4 by 4, twice a sample
    assert observe(module, ["x"], iter(given), 200, together=True).samples == 50
    monkeypatch.setattr(_movement, "_WORK", 2 * 16 * 31)
    assert observe(module, ["x"], iter(given), 200, together=True) is None
    assert observe(module, ["x"], iter(given[:31]), 31, together=True) is None
    assert observe(module, ["x"], iter([]), 0, together=True) is None


@pytest.mark.parametrize(
    ("grown", "expected"),
    [
        ({"a": 0.3, "b": 0.2, "c": 0.11, "d": 0.01}, "the ranges of 3 of 4 layers are over 10% wider over 99 samples"),
        ({"a": 0.3, "b": 0.2, "d": 0.01}, None),  # two layers
        ({"a": 0.3, "b": 0.2, "c": 0.11, **{str(n): 0.0 for n in range(17)}}, None),  # 15 %
        ({"a": math.inf, "b": 0.2, "c": 0.2}, "most in a: infinitely"),
    ],
)
def test_the_rule(grown, expected):
    view = View(Survey(Path("set"), 99), None, None, Movement(99, grown))
    found = list(movement.activations(view))
    assert [one.level for one in found] == (["warning"] if expected else [])
    assert expected is None or expected in found[0].evidence
    assert list(movement.activations(View(Survey(Path("set")), None, None, None))) == []
