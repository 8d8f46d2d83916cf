"""Shell commands on another machine, through a program that is given them: ssh, adb, or a shell here."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import IO

from edgeexport.errors import DeviceError

_ANSWER = 1 << 20
_LOG = 4000
_FEEDER_S = 30.0
LINE = 4096
"""Most bytes of a line that are taken as one."""

Line = Callable[[bytes], None]
Sink = Callable[[IO[bytes]], None]


class LinkLost(Exception):
    """The connection dropped, or could not be made; the machine may be there again later."""


class TimedOut(Exception):
    """A command took longer than it may."""


@dataclass(frozen=True)
class Answer:
    """What a command gave.

    Attributes:
        status: its exit status.
        output: the first of its standard output; empty where a sink took it.
        log: the end of its standard error.
    """

    status: int
    output: bytes
    log: str


class Limit:
    """How long a command may take. A sink that learns how far the command is may set it anew.

    Args:
        seconds: from the command's start.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timer: threading.Timer | None = None
        self._expire: Callable[[], None] | None = None

    def start(self, expire: Callable[[], None]) -> None:
        """Begin; ``expire`` is called at its end."""
        self._expire = expire
        self.set(self._seconds)

    def set(self, seconds: float) -> None:
        """So many seconds from now."""
        self.stop()
        self._seconds = seconds
        if self._expire is not None:
            self._timer = threading.Timer(seconds, self._expire)
            self._timer.daemon = True
            self._timer.start()

    def stop(self) -> None:
        """The command ended."""
        if self._timer is not None:
            self._timer.cancel()


@dataclass
class Transport:
    """Starts commands of a POSIX shell on another machine.

    Attributes:
        prefix: the program and its arguments; a command follows as one argument.
        lost: whether an exit status and the log mean that the connection dropped, and not that the command failed.
        environment: of the program; None is this process's.
    """

    prefix: tuple[str, ...]
    lost: Callable[[int, str], bool]
    environment: dict[str, str] | None = None
    _running: set[subprocess.Popen[bytes]] = field(default_factory=set, init=False, repr=False)
    _stopped: bool = field(default=False, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def stop(self) -> None:
        """End what runs, and start nothing more; also from another thread."""
        with self._lock:
            self._stopped = True
            running = list(self._running)
        for process in running:
            _kill(process, threading.Event())

    def _start(self, command: str, log: IO[bytes]) -> subprocess.Popen[bytes]:
        with self._lock:  # so that none starts unseen by stop
            if self._stopped:
                raise DeviceError("the connection to the device was closed")
            process = subprocess.Popen(
                [*self.prefix, command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self.environment,
                start_new_session=True,
            )
            self._running.add(process)
        return process

    def run(
        self,
        command: str,
        *,
        timeout_s: float | Limit,
        source: Iterable[bytes] = (),
        sink: Sink | None = None,
        hold: bool = False,
    ) -> Answer:
        """Run a command to its end.

        Args:
            command: for ``sh``.
            timeout_s: then the program is killed. A limit that is set anew is of one command.
            source: its standard input.
            sink: reads its standard output; None keeps the first MiB.
            hold: keep its standard input open until it ends. A command can watch it and end when it closes, which
                happens whatever becomes of this process or of the connection.

        Raises:
            LinkLost: the connection dropped.
            TimedOut: it took longer.
            DeviceError: it was stopped from another thread.
        """
        with tempfile.TemporaryFile() as log:
            process = self._start(command, log)
            assert process.stdin is not None and process.stdout is not None
            killed = threading.Event()
            limit = timeout_s if isinstance(timeout_s, Limit) else Limit(timeout_s)
            limit.start(lambda: _kill(process, killed))
            feeder = threading.Thread(target=_feed, args=(process.stdin, source, hold), daemon=True)
            feeder.start()
            kept: list[bytes] = []
            try:
                (sink or _keeper(kept))(process.stdout)
                process.stdout.read(1)  # a sink that has enough leaves the rest to a closed pipe
                process.stdout.close()
                process.wait()
            except BaseException:
                _kill(process, threading.Event())
                raise
            finally:
                limit.stop()
                self._running.discard(process)
                _close(process.stdin)
                feeder.join(_FEEDER_S)
            text = _end_of(log)
        if self._stopped:
            raise DeviceError("the connection to the device was closed")
        if killed.is_set():
            raise TimedOut(text)
        if self.lost(process.returncode, text):
            raise LinkLost(text.splitlines()[-1] if text else f"exit status {process.returncode}")
        return Answer(process.returncode, b"".join(kept), text)


def lines(take: Line) -> Sink:
    """A sink that hands on whole lines, each up to 4 kB."""

    def read(stream: IO[bytes]) -> None:
        while line := stream.readline(LINE):
            take(line)

    return read


def _keeper(kept: list[bytes]) -> Sink:
    def read(stream: IO[bytes]) -> None:
        kept.append(stream.read(_ANSWER))

    return read


def _feed(stream: IO[bytes], source: Iterable[bytes], hold: bool) -> None:
    with contextlib.suppress(OSError, ValueError):  # the other side ended first, and its status says why
        for chunk in source:
            stream.write(chunk)
        stream.flush()
        if not hold:
            stream.close()


def _close(stream: IO[bytes]) -> None:
    with contextlib.suppress(OSError, ValueError):
        stream.close()


def _kill(process: subprocess.Popen[bytes], killed: threading.Event) -> None:
    killed.set()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _end_of(log: IO[bytes]) -> str:
    size = log.seek(0, os.SEEK_END)
    log.seek(max(0, size - _LOG))
    return log.read().decode(errors="replace").strip()


def never_lost(_status: int, _log: str) -> bool:
    """Of a shell on this machine."""
    return False
