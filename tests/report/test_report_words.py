"""Figures and names for people."""

import msgspec
import pytest
import report_samples as samples

from edgeexport.report import words
from edgeexport.results import Accuracy, Conditions


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (None, "bytes", "–"),
        (99_999, "bytes", "99,999 B"),
        (100_000, "bytes", "0.10 MB"),
        (-3_200_000, "bytes", "-3.20 MB"),
        (1_234_567_890, "bytes", "1,234.57 MB"),
        (0.25, "ratio", "0.2500"),
        (3.0, "operators", "3"),
        (-0.0123, "share", "-0.0123"),
    ],
)
def test_figures_for_people(value, unit, shown):
    assert words.format_value(value, unit) == shown


@pytest.mark.parametrize(
    ("share", "shown"),
    [
        (None, "–"),
        (0.0, "0 %"),
        (1.0, "100 %"),
        (0.988, "98.8 %"),
        (0.1, "10 %"),
        (0.0213, "2.1 %"),
        (0.00022, "0.022 %"),
        (0.00001, "< 0.01 %"),
    ],
)
def test_shares(share, shown):
    assert words.percent(share) == shown


def test_points_of_a_drop():
    assert [words.points(drop) for drop in (None, 0.005, -0.0023, -0.00001)] == ["–", "0.50", "-0.23", "0.00"]


def test_a_metric_that_is_better_when_lower_is_named():
    run = samples.run()
    told = Accuracy(metric="perplexity", value=11.85, reference=11.83, samples=9, higher_is_better=False)
    other = msgspec.structs.replace(run, accuracy=told)
    assert words.metric_title([other]) == "Perplexity ↓"
    assert words.metric_title([run, other]) == words.metric_title(()) == words.metric_title([run]) == "Accuracy"


@pytest.mark.parametrize(
    ("version", "stand_in", "delegate", "name"),
    [
        ("2.3", None, None, "r 2.3"),
        ("2.3", None, "xnnpack", "r 2.3 (xnnpack)"),
        ("2.3", None, "none", "r 2.3 (no delegate)"),
        ("", "evaluator", None, "r (evaluator)"),
        ("18 (macOS 15.1)", None, "9 on CPU", "r 18 (macOS 15.1) (9 on CPU)"),
        ("", "evaluator", "cpu", "r (evaluator, cpu)"),
    ],
)
def test_the_name_of_a_runtime(version, stand_in, delegate, name):
    run = samples.run(runtime="r", runtime_version=version, stand_in=stand_in, delegate=delegate)
    assert words.runtime_name(run) == name


def test_conditions_are_a_line_a_run_that_told_any():
    silent = msgspec.structs.replace(samples.run().latency_ms, before=None, after=Conditions())
    told = words.conditions(samples.rich(runs=(samples.run(), samples.run(latency_ms=silent))))
    assert told == [
        "onnxruntime on local: 41.2 °C before, 57.9 °C after, 1800 MHz before, 1800 MHz after",
    ]


@pytest.mark.parametrize(
    ("drop", "metric", "said"),
    [
        (0.0046, "accuracy", "0.46 points lost"),
        (-0.0023, "accuracy", "0.23 points gained"),
        (-0.00001, "accuracy", "0.00 points lost"),
        (0.005, "perplexity", "0.50 % more perplexity"),
        (-0.005, "perplexity", "0.50 % less perplexity"),
    ],
)
def test_losses_and_gains(drop, metric, said):
    assert words.loss(drop, metric) == said
