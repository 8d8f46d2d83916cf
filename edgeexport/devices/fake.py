"""A board that is not there: jobs run on this machine, through all that a remote board's go through, with faults.

``fake``, or ``fake:FAULT[=N][,…]`` with

    drop=N      the connection drops during each of the first N runs
    reboot=N    it does, the board's files are gone, and it answers only after a while
    hang        the runtime never ends
    disk        the board's disk is full
    wrong       its outputs have another sign
    hostile     what it sends would be written outside the job's folder

A pipeline's tests need no hardware with it, and show what its checks say on a bad day.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import shutil
import sys
import tarfile
import tempfile
import weakref
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from edgeexport.devices._errand import RUNNER
from edgeexport.devices._remote import RemoteDevice
from edgeexport.devices._transport import Answer, Limit, LinkLost, Sink, TimedOut, Transport, never_lost
from edgeexport.errors import DeviceError
from edgeexport.job import DeviceInfo

FAULTS = ("drop", "reboot", "hang", "disk", "wrong", "hostile")
_AWAY = 2
_MID_RUN_S = 0.2
_HANG = "import time; time.sleep(86400)"
_WRONG = """
import pathlib
import numpy
for path in pathlib.Path('outputs').glob('*.bin'):
    values = numpy.fromfile(path, numpy.uint8)
    values[3::4] ^= 0x80  # the sign of little-endian float32
    values.tofile(path)
"""


class FakeDevice(RemoteDevice):
    """See this module.

    Args:
        name: as the user gave it.
        faults: how often each happens; absent ones never.
    """

    def __init__(self, name: str, faults: dict[str, int]) -> None:
        self._place = Path(tempfile.mkdtemp(prefix="edgeexport-fake-"))
        self._release = weakref.finalize(self, shutil.rmtree, self._place, ignore_errors=True)
        super().__init__(name, FaultyTransport(self._place, faults), shlex.quote(str(self._place)))
        self._python = shlex.quote(sys.executable)

    def describe(self) -> DeviceInfo:
        """This machine's processor; nothing of it counts as measured, or is timed."""
        return replace(super().describe(), evidence="emulated", timed=False, elsewhere=False)

    def close(self) -> None:
        """Forget the board."""
        super().close()
        self._release()


class FaultyTransport(Transport):
    """A shell on this machine that fails as it was told."""

    def __init__(self, place: Path, faults: dict[str, int]) -> None:
        super().__init__(("sh", "-c"), never_lost)
        self._left, self._away, self._place = dict(faults), 0, place

    def run(
        self,
        command: str,
        *,
        timeout_s: float | Limit,
        source: Iterable[bytes] = (),
        sink: Sink | None = None,
        hold: bool = False,
    ) -> Answer:
        """See :class:`Transport`."""
        if self._away:
            self._away -= 1
            raise LinkLost("no route to the fake board")
        starts, takes = hold, "tar xf -" in command
        if takes and self._happens("disk"):
            _answered(sink, b"")
            return Answer(2, b"", "tar: write error: No space left on device")
        if starts and self._happens("hostile"):
            _answered(sink, _hostile(command))
            return Answer(0, b"", "")
        if starts and self._happens("hang"):
            command = _other_program(command, _HANG)
        if starts and self._happens("wrong"):
            command = _other_program(command, RUNNER + _WRONG)
        for fault in ("drop", "reboot"):
            if starts and self._happens(fault):
                self._lose(fault, command, source)
        return super().run(command, timeout_s=timeout_s, source=source, sink=sink, hold=hold)

    def _happens(self, fault: str) -> bool:
        left = self._left.get(fault, 0)
        self._left[fault] = left - 1
        return left > 0

    def _lose(self, fault: str, command: str, source: Iterable[bytes]) -> None:
        """Start the run, and break off in its middle."""
        with contextlib.suppress(TimedOut):
            super().run(command, timeout_s=_MID_RUN_S, source=source, hold=True)
        if fault == "reboot":
            for path in self._place.iterdir():
                shutil.rmtree(path)
            self._away = _AWAY
        raise LinkLost("the fake board dropped the connection")


def open_device(argument: str) -> FakeDevice:
    """Open ``fake:ARGUMENT``; an empty argument has no faults.

    Raises:
        DeviceError: there is no such fault.
    """
    faults: dict[str, int] = {}
    for part in filter(None, argument.split(",")):
        found = re.fullmatch(r"([a-z]+)(?:=([0-9]{1,6}))?", part)
        if found is None or found[1] not in FAULTS:
            raise DeviceError(f"a fake device has no fault '{part}'", f"There is: {', '.join(FAULTS)}.")
        faults[found[1]] = int(found[2]) if found[2] else 1_000_000
    return FakeDevice(f"fake:{argument}" if argument else "fake", faults)


def list_devices() -> list[str]:
    """Not listed among what is ready: it is nobody's board."""
    return []


def _answered(sink: Sink | None, output: bytes) -> None:
    (sink or (lambda _stream: None))(io.BytesIO(output))


def _other_program(command: str, program: str) -> str:
    return command.replace(shlex.quote(RUNNER), shlex.quote(program))


def _hostile(command: str) -> bytes:
    """The answer to a job's command, with an archive that would be written elsewhere."""
    found = re.search(r"%s start\\n' ([0-9a-f]+)", command)
    assert found is not None
    buffer = io.BytesIO()
    buffer.write(f"{found[1]} start\n{found[1]} done 0\n".encode())
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("../../edgeexport-was-here")
        info.size = 4
        archive.addfile(info, io.BytesIO(b"evil"))
    return buffer.getvalue()
