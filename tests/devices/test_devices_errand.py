"""A job as one command of a shell: its lines, its archive, what hostile answers come to, and that it cleans up."""

import io
import os
import resource
import shlex
import shutil
import subprocess
import sys
import tarfile
import time

import numpy as np
import pytest
import remote

from edgeexport.devices import _parcels, local
from edgeexport.devices._errand import Errand
from edgeexport.devices._remote import RemoteDevice
from edgeexport.devices._transport import Limit, TimedOut, Transport, never_lost
from edgeexport.errors import RunFailed

APPLETS = ("sh", "tar", "head", "mkdir", "rm", "mv", "cat", "sha256sum", "env")
SHELLS = ["dash", "bash", "busybox"]


@pytest.fixture(params=SHELLS)
def shell(request, tmp_path):
    """A transport to such a shell, with nothing else on its path where it brings its own tools."""
    program = shutil.which(request.param)
    if program is None:
        pytest.skip(f"no {request.param} here: apt install {request.param}")
    if request.param != "busybox":
        return Transport((program, "-c"), never_lost)
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in APPLETS:
        (tools / name).symlink_to(program)
    return Transport((program, "sh", "-c"), never_lost, {**os.environ, "PATH": str(tools)})


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return remote.save_model(tmp_path_factory.mktemp("model") / "model.onnx")


@pytest.fixture
def errand(tmp_path):
    lines = []
    made = Errand("board", tmp_path, lines.append, Limit(60), run_s=5, transfer_s=60)
    made.lines = lines
    return made


def device_of(transport, place):
    device = RemoteDevice("board", transport, shlex.quote(str(place)))
    device._python = shlex.quote(sys.executable)
    return device


def token(errand):
    return errand._token.encode()


def archive(name, data):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as made:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        made.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def test_any_of_these_shells_will_do(shell, model, tmp_path):
    job = remote.job(model)
    results = []
    for name, device in (("there", device_of(shell, tmp_path / "a board")), ("here", local.open_device(""))):
        (tmp_path / name).mkdir()
        results.append(remote.values(device.run(job, tmp_path / name)))
    np.testing.assert_array_equal(*results)
    assert list((tmp_path / "a board" / "jobs").iterdir()) == []


def test_a_job_whose_model_is_there_is_one_command(model, tmp_path):
    commands = []

    class Counting(Transport):
        def run(self, command, **more):
            commands.append(command)
            return super().run(command, **more)

    device = device_of(Counting(("sh", "-c"), never_lost), tmp_path / "board")
    for name in ("one", "two"):
        commands.clear()
        (tmp_path / name).mkdir()
        device.run(remote.job(model), tmp_path / name)
    assert len(commands) == 1


@pytest.mark.parametrize("broken_off", ["input", "both"])
def test_what_is_broken_off_is_removed_there(shell, model, tmp_path, broken_off):
    """As a connection that drops does it: the ends of the pipes close, and nobody sends a signal to the shell."""
    board = tmp_path / "board"
    device = device_of(shell, board)
    (tmp_path / "first").mkdir()
    device.run(remote.job(model), tmp_path / "first")
    kept = {}

    class Started(Exception):
        pass

    class Dropping(Transport):
        def run(self, command, *, timeout_s, source=(), sink=None, hold=False):
            if not hold:
                return super().run(command, timeout_s=timeout_s, source=source, sink=sink)
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
            process = subprocess.Popen([*self.prefix, command], env=self.environment, **pipes)
            process.stdin.write(b"".join(source))
            process.stdin.flush()
            while not process.stdout.readline().startswith(b"progress"):
                assert process.poll() is None
            assert len(list((board / "jobs").iterdir())) == 1
            if broken_off == "both":
                process.stdout.close()
                process.stderr.close()
            process.stdin.close()
            kept["status"] = process.wait(timeout=60)
            kept["left"] = list((board / "jobs").iterdir())
            kept["processes"] = remote.processes_in(board)
            raise Started

    device._transport = Dropping(shell.prefix, never_lost, shell.environment)
    (tmp_path / "second").mkdir()
    with pytest.raises(Started):
        device.run(remote.job(model, count=4000, rows=64), tmp_path / "second")
    assert kept["left"] == []
    assert kept["processes"] == []


def test_a_board_without_room_is_told_from_a_runtime_that_fails(shell, model, tmp_path):
    device = device_of(shell, tmp_path / "board")
    (tmp_path / "first").mkdir()
    device.run(remote.job(model), tmp_path / "first")

    class Small(Transport):
        def run(self, command, **more):
            return super().run(f"ulimit -f 1; {command}", **more)

    device._transport = Small(shell.prefix, never_lost, shell.environment)
    (tmp_path / "second").mkdir()
    with pytest.raises(RunFailed, match="board could not take a file: its disk is full"):
        device.run(remote.job(model, count=3000), tmp_path / "second")
    assert list((tmp_path / "board" / "jobs").iterdir()) == []


def test_lines_that_look_like_the_protocol_are_only_lines(errand, tmp_path):
    fake = [b"00 start\n", b"x" + token(errand) + b" done 0\n", b"progress 3\n"]
    whole = b"".join(fake) + token(errand) + b" start\n" + token(errand) + b" done 0\n" + archive("result.json", b"{}")
    errand.read(io.BytesIO(whole))
    assert errand.lines == fake
    errand.finish("")
    assert (tmp_path / "result.json").read_bytes() == b"{}"


@pytest.mark.parametrize("odd", [b"done", b"done x", b"done -1", b"done 0 0", b"start now", b"done \xb2"])
def test_odd_lines_of_the_protocol_are_no_result(errand, odd):
    errand.read(
        io.BytesIO(token(errand) + b" start\n" + token(errand) + b" " + odd + b"\n" + archive("result.json", b""))
    )
    with pytest.raises(RunFailed, match="board ended before the runtime did"):
        errand.finish("")


def test_a_hostile_archive_is_refused_and_nothing_of_it_is_written(errand, tmp_path):
    before = sorted(tmp_path.parent.rglob("*"))
    head = token(errand) + b" start\n" + token(errand) + b" done 0\n"
    with pytest.raises(RunFailed, match="sent something that is no result"):
        errand.read(io.BytesIO(head + archive("../evil", b"evil") + bytes(1 << 21)))
    errand.read(io.BytesIO(archive("../evil", b"evil")))
    with pytest.raises(RunFailed, match="sent something that is no result"):
        errand.finish("")
    assert sorted(tmp_path.parent.rglob("*")) == before


def test_an_archive_that_breaks_off_is_no_result_unless_the_connection_dropped(errand):
    cut = archive("outputs/0.bin", bytes(100_000))[:50_000]
    errand.read(io.BytesIO(token(errand) + b" start\n" + token(errand) + b" done 0\n" + cut))
    with pytest.raises(RunFailed, match="sent no archive"):
        errand.finish("")


@pytest.mark.parametrize("endless", ["yes progress 1", "cat /dev/zero", "while :; do printf %4000s x; done"])
def test_endless_lines_end_at_the_limit_and_take_no_memory(tmp_path, endless):
    limit = Limit(60)
    errand = Errand("board", tmp_path, lambda _line: None, limit, run_s=1, transfer_s=60)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()
    with pytest.raises(TimedOut):
        Transport(("sh", "-c"), never_lost).run(
            f"echo {errand._token} start; {endless}", timeout_s=limit, sink=errand.read, hold=True
        )
    assert time.monotonic() - began < 40
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB
    assert errand.started and errand.status is None


def test_the_size_that_is_told_is_the_stream_s(tmp_path):
    files = {}
    for size in (0, 1, 511, 512, 513, 70_000):
        files[str(size)] = tmp_path / str(size)
        files[str(size)].write_bytes(bytes(size))
    assert _parcels.packed_size(files) == sum(map(len, _parcels.packed(files)))
