"""The integer program against every allocation there is, on small problems."""

import itertools
import math
import random

import pytest

from edgeexport.search.allocate import Allocation, Choice, allocate

PRECISIONS = ("w8a8", "w8a8-dynamic", "fp32")
WEIGHT = 1e-6


def problem(seed, scale=1.0):
    source = random.Random(seed)
    units = {}
    for number in range(source.randint(1, 6)):
        kinds = PRECISIONS[: source.randint(1, 3)]
        units[f"unit{number}"] = {
            kind: Choice(
                noise=0.0 if kind == "fp32" else scale * 10 ** source.uniform(-5, 0),
                bytes=source.randint(1, 100_000) * (4 if kind == "fp32" else 1),
                time=source.uniform(0, 0.3),
            )
            for kind in kinds
        }
    return source, units


def everything(units):
    """Every allocation, with its cost."""
    for kinds in itertools.product(*(choices for choices in units.values())):
        picked = [units[path][kind] for path, kind in zip(units, kinds, strict=True)]
        noise, size, time = (sum(getattr(each, key) for each in picked) for key in ("noise", "bytes", "time"))
        yield Allocation(dict(zip(units, kinds, strict=True)), noise, size, time)


def best(units, noise, most_bytes=math.inf, most_time=math.inf):
    """The cheapest allowed, or None."""
    kept = [
        one for one in everything(units) if one.noise <= noise and one.bytes <= most_bytes and one.time <= most_time
    ]
    return min(kept, key=lambda one: (one.time + WEIGHT * one.bytes, one.noise), default=None)


def compare(units, noise, **bounds):
    found = allocate(units, noise, weight_of_bytes=WEIGHT, **bounds)
    expected = best(units, noise, **bounds)
    if expected is None:
        assert found is None
        return None
    assert found is not None
    assert dict(found.precisions) == dict(expected.precisions)
    assert found.noise == pytest.approx(expected.noise, rel=1e-12, abs=1e-300)
    assert found.bytes == expected.bytes
    assert found.time == pytest.approx(expected.time, rel=1e-12)
    return found


@pytest.mark.parametrize("seed", range(50))
def test_as_cheap_as_the_best_of_all_allocations(seed):
    source, units = problem(seed)
    most = max(one.noise for one in everything(units))
    least = min(one.noise for one in everything(units))
    for share in (1.0, 0.5, 0.1, 0.01):
        compare(units, most * share)
        size = source.choice([one.bytes for one in everything(units)])
        time = source.choice([one.time for one in everything(units)]) * 1.0001
        compare(units, most * share, most_bytes=size + 0.5)
        compare(units, most * share, most_time=time)
        compare(units, most * share, most_bytes=size + 0.5, most_time=time)
    if least > 0:
        assert compare(units, least / 2) is None


@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1e6, 1e12])
def test_tiny_and_huge_noises(scale):
    for seed in range(10):
        _, units = problem(seed, scale)
        most = max(one.noise for one in everything(units))
        for share in (0.5, 0.1, 0.01):
            compare(units, most * share)


def test_one_unit_that_failed_does_not_hide_the_noise_of_the_others():
    units = {
        "failed": {"w8a8": Choice(1e6, 10, 0.1), "fp32": Choice(0.0, 40, 0.2)},
        "noisy": {"w8a8": Choice(1e-2, 10, 0.1), "fp32": Choice(0.0, 40, 0.2)},
        "quiet": {"w8a8": Choice(1e-4, 10, 0.1), "fp32": Choice(0.0, 40, 0.2)},
    }
    found = compare(units, 1e-3)
    assert dict(found.precisions) == {"failed": "fp32", "noisy": "fp32", "quiet": "w8a8"}


def test_the_unit_that_gives_the_most_noise_for_the_least_cost_goes_first():
    units = {
        "wide": {"w8a8": Choice(0.6, 1000, 0.10), "fp32": Choice(0.0, 4000, 0.30)},
        "thin": {"w8a8": Choice(0.4, 10, 0.01), "fp32": Choice(0.0, 40, 0.02)},
    }
    assert dict(compare(units, 1.0).precisions) == {"wide": "w8a8", "thin": "w8a8"}
    assert dict(compare(units, 0.7).precisions) == {"wide": "w8a8", "thin": "fp32"}
    assert dict(compare(units, 0.5).precisions) == {"wide": "fp32", "thin": "w8a8"}
    assert dict(compare(units, 0.3).precisions) == {"wide": "fp32", "thin": "fp32"}
    assert compare(units, 0.3, most_bytes=4000) is None
    assert compare(units, 0.3, most_time=0.2) is None


def test_bounds_may_be_met_exactly():
    units = {"a": {"w8a8": Choice(0.25, 100, 0.5)}, "b": {"w8a8": Choice(0.25, 156, 0.25)}}
    assert compare(units, 0.5, most_bytes=256, most_time=0.75).bytes == 256
    assert allocate(units, 0.4999, weight_of_bytes=WEIGHT) is None
    assert allocate(units, 0.5, weight_of_bytes=WEIGHT, most_bytes=255) is None
    assert allocate(units, 0.5, weight_of_bytes=WEIGHT, most_bytes=-1.0) is None


def test_between_equal_costs_the_least_noise_decides_whatever_the_order():
    kinds = {"loud": Choice(0.3, 8, 0.1), "quiet": Choice(0.2, 8, 0.1), "middle": Choice(0.25, 8, 0.1)}
    for order in itertools.permutations(kinds):
        choices = {kind: kinds[kind] for kind in order}
        found = allocate({"a": choices, "b": choices}, 1.0, weight_of_bytes=WEIGHT)
        assert dict(found.precisions) == {"a": "quiet", "b": "quiet"}


def test_a_unit_that_failed_does_not_hide_which_of_equals_has_less_noise():
    failed = {"w8a8": Choice(1e6, 8, 0.1), "fp32": Choice(0.0, 32, 0.2)}
    for order in (("loud", "quiet"), ("quiet", "loud")):
        kinds = {"loud": Choice(3e-3, 8, 0.1), "quiet": Choice(2e-3, 8, 0.1)}
        units = {"failed": failed, "a": {kind: kinds[kind] for kind in order}}
        found = allocate(units, 1.0, weight_of_bytes=WEIGHT)
        assert dict(found.precisions) == {"failed": "fp32", "a": "quiet"}


def test_the_same_again_gives_the_same():
    for seed in range(5):
        _, units = problem(seed)
        most = max(one.noise for one in everything(units))
        first = allocate(units, most / 3, weight_of_bytes=WEIGHT)
        assert all(allocate(units, most / 3, weight_of_bytes=WEIGHT) == first for _ in range(3))


def test_bytes_weigh_what_they_are_said_to():
    units = {"a": {"small": Choice(0.1, 100, 0.5), "fast": Choice(0.1, 200, 0.4)}}
    assert allocate(units, 1.0, weight_of_bytes=1e-4).precisions == {"a": "fast"}
    assert allocate(units, 1.0, weight_of_bytes=1e-2).precisions == {"a": "small"}


def test_no_units_cost_nothing():
    assert allocate({}, 0.0, weight_of_bytes=WEIGHT) == Allocation({}, 0.0, 0, 0.0)


def test_units_without_noise_keep_their_precision_under_a_bound_of_none():
    units = {"a": {"w8a8": Choice(0.0, 10, 0.1), "fp32": Choice(0.0, 40, 0.2)}}
    assert compare(units, 0.0).precisions == {"a": "w8a8"}


@pytest.mark.parametrize("seed", range(20))
def test_without_a_bound_of_noise_the_least_that_the_others_allow(seed):
    source, units = problem(seed)
    size = source.choice([one.bytes for one in everything(units)])
    for bounds in ({}, {"most_bytes": size + 0.5}, {"most_bytes": -1.0}):
        allowed = [one for one in everything(units) if one.bytes <= bounds.get("most_bytes", math.inf)]
        found = allocate(units, None, weight_of_bytes=WEIGHT, **bounds)
        if not allowed:
            assert found is None
        else:
            assert found.noise == pytest.approx(min(one.noise for one in allowed), rel=1e-5, abs=1e-15)
            assert found.bytes <= bounds.get("most_bytes", math.inf)
