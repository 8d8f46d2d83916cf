"""A board that is reached by shell commands: what ssh, adb and the fake device have in common.

The board needs a POSIX shell, tar, sha256sum and Python with NumPy and the runtime. Models lie there by their checksum
and are sent once; the runner goes with every job, for it is small. A job whose connection drops is run again from its
start, as jobs are short, and its samples count once: nothing of it was taken.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import shlex
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from edgeexport.artifact import file_digest
from edgeexport.devices import _parcels, _wheels
from edgeexport.devices._errand import Errand
from edgeexport.devices._transport import Answer, Limit, LinkLost, TimedOut, Transport
from edgeexport.errors import DeviceError, MissingRequirement, RunFailed
from edgeexport.job import RUNTIMES_FOLDER, DeviceInfo, Job, JobResult, Progress, read_result, write_job
from edgeexport.runtime_names import needs_of, runtime_of

_ATTEMPTS = 4
_PAUSES_S = (0.2, 1.0, 3.0)
_ANSWER_S = 30.0
_TRANSFER_S = 600.0
_ABOUT = """uname -m; sed -n 's/^model name[^:]*: //p' /proc/cpuinfo 2>/dev/null | head -n 1
tr -d '\\000' < /proc/device-tree/model 2>/dev/null"""


class RemoteDevice:
    """Runs jobs on a board.

    Args:
        name: as the user gave it.
        transport: reaches it.
        root: the folder there that everything lies in; relative to the login's own.
    """

    def __init__(self, name: str, transport: Transport, root: str) -> None:
        self.name, self._transport, self._root = name, transport, root
        self._python = "python3"
        self._there: set[str] = set()
        self._digests: dict[tuple[Path, int, int, int], str] = {}
        self._able: set[tuple[str, str]] = set()
        self._about: DeviceInfo | None = None
        self.sent_bytes = 0
        """Of models, so far."""

    def run(self, job: Job, folder: Path, progress: Progress | None = None) -> JobResult:
        """See :class:`edgeexport.job.Device`.

        Raises:
            RunFailed: also where the connection dropped once too often.
        """
        write_job(job, folder)
        digests = [self._digest(model) for model in job.models]
        description = json.loads((folder / "job.json").read_text())
        description["models"] = [f"../../files/{digest}" for digest in digests]
        (folder / "job.json").write_text(json.dumps(description))
        for attempt in range(_ATTEMPTS):
            try:
                return self._attempt(job, dict(zip(digests, job.models, strict=True)), folder, progress)
            except LinkLost as lost:
                self._there.clear()  # a board that was started afresh may have lost its files
                if attempt == _ATTEMPTS - 1:
                    raise RunFailed(f"the connection to {self.name} dropped {_ATTEMPTS} times", str(lost)) from lost
                time.sleep(_PAUSES_S[attempt])
        raise AssertionError

    def check(self, runtime: str) -> None:
        """See :class:`edgeexport.job.Device`."""
        if (self._python, runtime) in self._able:
            return
        wanted = needs_of(runtime)
        if wanted is not None and (wanted.system or not wanted.boards):
            raise DeviceError(f"{runtime_of(runtime)} does not run on {self.name}")
        imports = "numpy" if wanted is None else f"numpy, {wanted.imports}"
        answer = self._ask(f"{self._interpreter(runtime)} -c {shlex.quote(f'import {imports}')}")
        if answer.status == 127:
            raise MissingRequirement(f"{self.name} has no {self._python}", "Install it there: apt install python3")
        if answer.status != 0:
            last = answer.log.splitlines()[-1] if answer.log else f"exit status {answer.status}"
            raise MissingRequirement(
                f"{self.name} cannot run {runtime_of(runtime)}: {last}",
                f"edgeexport devices prepare {self.name} --runtime {runtime_of(runtime)}",
            )
        self._able.add((self._python, runtime))

    def prepare(self, runtime: str, say: Callable[[str], None]) -> None:
        """Bring a runtime to a board without internet; see :func:`edgeexport.devices._wheels.prepare`.

        Args:
            runtime: module name in :mod:`edgeexport.runtimes`.
            say: gets one line a step.
        """
        needs = needs_of(runtime)
        if needs is None or needs.system or not needs.boards:
            raise DeviceError(f"{runtime_of(runtime)} does not run on {self.name}")
        _wheels.prepare(self, runtime, needs, say)

    def ask_python(self, code: str) -> str:
        """What a short program prints there.

        Raises:
            MissingRequirement: the board has no Python.
        """
        answer = self._ask(f"{self._python} -c {shlex.quote(code)}")
        if answer.status != 0:
            raise MissingRequirement(
                f"{self.name} has no {self._python} that works: {answer.log[-200:]}",
                "Install it there: apt install python3",
            )
        return answer.output.decode(errors="replace").strip()

    def unpack_wheels(self, runtime: str, wheels: Sequence[Path]) -> None:
        """Unpack wheels for a runtime, in the place of what was there for it."""
        place = f"{self._root}/packages/{runtime}"
        self._push(f"{place}.part", {path.name: path for path in wheels})
        unzip = "import glob, zipfile; [zipfile.ZipFile(name).extractall('.') for name in glob.glob('*.whl')]"
        answer = self._transport.run(
            f"cd {place}.part && {self._python} -c {shlex.quote(unzip)} && rm -f *.whl && cd - >/dev/null"
            f" && rm -rf {place} && mv {place}.part {place}",
            timeout_s=_TRANSFER_S,
        )
        if answer.status != 0:
            raise DeviceError(f"{self.name} could not unpack the packages: {answer.log[-200:]}")

    def describe(self) -> DeviceInfo:
        """What the board says of itself, asked once."""
        if self._about is None:
            self._about = self._asked_about()
        return self._about

    def _asked_about(self) -> DeviceInfo:
        told = self._ask(_ABOUT).output.decode(errors="replace").split("\n")
        machine, cpu, board = ([_printable(line) for line in told] + ["", "", ""])[:3]
        return DeviceInfo(
            self.name, machine, ", ".join(filter(None, (board, cpu))), "measured", timed=True, elsewhere=True
        )

    def close(self) -> None:
        """Leave models there for the next time, and nothing else; what runs is stopped."""
        self._transport.stop()

    def _attempt(self, job: Job, models: dict[str, Path], folder: Path, progress: Progress | None) -> JobResult:
        place = f"{self._root}/jobs/{secrets.token_hex(8)}"
        limit = Limit(_TRANSFER_S)
        errand = Errand(self.name, folder, job.listener(progress), limit, run_s=job.timeout_s, transfer_s=_TRANSFER_S)
        inputs = {f"inputs/{path.name}": path for path in sorted((folder / "inputs").iterdir())}
        runner = {path.name: path for path in sorted(RUNTIMES_FOLDER.glob("*.py"))}
        files = {"job.json": folder / "job.json", **inputs, **runner}
        command = errand.command(
            place=place,
            size=_parcels.packed_size(files),
            python=self._python,
            packages=f"../../packages/{job.runtime}",
            results="result.json" if job.mode == "latency" else "result.json outputs",
        )
        for left in ("outputs", "result.json"):
            _clear(folder / left)
        try:
            self._send(models)
            answer = self._transport.run(
                command, timeout_s=limit, source=_parcels.packed(files), sink=errand.read, hold=True
            )
        except BaseException as error:
            with contextlib.suppress(
                LinkLost, TimedOut, DeviceError
            ):  # the command does it, unless its shell was killed
                self._transport.run(f"rm -rf {place}", timeout_s=_ANSWER_S)
            if not isinstance(error, TimedOut):
                raise
            if errand.started and errand.status is None:
                message = f"the runtime did not finish within {job.timeout_s:g} s and was stopped"
            else:
                message = f"{self.name} did not answer in time and was left"
            raise RunFailed(message, str(error)) from error
        (folder / "log.txt").write_text(answer.log)
        errand.finish(answer.log)
        return read_result(folder, answer.log)

    def _send(self, models: dict[str, Path]) -> None:
        """Have the models lie there, each by its checksum."""
        place = f"{self._root}/files"
        unknown = [digest for digest in models if digest not in self._there]
        if unknown:
            answer = self._ask(f"cd {place} 2>/dev/null && sha256sum {' '.join(unknown)} 2>/dev/null")
            told = answer.output.decode(errors="replace").splitlines()
            self._there.update(digest for digest in unknown if f"{digest}  {digest}" in told)
        for digest, path in models.items():
            if digest in self._there:
                continue
            self._push(f"{place}/{digest}.part", {"file": path})
            self.sent_bytes += path.stat().st_size
            moved = f"mv {place}/{digest}.part/file {place}/{digest} && rm -rf {place}/{digest}.part"
            answer = self._ask(f"{moved} && sha256sum {place}/{digest}")
            if answer.output.split(b" ")[0].decode(errors="replace") != digest:
                raise RunFailed(f"{path.name} arrived altered on {self.name}", answer.log)
            self._there.add(digest)

    def _push(self, place: str, files: dict[str, Path]) -> None:
        command = f"rm -rf {place} && mkdir -p {place} && cd {place} && tar xf -"
        answer = self._transport.run(command, timeout_s=_TRANSFER_S, source=_parcels.packed(files))
        if answer.status != 0:
            raise RunFailed(f"{self.name} could not take a file: its disk is full, or it has no tar", answer.log)

    def _interpreter(self, runtime: str) -> str:
        """The command of Python there, with the packages that ``prepare`` brought."""
        return f"PYTHONPATH={self._root}/packages/{runtime} {self._python}"

    def _ask(self, command: str) -> Answer:
        """A short command, tried again where the connection drops.

        Raises:
            DeviceError: the board cannot be reached.
        """
        for pause in (*_PAUSES_S, None):
            try:
                return self._transport.run(command, timeout_s=_ANSWER_S)
            except (LinkLost, TimedOut) as lost:
                reason = str(lost)
                if pause is None or isinstance(lost, TimedOut):
                    break
                time.sleep(pause)
        raise DeviceError(f"{self.name} cannot be reached: {reason}", "Try its connection by hand, then again.")

    def _digest(self, model: Path) -> str:
        if model.is_dir():
            raise DeviceError(f"{self.name} takes models that are one file, and {model.name} is a folder")
        about = model.stat()
        key = (model, about.st_ino, about.st_size, about.st_mtime_ns)
        if key not in self._digests:  # of a large model it takes longer than to start a job
            self._digests[key] = file_digest(model)
        return self._digests[key]


def _clear(path: Path) -> None:
    """Remove what an earlier attempt fetched."""
    if path.is_dir():
        for inner in path.iterdir():
            inner.unlink()
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def _printable(text: str) -> str:
    return re.sub(r"[^\x20-\x7e]", "", text)[:80].strip()
