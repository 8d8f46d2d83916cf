"""A job on a board as one command: files in, progress and results out, and nothing left behind.

Each command costs a start of a channel and of a shell there, so a job is one. Its standard input carries a tar archive
of a stated size, and then stays open: it ends when this side dies or the connection drops, and the runner with it. Its
standard output carries the runner's lines, lines of this protocol, and at last a tar archive:

    TOKEN start         the files are there
    TOKEN done STATUS   the runner ended; with status 0 the archive follows

The token is random, so that nothing that a runtime prints is taken for such a line.
"""

from __future__ import annotations

import secrets
import shlex
from pathlib import Path
from typing import IO

from edgeexport.devices import _parcels
from edgeexport.devices._transport import LINE, Limit, Line
from edgeexport.errors import RunFailed

RUNNER = "import runpy, signal, sys; signal.alarm(int(sys.argv[1])); sys.argv = ['runner.py', '.']; "
RUNNER += "sys.path.insert(0, '.'); runpy.run_path('runner.py', run_name='__main__')"
"""The program there, in the job's folder; its argument is after how many seconds it ends by itself."""
# A shell that heard of the dropped connection by a signal would not clean up. The job's folder is removed from outside
# of it, as some systems keep a folder that somebody is in. `head` gives `tar` the end of input that the link does not.
_SCRIPT = """trap '' HUP PIPE; home=$(pwd); exec 3<&0
if mkdir -p {place} && cd {place} && head -c {size} | tar xf -; then
printf '\\n%s start\\n' {token}
{{ PYTHONPATH={packages}; export PYTHONPATH; exec {python} -B -c {code} {seconds}; }} </dev/null 3<&- & p=$!
{{ cat <&3; kill -9 $p; }} >/dev/null 2>&1 & w=$!
exec 3<&-; wait $p; s=$?; kill $w 2>/dev/null
printf '\\n%s done %s\\n' {token} $s
[ $s != 0 ] || tar cf - {results}
fi
cd "$home" && rm -rf {place}"""


class Errand:
    """One job's command, and what comes of it.

    Args:
        device: for messages.
        folder: the job's, here; the result is written into it.
        told: gets what the runner prints.
        limit: of the command; set to ``run_s`` as the runner starts and to ``transfer_s`` as it ends.

    Attributes:
        started: whether the board took the files.
        status: the runner's exit status; None where it did not end.
    """

    def __init__(self, device: str, folder: Path, told: Line, limit: Limit, *, run_s: float, transfer_s: float) -> None:
        self._device, self._folder, self._told = device, folder, told
        self._limit, self._run_s, self._transfer_s = limit, run_s, transfer_s
        self._token = secrets.token_hex(16)
        self._failure: RunFailed | None = None
        self.started = False
        self.status: int | None = None

    def command(self, place: str, size: int, python: str, packages: str, results: str) -> str:
        """For ``sh``.

        Args:
            place: the job's folder there, as words of a shell; it must not exist.
            size: bytes of the archive.
            python: the interpreter, as words of a shell.
            packages: folder with more of its packages, relative to ``place``.
            results: names of what is sent back.
        """
        return _SCRIPT.format(
            place=place,
            size=size,
            token=self._token,
            python=python,
            packages=packages,
            code=shlex.quote(RUNNER),
            seconds=int(self._run_s) + 1,
            results=results,
        )

    def read(self, stream: IO[bytes]) -> None:
        """Take the command's standard output; a sink.

        Raises:
            RunFailed: what came is no result, and more comes.
        """
        token = self._token.encode()
        while self.status is None and (line := stream.readline(LINE)):
            if line.startswith(token):
                self._turn(line.split())
            else:
                self._told(line)
        if self.status != 0:
            return
        try:
            _parcels.unpack(stream, self._folder, self._device)
        except RunFailed as failure:
            if stream.read(1):
                raise
            self._failure = failure  # or the connection dropped, as the exit status will say

    def finish(self, log: str) -> None:
        """Raise what was wrong, after the command ended and the connection did not drop.

        Raises:
            RunFailed: see the message.
        """
        if not self.started:
            raise RunFailed(f"{self._device} could not take a file: its disk is full, or it has no tar or head", log)
        if self.status is None:
            raise RunFailed(f"{self._device} ended before the runtime did", log)
        if self.status != 0:
            raise RunFailed(f"the runtime failed on {self._device} (exit status {self.status})", log)
        if self._failure is not None:
            raise RunFailed(self._failure.what, log)

    def _turn(self, words: list[bytes]) -> None:
        if words[1:] == [b"start"]:
            self.started = True
            self._limit.set(self._run_s)
        elif len(words) == 3 and words[1] == b"done" and words[2].isdigit():
            self.status = int(words[2])
            self._limit.set(self._transfer_s)
