"""This machine: the runner as a subprocess of the same interpreter, or of the runtime's own environment."""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path

from edgeexport.devices import _environments
from edgeexport.devices._here import cpu_name
from edgeexport.errors import DeviceError
from edgeexport.job import RUNNER, DeviceInfo, Job, JobResult, Progress, run_command, write_job


class LocalDevice:
    """Runs jobs on this machine."""

    def run(self, job: Job, folder: Path, progress: Progress | None = None) -> JobResult:
        """See :class:`edgeexport.job.Device`.

        Raises:
            MissingRequirement: the runtime is not installed.
        """
        command = [str(_environments.python_for(job.runtime)), str(RUNNER), str(folder)]
        write_job(job, folder)
        variables = _environments.environment_of(job.runtime)
        return run_command(command, folder, job.timeout_s, variables, job.listener(progress))

    def check(self, runtime: str) -> None:
        """See :class:`edgeexport.job.Device`."""
        _environments.python_for(runtime)

    def describe(self) -> DeviceInfo:
        """This machine's processor."""
        return DeviceInfo("local", platform.machine(), cpu_name(), "measured", timed=True)

    def close(self) -> None:
        """Nothing is held."""


def open_device(argument: str) -> LocalDevice:
    """Open this machine; it takes no argument."""
    if argument:
        raise DeviceError(f"the device 'local' takes no argument, not '{argument}'")
    return LocalDevice()


def list_devices() -> list[str]:
    """This machine is always there."""
    return ["local"]


def create(argument: str, say: Callable[[str], None], runtime: str = "") -> Path:
    """Build the environment of the runtime ``argument``; see :func:`edgeexport.devices._environments.create`."""
    if runtime:
        raise DeviceError("--runtime is for emulated boards", f"edgeexport devices create local:{runtime}")
    return _environments.create(argument, say)


def runtimes() -> dict[str, str]:
    """For every runtime by public name, its version here, or what provides it."""
    return _environments.ready()
