"""Outputs: whole or not at all, and never over somebody's files."""

import json
import os
import signal
from pathlib import Path

import pytest

from edgeexport.errors import OutputError
from edgeexport.place import check_place, written_whole


def fill(folder, text="x"):
    """A bundle, as far as a place looks."""
    (folder / "golden").mkdir(parents=True, exist_ok=True)
    (folder / "golden" / "data").write_text(text)
    listing = {"schema_version": 1, "golden": {}, "files": {"golden/data": "0"}}
    (folder / "manifest.json").write_text(json.dumps(listing))


def content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_new_place(tmp_path):
    with written_whole(tmp_path / "deep" / "out") as folder:
        fill(folder)
        assert names(tmp_path / "deep") == [folder.name]
        assert folder.name.startswith(".out.partial-")
    assert names(tmp_path / "deep") == ["out"]
    assert (tmp_path / "deep" / "out").stat().st_mode & 0o777 == 0o755


def test_a_bundle_is_replaced_and_nothing_of_it_stays(tmp_path):
    fill(tmp_path / "out", "old")
    (tmp_path / "out" / "report.html").write_text("old")
    with written_whole(tmp_path / "out") as folder:
        fill(folder, "new")
        assert (tmp_path / "out" / "golden" / "data").read_text() == "old"
    assert names(tmp_path / "out") == ["golden", "manifest.json"]
    assert (tmp_path / "out" / "golden" / "data").read_text() == "new"
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("before", [True, False], ids=["over a bundle", "new"])
def test_a_failure_changes_nothing(tmp_path, error, before):
    if before:
        fill(tmp_path / "out", "old")
    seen = content(tmp_path)
    with pytest.raises(error), written_whole(tmp_path / "out") as folder:
        fill(folder, "new")
        raise error
    assert content(tmp_path) == seen
    assert names(tmp_path) == (["out"] if before else [])


def test_an_empty_folder_may_be_used(tmp_path):
    (tmp_path / "out").mkdir()
    with written_whole(tmp_path / "out") as folder:
        fill(folder)
    assert names(tmp_path / "out") == ["golden", "manifest.json"]


def test_what_is_not_ours_is_refused_and_left(tmp_path):
    fill(tmp_path / "out")
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    (tmp_path / "file").write_text("x")
    seen = content(tmp_path)
    for check in (check_place, lambda path: written_whole(path).__enter__()):
        with pytest.raises(OutputError, match=r"did not write \(thesis\.tex\); it was left as it is"):
            check(tmp_path / "out")
        with pytest.raises(OutputError, match="is a file"):
            check(tmp_path / "file")
    assert content(tmp_path) == seen


def test_a_link_to_a_bundle_stays_a_link(tmp_path):
    fill(tmp_path / "real", "old")
    (tmp_path / "link").symlink_to("real")
    with written_whole(tmp_path / "link") as folder:
        fill(folder, "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "golden" / "data").read_text() == "new"
    assert names(tmp_path) == ["link", "real"]


def test_an_interruption_between_two_renames_waits(tmp_path, monkeypatch):
    fill(tmp_path / "out", "old")
    rename = Path.rename

    def interrupted(path, target):
        moved = rename(path, target)
        signal.raise_signal(signal.SIGINT)
        return moved

    with pytest.raises(KeyboardInterrupt), written_whole(tmp_path / "out") as folder:
        fill(folder, "new")
        monkeypatch.setattr(Path, "rename", interrupted)
    assert names(tmp_path) == ["out"]
    assert (tmp_path / "out" / "golden" / "data").read_text() == "new"


def test_a_process_killed_between_two_renames_loses_nothing(tmp_path):
    fill(tmp_path / ".out.partial-abc-old", "old")
    with pytest.raises(KeyError), written_whole(tmp_path / "out"):
        raise KeyError
    assert names(tmp_path) == ["out"]
    assert (tmp_path / "out" / "golden" / "data").read_text() == "old"


def test_leftovers_are_removed_and_others_files_are_not(tmp_path):
    fill(tmp_path / ".out.partial-abc", "half")
    fill(tmp_path / ".output.partial-abc", "of another place")
    with written_whole(tmp_path / "out") as folder:
        fill(folder)
    assert names(tmp_path) == [".output.partial-abc", "out"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_place_that_cannot_be_written(tmp_path):
    tmp_path.chmod(0o555)
    with pytest.raises(OutputError, match="cannot be written: Permission denied"), written_whole(tmp_path / "out"):
        pass


def test_a_place_below_a_file(tmp_path):
    (tmp_path / "file").write_text("x")
    with (
        pytest.raises(OutputError, match="cannot be written: File exists"),
        written_whole(tmp_path / "file" / "out"),
    ):
        pass
    assert content(tmp_path) == {"file": b"x"}
