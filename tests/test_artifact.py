"""Bundles on disk: what is written, and what is refused."""

import hashlib
import json
import re

import msgspec
import pytest

from edgeexport.artifact import (
    Artifact,
    Bundle,
    Golden,
    Manifest,
    Reference,
    digest_values,
    file_digest,
    foreign_file,
    is_bundle,
    load_bundle,
    write_manifest,
)
from edgeexport.errors import BundleError
from edgeexport.signature import Signature

SIGNATURE = {
    "inputs": [{"name": "x", "dtype": "float32", "shape": ["batch", 2]}],
    "outputs": [{"name": "y", "dtype": "float32", "shape": ["batch", 1]}],
}


def manifest(**changes):
    fields = {
        "artifact": "model.onnx",
        "format": "onnx",
        "precision": "w8",
        "task": "generic",
        "signature": SIGNATURE,
        "target": {"name": "board"},
        "recipe": {"settings": {}},
        "preprocess": {"kind": "arrays"},
        "labels": None,
        "golden": Golden(samples=1, origin="synthetic"),
        "reference": None,
        "versions": {"numpy": "2"},
        "source": {"name": "m", "fingerprint": "f", "float32_bytes": 8},
    }
    return Manifest(**{**fields, **changes})


@pytest.fixture
def bundle(tmp_path):
    folder = tmp_path / "bundle"
    for name, text in {
        "model.onnx": "the model",
        "golden/inputs/index.json": "{}",
        "golden/outputs/index.json": "{}",
        "report.json": "not hashed",
        "report.html": "not hashed",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    write_manifest(folder, manifest())
    return folder


@pytest.fixture
def package(tmp_path):
    """A bundle whose model is a folder, with a file in it that bears the name of the bundle's own manifest."""
    folder = tmp_path / "package-bundle"
    for name, text in {
        "model.mlpackage/Manifest.json": "{}",
        "model.mlpackage/Data/weights/weight.bin": "the weights",
        "model.mlpackage/Data/manifest.json": "no bundle's",
        "golden/inputs/index.json": "{}",
        "golden/outputs/index.json": "{}",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    write_manifest(folder, manifest(artifact="model.mlpackage", format="coreml"))
    return folder


def spoil(folder, **changes):
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_the_manifest_has_the_hash_of_every_file_but_itself_and_the_reports(bundle):
    files = json.loads((bundle / "manifest.json").read_text())["files"]
    assert files == {
        name: hashlib.sha256((bundle / name).read_bytes()).hexdigest()
        for name in ("golden/inputs/index.json", "golden/outputs/index.json", "model.onnx")
    }


def test_every_file_of_a_model_that_is_a_folder_has_a_hash(package):
    files = json.loads((package / "manifest.json").read_text())["files"]
    assert {name for name in files if name.startswith("model")} == {
        "model.mlpackage/Manifest.json",
        "model.mlpackage/Data/weights/weight.bin",
        "model.mlpackage/Data/manifest.json",
    }
    assert load_bundle(package).model_path == package / "model.mlpackage"
    assert is_bundle(package)
    assert foreign_file(package) is None


def test_bytes_of_a_model_are_those_of_all_its_files(package):
    signature = Signature((), ())
    assert Artifact("coreml", package / "model.mlpackage", "w8", signature).bytes == 2 + 11 + 11
    assert Artifact("coreml", package / "model.mlpackage" / "Manifest.json", "w8", signature).bytes == 2


@pytest.mark.parametrize("name", ["Manifest.json", "Data/weights/weight.bin", "Data/manifest.json"])
def test_a_file_of_a_folder_that_was_altered_or_is_missing(package, name):
    (package / "model.mlpackage" / name).write_text("another")
    with pytest.raises(BundleError, match=rf"model\.mlpackage/{re.escape(name)} was altered"):
        load_bundle(package)
    (package / "model.mlpackage" / name).unlink()
    with pytest.raises(BundleError, match=rf"model\.mlpackage/{re.escape(name)} is missing"):
        load_bundle(package)


@pytest.mark.parametrize("name", ["extra.bin", "Data/weights/second.bin", "report.json", "Data/.hidden"])
def test_a_file_smuggled_into_a_folder(package, name):
    (package / "model.mlpackage" / name).write_text("not from the export")
    with pytest.raises(BundleError, match=rf"model\.mlpackage/{re.escape(name)} was added to the model"):
        load_bundle(package)
    assert foreign_file(package) == f"model.mlpackage/{name}"


def test_links_in_a_model(package, bundle):
    weights = package / "model.mlpackage" / "Data" / "weights"
    weights.rename(package / "moved")
    weights.symlink_to(package / "moved", target_is_directory=True)
    with pytest.raises(BundleError, match=r"model\.mlpackage/Data/weights is a link"):
        load_bundle(package)
    (package / "model.mlpackage").rename(package / "real")
    (package / "model.mlpackage").symlink_to(package / "real", target_is_directory=True)
    with pytest.raises(BundleError, match=r"model\.mlpackage is a link"):
        load_bundle(package)
    (bundle / "model.onnx").rename(bundle / "real")
    (bundle / "model.onnx").symlink_to("real")
    with pytest.raises(BundleError, match=r"model\.onnx is a link"):
        load_bundle(bundle)


def test_a_folder_without_a_hash_of_any_file_in_it(package):
    files = json.loads((package / "manifest.json").read_text())["files"]
    files = {name.replace("model.mlpackage/", "model.mlpackage-2/"): digest for name, digest in files.items()}
    spoil(package, files=files)
    with pytest.raises(BundleError, match=r"has no hash for model\.mlpackage"):
        load_bundle(package)


def test_it_is_read_as_it_was_written(bundle):
    loaded = load_bundle(bundle)
    assert loaded.model_path == bundle / "model.onnx"
    assert loaded.report_path == bundle / "report.json"
    assert loaded.signature.to_dict() == SIGNATURE
    assert msgspec.structs.replace(loaded.manifest, files={}) == manifest()


def test_the_same_manifest_gives_the_same_bytes(bundle):
    before = (bundle / "manifest.json").read_bytes()
    write_manifest(bundle, manifest())
    assert (bundle / "manifest.json").read_bytes() == before


def test_reports_may_change(bundle):
    (bundle / "report.json").write_text("another")
    (bundle / "report.html").unlink()
    load_bundle(bundle)


@pytest.mark.parametrize("name", ["model.onnx", "golden/inputs/index.json"])
def test_a_file_that_was_altered_or_is_missing(bundle, name):
    data = (bundle / name).read_bytes()
    (bundle / name).write_bytes(data[:-1] + b"x")
    with pytest.raises(BundleError, match=rf"{re.escape(name)} was altered"):
        load_bundle(bundle)
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=rf"{re.escape(name)} is missing"):
        load_bundle(bundle)
    (bundle / name).mkdir()
    with pytest.raises(BundleError, match=rf"{re.escape(name)} is missing"):
        load_bundle(bundle)


@pytest.mark.parametrize(
    "changes",
    [
        {"artifact": "../model.onnx"},
        {"artifact": "/etc/passwd"},
        {"artifact": "golden/../../x"},
        {"artifact": "a\0b"},
        {"files": {"../outside": "00"}},
        {"files": {"/etc/passwd": "00"}},
        {"reference": {"digest": "0", "samples": 1, "folder": "../.."}},
        {"reference": {"digest": "0", "samples": 1, "folder": "/etc"}},
    ],
    ids=str,
)
def test_names_that_lead_outside(bundle, changes):
    spoil(bundle, **changes)
    with pytest.raises(BundleError, match="names a file outside the bundle"):
        load_bundle(bundle)


def test_a_link_that_leads_outside(bundle, tmp_path):
    (tmp_path / "outside").write_text("the model")
    (bundle / "model.onnx").unlink()
    (bundle / "model.onnx").symlink_to(tmp_path / "outside")
    with pytest.raises(BundleError, match=r"names a file outside the bundle: 'model\.onnx'"):
        load_bundle(bundle)


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"artifact": "report.json"}, "report.json"),
        ({"files": {}}, "model.onnx"),
        ({"reference": {"digest": "0", "samples": 1, "folder": "golden/evaluation"}}, "golden/evaluation/index.json"),
    ],
)
def test_what_a_verification_reads_must_have_a_hash(bundle, changes, missing):
    spoil(bundle, **changes)
    with pytest.raises(BundleError, match=f"has no hash for {missing}"):
        load_bundle(bundle)


@pytest.mark.parametrize(
    "changes",
    [
        {"schema_version": 2},
        {"task": "translation"},
        {"signature": {}},
        {"signature": {"inputs": [3], "outputs": []}},
        {"signature": {"inputs": [{"name": "x", "dtype": "f", "shape": 3}], "outputs": []}},
        {"source": {"name": "m"}},
        {"source": {"name": "m", "fingerprint": "f", "float32_bytes": "many"}},
        {"golden": {"samples": 1, "origin": "elsewhere"}},
        {"golden": {"samples": 1, "origin": "synthetic", "typo": 1}},
        {"files": {"model.onnx": 3}},
        {"target": []},
    ],
    ids=str,
)
def test_a_malformed_manifest(bundle, changes):
    spoil(bundle, **changes)
    with pytest.raises(BundleError, match="is not a manifest that this version reads"):
        load_bundle(bundle)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[]", b'{"recipe":' * 5000])
def test_what_is_no_manifest(bundle, data):
    (bundle / "manifest.json").write_bytes(data)
    with pytest.raises(BundleError, match="is not a manifest that this version reads"):
        load_bundle(bundle)
    assert not is_bundle(bundle)


def test_no_bundle(tmp_path):
    with pytest.raises(BundleError, match="no bundle at"):
        load_bundle(tmp_path / "nowhere")
    with pytest.raises(BundleError, match=r"is not a bundle: it has no manifest\.json\nGive the folder that"):
        load_bundle(tmp_path)
    (tmp_path / "manifest.json").mkdir()
    with pytest.raises(BundleError, match="cannot be read"):
        load_bundle(tmp_path)


def test_whose_a_folder_is(bundle, tmp_path):
    assert is_bundle(bundle)
    assert foreign_file(bundle) is None
    (bundle / "report.json.partial").write_text("left by a killed process")
    assert foreign_file(bundle) is None
    (bundle / "golden" / "notes.txt").write_text("mine")
    assert foreign_file(bundle) == "golden/notes.txt"
    (tmp_path / "empty").mkdir()
    assert foreign_file(tmp_path / "empty") is None
    (tmp_path / "empty" / "folder").mkdir()
    assert foreign_file(tmp_path / "empty") == "folder"


def test_a_folder_that_only_looks_like_a_bundle_is_foreign(tmp_path):
    (tmp_path / "golden").mkdir()
    (tmp_path / "manifest.json").write_text('{"manifest_version": 3, "name": "a browser extension"}')
    assert not is_bundle(tmp_path)
    assert foreign_file(tmp_path) == "golden"


def test_a_link_in_a_bundle_is_foreign(bundle, tmp_path):
    (bundle / "link").symlink_to(tmp_path)
    assert foreign_file(bundle) == "link"


def test_digests(tmp_path):
    assert digest_values({"a": 1, "b": {"x": 2, "y": 3}}) == digest_values({"b": {"y": 3, "x": 2}, "a": 1})
    assert digest_values({"a": 1}) != digest_values({"a": "1"})
    path = tmp_path / "file"
    path.write_bytes(b"abc" * 1000)
    assert file_digest(path) == hashlib.sha256(b"abc" * 1000).hexdigest()


def test_reference_folders_are_kept(bundle):
    place = bundle / "golden" / "evaluation"
    place.mkdir()
    (place / "index.json").write_text("{}")
    write_manifest(bundle, manifest(reference=Reference(digest="0", samples=1, folder="golden/evaluation")))
    assert isinstance(load_bundle(bundle), Bundle)
