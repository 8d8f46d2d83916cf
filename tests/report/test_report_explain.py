"""What explains a report, on a terminal."""

import io

import msgspec
import pytest
import report_samples as samples
from rich.console import Console

from edgeexport.report import table


def draw(report, width=140):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(table.render(report))
    return console.export_text()


def row(shown, word):
    (line,) = [line for line in shown.splitlines() if word in line and line.startswith("│")]
    return [cell.strip() for cell in line.strip("│").split("│")]


def test_the_search_with_every_trial():
    shown = draw(samples.rich())
    assert "budget: at most 1.00 points lost, 32.00 MB, 0.6 of float32's time" in shown
    assert row(shown, "★ 1 dynamic")[1:] == ["23.13 MB", "0.00", "3/436", "0.4710", "kept"]
    assert row(shown, "7 4 bits a weight")[1:] == ["18.10 MB", "2.52", "29/436", "0.7330", "broken"]
    assert row(shown, "9 16-bit activations")[1:] == ["–", "–", "–", "–", "–"]
    assert "passed over: on 100 samples already worse than trial 5" in shown
    assert "Kept by trial 1 (dynamic" in shown and "nothing smaller does." in " ".join(shown.split())


def test_a_failed_search_says_what_the_closest_lost_and_which_layers_cost_most():
    search = samples.search(met=False)
    trials = [msgspec.structs.replace(trial, kept=False) for trial in search.trials]
    search = msgspec.structs.replace(search, trials=tuple(trials), chosen=5)
    shown = draw(samples.rich(search=search, divergences=()))
    told = " ".join(shown.split())
    assert "No trial keeps the budget. Closest: trial 5 (static, 4 layers float), 0.69 points lost on the 436" in told
    assert "samples that chose, 0.23 points lost on the 436 samples that judged it." in told
    assert "Layers that cost most of 36, each quantized alone" in shown
    ordered = sorted(search.sensitivities, key=lambda one: one.snr_db)
    worst = [line.split("│")[1].strip() for line in shown.splitlines() if line.startswith("│ bert")]
    assert worst == [one.path for one in ordered[:5]]
    first = ordered[0]
    (line,) = [line for line in shown.splitlines() if line.startswith(f"│ {first.path} ")]
    assert [cell.strip() for cell in line.strip("│").split("│")][1:] == [
        *("w8a8", f"{100 * samples.noise_share(first.snr_db):.3g} %", f"{first.snr_db:.1f}", f"{first.unlike}/400"),
        *("0.59 MB", "5.6 %"),
    ]
    assert "Layers that cost most" not in draw(samples.rich())


def test_what_was_kept_only_where_it_was_chosen_is_not_called_the_closest():
    told = " ".join(draw(samples.rich(search=samples.search(met=False))).split())
    assert "Trial 1 (dynamic, everything in 8 bits) keeps the budget on the samples that chose, not on those" in told
    assert "0.00 points lost on the 436 samples that chose, 0.23 points lost on the 436 samples that judged it." in told
    assert "No trial" not in told


def test_a_perplexity_rises_and_has_no_points():
    shown = " ".join(draw(samples.rich(search=msgspec.structs.replace(samples.search(), metric="perplexity"))).split())
    assert "at most 1.00 % more perplexity" in shown and "Risen, %" in shown
    assert "0.23 % more perplexity on the 436 samples" in shown
    assert "oints lost" not in shown


def test_findings_and_the_worst_layers():
    shown = draw(samples.rich())
    assert row(shown, "duplicate-samples") == [
        "duplicate-samples",
        "warning",
        "118 of 512 samples are equal to another",
    ]
    assert "Draw samples of every label." in shown
    assert row(shown, "bert.encoder.layer.1.output.dense.21") == [
        *("bert.encoder.layer.1.output.dense.21", "MatMul", "36.1", "–", "2.1 %", "-4 … 6.2"),
    ]
    assert "dense.22" not in shown


def test_what_there_is_not_is_not_shown():
    shown = draw(samples.rich(search=None, lint=(), divergences=()))
    for word in ("Search on", "calibration set", "parts from float32"):
        assert word not in shown


@pytest.mark.parametrize("hostile", ["[/]", "[bold]x", "a[b]c"])
def test_names_are_not_markup(hostile):
    search = msgspec.structs.replace(
        samples.search(), runtime=hostile, trials=(msgspec.structs.replace(samples.search().trials[0], title=hostile),)
    )
    finding = msgspec.structs.replace(samples.LINT[0], rule=hostile, evidence=hostile, remedy=hostile)
    assert draw(samples.rich(search=search, lint=(finding,))).count(hostile) >= 6
