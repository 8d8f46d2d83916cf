"""Modules found by file name, and by entry point."""

import sys
from importlib.metadata import EntryPoint

import pytest

from edgeexport import discover


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "sockets"
    folder.mkdir()
    for name in ("__init__", "one", "two", "_helper", "broken"):
        (folder / f"{name}.py").write_text("raise RuntimeError('imported')" if name == "broken" else f"NAME = '{name}'")
    (folder / "three").mkdir()
    (folder / "three" / "__init__.py").write_text("NAME = 'three'")
    (folder / "notes.txt").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    yield "sockets"
    for name in [name for name in sys.modules if name.startswith("sockets")]:
        del sys.modules[name]


def test_names_are_those_of_files_and_nothing_is_imported(package):
    assert discover.names(package) == ["broken", "one", "three", "two"]
    assert not [name for name in sys.modules if name.startswith("sockets.")]


def test_load(package):
    assert discover.load(package, "two").NAME == "two"
    assert discover.load(package, "three").NAME == "three"
    for name in ("four", "_helper", "", "one.NAME", "os"):
        assert discover.load(package, name) is None
    with pytest.raises(RuntimeError, match="imported"):
        discover.load(package, "broken")


def test_an_entry_point_adds_a_module_and_wins(package, monkeypatch):
    points = [EntryPoint("one", "json", "sockets"), EntryPoint("far", "email.message", "sockets")]
    monkeypatch.setattr(discover, "entry_points", lambda group: points if group == "sockets" else [])
    assert discover.names(package) == ["broken", "far", "one", "three", "two"]
    assert discover.load(package, "far").__name__ == "email.message"
    assert discover.load(package, "one").__name__ == "json"


@pytest.mark.parametrize(
    ("package_name", "found"),
    [
        ("edgeexport.devices", {"local", "emulated"}),
        ("edgeexport.formats", {"onnx"}),
        ("edgeexport.sources", {"onnx", "torch", "transformers"}),
    ],
)
def test_what_ships(package_name, found):
    assert found <= set(discover.names(package_name))
