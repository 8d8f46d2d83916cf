"""A Chromium without a window, spoken to through pipes: no port that others could reach, no library.

It is told what to do by the DevTools protocol over file descriptors 3 and 4 (``--remote-debugging-pipe``), and ends by
itself when they close: so a killed program leaves no browser behind. It resolves no host name, so a page reaches
nothing but servers of this machine.

https://chromedevtools.github.io/devtools-protocol/
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from edgeexport.errors import MissingRequirement, RunFailed

VARIABLE = "EDGEEXPORT_CHROMIUM"
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
_FLAGS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-background-timer-throttling",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",  # containers have little of it
    "--disable-extensions",
    "--disable-gpu",
    "--disable-renderer-backgrounding",
    "--disable-sync",
    "--mute-audio",
    "--password-store=basic",
    "--use-mock-keychain",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
# The descriptors must be 3 and 4, and what subprocess may pass on keeps its numbers.
_LAUNCH = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); "
    "os.closerange(5, 64); os.execv(sys.argv[3], sys.argv[3:])"
)
_ABOVE = 64
_ANSWER_S = 60.0
_END_S = 5.0
_LOG_BYTES = 4000

Message = Mapping[str, Any]


def find() -> str:
    """The program that is started.

    Raises:
        MissingRequirement: there is none.
    """
    chosen = os.environ.get(VARIABLE)
    if chosen:
        found = shutil.which(chosen)
        if found is None:
            raise MissingRequirement(f"{VARIABLE} names {chosen}, which is no program", "Correct or unset it.")
        return found
    for name in (*_NAMES, _MAC):
        found = shutil.which(name)
        if found is not None:
            return found
    raise MissingRequirement(
        "Chromium, which runs models in a browser, is not installed",
        f"On Debian and its descendants: apt-get install chromium. One elsewhere is named with {VARIABLE}.",
    )


def version(program: str) -> str:
    """Such as ``Chromium 140.0.7339.80``."""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    words = done.stdout.split()
    number = next((word for word in words if word[0].isdigit()), "of unknown version")
    return f"{'Chromium' if 'Chromium' in words else 'Chrome'} {number}"


class Chromium:
    """A running browser with one page.

    Args:
        program: see :func:`find`.
        on_event: gets the method and parameters of what the page and the browser tell, in a thread of its own.

    Raises:
        RunFailed: on construction: it does not start.
    """

    def __init__(self, program: str, on_event: Callable[[str, Message], None] | None = None) -> None:
        self._on_event = on_event
        self._profile = tempfile.TemporaryDirectory(prefix="edgeexport-chromium-", ignore_cleanup_errors=True)
        self._log = Path(self._profile.name) / "log.txt"
        self._answers: dict[int, Queue[Message | None]] = {}
        self._lock = threading.Lock()
        self._sent = 0
        self._closed = False
        self.session = ""
        self._start(program)
        try:
            target = self.ask("Target.createTarget", url="about:blank")["targetId"]
            session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            self.session = str(session)
            for domain in ("Runtime", "Page", "Inspector"):
                self.ask(f"{domain}.enable")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Chromium:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Of the browser's main process."""
        return self._process.pid

    def ask(self, method: str, **parameters: Any) -> Any:
        """Call one method of the protocol and give its result.

        Raises:
            RunFailed: the browser refused it, ended or did not answer.
        """
        answer: Queue[Message | None] = Queue()
        with self._lock:
            self._sent += 1
            number = self._sent
            self._answers[number] = answer
            message = {"id": number, "method": method, "params": parameters}
            if self.session:
                message["sessionId"] = self.session
            try:
                self._write.write(json.dumps(message).encode() + b"\0")
                self._write.flush()
            except (OSError, ValueError):
                answer.put(None)
        try:
            got = answer.get(timeout=_ANSWER_S)
        except Empty:
            raise RunFailed(f"Chromium did not answer {method} within {_ANSWER_S:g} s", self.log()) from None
        finally:
            self._answers.pop(number, None)
        if got is None:
            raise RunFailed(f"Chromium ended{self._status()} before it answered {method}", self.log())
        if "error" in got:
            raise RunFailed(f"Chromium refused {method}: {got['error'].get('message', '')}", self.log())
        return got["result"]

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page, awaited where it is a promise.

        Raises:
            RunFailed: it threw.
        """
        got = self.ask("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in got:
            raise RunFailed("the page failed", exception_text(got["exceptionDetails"]))
        return got["result"].get("value")

    def log(self) -> str:
        """The end of what it printed."""
        try:
            return self._log.read_bytes()[-_LOG_BYTES:].decode(errors="replace").strip()
        except OSError:
            return ""

    def peak_memory_bytes(self) -> int | None:
        """The high-water mark of the largest of its pages' processes, or None where the system does not tell."""
        marks = [_peak(pid) for pid in _descendants(self._process.pid) if _is_page(pid)]
        return max((mark for mark in marks if mark is not None), default=None)

    def close(self) -> None:
        """End it and everything that it started, and remove its profile."""
        if self._closed:
            return
        self._closed = True
        below = {pid: started for pid in _descendants(self._process.pid) if (started := _started(pid))}
        with contextlib.suppress(OSError, ValueError):
            self._write.close()  # it ends by itself, and in order
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        _end(below)
        self._reader.join(_END_S)
        self._profile.cleanup()

    def _start(self, program: str) -> None:
        there_read, here_write = os.pipe()
        here_read, there_write = os.pipe()
        passed = [fcntl.fcntl(one, fcntl.F_DUPFD, _ABOVE) for one in (there_read, there_write)]
        flags = [*_FLAGS, f"--user-data-dir={self._profile.name}/profile"]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            flags.append("--no-sandbox")  # as root it starts with no other
        command = [sys.executable, "-c", _LAUNCH, *map(str, passed), program, *flags]
        try:
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(
                    command,
                    pass_fds=passed,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        except BaseException:
            self._profile.cleanup()
            raise
        finally:
            for one in (there_read, there_write, *passed):
                os.close(one)
        self._write = os.fdopen(here_write, "wb")
        self._reader = threading.Thread(target=self._listen, args=(here_read,), daemon=True)
        self._reader.start()

    def _listen(self, descriptor: int) -> None:
        pending = bytearray()
        with os.fdopen(descriptor, "rb", buffering=0) as pipe:
            while data := pipe.read(1 << 16):
                pending += data
                *messages, rest = pending.split(b"\0")
                pending = bytearray(rest)
                for message in messages:
                    self._take(json.loads(message))
        with self._lock:
            for answer in self._answers.values():
                answer.put(None)
        self._tell("ended", {})

    def _take(self, message: Message) -> None:
        if "id" in message:
            answer = self._answers.get(message["id"])
            if answer is not None:
                answer.put(message)
        else:
            self._tell(message.get("method", ""), message.get("params", {}))

    def _tell(self, method: str, parameters: Message) -> None:
        if self._on_event is not None and not self._closed:
            self._on_event(method, parameters)

    def _status(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return f" (status {self._process.wait(_END_S)})"
        return ""


def exception_text(details: Message) -> str:
    """What a page's uncaught exception says, with its trace."""
    thrown = details.get("exception", {})
    return str(thrown.get("description") or thrown.get("value") or details.get("text", ""))


def _descendants(pid: int) -> list[int]:
    """All processes below one; none where there is no /proc."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            # The name, in brackets, may hold anything: the parent is the second word after the last bracket.
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(path.parent.name))
    found, pending = [], [pid]
    while pending:
        below = children.get(pending.pop(), [])
        found += below
        pending += below
    return found


def _started(pid: int) -> str:
    """When a process was started, which tells it from a later one of that number; empty where it has ended."""
    with contextlib.suppress(OSError, IndexError):
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if words[0] == "Z" else words[19]
    return ""


def _end(processes: Mapping[int, str]) -> None:
    """Wait a moment for a browser's helpers, which follow it by themselves, and kill those that do not."""
    deadline = time.monotonic() + _END_S
    while left := [pid for pid, started in processes.items() if _started(pid) == started]:
        if time.monotonic() > deadline:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return
        time.sleep(0.02)


def _is_page(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return b"--type=renderer" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def _peak(pid: int) -> int | None:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return None
