"""A model that is one file, or a folder of files: the same functions for both."""

import pytest

from edgeexport import tree


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "model.mlpackage"
    for name, data in {"Manifest.json": b"{}", "Data/b/weight.bin": bytes(1000), "Data/model": b"abc"}.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    (path / "Empty").mkdir()
    return path


def names(path):
    return [entry.relative_to(path).as_posix() for entry in tree.entries(path)]


def test_a_file(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"12345")
    assert tree.entries(path) == [path]
    assert tree.size(path) == 5
    tree.copy(path, tmp_path / "copies" / "another.onnx")
    assert (tmp_path / "copies" / "another.onnx").read_bytes() == b"12345"


def test_a_folder(folder, tmp_path):
    assert names(folder) == ["Data/b/weight.bin", "Data/model", "Manifest.json"]
    assert tree.size(folder) == 1005
    tree.copy(folder, tmp_path / "copy")
    assert names(tmp_path / "copy") == names(folder)
    for entry in tree.entries(folder):
        assert (tmp_path / "copy" / entry.relative_to(folder)).read_bytes() == entry.read_bytes()


def test_a_copy_has_no_permissions_of_the_original(folder, tmp_path):
    (folder / "Manifest.json").chmod(0o777)
    tree.copy(folder, tmp_path / "copy")
    assert (tmp_path / "copy" / "Manifest.json").stat().st_mode & 0o111 == 0


def test_links_are_listed_and_not_followed(folder, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "secret").write_bytes(b"x")
    (folder / "link").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (folder / "dangling").symlink_to("nowhere")
    assert names(folder) == ["Data/b/weight.bin", "Data/model", "Manifest.json", "dangling", "link"]
    folder.rename(tmp_path / "moved")
    folder.symlink_to(tmp_path / "moved", target_is_directory=True)
    assert tree.entries(folder) == [folder]


def test_nothing_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        tree.size(tmp_path / "missing")
