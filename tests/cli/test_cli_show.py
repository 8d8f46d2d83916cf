"""Progress as lines, where nobody watches."""

import re
import sys

import pytest

from edgeexport.cli import show


def test_a_line_when_a_stage_starts_and_one_when_it_ends(capsys):
    progress = show.progress()
    with progress.stage("quantizing", 3) as stage:
        assert list(stage.follow("abc")) == ["a", "b", "c"]
    with progress.stage("copying"):
        pass
    progress.say("a note")
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert (lines[0], lines[2], lines[4]) == ("quantizing (3)", "copying", "a note")
    assert all(re.fullmatch(r"  done in \d+\.\d s", lines[number]) for number in (1, 3))


def test_a_failed_stage_is_not_called_done(capsys):
    with pytest.raises(KeyError), show.progress().stage("working"):
        raise KeyError
    assert capsys.readouterr().err == "working\n"


def test_bars_on_a_terminal(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    progress = show.progress()
    with progress.stage("quantizing", 2) as stage:
        assert list(stage.follow([1, 2])) == [1, 2]
    with progress.stage("copying"):
        pass
    assert "2/2" in capsys.readouterr().err
