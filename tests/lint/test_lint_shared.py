"""Thresholds on real data: in the shared sets nothing is found, with and without their evaluation sets."""

import pytest

from edgeexport.pipeline import LintRequest, run_lint
from edgeexport.progress import Progress

pytestmark = [pytest.mark.slow, pytest.mark.shared]
SETS = {
    "sst2-minilm": ("sst2/calibration.jsonl", "sst2/validation.jsonl"),
    "cifar-mobilenet-v2": ("cifar10/calibration", "cifar10/validation"),
    "codelm": ("code/calibration_ids.npy", "code/validation_ids.npy"),
}


@pytest.mark.parametrize("model", SETS)
@pytest.mark.parametrize("compared", [True, False])
def test_nothing_is_found_in_the_shared_sets(model, compared, shared, cache):
    calibration, evaluation = (shared / "data" / name for name in SETS[model])
    request = LintRequest(str(shared / "models" / model), calibration, evaluation if compared else None)
    assert run_lint(request, {}, Progress()) == ()


def test_a_training_set_of_phrases_is_shorter_than_sentences(shared, cache):
    """SST-2 trains on parts of sentences: the rule tells real sets apart, too."""
    data = shared / "data" / "sst2"
    request = LintRequest(str(shared / "models" / "sst2-minilm"), data / "train.jsonl", data / "validation.jsonl")
    found = run_lint(request, {}, Progress())
    assert "lengths-unlike-evaluation" in {one.rule for one in found}
    assert {one.level for one in found} == {"warning"}
