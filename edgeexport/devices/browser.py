"""A browser on this machine: Chromium without a window, with the builds of runtimes that web pages use.

``browser`` takes the runtimes that ``edgeexport devices create browser`` installs, ``browser:FOLDER`` those in a folder
of npm's packages, such as an app's own. Each job gets a fresh browser with an empty profile: what a page leaves behind
cannot reach the next.
"""

from __future__ import annotations

import json
import platform
import time
from functools import cached_property
from pathlib import Path
from queue import Empty, Queue
from typing import Any

from edgeexport.cache import cache_root
from edgeexport.devices import _chromium, _npm
from edgeexport.devices._building import Say
from edgeexport.devices._here import cpu_name
from edgeexport.devices._page_server import Event, PageServer
from edgeexport.errors import DeviceError, MissingRequirement, RunFailed
from edgeexport.job import DeviceInfo, Job, JobResult, Progress, read_result, write_inputs
from edgeexport.runtime_names import Needs, module_of, needs_of, runtime_modules, runtime_of

_NAME = "browser"
_KEPT = ("runtime", "version", "samples", "latency_ns")
_CRASHED = {"Inspector.targetCrashed", "Target.targetCrashed"}


class BrowserDevice:
    """Runs jobs in pages of a browser.

    Args:
        program: of the browser.
        argument: the user's folder of npm's packages; empty takes what was installed in the cache.
    """

    def __init__(self, program: str, argument: str = "") -> None:
        self._program = program
        self._name = f"{_NAME}:{argument}" if argument else _NAME
        self._packages = Path(argument).absolute() if argument else None

    def run(self, job: Job, folder: Path, progress: Progress | None = None) -> JobResult:
        """See :class:`edgeexport.job.Device`. Peak memory is that of the page's process.

        Raises:
            MissingRequirement, DeviceError: as :meth:`check`.
        """
        packages = self._folder(job.runtime)
        for model in job.models:
            if not model.is_file():
                raise RunFailed(f"{model.name} is no file, and a page loads nothing else")
        deadline = time.monotonic() + job.timeout_s
        write_inputs(job, folder)
        events: Queue[Event] = Queue()
        server = PageServer(folder, job.models, packages, _description(job), events)
        try:
            with _chromium.Chromium(self._program, lambda method, about: _note(events, method, about)) as chromium:
                chromium.ask("Page.navigate", url=server.address)
                self._wait(job, events, deadline, chromium, progress)
                peak = chromium.peak_memory_bytes()
        finally:
            server.close()
        return _result(folder, peak)

    def check(self, runtime: str) -> None:
        """See :class:`edgeexport.job.Device`."""
        self._folder(runtime)

    def describe(self) -> DeviceInfo:
        """This machine's processor, and the browser."""
        cpu = f"{cpu_name()} ({self._version})"
        return DeviceInfo(self._name, platform.machine(), cpu, "measured", timed=True, instead=_instead())

    def close(self) -> None:
        """Nothing is held: a browser ends with its job."""

    @cached_property
    def _version(self) -> str:
        return _chromium.version(self._program)

    def _folder(self, module: str) -> Path:
        return _npm.packages_folder(module, _needs(module), self._packages)

    def _wait(
        self, job: Job, events: Queue[Event], deadline: float, chromium: _chromium.Chromium, progress: Progress | None
    ) -> None:
        """Until the page has sent its result.

        Raises:
            RunFailed: it failed, crashed or took too long.
        """
        listen = job.listener(progress)
        while True:
            try:
                kind, text = events.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                raise RunFailed(f"the runtime did not finish within {job.timeout_s:g} s and was stopped") from None
            if kind == "result":
                return
            if kind == "failed":
                raise RunFailed("the runtime failed in the browser", text)
            if kind == "crashed":
                raise RunFailed("the page crashed, often a sign of too little memory", chromium.log())
            if kind == "ended":
                raise RunFailed("the browser ended before the runtime finished", chromium.log())
            listen(f"{kind} {text}".encode())


def open_device(argument: str) -> BrowserDevice:
    """Open the browser with the runtimes of the cache, or with those in the folder ``argument``.

    Raises:
        DeviceError: there is no such folder.
        MissingRequirement: there is no browser; the hint says what provides it.
    """
    if argument and not Path(argument).is_dir():
        raise DeviceError(
            f"the device '{_NAME}:{argument}' names no folder", "Name one with npm's packages, or leave it out."
        )
    return BrowserDevice(_chromium.find(), argument)


def list_devices() -> list[str]:
    """The browser, where it and a runtime are there."""
    return [name for name, hint in state().items() if not hint]


def state() -> dict[str, str]:
    """The device's name: empty where it is there with any runtime, else what provides it."""
    hint = ""
    for module in _modules():
        try:
            open_device("").check(module)
            return {_NAME: ""}
        except MissingRequirement as missing:
            hint = missing.hint or missing.what
    return {_NAME: hint}


def create(argument: str, say: Say, runtime: str = "") -> Path:
    """Install what a browser runs, with npm; give the folder that environments are in.

    Args:
        argument: must be empty.
        say: gets one line a step.
        runtime: the only one to install, by public name; empty installs all.

    Raises:
        DeviceError: the runtime does not run in a browser, or an argument was given.
        MissingRequirement: npm is missing, or could not download it.
    """
    if argument:
        raise DeviceError(f"'{_NAME}:{argument}' is a folder of yours", f"edgeexport devices create {_NAME}")
    modules = [module_of(runtime)] if runtime else _modules()
    for module in modules:
        _npm.install(module, _needs(module), say)
    return cache_root().absolute() / "devices" / "environments"


def _modules() -> list[str]:
    """The modules of runtimes for browsers."""
    return [module for module in runtime_modules().values() if (found := needs_of(module)) and found.browser]


def _needs(module: str) -> Needs:
    needs = needs_of(module)
    if needs is None or not needs.browser:
        raise DeviceError(
            f"{runtime_of(module)} does not run in a browser", f"There: {', '.join(map(runtime_of, _modules()))}."
        )
    return needs


def _instead() -> dict[str, str]:
    return {_needs(module).instead_of: runtime_of(module) for module in _modules() if _needs(module).instead_of}


def _description(job: Job) -> dict[str, Any]:
    return {
        "runtime": job.runtime,
        "mode": job.mode,
        "models": [f"models/{number}" for number in range(len(job.models))],
        "threads": job.threads,
        "warmup": job.warmup,
        "pairs": job.pairs,
        "packages": "packages",
        "decoder": job.decoder,
        "sampling": job.sampling,
    }


def _note(events: Queue[Event], method: str, about: _chromium.Message) -> None:
    """What of a browser's events ends a job."""
    if method == "Runtime.exceptionThrown":
        events.put(("failed", _chromium.exception_text(about["exceptionDetails"])))
    elif method in _CRASHED:
        events.put(("crashed", ""))
    elif method == "ended":
        events.put(("ended", ""))


def _result(folder: Path, peak: int | None) -> JobResult:
    """What the page sent, completed by what only this side knows."""
    try:
        sent = json.loads((folder / "page.json").read_bytes())
        known = {name: sent[name] for name in _KEPT}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunFailed(f"the page's result is missing or malformed: {error}") from error
    known.update(machine=platform.machine(), peak_memory_bytes=peak)
    (folder / "result.json").write_text(json.dumps(known))
    return read_result(folder)
