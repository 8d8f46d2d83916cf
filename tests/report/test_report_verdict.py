"""The verdict in one sentence."""

import msgspec
import pytest
import report_samples as samples

from edgeexport.report.verdict import sentence, size_words, speed_words
from edgeexport.results import Accuracy, Size


def report(**changes):
    size = Size(artifact_bytes=23_130_003, source_float32_bytes=90_860_000, ratio=0.2546, components=())
    plain = {"runs": (samples.run(),), "verdict": "pass", "checks": (), "size": size}
    return samples.rich(**{**plain, **changes})


def test_a_pass_says_answers_size_and_speed():
    assert sentence(report()) == "Passes: 781 of 872 right (float32 781), a quarter of the size, 2.4 times as fast."


def test_a_failure_names_what_it_fails_on():
    assert sentence(samples.rich()) == (
        "Fails on size and likeness of outputs: 779 to 781 of 872 right (float32 781), 28.2 % of the size, "
        "2.4 times as fast."
    )
    broken = samples.check("run", None, None, "", "fail", note="log")
    failed = report(verdict="fail", checks=(broken,), runs=(samples.run(parity=None, accuracy=None, latency_ms=None),))
    assert sentence(failed) == "Fails on running at all: a quarter of the size."


def test_what_was_not_run_is_named():
    missing = samples.check("accuracy_drop", None, 0.01, "share", "not run")
    told = report(verdict="incomplete", checks=(missing,), runs=(samples.run(accuracy=None),))
    assert sentence(told) == (
        "Not proved, accuracy unchecked: 6 of 872 answers unlike float32, a quarter of the size, 2.4 times as fast."
    )


def test_other_metrics_and_outputs_without_classes():
    perplexity = Accuracy(metric="perplexity", value=11.85, reference=11.83, samples=9, higher_is_better=False)
    assert "perplexity 11.85 (float32 11.83)" in sentence(report(runs=(samples.run(accuracy=perplexity),)))
    parity = msgspec.structs.replace(samples.run().parity, unlike=None, agreement=None)
    bare = samples.run(accuracy=None, parity=parity)
    assert "outputs at least 0.9481 like float32's (cosine)" in sentence(report(runs=(bare,)))


def test_emulated_times_are_not_told():
    assert "fast" not in sentence(report(runs=(samples.run(evidence="emulated"),)))


@pytest.mark.parametrize(
    ("ratio", "said"),
    [
        (0.2546, "a quarter of the size"),
        (0.2708, "27.1 % of the size"),
        (0.5, "half the size"),
        (0.3333, "a third of the size"),
        (1.01, "the same size"),
        (1.3, "1.30 times the size"),
    ],
)
def test_sizes(ratio, said):
    assert size_words(ratio) == said


@pytest.mark.parametrize(
    ("ratios", "said"),
    [
        ([], ""),
        ([0.4143], "2.4 times as fast"),
        ([0.98], "as fast as float32"),
        ([1.5], "1.5 times as slow"),
        ([0.5, 0.25], "2.0 to 4.0 times as fast"),
        ([0.5, 1.25], "0.80 to 2.00 times as fast"),
    ],
)
def test_speeds(ratios, said):
    assert speed_words(ratios) == said
