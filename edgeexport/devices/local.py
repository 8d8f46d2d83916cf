"""This machine: the runner as a subprocess of the same interpreter."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

from edgeexport.errors import DeviceError
from edgeexport.job import RUNNER, DeviceInfo, Job, JobResult, Progress, run_command, write_job


class LocalDevice:
    """Runs jobs on this machine."""

    def run(self, job: Job, folder: Path, progress: Progress | None = None) -> JobResult:
        """See :class:`edgeexport.job.Device`."""
        write_job(job, folder)
        return run_command([sys.executable, str(RUNNER), str(folder)], folder, job.timeout_s, progress=progress)

    def describe(self) -> DeviceInfo:
        """This machine's processor."""
        return DeviceInfo("local", platform.machine(), _cpu_name(), "measured", timed=True)

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


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
