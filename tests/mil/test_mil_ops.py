"""Every operator of the table against an independent reference, and every such test against a wrong operator."""

import pytest

from edgeexport import mil
from edgeexport.mil.table import executed as forms
from edgeexport.mil.table import find
from tests.mil import harness

CASES = harness.collect()
BY_OP = {}
for _case in CASES:
    BY_OP.setdefault(_case.op, []).append(_case)
FORMS = [(name, form.since) for name, several in forms().items() for form in several]
BUILT_ELSEWHERE = {"write_state"}
"""Operators that coremltools' builder cannot give alone; their own tests hold them."""


@pytest.mark.parametrize("case", CASES, ids=str)
def test_operator(case, tmp_path):
    harness.assert_equal(case, harness.evaluate(case, tmp_path))


def _caught(case, folder):
    try:
        harness.assert_equal(case, harness.evaluate(case, folder))
    except Exception:
        return True
    return False


@pytest.mark.parametrize("name", sorted(BY_OP))
def test_a_wrong_operator_is_caught(name, tmp_path, monkeypatch):
    harness.mutate(monkeypatch, name)
    assert all(_caught(case, tmp_path) for case in BY_OP[name])


@pytest.mark.parametrize(("name", "since"), [form for form in FORMS if form[0] not in BUILT_ELSEWHERE])
def test_each_output_of_each_form_is_seen(name, since, tmp_path, monkeypatch):
    cases = [case for case in BY_OP[name] if find(name, case.ios).since == since]
    output, most = 0, 1
    while output < most:
        with monkeypatch.context() as patch:
            counts = harness.mutate(patch, name, output)
            assert any(_caught(case, tmp_path) for case in cases), f"output {output}"
        most = max(most, *counts)
        output += 1


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
