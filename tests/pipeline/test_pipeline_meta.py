"""What is known of an artifact comes back from the cache as it went in."""

from edgeexport.artifact import Artifact
from edgeexport.pipeline.meta import read_float32_bytes, read_meta, write_meta
from edgeexport.signature import Signature, TensorSpec


def artifact(path):
    signature = Signature(
        (TensorSpec("ids", "int32", ("batch", "sequence")), TensorSpec("x", "int8", (1, 2), 0.5, -3)),
        (TensorSpec("y", "float32", ("batch", 2)),),
        {"sequence": (64, 128)},
    )
    return Artifact("coreml", path, "w8", signature, ("one note", "another"))


def test_a_file_comes_back(tmp_path):
    kept = artifact(tmp_path / "model.onnx")
    kept.path.write_bytes(b"abc")
    write_meta(tmp_path, kept, 123)
    assert read_meta(tmp_path) == kept
    assert read_meta(tmp_path).bytes == 3
    assert read_float32_bytes(tmp_path) == 123


def test_a_folder_comes_back_wherever_the_entry_was_moved(tmp_path):
    first = tmp_path / "first"
    (first / "model.mlpackage" / "Data").mkdir(parents=True)
    (first / "model.mlpackage" / "Data" / "weight.bin").write_bytes(bytes(70))
    (first / "model.mlpackage" / "Manifest.json").write_bytes(b"{}")
    write_meta(first, artifact(first / "model.mlpackage"), 123)
    first.rename(tmp_path / "second")
    found = read_meta(tmp_path / "second")
    assert found.path == tmp_path / "second" / "model.mlpackage"
    assert found.bytes == 72
