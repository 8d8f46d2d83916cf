"""Boards run at the same time as each other, what shares this processor one after another, in the order asked for."""

import contextlib
import threading
import time
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest

import edgeexport
from edgeexport.devices import fake
from edgeexport.errors import DeviceError
from edgeexport.pipeline import verifying
from edgeexport.progress import Progress, Stage


class Board(fake.FakeDevice):
    """A fake board that claims a processor of its own, and notes when it ran."""

    elsewhere = True
    held = threading.Barrier(1)
    running: ClassVar[list[str]] = []
    overlaps: ClassVar[list[tuple[str, ...]]] = []
    lock = threading.Lock()

    def describe(self):
        return replace(super().describe(), elsewhere=self.elsewhere)

    def run(self, job, folder, progress=None):
        with self.lock:
            self.running.append(self.name)
        try:
            self.held.wait(60)
            with self.lock:
                self.overlaps.append(tuple(sorted(self.running)))
            return super().run(job, folder, progress)
        finally:
            with self.lock:
                self.running.remove(self.name)


class Told(Progress):
    def __init__(self):
        self.titles, self.lines, self.steps = [], [], []

    def stage(self, title, total=None):
        self.titles.append((title, total))
        told = self

        class Counting(Stage):
            def at(self, step):
                told.steps.append(step)

        return contextlib.nullcontext(Counting())

    def say(self, text):
        self.lines.append(text)


@pytest.fixture(scope="module")
def bundle(linear, board, tmp_path_factory):
    return edgeexport.export(
        linear.model,
        target=board,
        precision="w8a8",
        calibration=linear.calibration,
        output=tmp_path_factory.mktemp("running") / "out",
        verify=False,
    )


@pytest.fixture
def boards(monkeypatch):
    """Devices by name: ``fake:…`` on a processor of its own, ``here:…`` on this one."""
    opened = []

    def open_device(name):
        kind, _, faults = name.partition(":")
        kind = kind.partition("#")[0]
        made = fake.open_device(faults)
        made.__class__ = type("Held", (Board,), {"elsewhere": kind == "fake"})
        made.name = name
        opened.append(made)
        return made

    monkeypatch.setattr(verifying, "open_device", open_device)
    monkeypatch.setattr(Board, "overlaps", [])
    monkeypatch.setattr(Board, "running", [])
    yield opened
    for device in opened:
        assert not device._place.exists(), "it was not closed"


def test_boards_run_at_once_and_are_told_in_order(bundle, boards, monkeypatch):
    monkeypatch.setattr(Board, "held", threading.Barrier(3))  # nobody goes on before all three run
    told = Told()
    names = ("fake#a:", "fake#b:", "fake#c:")
    report = verifying.Verification(names, told).run(bundle, None, None)
    assert tuple(run.device for run in report.runs) == names
    assert [run.error for run in report.runs] == [None] * 3
    assert names in Board.overlaps
    assert told.titles == [("running on fake#a:, fake#b:, fake#c: at the same time", 24)]
    assert told.steps == sorted(told.steps) and told.steps[-1] == 24
    assert sorted(told.lines) == [f"onnxruntime on {name}: done" for name in names]


def test_what_shares_this_processor_runs_one_after_another(bundle, boards):
    names = ("here#a:", "fake#b:", "here#c:")
    report = verifying.Verification(names, Progress()).run(bundle, None, None)
    assert [len(overlap) for overlap in Board.overlaps] == [1, 1, 1]
    assert tuple(run.device for run in report.runs) == names


def test_one_board_that_is_named_twice_is_not_timed_against_itself(bundle, boards):
    verifying.Verification(("fake#a:", "fake#a:", "fake#b:"), Progress()).run(bundle, None, None)
    assert not any(overlap.count("fake#a:") > 1 for overlap in Board.overlaps)


def test_one_that_fails_does_not_stop_the_others(bundle, boards):
    told = Told()
    names = ("fake#a:drop", "fake#b:", "fake#c:hostile")
    report = verifying.Verification(names, told).run(bundle, None, None)
    errors = [run.error for run in report.runs]
    assert "dropped 4 times" in errors[0] and errors[1] is None and "no result" in errors[2]
    assert [run.device for run in report.runs] == list(names)
    failed = {check.where for check in report.checks if check.name == "run" and check.verdict == "fail"}
    assert failed == {"onnxruntime on fake#a:drop", "onnxruntime on fake#c:hostile"}
    assert "onnxruntime on fake#b:: done" in told.lines and "onnxruntime on fake#a:drop: failed" in told.lines


@pytest.mark.parametrize("names", [("fake#lost:", "fake#b:"), ("here#b:", "fake#lost:")])
def test_a_board_that_is_gone_is_a_failed_run(bundle, boards, monkeypatch, names):
    run = Board.run

    def gone(self, *arguments):
        if self.name == "fake#lost:":
            raise DeviceError("it cannot be reached")
        return run(self, *arguments)

    monkeypatch.setattr(Board, "run", gone)
    report = verifying.Verification(names, Progress()).run(bundle, None, None)
    assert {run.device: run.error for run in report.runs if run.error} == {"fake#lost:": "it cannot be reached"}
    assert tuple(run.device for run in report.runs) == names
    assert report.verdict == "fail"


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, DeviceError])
def test_an_interruption_closes_all(bundle, boards, monkeypatch, interruption):
    """Both boards hang; without being closed they would for 900 s."""
    from edgeexport.pipeline import running

    def interrupted(futures, **_more):
        while len(Board.overlaps) < 2:
            time.sleep(0.05)
        time.sleep(0.5)
        raise interruption("stop")

    monkeypatch.setattr(running, "wait", interrupted)
    began = time.monotonic()
    with pytest.raises(interruption, match="stop"):
        verifying.Verification(("fake#a:hang", "fake#b:hang"), Progress()).run(bundle, None, None)
    assert time.monotonic() - began < 60
    assert not [thread for thread in threading.enumerate() if "ThreadPool" in thread.name]


def test_temporary_folders_of_threads_are_not_swept_up(tmp_path):
    from edgeexport.disk import temporary_folder

    def make(found):
        for _ in range(100):
            with temporary_folder(tmp_path, "job-") as folder:
                (folder / "file").write_bytes(b"1")
                found.append((folder / "file").is_file())

    found: list[bool] = []
    threads = [threading.Thread(target=make, args=(found,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert np.all(found) and len(found) == 800
