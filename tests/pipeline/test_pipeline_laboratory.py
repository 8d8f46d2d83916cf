"""Where a search tries settings: the split, figures against the runtime's own, what is kept of a run, and limits."""

import math

import msgspec
import numpy as np
import onnxruntime
import pytest

from edgeexport.analysis import Budget
from edgeexport.cache import Cache
from edgeexport.errors import RecipeError
from edgeexport.pipeline import Request, laboratory
from edgeexport.pipeline.exporting import Export
from edgeexport.pipeline.laboratory import Laboratory, split
from edgeexport.pipeline.searching import limits_of, within_limits
from edgeexport.progress import Progress
from edgeexport.search.space import group
from edgeexport.verify.harness import verify_on


def test_halves_are_disjoint_drawn_once_and_in_order():
    choosing, scoring = split(400, 0)
    assert sorted([*choosing, *scoring]) == list(range(400))
    assert (len(choosing), len(scoring)) == (200, 200)
    assert choosing == sorted(choosing)
    assert scoring == sorted(scoring)
    assert split(400, 0) == (choosing, scoring)
    assert split(400, 1) != (choosing, scoring)
    assert 60 < sum(number < 200 for number in choosing) < 140  # not the first half


def test_an_odd_sample_scores():
    choosing, scoring = split(65, 0)
    assert (len(choosing), len(scoring)) == (32, 33)


def test_a_limit_takes_the_first_samples():
    assert split(400, 0, 100) == split(100, 0)
    assert split(100, 0, 400) == split(100, 0)


@pytest.mark.parametrize(
    ("count", "limit", "told", "hint"), [(63, None, "it has 63", "--evaluation"), (400, 10, "it has 10", "--limit")]
)
def test_too_few_samples_for_two_halves(count, limit, told, hint):
    with pytest.raises(RecipeError, match="64 samples") as error:
        split(count, 0, limit)
    assert told in error.value.what
    assert hint in error.value.hint


@pytest.fixture
def make(digits, board, tmp_path):
    """A laboratory on the CNN, held to a drop of 2 points; keywords are of the request, ``flags`` settings."""
    made = []

    def build(root=tmp_path / "cache", limit=None, evaluation=digits.evaluation, drop=0.02, **flags):
        request = Request(
            digits.model,
            board,
            calibration=digits.calibration,
            evaluation=evaluation,
            flags=within_limits(flags, Budget(drop=drop)),
        )
        export = Export(request, Progress(), Cache(root))
        export.run_stages()
        made.append(Laboratory(export, "local", Progress(), limit))
        return made[-1]

    yield build
    for lab in made:
        lab.device.close()


def outputs(path, images):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(None, {"image": image[None]})[0] for image in images])


def test_a_trial_has_the_figures_of_the_runtime(make, digits):
    lab = make()
    flags = {"precision": "w8a8"}
    trial = lab.evaluated(flags, lab.screened(flags, timed=True))
    data = np.load(digits.evaluation)
    images, labels = data["image"][lab.choosing], data["label"][lab.choosing]
    export = lab._with(flags)
    found, expected = outputs(export.artifact.path, images), outputs(export.baseline.path, images)
    assert trial.samples == 200
    assert trial.unlike == int((found.argmax(1) != expected.argmax(1)).sum())
    drop = (expected.argmax(1) == labels).mean() - (found.argmax(1) == labels).mean()
    assert trial.drop == pytest.approx(drop, abs=1e-12)
    noise = ((expected - found).astype(np.float64) ** 2).sum()
    assert trial.snr_db == pytest.approx(10 * math.log10((expected.astype(np.float64) ** 2).sum() / noise), abs=0.01)
    assert trial.artifact_bytes == export.artifact.path.stat().st_size
    assert trial.size_ratio == trial.artifact_bytes / export.float32_bytes
    assert trial.latency_ratio > 0
    assert trial.kept is bool(drop <= 0.02)
    assert lab.metric == "accuracy"


def test_few_samples_are_of_the_choosing_part(make):
    lab = make()
    assert set(lab._fewer) < set(lab._few) < set(lab.choosing)
    assert (len(lab._fewer), len(lab._few)) == (24, 64)
    assert not set(lab.scoring) & set(lab.choosing)


def test_a_limit_leaves_the_other_samples_out(make):
    lab = make(limit=80)
    assert max(*lab.choosing, *lab.scoring) < 80
    assert len(lab.choosing) == len(lab.scoring) == 40
    assert lab.screened({"precision": "w8"}, timed=False).samples == 40


def test_alone_one_unit_has_integers_and_all_others_float32(make):
    lab = make()
    flags = {"precision": "w8a8"}
    units = group(lab.layers(flags))
    found = {unit.path: lab.alone(flags, unit, "w8a8") for unit in units}
    assert all(trial.samples == 24 and trial.note == "" for trial in found.values())
    whole = lab.screened(flags, timed=False)
    noise = sum(10 ** (-trial.snr_db / 10) for trial in found.values() if trial.snr_db is not None)
    # What units add is taken to add up; between two of them the whole model rounds once where each alone does.
    assert 0.3 < 10 ** (-whole.snr_db / 10) / noise < 1.5
    sizes = [trial.artifact_bytes for trial in found.values()]
    float32 = lab.export.baseline.path.stat().st_size
    assert all(whole.artifact_bytes < size < 1.05 * float32 for size in sizes)
    largest = max(units, key=lambda unit: unit.weights)
    assert found[largest.path].artifact_bytes == min(sizes)


class Counted:
    def __init__(self, monkeypatch, change=lambda run: run):
        self.count = 0

        def run(*arguments):
            self.count += 1
            found, firsts = verify_on(*arguments)
            return change(found), firsts

        monkeypatch.setattr(laboratory, "verify_on", run)


def test_what_ran_is_not_run_again(make, monkeypatch):
    runs = Counted(monkeypatch)
    first = make().screened({"precision": "w8"}, timed=True)
    assert runs.count == 1
    assert make().screened({"precision": "w8"}, timed=True) == first
    assert runs.count == 1
    make().screened({"precision": "w8"}, timed=False)
    assert runs.count == 2  # that has no latency


def test_another_meaning_of_the_outputs_is_another_run(make, monkeypatch):
    runs = Counted(monkeypatch)
    make().screened({"precision": "w8"}, timed=False)
    lab = make(model={"task": "embedding"})
    found = lab.screened({"precision": "w8"}, timed=False)
    assert (runs.count, lab.metric, found.unlike) == (2, "cosine", None)
    assert found.drop == pytest.approx(0, abs=0.01)


def test_a_failed_run_is_a_note_and_is_not_kept(make, monkeypatch):
    runs = Counted(monkeypatch, lambda run: msgspec.structs.replace(run, error="the board is on fire"))
    found = make().screened({"precision": "w8"}, timed=False)
    assert (found.note, found.artifact_bytes) == ("the board is on fire", None)
    make().screened({"precision": "w8"}, timed=False)
    assert runs.count == 2


def test_an_infinite_metric_is_no_drop_and_keeps_nothing(make, monkeypatch):
    def change(run):
        worse = msgspec.structs.replace(run.accuracy, metric="perplexity", value=math.inf, higher_is_better=False)
        return msgspec.structs.replace(run, accuracy=worse)

    Counted(monkeypatch, change)
    for _ in range(2):  # a kept run would be read again
        lab = make()
        found = lab.evaluated({"precision": "w8"}, lab.screened({"precision": "w8"}, timed=False))
        assert (found.drop, found.kept) == (None, False)


def test_without_a_metric_nothing_is_kept(make, monkeypatch):
    Counted(monkeypatch, lambda run: msgspec.structs.replace(run, accuracy=None))
    lab = make()
    found = lab.evaluated({"precision": "w8"}, lab.screened({"precision": "w8"}, timed=False))
    assert found.kept is False
    assert found.note == "the metric is no number over these 200 samples"


def test_settings_that_cannot_be_are_a_note(make):
    found = make().screened({"precision": "w8", "quantization": {"palette_bits": 4}}, timed=False)
    assert "quantization.palette_bits" in found.note
    assert (found.artifact_bytes, found.kept) == (None, None)


def test_limits_that_a_model_breaks_are_named(make):
    lab = make(limits={"artifact_bytes": 1000, "latency_ratio": 1e-6})
    flags = {"precision": "w8"}
    assert lab.bounds(flags).bytes == 1000
    assert lab.bounds(flags).latency_ratio == 1e-6
    found = lab.evaluated(flags, lab.screened(flags, timed=True))
    assert found.kept is False
    assert found.note == "breaks the limit of artifact_bytes, latency_ratio"


def test_the_tighter_limit_of_bytes_counts(make):
    lab = make(limits={"size_ratio": 0.1})
    bounds = lab.bounds({"precision": "w8"})
    assert bounds.bytes == pytest.approx(0.1 * lab.export.float32_bytes)
    assert bounds.bytes_by == "limits.size_ratio (command line)"


@pytest.mark.parametrize("precision", ["w8", "w8a8"])
def test_a_target_promises_of_one_precision_bind_no_search(digits, tmp_path, precision):
    """Another precision was promised less, and would win by that alone."""
    target = tmp_path / "strict.toml"
    target.write_text(
        'extends = "desktop-x86"\nname = "strict"\n'
        "[settings.when.w8a8.limits]\nsize_ratio = 0.01\nlatency_ratio = 0.01\n"
    )
    request = Request(
        digits.model,
        str(target),
        calibration=digits.calibration,
        evaluation=digits.evaluation,
        flags=within_limits({}, Budget(drop=0.5, bytes=10**6)),
    )
    export = Export(request, Progress(), Cache(tmp_path / "cache"))
    export.run_stages()
    lab = Laboratory(export, "local", Progress())
    flags = {"precision": precision}
    bounds = lab.bounds(flags)
    assert (bounds.bytes, bounds.latency_ratio, bounds.drop) == (10**6, None, 0.5)
    trial = lab.evaluated(flags, lab.screened(flags, timed=False))
    assert trial.kept
    settings = lab.settings_of(trial)
    held = export.with_found(settings).recipe
    assert (held.settings.limits.size_ratio, held.settings.limits.latency_ratio) == (None, None)
    assert (held.settings.limits.artifact_bytes, held.origins["limits.artifact_bytes"]) == (10**6, "command line")


def test_what_is_not_timed_bounds_nothing(make):
    lab = make(timing={"pairs": 0})
    assert not lab.timed
    assert lab.bounds({"precision": "w8"}).latency_ratio is None
    assert lab.screened({"precision": "w8"}, timed=True).latency_ratio is None


def test_hopeless_is_what_two_standard_errors_cannot_explain(make):
    lab = make()
    trial = msgspec.structs.replace(lab.screened({"precision": "w8"}, timed=False), settings={"precision": "w8"})

    def told(drop, unlike):
        return lab.hopeless(msgspec.structs.replace(trial, drop=drop, unlike=unlike))

    assert told(drop=20 / 64, unlike=20) == "20 of 64 samples are unlike float32 already"  # 0.31 - 2 * 0.072 > 0.02
    assert told(drop=8 / 64, unlike=8) == "8 of 64 samples are unlike float32 already"  # 0.125 - 2 * 0.047
    assert told(drop=5 / 64, unlike=5) == ""  # 0.078 - 2 * 0.038
    assert told(drop=0.0, unlike=30) == ""
    assert told(drop=0.9, unlike=None) == ""


def test_changes_leave_what_the_command_line_set_alone(make):
    titles = [title for title, _ in make().variations({"precision": "w8a8"})]
    assert any(title.startswith("method ") for title in titles)
    chosen = make(calibration={"method": "minmax"})
    assert not any(title.startswith("method ") for title, _ in chosen.variations({"precision": "w8a8"}))


def test_limits_of_a_budget_and_what_contradicts_them():
    budget = Budget(drop=0.005, bytes=1000, latency_ratio=0.5)
    limits = {"accuracy_drop": 0.005, "perplexity_ratio": 1.005, "artifact_bytes": 1000, "latency_ratio": 0.5}
    assert limits_of(budget) == {"limits": limits}
    merged = within_limits({"limits": {"accuracy_drop": 0.005, "agreement": 0.9}, "precision": "w8"}, budget)
    assert merged == {"limits": {**limits, "agreement": 0.9}, "precision": "w8"}
    with pytest.raises(RecipeError, match=r"limits.accuracy_drop=0.02 contradicts the budget, which sets it to 0.005"):
        within_limits({"limits": {"accuracy_drop": 0.02}}, budget)
