"""Every operator of the table against an independent reference, and every such test against a wrong operator."""

import pytest

from edgeexport import mil
from edgeexport.mil.table import executed as forms
from tests.mil import harness

CASES = harness.collect()
BY_OP = {}
for _case in CASES:
    BY_OP.setdefault(_case.op, []).append(_case)
BUILT_ELSEWHERE = {"write_state"}
"""Operators that coremltools' builder cannot give alone; their own tests hold them."""


@pytest.mark.parametrize("case", CASES, ids=str)
def test_operator(case, tmp_path):
    harness.assert_equal(case, harness.evaluate(case, tmp_path))


@pytest.mark.parametrize("name", sorted(BY_OP))
def test_a_wrong_operator_is_caught(name, tmp_path, monkeypatch):
    harness.mutate(monkeypatch, name)
    caught = 0
    for case in BY_OP[name]:
        try:
            harness.assert_equal(case, harness.evaluate(case, tmp_path))
        except Exception:
            caught += 1
    assert caught == len(BY_OP[name])


def test_every_operator_has_a_case():
    assert set(mil.executed()) - set(BY_OP) - BUILT_ELSEWHERE == set()


def _registry():
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

    return SSAOpRegistry.core_ops


def test_the_opset_is_covered():
    harness.builder()
    known = set(_registry())
    assert len(known) == 168
    executed, refused = {"const", *mil.executed()}, set(mil.refused())  # the machine itself has constants
    assert executed & refused == set()
    assert known - executed - refused == set()
    assert len(known & executed) >= 150


@pytest.mark.parametrize("name", [name for name in sorted(forms()) if name not in BUILT_ELSEWHERE])
def test_parameters_are_those_of_the_specification(name):
    harness.builder()
    versions = {version.value: kind for version, kind in _registry()[name].items()}
    for form in forms()[name]:
        newer = [other.since for other in forms()[name] if other.since > form.since]
        # coremltools numbers iOS releases by specification version: iOS 15 is 6.
        span = range(form.since - 9, (min(newer) if newer else 19) - 9)
        wanted = {key for number in span if number in versions for key in versions[number].input_spec.input_types}
        wanted = {key for key in wanted if not key.startswith("_")}
        assert set(form.parameters) == wanted, f"iOS {form.since}"
