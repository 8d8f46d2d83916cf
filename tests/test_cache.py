"""What is kept, by what, and for how long."""

import os
import shutil

import pytest

from edgeexport import cache as module
from edgeexport.cache import Cache, cache_root, code_digest, folder_bytes, opened_cache, tool_versions
from edgeexport.errors import MissingRequirement, OutputError, RecipeError


def put(text, calls=None):
    def fill(folder):
        if calls is not None:
            calls.append(text)
        (folder / "file").write_text(text)

    return fill


def test_an_entry_is_made_once(tmp_path):
    calls = []
    cache = Cache(tmp_path)
    assert cache.find("kind", {"a": 1}) is None
    first = cache.make("kind", {"a": 1, "b": 2}, put("one", calls))
    again = Cache(tmp_path).make("kind", {"b": 2, "a": 1}, put("two", calls))
    assert first == again == Cache(tmp_path).find("kind", {"a": 1, "b": 2})
    assert calls == ["one"]
    assert (first / "file").read_text() == "one"
    assert [path.name for path in (tmp_path / "kind").iterdir()] == [first.name]


def test_kinds_keys_versions_and_code_tell_entries_apart(tmp_path, monkeypatch):
    cache = Cache(tmp_path)
    paths = {cache.make("kind", {"a": 1}, put("x")), cache.make("kind", {"a": 2}, put("x"))}
    paths.add(cache.make("other", {"a": 1}, put("x")))
    monkeypatch.setattr(module, "tool_versions", lambda: {"numpy": "99"})
    paths.add(cache.make("kind", {"a": 1}, put("x")))
    monkeypatch.setattr(module, "code_digest", lambda: "changed")
    paths.add(cache.make("kind", {"a": 1}, put("x")))
    assert len(paths) == 5


def test_the_tools_that_decide_bytes_are_in_the_key():
    assert {"edgeexport", "numpy", "onnx", "onnxruntime", "torch", "transformers", "optimum", "python"} <= set(
        tool_versions()
    )
    assert len(code_digest()) == 64


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failed_filling_leaves_nothing(tmp_path, error):
    def fill(folder):
        (folder / "half").write_text("half")
        raise error

    with pytest.raises(error):
        Cache(tmp_path).make("kind", {}, fill)
    assert list((tmp_path / "kind").iterdir()) == []
    assert Cache(tmp_path).make("kind", {}, put("whole")).joinpath("file").read_text() == "whole"


def test_leftovers_of_killed_processes_are_removed(tmp_path):
    (tmp_path / "kind" / ".partial-abc").mkdir(parents=True)
    (tmp_path / "kind" / ".partial-abc" / "half").write_text("half")
    entry = Cache(tmp_path).make("kind", {}, put("x"))
    assert list((tmp_path / "kind").iterdir()) == [entry]


def test_two_processes_that_make_the_same(tmp_path):
    cache = Cache(tmp_path)

    def fill(folder):
        Cache(tmp_path).make("kind", {}, put("first"))  # another process is faster
        (folder / "file").write_text("second")

    entry = cache.make("kind", {}, fill)
    assert (entry / "file").read_text() == "first"
    assert list((tmp_path / "kind").iterdir()) == [entry]


def test_the_least_recently_used_go_first(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEEXPORT_CACHE_BYTES", "2500")
    entries = [Cache(tmp_path).make("kind", {"n": n}, put("x" * 1000)) for n in range(2)]
    for age, entry in ((100, entries[0]), (200, entries[1])):
        os.utime(entry, (10**9 - age, 10**9 - age))
    Cache(tmp_path).find("kind", {"n": 1})
    entries.append(Cache(tmp_path).make("other", {"n": 2}, put("x" * 1000)))
    assert [entry.is_dir() for entry in entries] == [False, True, True]


def test_what_this_run_uses_is_never_removed(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEEXPORT_CACHE_BYTES", "1")
    cache = Cache(tmp_path)
    old = Cache(tmp_path).make("kind", {"n": 0}, put("x" * 1000))
    mine = [cache.make("kind", {"n": n}, put("x" * 1000)) for n in (1, 2)]
    assert [entry.is_dir() for entry in (old, *mine)] == [False, True, True]
    assert (mine[0] / "file").read_text() == "x" * 1000


def test_emulated_boards_are_not_pruned(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEEXPORT_CACHE_BYTES", "1")
    board = tmp_path / "devices" / "arm64-abc"
    board.mkdir(parents=True)
    (board / "root").write_text("x" * 5000)
    Cache(tmp_path).make("kind", {}, put("x"))
    assert (board / "root").is_file()


def test_without_keeping_nothing_is_found_and_nothing_stays(cache):
    kept = Cache(cache).make("kind", {"a": 1}, put("kept"))
    with opened_cache(keep=False) as fresh:
        assert fresh.find("kind", {"a": 1}) is None
        entry = fresh.make("kind", {"a": 1}, put("fresh"))
        assert (fresh.find("kind", {"a": 1}) / "file").read_text() == "fresh"
    assert not entry.exists()
    assert list((cache / "fresh").iterdir()) == []
    with opened_cache(keep=True) as shared:
        assert shared.find("kind", {"a": 1}) == kept


def test_a_byte_limit_that_is_no_number(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEEXPORT_CACHE_BYTES", "8 GB")
    with pytest.raises(RecipeError, match="EDGEEXPORT_CACHE_BYTES is '8 GB'"):
        Cache(tmp_path)


def test_a_full_disk_is_a_sentence_and_leaves_nothing(small_disk):
    disk = small_disk(256 * 1024)
    with pytest.raises(MissingRequirement, match=f"the disk is full: {disk}"):
        Cache(disk).make("kind", {}, put("x" * 1_000_000))
    assert list((disk / "kind").iterdir()) == []


def test_a_cache_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot be written"):
        Cache(tmp_path / "file").make("kind", {}, put("x"))


def test_where_it_is(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGEEXPORT_CACHE", str(tmp_path))
    assert cache_root() == tmp_path
    monkeypatch.delenv("EDGEEXPORT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_root() == tmp_path / "xdg" / "edgeexport"


def test_bytes_of_a_folder(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "one").write_bytes(b"x" * 10)
    (tmp_path / "a" / "b" / "two").write_bytes(b"x" * 7)
    assert folder_bytes(tmp_path) == 17
    shutil.rmtree(tmp_path / "a")
    assert folder_bytes(tmp_path) == 0
