"""One export: its stages, its refusals before anything is written, and what the cache gives back."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import edgeexport
from edgeexport.artifact import load_bundle
from edgeexport.cache import Cache
from edgeexport.errors import (
    BundleError,
    ConversionError,
    DeviceError,
    ModelError,
    OutputError,
    RecipeError,
    SamplesError,
    TargetError,
)
from edgeexport.pipeline import Request
from edgeexport.pipeline.exporting import Export, open_format, open_source
from edgeexport.progress import Progress
from edgeexport.runtimes import tensors
from edgeexport.source import SourceOptions


@pytest.fixture
def export(linear, board, tmp_path, monkeypatch):
    """Export the small ONNX model without verifying; keywords as :func:`edgeexport.export` has them."""
    monkeypatch.chdir(tmp_path)

    def run(model=linear.model, **changes):
        named = {"target": board, "precision": "w8", "output": tmp_path / "out", "verify": False, **changes}
        return edgeexport.export(model, **named)

    return run


def content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Titles(Progress):
    def __init__(self):
        self.titles, self.said = [], []

    def stage(self, title, total=None):
        self.titles.append(title)
        return super().stage(title, total)

    def say(self, text):
        self.said.append(text)


def test_what_a_bundle_holds(export, linear):
    bundle = export(calibration=linear.calibration, evaluation=linear.evaluation)
    assert set(content(bundle.path)) == {
        "manifest.json",
        "model.onnx",
        *(f"golden/{part}/{name}" for part in ("inputs", "outputs", "evaluation") for name in ("0.bin", "index.json")),
    }
    manifest = json.loads((bundle.path / "manifest.json").read_text())
    assert manifest["schema_version"] == 1
    assert (manifest["format"], manifest["precision"], manifest["task"]) == ("onnx", "w8", "generic")
    assert manifest["signature"]["inputs"] == [{"name": "x", "dtype": "float32", "shape": ["batch", 16]}]
    assert manifest["source"]["name"] == "linear"
    assert manifest["source"]["float32_bytes"] == 4 * (16 * 64 + 64 * 4)
    assert manifest["target"]["name"] == "board"
    assert manifest["recipe"]["origins"]["precision"] == "command line"
    assert manifest["golden"] == {"samples": 8, "origin": "evaluation"}
    assert manifest["versions"]["onnxruntime"] == onnxruntime.__version__
    load_bundle(bundle.path).check_files()


def test_golden_data_are_the_first_samples_and_the_sources_outputs(export, linear):
    bundle = export(evaluation=linear.evaluation)
    samples = np.load(linear.evaluation)["x"]
    session = onnxruntime.InferenceSession(linear.model)
    golden = [list(tensors.Reader(str(bundle.path / "golden" / part))) for part in ("inputs", "outputs")]
    assert [item["x"].tolist() for item in golden[0]] == [[row.tolist()] for row in samples[:8]]
    for inputs, outputs in zip(*golden, strict=True):
        assert outputs["y"].tobytes() == session.run(["y"], inputs)[0].tobytes()
    whole = list(tensors.Reader(str(bundle.path / "golden" / "evaluation")))
    assert len(whole) == len(samples)
    assert whole[-1]["y"].tobytes() == session.run(["y"], {"x": samples[-1:]})[0].tobytes()


def test_golden_data_without_an_evaluation_set(export, linear):
    bundle = export(calibration=linear.calibration)
    assert bundle.manifest.golden.origin == "calibration"
    (first, *_) = tensors.Reader(str(bundle.path / "golden" / "inputs"))
    assert first["x"][0].tolist() == np.load(linear.calibration)["x"][0].tolist()
    bundle = export(settings={"golden_samples": 3})
    assert (bundle.manifest.golden.origin, bundle.manifest.golden.samples) == ("synthetic", 3)
    assert bundle.manifest.reference is None


def test_bytes_are_the_same_whatever_the_place_the_time_and_the_cache(export, linear, tmp_path, monkeypatch):
    sets = {"calibration": linear.calibration, "evaluation": linear.evaluation, "precision": "w8a8"}
    first = content(export(**sets).path)
    monkeypatch.setenv("EDGEEXPORT_CACHE", str(tmp_path / "another"))
    moved = tmp_path / "moved"
    moved.mkdir()
    sets = {key: shutil.copy(value, moved) if isinstance(value, Path) else value for key, value in sets.items()}
    assert content(export(shutil.copy(linear.model, moved), **sets, output=tmp_path / "second").path) == first
    assert content(export(**sets, output=tmp_path / "third", cache=False).path) == first


def test_a_second_export_converts_nothing(export, linear, cache):
    progress = Titles()
    export(calibration=linear.calibration, precision="w8a8", progress=progress)
    assert any(title.startswith("calibrating") for title in progress.titles)
    progress = Titles()
    export(calibration=linear.calibration, precision="w8a8", progress=progress)
    assert progress.titles == []


def test_what_changes_the_artifact_and_what_does_not(export, linear, cache, tmp_path):
    def artifacts():
        return len(list((cache / "artifacts").iterdir()))

    sets = {"calibration": linear.calibration, "precision": "w8a8"}
    export(**sets)
    export(**sets, settings={"limits": {"agreement": 0.1}, "timing": {"pairs": 9}})
    assert artifacts() == 1
    export(**sets, settings={"calibration": {"method": "minmax"}})
    assert artifacts() == 2
    values = dict(np.load(linear.calibration))
    values["x"][0, 0] += 1
    np.savez(tmp_path / "changed.npz", **values)
    export(precision="w8a8", calibration=tmp_path / "changed.npz")
    assert artifacts() == 3
    assert len(list((cache / "float32").iterdir())) == 1
    model = onnx.load(linear.model)
    model.graph.initializer[0].raw_data = bytes(4) + model.graph.initializer[0].raw_data[4:]
    onnx.save(model, tmp_path / "linear.onnx")
    export(tmp_path / "linear.onnx", **sets)
    assert artifacts() == 4
    assert len(list((cache / "float32").iterdir())) == 2


def test_without_the_cache_nothing_is_left_in_it(export, linear, cache):
    export(calibration=linear.calibration, cache=False)
    assert [path for path in cache.rglob("*") if path.is_file()] == []


def test_a_cache_that_is_too_small_is_enough_for_the_export_at_hand(export, linear, cache, monkeypatch):
    monkeypatch.setenv("EDGEEXPORT_CACHE_BYTES", "1")
    bundle = export(calibration=linear.calibration, evaluation=linear.evaluation, precision="w8a8", verify=True)
    load_bundle(bundle.path).check_files()


@pytest.mark.parametrize("precision", ["fp32", "fp16", "w8", "w4"])
def test_a_calibration_set_that_is_not_used_is_said_so(export, linear, precision):
    bundle = export(calibration=linear.calibration, precision=precision)
    assert any("calibration set was not used" in note for note in bundle.manifest.notes)
    bundle = export(calibration=linear.calibration, precision="w8a8")
    assert not any("calibration set was not used" in note for note in bundle.manifest.notes)


def test_the_default_place(export, tmp_path):
    assert export(output=None).path == Path("linear-board-w8")
    assert (tmp_path / "linear-board-w8" / "model.onnx").is_file()


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"target": "nope"}, TargetError, "unknown target"),
        ({"precision": "int8"}, RecipeError, "unknown precision"),
        ({"settings": {"typo": 1}}, RecipeError, "typo"),
        ({"recipe": "none.toml"}, RecipeError, "no recipe file"),
        ({"precision": "w8a8"}, SamplesError, "static precision w8a8 needs calibration samples"),
        ({"calibration": "none.npz"}, SamplesError, "none.npz"),
        ({"evaluation": "none.npz"}, SamplesError, "none.npz"),
        ({"model": "none.onnx"}, ModelError, "no ONNX file"),
        ({"model": "./none"}, ModelError, "no model at './none'"),
        ({"verify": True, "on": ["toaster"]}, DeviceError, "there is no device 'toaster'"),
        ({"verify": True, "on": ["local:x"]}, DeviceError, "takes no argument"),
    ],
)
def test_refused_before_anything_is_written(export, cache, tmp_path, changes, error, said):
    with pytest.raises(error, match=said):
        export(**changes)
    assert not (tmp_path / "out").exists()
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_a_runtime_that_nobody_runs_is_refused(export, tmp_path):
    (tmp_path / "odd.toml").write_text(
        'extends = "desktop-x86"\nname = "odd"\nruntimes = [{ name = "tensorrt", minimum = "8" }]\n'
    )
    with pytest.raises(TargetError, match="no runner for the runtime 'tensorrt'"):
        export(target="./odd.toml")
    assert not (tmp_path / "out").exists()


def test_a_taken_place_is_refused_before_converting(export, cache, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("x")
    with pytest.raises(OutputError, match="did not write"):
        export()
    assert content(tmp_path / "out") == {"thesis.tex": b"x"}
    assert not (cache / "float32").exists()


def bad_sets(values):
    yield "too few", {"x": values[:7]}, r"needs at least 100 samples, and got 7"
    yield "wrong name", {"y": values}, r"named \['y'\], the model's inputs are \['x'\]"
    yield "wrong dtype", {"x": values.astype(np.float64)}, "has dtype float64, the model takes float32"
    yield "wrong shape", {"x": values[:, :15]}, r"has shape \[1, 15\], the model takes \[batch, 16\]"
    yield "NaN in the last", {"x": np.where(np.arange(120)[:, None] == 119, np.nan, values)}, "'x' holds NaN"
    yield "infinity", {"x": np.where(np.arange(120)[:, None] == 50, np.inf, values)}, "holds infinity"
    yield "all equal", {"x": np.full_like(values, 0.25)}, "do not vary: 'x' is 0.25 throughout"
    yield "no samples", {"x": values[:0]}, "is empty"
    yield "objects", {"x": np.array([print, 1], object)}, "Python objects"


SETS = {
    name: (arrays, said)
    for name, arrays, said in bad_sets(np.random.default_rng(0).standard_normal((120, 16)).astype(np.float32))
}


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("precision", ["w8a8", "w8a8-dynamic"])
def test_a_calibration_set_that_is_unfit(export, cache, tmp_path, name, precision):
    arrays, said = SETS[name]
    arrays = {
        key: value.astype(np.float32) if "NaN" in name or name == "infinity" else value for key, value in arrays.items()
    }
    np.savez(tmp_path / "set.npz", **arrays)
    with pytest.raises(SamplesError, match=said):
        export(calibration=tmp_path / "set.npz", precision=precision)
    assert not (tmp_path / "out").exists()
    assert not list((cache / "artifacts").glob("*")) if (cache / "artifacts").exists() else True
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


def test_the_bar_can_be_lowered_knowingly(export, linear, tmp_path):
    np.savez(tmp_path / "few.npz", x=np.load(linear.calibration)["x"][:7])
    settings = {"calibration": {"minimum_samples": 7}}
    bundle = export(calibration=tmp_path / "few.npz", precision="w8a8", settings=settings)
    assert bundle.manifest.recipe["origins"]["calibration.minimum_samples"] == "command line"


def test_a_set_that_vanishes_while_it_is_read(export, linear, tmp_path, monkeypatch):
    path = Path(shutil.copy(linear.calibration, tmp_path / "set.npz"))

    class Vanishing(Titles):
        def stage(self, title, total=None):
            path.unlink(missing_ok=True)
            return super().stage(title, total)

    with pytest.raises(SamplesError, match=r"set\.npz cannot be read: No such file"):
        export(calibration=path, precision="w8a8", progress=Vanishing(), cache=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["good", "bad", "ugly"], "line 3: the model has no class 'ugly'"),
        (["good", 1, 2], "line 3: label 2 is not one of the model's 2 classes"),
        (["good", None, "bad"], "has samples without a label"),
    ],
)
def test_labels_are_checked_before_anything_is_written(tiny_bert, board, tmp_path, cache, labels, said):
    path = tmp_path / "evaluation.jsonl"
    path.write_text("".join(json.dumps({"text": "a good film", "label": label}) + "\n" for label in labels))
    with pytest.raises(SamplesError, match=said):
        edgeexport.export(tiny_bert.model, target=board, evaluation=path, precision="w8", output=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not cache.exists() or not [path for path in cache.rglob("*") if path.is_file()]


def test_labels_of_a_model_that_names_no_classes_are_checked_too(digits, board, tmp_path, monkeypatch):
    (tmp_path / "digits_without_names.py").write_text(
        "import digits\n"
        "def factory():\n"
        "    module = digits.factory()\n"
        "    module.task, module.labels = 'classification', None\n"
        "    return module\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    data = np.load(digits.evaluation)
    np.savez(tmp_path / "set.npz", image=data["image"][:3], label=[0, 9, 10])
    named = {"target": board, "precision": "w8", "evaluation": tmp_path / "set.npz", "output": tmp_path / "out"}
    with pytest.raises(SamplesError, match=r"set\.npz\[2\]: label 10 is not one of the model's 10 classes"):
        edgeexport.export("digits_without_names:factory", **named)
    assert not (tmp_path / "out").exists()


def test_samples_of_another_kind(export, tiny_bert, linear, board, tmp_path):
    with pytest.raises(SamplesError, match=r"linear takes arrays; .* is "):
        export(calibration=tiny_bert.calibration)
    with pytest.raises(SamplesError, match="takes text"):
        edgeexport.export(tiny_bert.model, target=board, evaluation=linear.evaluation, output=tmp_path / "out")


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("moment", ["exporting", "calibrating", "quantizing", "running float32"])
def test_an_interruption_at_any_stage_leaves_nothing(export, linear, cache, tmp_path, error, moment):
    class Interrupting(Progress):
        def stage(self, title, total=None):
            if title.startswith(moment):
                raise error
            return super().stage(title, total)

    sets = {"calibration": linear.calibration, "evaluation": linear.evaluation, "precision": "w8a8"}
    with pytest.raises((error, ConversionError)) as caught:
        export(**sets, progress=Interrupting())
    assert isinstance(caught.value.__cause__ or caught.value, error)
    assert sorted(path.name for path in tmp_path.iterdir()) in (["cache"], [])
    assert list(cache.rglob(".partial-*")) == []
    load_bundle(export(**sets).path).check_files()


def test_targets_are_paths_too(export, board):
    assert export(target=Path(board)).manifest.target["name"] == "board"


def test_opening(linear, tiny_bert):
    assert open_source(linear.model, SourceOptions()).name == "linear"
    assert open_source(tiny_bert.model, SourceOptions()).labels == ("bad", "good")
    assert open_format("onnx").file_name == "model.onnx"
    with pytest.raises(ModelError, match="there is no format 'tflite9'"):
        open_format("tflite9")


def test_an_altered_float32_model_in_the_cache_is_nobodys_bundle(export, linear, cache):
    """What is taken from the cache is hashed into the bundle, so a later look finds what was packed."""
    bundle = export()
    (bundle.path / "model.onnx").write_bytes(b"altered")
    with pytest.raises(BundleError, match="was altered"):
        load_bundle(bundle.path)


def test_export_objects_open_and_check_without_converting(linear, board, cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Export(Request(model=linear.model, target=board), Progress(), Cache(cache))
    assert not cache.exists()
    assert [path.name for path in tmp_path.iterdir()] == []
