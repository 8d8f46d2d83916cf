"""A target's board under qemu: the same runner on an emulated ARM processor.

Results are those of the real instructions; times and memory are qemu's own and mean nothing.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from edgeexport.cache import cache_root
from edgeexport.devices import _root
from edgeexport.errors import DeviceError, MissingRequirement
from edgeexport.job import RUNNER, DeviceInfo, Job, JobResult, Progress, run_command, write_job
from edgeexport.target import Emulation, load_target, shipped_targets

_LAYOUT = 1
_CORES = 4


@dataclass(frozen=True)
class _Cpu:
    """What ``/proc/cpuinfo`` prints of a core: ARM's part number, and the kernel's names of its features."""

    part: str
    features: str


@dataclass(frozen=True)
class _Architecture:
    machine: str
    qemu: tuple[str, ...]
    cpus: dict[str, _Cpu]


_ARMV8 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
_ARMV8_2 = f"{_ARMV8} atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp"
# qemu's `max` is left out: in 7.2 it announces matrix instructions and computes garbage with them.
_ARCHITECTURES = {
    "arm64": _Architecture(
        "aarch64",
        ("qemu-aarch64-static", "qemu-aarch64"),
        {
            "cortex-a53": _Cpu("0xd03", _ARMV8),
            "cortex-a72": _Cpu("0xd08", _ARMV8),
            "cortex-a76": _Cpu("0xd0b", _ARMV8_2),
            "neoverse-n1": _Cpu("0xd0c", _ARMV8_2),
        },
    ),
}


class EmulatedDevice:
    """Runs jobs on a target's processor under qemu.

    Args:
        name: of the device, with its argument.
        machine: what ``uname -m`` prints there.
        emulator: how to start the interpreter.
        folder: the root, as :mod:`edgeexport.devices._root` lays it out.
    """

    def __init__(self, name: str, machine: str, emulator: _root.Emulator, folder: Path) -> None:
        self._name = name
        self._machine = machine
        self._emulator = emulator
        self._folder = folder

    def run(self, job: Job, folder: Path, progress: Progress | None = None) -> JobResult:
        """See :class:`edgeexport.job.Device`. Peak memory is None: the runner would see that of qemu."""
        write_job(job, folder)
        command = [*self._emulator.command(self._folder), str(RUNNER), str(folder)]
        result = run_command(command, folder, job.timeout_s, _root.environment(self._folder), progress)
        return replace(result, peak_memory_bytes=None)

    def check(self, runtime: str) -> None:
        """See :class:`edgeexport.job.Device`."""

    def describe(self) -> DeviceInfo:
        """The emulated processor, and the qemu that emulates it."""
        cpu = f"{self._emulator.cpu} (qemu {_qemu_version(self._emulator.program)})"
        return DeviceInfo(self._name, self._machine, cpu, "emulated", timed=False)

    def close(self) -> None:
        """Nothing is held."""


def open_device(argument: str) -> EmulatedDevice:
    """Open the emulated board of the target ``argument``: a shipped name, or the path of a profile.

    Raises:
        TargetError: there is no such target.
        DeviceError: its processor cannot be emulated.
        MissingRequirement: qemu or the root is missing; the hint says what provides it.
    """
    emulation, architecture = _emulation(argument)
    program = _qemu(architecture)
    folder = root_folder(emulation.architecture)
    if not folder.is_dir():
        raise MissingRequirement(
            f"the root file system of the device 'emulated:{argument}' has not been created",
            f"edgeexport devices create emulated:{argument}",
        )
    emulator = _root.Emulator(program, emulation.cpu)
    return EmulatedDevice(f"emulated:{argument}", architecture.machine, emulator, folder)


def list_devices() -> list[str]:
    """The shipped targets whose emulated board can be opened now."""
    found = []
    for name in shipped_targets():
        try:
            open_device(name)
        except (DeviceError, MissingRequirement):
            continue
        found.append(f"emulated:{name}")
    return found


def create(argument: str, report: Callable[[str], None]) -> Path:
    """Build the root for the target ``argument``, in about a minute and 200 MB; give its folder.

    One root serves all targets of an architecture. ``report`` gets one line a step.

    Raises:
        TargetError, DeviceError: as :func:`open_device`.
        MissingRequirement: a program is missing, or packages or wheels could not be downloaded.
    """
    emulation, architecture = _emulation(argument)
    program = _qemu(architecture)
    folder = root_folder(emulation.architecture)
    if folder.is_dir():
        report(f"already there: {folder}")
        return folder
    cpus = {name: cpu_files(emulation.architecture, name) for name in architecture.cpus}
    plan = _root.Plan(emulation.architecture, architecture.machine, _requirements(), cpus)
    _root.build(folder, plan, _root.Emulator(program, emulation.cpu), report)
    report(f"ready: {folder}")
    return folder


def root_folder(architecture: str) -> Path:
    """Where the root of an architecture is; its name changes with everything that is put in."""
    cpus = {name: cpu_files(architecture, name) for name in _ARCHITECTURES[architecture].cpus}
    inside = json.dumps([_LAYOUT, _root.PACKAGES, _requirements(), cpus], sort_keys=True)
    name = f"{architecture}-{hashlib.sha256(inside.encode()).hexdigest()[:12]}"
    return cache_root().absolute() / "devices" / name


def cpu_files(architecture: str, cpu: str) -> dict[str, str]:
    """The files by which runtimes recognise a processor, as text by path in the root.

    Without them they read this machine's: ONNX Runtime then crashes and LiteRT loses its fast kernels.
    """
    description = _ARCHITECTURES[architecture].cpus[cpu]
    core = (
        "processor\t: {}\nBogoMIPS\t: 108.00\nFeatures\t: {}\nCPU implementer\t: 0x41\nCPU architecture: 8\n"
        "CPU variant\t: 0x0\nCPU part\t: {}\nCPU revision\t: 3\n\n"
    )
    cores = f"0-{_CORES - 1}\n"
    return {
        "proc/cpuinfo": "".join(
            core.format(number, description.features, description.part) for number in range(_CORES)
        ),
        **{f"sys/devices/system/cpu/{name}": cores for name in ("possible", "present", "online")},
    }


def _requirements() -> list[str]:
    """The runtime in the version installed here: what differs between two devices is then the processor."""
    return [f"onnxruntime=={version('onnxruntime')}", "numpy"]


def _emulation(argument: str) -> tuple[Emulation, _Architecture]:
    target = load_target(argument)
    emulation = target.emulation
    if emulation is None:
        raise DeviceError(f"target '{argument}' cannot be emulated: its profile has no [emulation] table")
    architecture = _ARCHITECTURES.get(emulation.architecture)
    if architecture is None:
        raise DeviceError(
            f"target '{argument}': {emulation.architecture} cannot be emulated",
            f"Known: {', '.join(_ARCHITECTURES)}; ONNX Runtime has no builds for 32-bit ARM.",
        )
    if emulation.cpu not in architecture.cpus:
        raise DeviceError(
            f"target '{argument}': no description of the processor '{emulation.cpu}'",
            f"Known: {', '.join(architecture.cpus)}.",
        )
    return emulation, architecture


def _qemu(architecture: _Architecture) -> str:
    for name in architecture.qemu:
        program = shutil.which(name)
        if program is not None:
            return program
    raise MissingRequirement(
        f"{architecture.qemu[0]}, which emulates {architecture.machine}, is missing",
        "apt-get install qemu-user-static",
    )


@functools.cache
def _qemu_version(program: str) -> str:
    """Major and minor version."""
    printed = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    match = re.search(r"version (\d+\.\d+)", printed)
    return match.group(1) if match else "of unknown version"
