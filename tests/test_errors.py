"""The exception tree, as its docstring draws it."""

import re

import pytest

from edgeexport import errors

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]


def test_the_drawing_names_every_error_and_its_exit_code():
    drawn = re.findall(r"^    (?:│   )?(?:[├└]── )?(\w+)", errors.__doc__, re.MULTILINE)
    assert set(drawn) - {"│"} == {kind.__name__ for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_exit_codes(kind):
    assert issubclass(kind, errors.EdgeExportError)
    assert kind("it broke").exit_code == (3 if kind is errors.MissingRequirement else 2)


def test_what_and_hint_are_kept_apart_and_printed_together():
    error = errors.ModelError("no model at x", "Give another.")
    assert (error.what, error.hint, str(error)) == ("no model at x", "Give another.", "no model at x\nGive another.")
    assert str(errors.ModelError("no model at x")) == "no model at x"


def test_a_failed_run_carries_its_log():
    error = errors.RunFailed("it crashed", "the last words")
    assert (str(error), error.hint, error.log) == ("it crashed", None, "the last words")
