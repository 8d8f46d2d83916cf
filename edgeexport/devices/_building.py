"""What building an emulated board or an environment takes: one builder at a time, and nothing half built."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from edgeexport.errors import MissingRequirement

Say = Callable[[str], None]
_LOG_LINES = 12
_PREFIX = ".building-"


@contextmanager
def building(parent: Path, say: Say) -> Iterator[Callable[[], Path]]:
    """Let this process alone build in ``parent``; gives a function that makes an empty folder there to work in.

    What is complete is renamed out of it; the rest is removed in the end, and after a killed process by the next.
    The caller looks again for what it was to build: another process may have built it meanwhile.
    """
    parent.mkdir(parents=True, exist_ok=True)
    with _Lock(parent / ".lock", say):
        for leftover in parent.glob(f"{_PREFIX}*"):  # nobody else builds while the lock is held
            shutil.rmtree(leftover, ignore_errors=True)
        made: list[Path] = []

        def work() -> Path:
            made.append(Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent)))
            return made[-1]

        try:
            yield work
        finally:
            for folder in made:
                shutil.rmtree(folder, ignore_errors=True)


def run(
    command: Sequence[str],
    failure: str,
    variables: Mapping[str, str],
    *,
    before: str = "",
    hint: str | None = None,
) -> str:
    """Run a command to its end and give its standard output.

    Raises:
        MissingRequirement: it failed; the message is ``failure`` and the end of ``before`` and its output.
    """
    done = subprocess.run(
        command,
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        lines = (before + done.stdout + done.stderr).strip().splitlines()[-_LOG_LINES:]
        what = f"{failure} ({Path(command[0]).name}: status {done.returncode})"
        raise MissingRequirement("\n".join([what, *lines]), hint)
    return done.stdout


class _Lock:
    """Lets one process build at a time; the system lets go of it when that process ends, however it ends."""

    def __init__(self, path: Path, say: Say) -> None:
        self._path = path
        self._say = say

    def __enter__(self) -> None:
        import fcntl

        self._file = self._path.open("w")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._say("waiting for another build")
            fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self._file.close()
