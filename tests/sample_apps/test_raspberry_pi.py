"""The Raspberry Pi app: it needs neither torch nor edgeexport, and says what edgeexport says."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from edgeexport.artifact import load_bundle

WITHOUT = """
import runpy, sys
for name in ("torch", "edgeexport", "transformers", "msgspec", "onnx", "soundfile"):
    sys.modules[name] = None
sys.argv[:] = sys.argv[1:]
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Starts a program in a Python where importing any of these fails."""

ENCODE = """
import json, sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from pathlib import Path
from bundle import open_bundle
from preprocess import encoder
encode = encoder(open_bundle(Path(sys.argv[2])))
for number, sample in enumerate(json.load(sys.stdin)):
    np.savez(f"{sys.argv[3]}/{number}.npz", **encode(sample))
"""


@pytest.fixture(scope="session")
def app(apps):
    return apps / "raspberry_pi"


@pytest.fixture
def classify(app, tmp_path):
    """Run the app where nothing of edgeexport can be imported."""

    def run(*arguments):
        command = [sys.executable, "-c", WITHOUT, str(app / "classify.py"), *map(str, arguments)]
        variables = {**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}
        return subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)

    return run


@pytest.fixture
def encoded(app, tmp_path):
    """Encode samples by the app's own preprocessing."""

    def run(bundle, samples):
        command = [sys.executable, "-c", ENCODE, app, bundle.path, tmp_path]
        subprocess.run(list(map(str, command)), input=json.dumps(samples), text=True, check=True)
        return [dict(np.load(tmp_path / f"{number}.npz")) for number in range(len(samples))]

    return run


def outputs(done):
    """Labels and values of ``--json``."""
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return [one["label"] for one in found], np.array([one["output"] for one in found])


def texts_of(samples):
    return [next(value for value in sample.record.values() if isinstance(value, str)) for sample in samples]


def check_labels(bundle, done, theirs):
    labels, values = outputs(done)
    wanted = np.concatenate([next(iter(one.values())) for one in theirs])
    np.testing.assert_allclose(values, wanted, rtol=0, atol=1e-5)
    assert labels == [bundle.manifest.labels[index] for index in wanted.argmax(1)]
    assert len(set(labels)) > 1


def test_texts_get_the_labels_that_edgeexport_gives(text_bundle, tiny_bert, expected, classify, tmp_path):
    samples, _, theirs = expected(text_bundle, tiny_bert.evaluation)
    (tmp_path / "lines.txt").write_text("".join(f"{text}\n" for text in texts_of(samples)))
    assert len(samples) == 96
    check_labels(text_bundle, classify(text_bundle.path, "--lines", "lines.txt", "--json"), theirs)


def test_pictures_get_the_labels_that_edgeexport_gives(picture_bundle, stripes, expected, classify, tmp_path):
    samples, _, theirs = expected(picture_bundle, stripes / "evaluation", 90)
    (tmp_path / "lines.txt").write_text("".join(f"{sample.record}\n" for sample in samples))
    check_labels(picture_bundle, classify(picture_bundle.path, "--lines", "lines.txt", "--json"), theirs)


def test_recordings_get_the_labels_that_edgeexport_gives(tones_bundle, tones, expected, encoded, app, classify):
    samples, inputs, theirs = expected(tones_bundle, tones / "evaluation", 60)
    found = encoded(tones_bundle, [[str(sample.record)] for sample in samples])
    for ours, wanted in zip(found, inputs, strict=True):
        np.testing.assert_array_equal(ours["features"], wanted["features"])
    right = [next(iter(one.values())).argmax() for one in theirs]
    for sample, index in list(zip(samples, right, strict=True))[:6]:
        done = classify(tones_bundle.path, sample.record)
        assert done.stdout.startswith(f"{tones_bundle.manifest.labels[index]} "), done.stderr


def test_numbers_of_a_regression_are_no_shares(text_bundle, tiny_bert, expected, classify, tmp_path):
    copy = shutil.copytree(text_bundle.path, tmp_path / "bundle")
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps({**manifest, "task": "regression", "labels": None}))
    samples, _, theirs = expected(text_bundle, tiny_bert.evaluation, 3)
    (tmp_path / "lines.txt").write_text("".join(f"{text}\n" for text in texts_of(samples)))
    wanted = np.concatenate([next(iter(one.values())) for one in theirs])
    done = classify(copy, "--lines", tmp_path / "lines.txt")
    np.testing.assert_allclose([[*map(float, line.split())] for line in done.stdout.splitlines()], wanted, rtol=1e-3)
    done = classify(copy, "--lines", tmp_path / "lines.txt", "--json")
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [list(one) for one in found] == [["output"]] * 3
    np.testing.assert_allclose([one["output"] for one in found], wanted, rtol=0, atol=1e-5)
    done = classify(copy, "--self-test")
    assert (done.returncode, ", 0 predicted unlike float32, " in done.stdout) == (0, True)


PICTURES = (
    {"resize": (9, 14), "resample": "bicubic", "crop": (8, 12), "channels": "BGR", "layout": "NHWC"},
    {"resize": 11, "resample": "lanczos", "crop": (20, 9), "rescale": 1 / 127.5, "mean": (1, 1, 1), "std": (1, 1, 1)},
    {"resize": None, "crop": None, "rescale": None},
    {"resize": 17, "resample": "box", "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.1)},
)


@pytest.mark.parametrize("settings", PICTURES, ids=str)
def test_pictures_are_encoded_to_the_same_bits(settings, picture_bundle, stripes, encoded, tmp_path):
    """Settings of every kind, wide and high pictures, in a bundle that differs in nothing else."""
    from PIL import Image

    from edgeexport.preprocess import ImagePreprocess, to_dict
    from edgeexport.sample_files import Sample

    preprocess = ImagePreprocess(input="image", **settings)
    copy = shutil.copytree(picture_bundle.path, tmp_path / "bundle")
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps({**manifest, "preprocess": to_dict(preprocess)}))
    source = np.random.default_rng(1)
    files = []
    for number, size in enumerate(((31, 17), (16, 40), (12, 12))):
        pixels = source.integers(0, 256, (*size, 3)).astype(np.uint8)
        files.append(tmp_path / f"{number}.png")
        Image.fromarray(pixels).save(files[-1])
    encode = preprocess.prepare()
    found = encoded(load_bundle(copy), [[str(file)] for file in files])
    for file, ours in zip(files, found, strict=True):
        np.testing.assert_array_equal(ours["image"], encode(Sample(file.name, file))["image"])


@pytest.mark.parametrize("name", ["text_bundle", "picture_bundle", "tones_bundle"])
def test_the_self_test_passes(request, name, classify):
    bundle = request.getfixturevalue(name)
    done = classify(bundle.path, "--self-test")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"PASS: {bundle.manifest.golden.samples} golden samples, ")


@pytest.mark.parametrize("name", ["text_bundle", "tones_bundle"])
def test_the_self_test_fails_where_outputs_are_others(request, name, classify, tmp_path):
    """The classes of the golden outputs turned round, with hashes that fit."""
    from edgeexport.artifact import file_digest

    copy = shutil.copytree(request.getfixturevalue(name).path, tmp_path / "bundle")
    values = np.fromfile(copy / "golden/outputs/0.bin", np.float32)
    classes = len(load_bundle(copy).manifest.labels)
    values.reshape(-1, classes)[:, ::-1].tofile(copy / "golden/outputs/0.bin")
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["files"]["golden/outputs/0.bin"] = file_digest(copy / "golden/outputs/0.bin")
    (copy / "manifest.json").write_text(json.dumps(manifest))
    done = classify(copy, "--self-test")
    assert done.returncode == 1
    assert done.stdout.startswith("FAIL: ")


def test_what_is_wrong_is_a_sentence(text_bundle, picture_bundle, classify, tmp_path):
    copy = shutil.copytree(text_bundle.path, tmp_path / "bundle")
    with (copy / "model.onnx").open("ab") as file:
        file.write(b"x")
    (tmp_path / "note.txt").write_text("no picture")
    for arguments, message in (
        ((copy, "good film"), "model.onnx was altered"),
        ((tmp_path / "nothing", "good film"), "is not a bundle"),
        ((text_bundle.path, "good", "film"), "which is 1 argument(s), not 2"),
        ((picture_bundle.path, "note.txt"), "cannot be read as a picture"),
        ((text_bundle.path, "--lines", "missing.txt"), "cannot be read as text"),
        ((text_bundle.path,), "give a sample"),
    ):
        done = classify(*arguments)
        assert done.returncode == 2
        assert message in done.stderr
        assert "Traceback" not in done.stderr


@pytest.fixture(scope="session")
def sst2(once, shared):
    """The shared classifier for the board, as a user exports it."""
    import edgeexport

    def fill(folder):
        edgeexport.export(
            shared / "models" / "sst2-minilm",
            target="raspberry-pi-4",
            calibration=shared / "data" / "sst2" / "calibration.jsonl",
            evaluation=shared / "data" / "sst2" / "validation.jsonl",
            settings={"limits": {"latency_ratio": 100.0}},
            output=folder / "out",
        )

    return load_bundle(once("app-sst2", fill) / "out")


@pytest.mark.slow
@pytest.mark.shared
def test_a_hundred_sentences_of_sst2(sst2, shared, expected, classify, tmp_path):
    samples, _, theirs = expected(sst2, shared / "data" / "sst2" / "validation.jsonl", 100)
    (tmp_path / "lines.txt").write_text("".join(f"{text}\n" for text in texts_of(samples)))
    check_labels(sst2, classify(sst2.path, "--lines", "lines.txt", "--json"), theirs)


@pytest.fixture(scope="session")
def pi(app):
    """Run the app on the emulated board, with more folders to import from."""
    from edgeexport.devices import emulated
    from edgeexport.errors import MissingRequirement

    try:
        device = emulated.open_device("raspberry-pi-4")
    except MissingRequirement as missing:
        pytest.skip(f"{missing.what}: {missing.hint}")

    def run(*arguments, more=()):
        command = [*device._emulator.command(emulated.root_folder("arm64")), str(app / "classify.py")]
        folders = [emulated.wheels_folder("arm64", "ort"), *more]
        variables = {"PYTHONPATH": os.pathsep.join(map(str, folders)), "LC_ALL": "C.UTF-8", "PYTHONNOUSERSITE": "1"}
        return subprocess.run(
            [*command, *map(str, arguments)], env=variables, capture_output=True, text=True, timeout=600, check=False
        )

    return run


@pytest.fixture(scope="session")
def arm_tokenizers(once):
    """The wheel of ``tokenizers`` for the board, unpacked; it needs a package index."""
    import zipfile
    from importlib.metadata import version

    def fill(folder):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["--platform", "manylinux_2_17_aarch64", "--platform", "manylinux2014_aarch64", "--dest", folder]
        command += [f"tokenizers=={version('tokenizers')}"]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        for wheel in folder.glob("*.whl"):
            zipfile.ZipFile(wheel).extractall(folder / "unpacked")
        (folder / "log.txt").write_text(done.stderr)

    folder = once("app-tokenizers", fill)
    if not (folder / "unpacked").is_dir():
        pytest.skip(f"no tokenizers for aarch64 could be downloaded: {(folder / 'log.txt').read_text().strip()[-300:]}")
    return folder / "unpacked"


@pytest.mark.slow
@pytest.mark.shared
def test_the_self_test_on_the_emulated_board(sst2, pi):
    done = pi(sst2.path, "--self-test")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("PASS: 8 golden samples, ")


@pytest.mark.slow
@pytest.mark.shared
def test_a_hundred_sentences_on_the_emulated_board(sst2, pi, arm_tokenizers, shared, expected, tmp_path):
    samples, _, theirs = expected(sst2, shared / "data" / "sst2" / "validation.jsonl", 100)
    (tmp_path / "lines.txt").write_text("".join(f"{text}\n" for text in texts_of(samples)))
    labels, values = outputs(pi(sst2.path, "--lines", tmp_path / "lines.txt", "--json", more=[arm_tokenizers]))
    wanted = np.concatenate([one["logits"] for one in theirs])
    # Another processor's kernels round otherwise: the classes are the same where they are not close.
    assert labels == [sst2.manifest.labels[index] for index in wanted.argmax(1)]
    np.testing.assert_allclose(values, wanted, rtol=0, atol=0.5)


def test_the_readme_names_every_file(app):
    readme = (app / "README.md").read_text()
    for path in app.glob("*.py"):
        assert f"`{path.name}`" in readme
    told = subprocess.run([sys.executable, app / "classify.py", "--help"], capture_output=True, text=True, check=True)
    options = [line.split()[0] for line in told.stdout.splitlines() if line.startswith("  --")]
    assert sorted(options) == ["--json", "--lines", "--self-test", "--threads"]
    assert all(option in readme for option in options)
