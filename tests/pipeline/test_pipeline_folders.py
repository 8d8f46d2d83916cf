"""A format whose models are folders goes through the cache, the bundle and the size check like any other."""

from dataclasses import replace

import pytest

import edgeexport
from edgeexport import tree
from edgeexport.artifact import load_bundle
from edgeexport.errors import BundleError, ModelError
from edgeexport.formats.onnx import OnnxFormat
from edgeexport.pipeline import exporting, measure_size, run_verify, verifying
from edgeexport.progress import Progress


class FolderFormat:
    """ONNX, with the file inside a folder and another beside it."""

    file_name = "model.package"

    def baseline(self, source, interface, path):
        return self._packed(OnnxFormat().baseline(source, interface, self._inner(path)), path)

    def convert(self, baseline, settings, feeds, path):
        inner = replace(baseline, path=self._inner(baseline.path))
        return self._packed(OnnxFormat().convert(inner, settings, feeds, self._inner(path)), path)

    def inspect(self, path):
        return OnnxFormat().inspect(self._inner(path))

    def gaps(self, path, runtime, version):
        return ()

    def _inner(self, path):
        (path / "data").mkdir(parents=True, exist_ok=True)
        return path / "data" / "model.onnx"

    def _packed(self, artifact, path):
        (path / "about.txt").write_text("a hundred bytes".ljust(100))
        return replace(artifact, path=path)


@pytest.fixture
def export(linear, board, tmp_path, monkeypatch, cache):
    monkeypatch.setattr(exporting, "open_format", lambda name: FolderFormat())
    monkeypatch.setattr(verifying, "open_format", lambda name: FolderFormat())

    def run(precision="w8", name="out"):
        return edgeexport.export(linear.model, target=board, precision=precision, output=tmp_path / name, verify=False)

    return run


@pytest.mark.parametrize("precision", ["w8", "fp32"])
def test_the_bundle_has_the_whole_folder_and_a_hash_of_each_file(export, precision):
    bundle = export(precision)
    names = [entry.relative_to(bundle.path).as_posix() for entry in tree.entries(bundle.model_path)]
    assert names == ["model.package/about.txt", "model.package/data/model.onnx"]
    assert set(names) <= set(bundle.manifest.files)
    assert load_bundle(bundle.path).model_path == bundle.model_path


def test_its_size_is_that_of_all_files(export):
    bundle = export()
    size = measure_size(bundle)
    model = (bundle.model_path / "data" / "model.onnx").stat().st_size
    assert size.artifact_bytes == sum(part.bytes for part in size.components) == model + 100
    assert size.ratio == (model + 100) / size.source_float32_bytes


def test_a_second_export_takes_the_folder_from_the_cache_and_replaces_the_bundle(export, monkeypatch):
    first = {entry.name: entry.read_bytes() for entry in tree.entries(export().model_path)}
    monkeypatch.setattr(FolderFormat, "convert", None)
    monkeypatch.setattr(FolderFormat, "baseline", None)
    bundle = export()
    assert {entry.name: entry.read_bytes() for entry in tree.entries(bundle.model_path)} == first


def test_a_folder_to_time_against_must_be_there_and_a_bundle_untouched(export, tmp_path):
    bundle = export()
    with pytest.raises(ModelError, match="no float32 model at"):
        run_verify(bundle.path, None, Progress(), float32=tmp_path / "missing.package")
    with pytest.raises(ModelError, match="no float32 model at"):  # a file is no model of this format
        run_verify(bundle.path, None, Progress(), float32=bundle.model_path / "about.txt")
    (bundle.model_path / "data" / "more.bin").write_bytes(b"x")
    with pytest.raises(BundleError, match=r"model\.package/data/more\.bin was added to the model"):
        run_verify(bundle.path, None, Progress())
