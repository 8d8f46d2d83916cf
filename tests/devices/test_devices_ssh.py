"""Boards over SSH, by the real client and a real server on this machine."""

import contextlib
import gc
import threading
import time
from pathlib import Path

import boards
import numpy as np
import pytest
import remote

import edgeexport
from edgeexport.devices import local, ssh
from edgeexport.errors import DeviceError, MissingRequirement, RunFailed

pytestmark = pytest.mark.skipif(boards.SSHD is None, reason="no sshd here: apt install openssh-server")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return remote.save_model(tmp_path_factory.mktemp("model") / "model.onnx")


@pytest.fixture
def board_there(tmp_path, monkeypatch):
    made = boards.Board(tmp_path)
    made.start()
    monkeypatch.setenv(ssh.CONFIGURATION, str(made.configuration))
    yield made
    made.kill()
    for _ in range(200):
        if not remote.processes_in(made.place):
            break
        time.sleep(0.1)
    assert remote.processes_in(made.place) == []


@pytest.fixture
def device(board_there):
    opened = ssh.open_device("//board")
    yield opened
    opened.close()


def run(device, job, folder):
    folder.mkdir()
    return device.run(job, folder)


def test_outputs_are_those_of_this_machine(device, model, tmp_path):
    job = remote.job(model)
    result = run(device, job, tmp_path / "there")
    np.testing.assert_array_equal(
        remote.values(result), remote.values(run(local.open_device(""), job, tmp_path / "here"))
    )
    assert (result.runtime, result.samples) == ("onnxruntime", 5)
    assert result.peak_memory_bytes > 1 << 20


def test_latency_is_timed_there(device, model, tmp_path):
    job = remote.job(model, count=1, mode="latency", warmup=1, pairs=7)
    result = run(device, job, tmp_path / "run")
    assert [len(times) for times in result.latency_ns] == [7]
    assert all(value > 0 for value in result.latency_ns[0])


def test_an_unchanged_model_is_not_sent_again_by_another_connection(device, model, board_there, tmp_path):
    run(device, remote.job(model), tmp_path / "one")
    assert device.sent_bytes == model.stat().st_size
    again = ssh.open_device("//board")
    run(again, remote.job(model), tmp_path / "two")
    again.close()
    assert again.sent_bytes == 0


def test_a_server_that_is_killed_in_the_middle_ends_in_a_resumed_run(device, model, board_there, tmp_path, monkeypatch):
    job = remote.job(model, count=600, rows=64)
    seen = []

    def fall(count):
        seen.append(count)
        if len(seen) == 1:
            board_there.kill()
            threading.Timer(0.5, board_there.start).start()

    attempt, attempts = device._attempt, []

    def counted(*arguments):
        attempts.append(len(seen))
        return attempt(*arguments)

    monkeypatch.setattr(device, "_attempt", counted)
    (tmp_path / "there").mkdir()
    result = device.run(job, tmp_path / "there", fall)
    assert result.samples == 600
    assert len(attempts) >= 2 and attempts[:2] == [0, 1], "it was not broken off in its middle"
    assert list((board_there.place / ssh.ROOT / "jobs").iterdir()) == []
    np.testing.assert_array_equal(
        remote.values(result), remote.values(run(local.open_device(""), job, tmp_path / "here"))
    )


def test_a_server_that_stays_away_is_a_failed_run(device, model, board_there, tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises((RunFailed, DeviceError), match=r"dropped 4 times|cannot be reached"):
        device.run(remote.job(model, count=600, rows=64), tmp_path / "there", lambda _count: board_there.kill())


def test_a_runtime_that_hangs_is_stopped_there_too(device, model, board_there, tmp_path):
    began = time.monotonic()
    with pytest.raises(RunFailed, match="did not finish within 1 s"):
        run(device, remote.job(model, count=4000, rows=64, timeout_s=1), tmp_path / "run")
    assert time.monotonic() - began < 45
    for _ in range(200):
        if not remote.processes_in(board_there.place):
            break
        time.sleep(0.1)
    assert remote.processes_in(board_there.place) == []


def test_what_the_board_lacks_is_said_with_the_command(device, monkeypatch):
    device.check("ort")
    monkeypatch.setattr(device, "_python", "python3.99")
    with pytest.raises(MissingRequirement, match=r"has no python3\.99"):
        device.check("ort")
    monkeypatch.setattr(device, "_python", "python3 -S -I")
    with pytest.raises(MissingRequirement, match="cannot run onnxruntime: ModuleNotFoundError") as missing:
        device.check("ort")
    assert missing.value.hint == "edgeexport devices prepare ssh://board --runtime onnxruntime"


def test_it_says_what_it_is(device):
    about, here = device.describe(), local.open_device("").describe()
    assert (about.name, about.machine, about.evidence, about.timed) == ("ssh://board", here.machine, "measured", True)
    assert here.cpu in about.cpu


def test_a_board_that_is_not_there(board_there):
    board_there.kill()
    device = ssh.open_device("//board")
    with pytest.raises(DeviceError, match="ssh://board cannot be reached"):
        device.describe()
    device.close()


def test_a_bundle_is_verified_on_it(board_there, linear, board, tmp_path):
    bundle = edgeexport.export(
        linear.model,
        target=board,
        precision="w8a8",
        calibration=linear.calibration,
        output=tmp_path / "out",
        verify=False,
    )
    report = edgeexport.verify(bundle.path, on=["local", "ssh://board"], evaluation=linear.evaluation)
    here, there = report.runs
    assert there.device == "ssh://board" and there.evidence == "measured"
    assert there.parity == here.parity


def commands():
    """Of every process here."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it ended
            yield path.read_bytes().decode(errors="replace")


def test_a_device_that_nobody_closed_leaves_no_connection(board_there):
    device = ssh.open_device("//board")
    device.describe()
    folder = device._folder
    (socket,) = folder.iterdir()
    del device
    gc.collect()
    assert not folder.exists()
    for _ in range(100):
        if not any(str(socket) in command for command in commands()):
            break
        time.sleep(0.1)
    else:
        raise AssertionError("its connection is still there")


@pytest.mark.parametrize(
    "address",
    ["//", "board", "//-oProxyCommand=id", "//a b", "//-l@host", "//host:port", "//host/path", "//u:secret@host"],
)
def test_what_is_no_address_is_refused(address):
    with pytest.raises(DeviceError, match="is no address of a board"):
        ssh.open_device(address)
