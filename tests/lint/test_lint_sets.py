"""The table: every bad set is caught by exactly its rule, and good ones by none."""

import math
from pathlib import Path

import calibration_sets
import pytest

from edgeexport.lint._rule import findings, rules
from edgeexport.lint._view import view

DOCS = Path(__file__).parents[2] / "docs" / "calibration-lint.md"
ELSEWHERE = {"activation-ranges-move"}  # which takes a model: test_lint_movement.py


def found(folder, make):
    subject, calibration, evaluation = make(folder)
    return findings(view(calibration, evaluation, subject, lambda _: None))


@pytest.mark.parametrize("name", calibration_sets.BAD)
def test_a_bad_set_is_caught_by_its_rule_alone(name, tmp_path):
    rule, make = calibration_sets.BAD[name]
    seen = found(tmp_path, make)
    assert [one.rule for one in seen] == [rule], seen
    assert any(character.isdigit() for character in seen[0].evidence), "evidence is in numbers"
    assert seen[0].remedy


@pytest.mark.parametrize("name", calibration_sets.GOOD)
def test_nothing_is_found_in_a_good_set(name, tmp_path):
    assert found(tmp_path, calibration_sets.GOOD[name]) == ()


def test_every_rule_has_a_bad_set_and_a_place_in_the_documentation():
    assert {rule for rule, _ in calibration_sets.BAD.values()} | ELSEWHERE == set(rules())
    documented = [line.split("`")[1] for line in DOCS.read_text().splitlines() if line.startswith("### `")]
    assert documented == list(rules())


@pytest.mark.parametrize(
    ("name", "level"),
    [
        ("fewer than the minimum", "error"),
        ("few", "warning"),
        ("copies", "error"),
        ("copies but for case", "warning"),
        ("some of evaluation", "warning"),
        ("all of evaluation", "error"),
        ("black images", "warning"),
        ("all alike", "error"),
        ("noise for images", "error"),
        ("a class missing", "warning"),
        ("normalised twice", "error"),
        ("NaN", "error"),
    ],
)
def test_levels(name, level, tmp_path):
    (one,) = found(tmp_path, calibration_sets.BAD[name][1])
    assert one.level == level


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("few", f"with probability {2 / 151:.1%}"),
        ("copies", "180 of 240 samples are exact copies of earlier ones: 60 are left"),
        ("copies but for case", "120 of 240 samples differ from earlier ones"),
        ("some of evaluation", "40 of 240 samples are in the evaluation set too"),
        ("black images", "48 of 240 samples hold one value throughout"),
        ("silence", "30 of 240 samples are silent"),
        ("blank texts", "24 of 240 samples have no text"),
        ("a class missing", "1 of 4 classes never come in 240 labelled samples: 'owl'"),
        ("another rate", "240 of 240 recordings are sampled at 8000 Hz, the model takes 4000 Hz"),
        ("NaN", "1 of 240 samples hold NaN or infinity; the first: sample calibration.npz[3]: 'field' holds NaN"),
        ("all alike", "the samples do not vary: 'field' is 0.25 throughout"),
        ("one far value", "calibration.npz[7] reaches from"),
        ("channels last", "'field' has shape [1, 12, 16, 1], not [1, 1, 12, 16]"),
    ],
)
def test_evidence(name, said, tmp_path):
    (one,) = found(tmp_path, calibration_sets.BAD[name][1])
    assert said in one.evidence


def test_exchanged_axes_show_where_their_length_is_free(tmp_path):
    """Stripes along one axis: with height and width free, only smoothness tells that they were exchanged."""
    import numpy as np

    def stripes(fields):
        rows = np.random.default_rng(0).normal(size=(len(fields), 1, fields.shape[2], 1))
        return np.broadcast_to(rows, fields.shape) + 0.01 * fields

    subject, _, _ = calibration_sets.arrays(tmp_path, stripes)
    fields = np.load(tmp_path / "calibration.npz")["field"]
    np.savez(tmp_path / "evaluation.npz", field=fields[:100] * 1.01)
    np.savez(tmp_path / "turned.npz", field=fields.transpose(0, 1, 3, 2))
    sets = [calibration_sets.open_samples(tmp_path / f"{name}.npz") for name in ("turned", "evaluation")]
    (one,) = findings(view(*sets, subject, lambda _: None))
    assert (one.rule, one.level) == ("layout-unlike", "error")
    assert math.isclose(float(one.evidence.split("by ")[1].split("/")[0]), 1.0, abs_tol=0.01)
