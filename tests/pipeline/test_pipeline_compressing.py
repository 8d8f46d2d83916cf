"""Stages before conversion: cached by what goes into them, resumed, recorded, chained."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_bert as sentences

import edgeexport
from edgeexport.cache import Cache
from edgeexport.errors import ModelError, OutputError, RecipeError, SamplesError
from edgeexport.pipeline import StageRequest, compress
from edgeexport.pipeline.compressing import Compression, Sets, accompanied, helps, open_method
from edgeexport.pipeline.opening import open_source
from edgeexport.progress import Progress
from edgeexport.samples import open_samples
from edgeexport.source import SourceOptions
from edgeexport.stages import Distill, Training

pytestmark = pytest.mark.usefixtures("one_thread")
QUICK = Training(epochs=1, batch=32, learning_rate=1e-3, held_out=0.1)


def content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


class Titles(Progress):
    def __init__(self):
        self.titles, self.said = [], []

    def stage(self, title, total=None):
        self.titles.append(title)
        return super().stage(title, total)

    def say(self, text):
        self.said.append(text)

    @property
    def trained(self):
        return sum(title.startswith("training") for title in self.titles)


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    path = tmp_path_factory.mktemp("sets") / "train.jsonl"
    sentences.write_lines(path, sentences.sentences(160, seed=21))
    return path


@pytest.fixture
def distil(tiny_bert, train, cache, tmp_path):
    """Distil the tiny BERT; gives the record and what progress was told."""

    def run(stage=Distill(layers=1, training=QUICK), model=tiny_bert.model, **changes):  # noqa: B008
        progress = Titles()
        given = {"train": train, "evaluation": tiny_bert.evaluation, **changes}
        use_cache, output = given.pop("use_cache", True), given.pop("output", tmp_path / "out")
        sets = Sets(**{name: None if path is None else open_samples(Path(path)) for name, path in given.items()})
        record = compress(StageRequest(str(model), stage, sets, output), progress, use_cache=use_cache)
        return record, progress

    run.output = tmp_path / "out"
    return run


def test_what_a_folder_holds(distil, tiny_bert):
    record, progress = distil()
    assert progress.trained == 1
    assert set(content(distil.output)) == {*content(tiny_bert.model), "compression.json"}
    about = json.loads((distil.output / "compression.json").read_text())
    assert about["schema_version"] == 1
    source = open_source(tiny_bert.model, SourceOptions())
    assert about["source"] == {"name": "model", "fingerprint": source.fingerprint()}
    assert about["stages"] == [record.to_dict()]
    assert about["stages"][0]["method"] == "distill"
    assert about["stages"][0]["settings"]["training"]["epochs"] == 1
    assert about["stages"][0]["facts"]["evaluation"]["samples"] == 96
    assert about["versions"]["edgeexport"] == edgeexport.__version__
    assert about["files"] == {
        name: hashlib.sha256(data).hexdigest()
        for name, data in content(distil.output).items()
        if name != "compression.json"
    }
    assert record.note == f"distill: {record.facts['summary']}"
    assert record.note in progress.said
    made = open_source(str(distil.output), SourceOptions())
    assert (made.name, made.labels, made.task) == ("out", ("bad", "good"), "classification")


def test_a_second_run_trains_nothing(distil, cache, tmp_path):
    first, _ = distil()
    second, progress = distil(output=tmp_path / "second")
    assert progress.titles == []
    assert second == first
    assert content(tmp_path / "second") == content(distil.output)
    assert not list(cache.glob("unfinished-stages/*"))
    _, progress = distil(use_cache=False)
    assert progress.trained == 1


def models(folder):
    return {name: data for name, data in content(folder).items() if name != "compression.json"}


def test_fresh_runs_give_the_same_bytes(distil, tmp_path, monkeypatch):
    distil()
    distil(output=tmp_path / "second", use_cache=False)
    monkeypatch.setenv("EDGEEXPORT_CACHE", str(tmp_path / "another"))
    distil(output=tmp_path / "third")
    assert models(tmp_path / "second") == models(tmp_path / "third") == models(distil.output)


def test_what_makes_another_stage(distil, tiny_bert, tmp_path, train):
    def trained(**changes):
        return distil(**changes)[1].trained

    assert trained() == 1
    assert trained() == 0
    assert trained(stage=Distill(layers=1, alpha=0.4, training=QUICK)) == 1
    assert trained(stage=Distill(layers=1, training=Training(epochs=1, batch=32, learning_rate=1e-3, seed=1))) == 1
    assert trained(calibration=tiny_bert.calibration) == 0  # distillation takes none
    assert trained(evaluation=None) == 1  # whose score is told
    moved = shutil.copy(train, tmp_path / "train.jsonl")
    assert trained(train=moved) == 0  # its content counts, wherever it is
    with Path(moved).open("a") as file:
        file.write('{"text": "the film was good", "label": "good"}\n')
    assert trained(train=moved) == 1
    copied = shutil.copytree(tiny_bert.model, tmp_path / "moved" / "model")
    assert trained(model=copied) == 0
    config = copied / "tokenizer_config.json"
    config.write_text(config.read_text().replace("32", "24"))
    assert trained(model=copied) == 1


def test_a_students_contents_count(distil, tiny_bert, tmp_path):
    student = tmp_path / "student"
    distil(output=student)
    stage = Distill(student=str(student), training=QUICK)
    assert distil(stage)[1].trained == 1
    assert distil(stage)[1].trained == 0
    shutil.rmtree(student)
    distil(Distill(layers=[1], training=QUICK), output=student)
    assert distil(stage)[1].trained == 1


KILLED = """
import os, signal, sys
from pathlib import Path
from edgeexport.pipeline import StageRequest, compress
from edgeexport.pipeline.compressing import Sets
from edgeexport.progress import Progress, Stage
from edgeexport.samples import open_samples
from edgeexport.stages import Distill, Training

class Mortal(Progress):
    def stage(self, title, total=None):
        context = super().stage(title, total)
        if not title.startswith("training"):
            return context
        class Dying(Stage):
            def at(self, step):
                if step == int(sys.argv[4]):
                    os.kill(os.getpid(), signal.SIGKILL)
        class Context:
            __enter__ = lambda self: Dying()
            __exit__ = lambda self, *what: None
        return Context()

model, train, evaluation = sys.argv[1:4]
stage = Distill(layers=1, training=Training(epochs=1, batch=32, learning_rate=1e-3, held_out=0.1, checkpoint_steps=2))
sets = Sets(train=open_samples(Path(train)), evaluation=open_samples(Path(evaluation)))
compress(StageRequest(model, stage, sets, Path(sys.argv[5])), Mortal())
"""


def test_a_killed_run_goes_on(distil, tiny_bert, train, cache, tmp_path):
    training = Training(epochs=1, batch=32, learning_rate=1e-3, held_out=0.1, checkpoint_steps=2)
    stage = Distill(layers=1, training=training)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, tiny_bert.model, train, tiny_bert.evaluation, "3", tmp_path / "out"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert not distil.output.exists()
    assert len(list(cache.glob("unfinished-stages/*/checkpoint.pt"))) == 1
    record, progress = distil(stage)
    assert record.facts["training"]["resumed_at"] == 2
    assert "going on from step 2, which an interrupted run reached" in progress.said
    assert not [title for title in progress.titles if title.startswith("encoding")]
    assert not list(cache.glob("unfinished-stages/*"))
    assert not list(cache.glob("stages/.partial-*"))
    distil(stage, output=tmp_path / "whole", use_cache=False)
    assert models(distil.output) == models(tmp_path / "whole")
    record, _ = distil(stage, use_cache=False)
    assert record.facts["training"]["resumed_at"] == 0


def test_what_is_refused_leaves_nothing(distil, cache, tmp_path, train):
    one_class = tmp_path / "one.jsonl"
    sentences.write_lines(one_class, sentences.sentences(40, seed=1)[::2])
    with pytest.raises(SamplesError, match="one class only, 'bad'"):
        distil(train=one_class)
    with pytest.raises(RecipeError, match="has 2 layers, and 7 are asked for"):
        distil(Distill(layers=7))
    with pytest.raises(SamplesError, match="needs samples to train on"):
        distil(train=None)
    assert not distil.output.exists()
    assert {path.name for path in cache.rglob("*") if path.is_file()} == set()
    assert not list(tmp_path.glob(".*"))


# where it is written


def test_folders_of_other_things_are_left_alone(distil):
    distil.output.mkdir()
    (distil.output / "thesis.tex").write_text("text")
    with pytest.raises(OutputError, match="holds what edgeexport did not write"):
        distil()
    assert set(content(distil.output)) == {"thesis.tex"}
    (distil.output / "thesis.tex").unlink()
    distil()
    (distil.output / "notes.txt").write_text("mine")
    before = content(distil.output)
    with pytest.raises(OutputError, match=r"did not write \(notes.txt\)"):
        distil(Distill(layers=[1], training=QUICK))
    assert content(distil.output) == before


def test_its_own_folder_is_replaced(distil):
    distil()
    first = content(distil.output)
    distil(Distill(layers=[1], training=QUICK))
    second = content(distil.output)
    assert set(first) == set(second)
    assert first["model.safetensors"] != second["model.safetensors"]


def test_a_file_is_no_place(distil):
    distil.output.write_text("")
    with pytest.raises(OutputError, match="is a file"):
        distil()


def test_a_bundle_is_not_replaced(distil, linear, board):
    edgeexport.export(linear.model, target=board, precision="w8", output=distil.output, verify=False)
    before = content(distil.output)
    with pytest.raises(OutputError, match="holds what edgeexport did not write"):
        distil()
    assert content(distil.output) == before


# chains


RECIPE = """
[[compress]]
method = "distill"
layers = [0, 1]
width = 0.5
[compress.training]
epochs = 1
batch = 32
learning_rate = 1e-3

[[compress]]
method = "distill"
layers = 1
alpha = 0.3
[compress.training]
epochs = 1
batch = 32
learning_rate = 1e-3
"""


@pytest.fixture
def export(tiny_bert, board, train, cache, tmp_path):
    (tmp_path / "recipe.toml").write_text(RECIPE)

    def run(output, **changes):
        progress = Titles()
        bundle = edgeexport.export(
            tiny_bert.model,
            **{
                "target": board,
                "precision": "w8a8-dynamic",
                "recipe": tmp_path / "recipe.toml",
                "train": train,
                "evaluation": tiny_bert.evaluation,
                "output": tmp_path / output,
                "progress": progress,
                "verify": False,
                **changes,
            },
        )
        return bundle, progress

    run.recipe = tmp_path / "recipe.toml"
    return run


def test_a_recipe_of_two_stages(export, tiny_bert, cache, tmp_path):
    bundle, progress = export("first")
    assert progress.trained == 2
    manifest = json.loads((bundle.path / "manifest.json").read_text())
    stages = manifest["source"]["stages"]
    assert [(stage["method"], stage["settings"]["layers"]) for stage in stages] == [("distill", [0, 1]), ("distill", 1)]
    assert all("model of" in stage["summary"] for stage in stages)
    assert manifest["source"]["name"] == "model"
    first = content(bundle.path)
    bundle, progress = export("second")
    assert progress.titles == []
    assert content(bundle.path) == first
    bundle, progress = export("third", cache=False)
    assert progress.trained == 2
    assert content(bundle.path) == first
    # the second stage is made of the first one's model
    source = open_source(tiny_bert.model, SourceOptions())
    assert manifest["source"]["fingerprint"] != source.fingerprint()
    assert manifest["source"]["float32_bytes"] < 0.5 * source.float32_bytes
    assert len(list((cache / "stages").iterdir())) == 2


def test_only_what_changed_is_made_again(export):
    export("first")
    export.recipe.write_text(RECIPE.replace("alpha = 0.3", "alpha = 0.6"))
    assert export("second")[1].trained == 1
    export.recipe.write_text(RECIPE.replace("width = 0.5", "width = 0.75"))
    assert export("third")[1].trained == 2
    assert export("fourth", precision="fp32")[1].trained == 0


def test_stages_are_noted_in_the_report(export):
    bundle, _ = export("first", verify=True)
    report = json.loads(bundle.report_path.read_text())
    stages = [note for note in report["notes"] if note.startswith("distill: model of")]
    assert len(stages) == 2
    assert report["runs"][0]["accuracy"]["reference"] == pytest.approx(
        float(stages[1].split("→ ")[1].split()[0]), abs=1e-4
    )


def test_a_recipe_without_samples_to_train_on(export, tmp_path):
    with pytest.raises(SamplesError, match="needs samples to train on, and none were given"):
        export("first", train=None)
    assert not (tmp_path / "first").exists()


def test_samples_of_another_kind_are_refused(export, linear):
    with pytest.raises(SamplesError, match="takes text"):
        export("first", train=linear.calibration)


# several processes


def test_who_helps(monkeypatch):
    assert not helps()
    assert not accompanied()
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert not helps()
    assert accompanied()
    monkeypatch.setenv("RANK", "1")
    assert helps()


def test_an_export_in_several_processes_is_refused(export, monkeypatch, tmp_path):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RecipeError, match="an export runs in one process, and was started in several"):
        export("first")
    assert not (tmp_path / "first").exists()


def test_a_process_that_helps_writes_nothing_and_waits_for_nobody_once_it_is_made(distil, monkeypatch, tmp_path):
    distil()
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    record, progress = distil(output=tmp_path / "second")
    assert record is None
    assert progress.titles == []
    assert not (tmp_path / "second").exists()


def test_two_processes_write_one_folder(distil, tiny_bert, train, tmp_path):
    distil(use_cache=False)
    arguments = ["distill", tiny_bert.model, "--train", train, "--evaluation", tiny_bert.evaluation, "--layers", "1"]
    for setting in ("epochs=1", "batch=32", "learning_rate=1e-3", "held_out=0.1"):
        arguments += ["--set", f"training.{setting}"]
    arguments += ["--output", tmp_path / "two"]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "edgeexport"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    for _ in range(2):  # made, then found
        done = subprocess.run(
            [*launch, *map(str, arguments)],
            env={**environment, "ACCELERATE_USE_CPU": "1"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("parameters taught one of") == 1
    assert set(content(tmp_path / "two")) == set(content(distil.output))
    from safetensors.numpy import load_file

    alone, together = (load_file(folder / "model.safetensors") for folder in (distil.output, tmp_path / "two"))
    assert alone.keys() == together.keys()


# what a stage may not do


def test_methods(cache):
    assert type(open_method("distill")).__name__ == "Distillation"
    with pytest.raises(RecipeError, match="there is no method 'shrink'"):
        open_method("shrink")


def test_a_stage_that_changes_what_the_model_takes(tiny_bert, train, cache, monkeypatch):
    from edgeexport.pipeline import compressing

    class Wrong:
        def compress(self, source, stage, materials, folder):
            shutil.copy(Path(tiny_bert.model) / "config.json", folder)
            shutil.copy(Path(tiny_bert.model) / "model.safetensors", folder)
            for name in ("tokenizer.json", "tokenizer_config.json"):
                shutil.copy(Path(tiny_bert.model) / name, folder)
            return {"summary": "nothing"}

    class Other:
        name = "other"
        preprocess = open_source(tiny_bert.model, SourceOptions()).preprocess

        class signature:
            inputs = ()

        def fingerprint(self):
            return "0"

    monkeypatch.setattr(compressing, "open_method", lambda name: Wrong())
    stages = Compression(Cache(cache), Progress(), Sets(train=open_samples(train)), SourceOptions())
    with pytest.raises(ModelError, match="other: a stage changed what the model takes"):
        stages.run(Other(), [Distill(layers=1)])
