"""How rules are found, how settings overrule them, and what stops."""

import types

import msgspec
import pytest

from edgeexport.analysis import LintFinding
from edgeexport.errors import LintError, RecipeError, SamplesError
from edgeexport.lint import _rule
from edgeexport.lint._rule import Found, findings, overruled, rule, rules, stop
from edgeexport.settings import Calibration

ERROR = LintFinding(rule="noise-images", level="error", evidence="9 of 9 are noise", remedy="Give images.")
WARNING = LintFinding(rule="few-samples", level="warning", evidence="120 samples", remedy="Give 199.")


def settings(**given):
    return Calibration(method="minmax", minimum_samples=1, **given)


def test_rules_are_found_by_file_name():
    assert len(rules()) >= 12
    assert {"few-samples", "noise-images", "evaluation-overlap"} <= set(rules())
    assert all(name in rules() for one in rules().values() for name in one.unless)


@pytest.fixture
def made(monkeypatch):
    """Only these two rules, the second of which follows from the first."""

    @rule("cause")
    def cause(view):
        if view["cause"]:
            yield Found("warning", "1 cause", "Mend it.")

    @rule("consequence", unless=("cause",))
    def consequence(view):
        yield Found("error", "1 consequence", "Mend it.")

    module = types.SimpleNamespace(cause=cause, consequence=consequence)
    monkeypatch.setattr(_rule.discover, "names", lambda package: ["made"])
    monkeypatch.setattr(_rule.discover, "load", lambda package, name: module)
    rules.cache_clear()
    yield
    rules.cache_clear()


def test_a_consequence_keeps_silent(made):
    assert [one.rule for one in findings({"cause": True})] == ["cause"]
    assert [one.rule for one in findings({"cause": False})] == ["consequence"]


def test_nothing_is_overruled_unasked():
    assert overruled((ERROR, WARNING), settings()) == (ERROR, WARNING)


@pytest.mark.parametrize(
    ("given", "by"),
    [({"lint": "warn"}, "calibration.lint=warn"), ({"ignore": ("noise-images",)}, "calibration.ignore")],
)
def test_an_overruled_error_becomes_a_warning_that_says_so(given, by):
    said = msgspec.structs.replace(ERROR, level="warning", evidence=f"9 of 9 are noise (an error, overruled by {by})")
    assert overruled((ERROR, WARNING), settings(**given)) == (said, WARNING)


def test_an_ignored_warning_is_left_out():
    assert overruled((ERROR, WARNING), settings(ignore=("few-samples",))) == (ERROR,)


def test_an_unknown_rule_is_refused():
    with pytest.raises(RecipeError, match=r"calibration\.ignore names no rule 'noise'") as caught:
        overruled((), settings(ignore=("noise",)))
    assert "noise-images" in caught.value.hint


def test_errors_stop_in_one_sentence_and_warnings_do_not():
    stop((WARNING,), "set.npz")
    other = msgspec.structs.replace(ERROR, rule="dark-pixels", evidence="1 of 255")
    with pytest.raises(SamplesError) as caught:
        stop((ERROR, other, WARNING), "set.npz")
    assert isinstance(caught.value, LintError)
    assert caught.value.exit_code == 2
    assert caught.value.what == (
        "set.npz is unfit for calibration: 9 of 9 are noise [noise-images]; 1 of 255 [dark-pixels]"
    )
    assert caught.value.hint == (
        'Give images. To export with it all the same: --set \'calibration.ignore=["noise-images", "dark-pixels"]\'.'
    )
    assert caught.value.findings == (ERROR, other, WARNING)
