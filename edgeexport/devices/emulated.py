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
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from edgeexport.cache import cache_root
from edgeexport.devices import _root
from edgeexport.devices._building import Say
from edgeexport.devices._processors import ARCHITECTURES, Architecture, cpu_files
from edgeexport.errors import DeviceError, MissingRequirement
from edgeexport.job import RUNNER, DeviceInfo, Job, JobResult, Progress, run_command, write_job
from edgeexport.runtime_names import Needs, module_of, needs_of, runtime_modules, runtime_of
from edgeexport.target import Emulation, Target, load_target, shipped_targets

_LAYOUT = 2


class EmulatedDevice:
    """Runs jobs on a target's processor under qemu.

    Args:
        argument: what the target was named by.
        architecture: such as ``arm64``.
        emulator: how to start the interpreter.
    """

    def __init__(self, argument: str, architecture: str, emulator: _root.Emulator) -> None:
        self._argument = argument
        self._architecture = architecture
        self._emulator = emulator

    def run(self, job: Job, folder: Path, progress: Progress | None = None) -> JobResult:
        """See :class:`edgeexport.job.Device`. Peak memory is None: the runner would see that of qemu.

        Raises:
            MissingRequirement, DeviceError: as :meth:`check`.
        """
        self.check(job.runtime)
        write_job(job, folder)
        command = [*self._emulator.command(root_folder(self._architecture)), str(RUNNER), str(folder)]
        variables = _root.environment(wheels_folder(self._architecture, job.runtime))
        result = run_command(command, folder, job.timeout_s, variables, job.listener(progress))
        return replace(result, peak_memory_bytes=None)

    def check(self, runtime: str) -> None:
        """See :class:`edgeexport.job.Device`."""
        if not wheels_folder(self._architecture, runtime).is_dir():
            name = runtime_of(runtime)
            raise MissingRequirement(
                f"the device 'emulated:{self._argument}' has no {name} yet",
                f"edgeexport devices create emulated:{self._argument} --runtime {name}",
            )

    def describe(self) -> DeviceInfo:
        """The emulated processor, and the qemu that emulates it."""
        cpu = f"{self._emulator.cpu} (qemu {_qemu_version(self._emulator.program)})"
        machine = ARCHITECTURES[self._architecture].machine
        return DeviceInfo(f"emulated:{self._argument}", machine, cpu, "emulated", timed=False)

    def close(self) -> None:
        """Nothing is held."""


def open_device(argument: str) -> EmulatedDevice:
    """Open the emulated board of the target ``argument``: a shipped name, or the path of a profile.

    Raises:
        TargetError: there is no such target.
        DeviceError: its processor cannot be emulated, or one of its runtimes does not run there.
        MissingRequirement: qemu, the root or a runtime is missing; the hint says what provides it.
    """
    target, emulation, architecture = _emulation(argument)
    program = _qemu(architecture)
    modules = _modules(target, emulation.architecture, "")
    if not root_folder(emulation.architecture).is_dir():
        raise MissingRequirement(
            f"the root file system of the device 'emulated:{argument}' has not been created",
            f"edgeexport devices create emulated:{argument}",
        )
    for module in modules:
        if not wheels_folder(emulation.architecture, module).is_dir():
            raise MissingRequirement(
                f"the device 'emulated:{argument}' has no {runtime_of(module)} yet",
                f"edgeexport devices create emulated:{argument}",
            )
    return EmulatedDevice(argument, emulation.architecture, _root.Emulator(program, emulation.cpu))


def list_devices() -> list[str]:
    """The shipped targets whose emulated board can be opened now."""
    return [name for name, hint in boards().items() if not hint]


def boards() -> dict[str, str]:
    """Every shipped target that can be emulated, as a device's name: empty where it is ready, else what provides it."""
    found = {}
    for name in shipped_targets():
        try:
            open_device(name)
            found[f"emulated:{name}"] = ""
        except MissingRequirement as missing:
            found[f"emulated:{name}"] = missing.hint or missing.what
        except DeviceError:
            continue
    return found


def create(argument: str, say: Say, runtime: str = "") -> Path:
    """Build what the target ``argument`` lacks, in about a minute and 200 MB; give the root's folder.

    One root serves all targets of an architecture, and keeps the wheels of each runtime apart.

    Args:
        argument: as for :func:`open_device`.
        say: gets one line a step.
        runtime: one to add though the target does not name it, by public name.

    Raises:
        TargetError, DeviceError: as :func:`open_device`.
        MissingRequirement: a program is missing, or packages or wheels could not be downloaded.
    """
    target, emulation, architecture = _emulation(argument)
    emulator = _root.Emulator(_qemu(architecture), emulation.cpu)
    modules = _modules(target, emulation.architecture, runtime)
    folder = root_folder(emulation.architecture)
    lacking = [module for module in modules if not wheels_folder(emulation.architecture, module).is_dir()]
    if not lacking and folder.is_dir():
        say(f"already there: {folder}")
        return folder
    if not folder.is_dir():
        cpus = {name: cpu_files(emulation.architecture, name) for name in architecture.cpus}
        packages = (*_root.PACKAGES, *architecture.packages)
        _root.build_root(folder, _root.RootPlan(emulation.architecture, packages, cpus), emulator, say)
    for module in lacking:
        needs = _needs(module, emulation.architecture)
        requirements = [f"{needs.distribution}=={_version(module, needs)}"]
        if "python3-numpy" not in architecture.packages:
            requirements.append(needs.numpy)
        plan = _root.WheelsPlan(architecture.machine, requirements, needs.imports)
        _root.add_wheels(folder, wheels_folder(emulation.architecture, module).name, plan, emulator, say)
    say(f"ready: {folder}")
    return folder


def root_folder(architecture: str) -> Path:
    """Where the root of an architecture is; its name changes with everything that is put in but wheels."""
    about = ARCHITECTURES[architecture]
    cpus = {name: cpu_files(architecture, name) for name in about.cpus}
    inside = json.dumps([_LAYOUT, _root.PACKAGES, about.packages, cpus], sort_keys=True)
    name = f"{architecture}-{hashlib.sha256(inside.encode()).hexdigest()[:12]}"
    return cache_root().absolute() / "devices" / name


def wheels_folder(architecture: str, module: str) -> Path:
    """Where a root keeps the wheels of a runtime, in the version that a job here would use.

    Raises:
        DeviceError: the runtime does not run there.
        MissingRequirement: it is not installed here, so that no version is set.
    """
    needs = _needs(module, architecture)
    return root_folder(architecture) / "python" / f"{runtime_of(module)}-{_version(module, needs)}"


def _needs(module: str, architecture: str) -> Needs:
    needs = needs_of(module)
    if needs is None or architecture not in needs.boards:
        found = {name: needs_of(other) for name, other in runtime_modules().items()}
        there = [name for name, other in found.items() if other is not None and architecture in other.boards]
        raise DeviceError(
            f"{runtime_of(module)} does not run on emulated {architecture} boards: it has no builds for them",
            f"There: {', '.join(there)}.",
        )
    return needs


def _version(module: str, needs: Needs) -> str:
    """The version installed here: what differs between two devices is then the processor."""
    if needs.version:
        return needs.version
    try:
        return version(needs.distribution)
    except PackageNotFoundError:
        raise MissingRequirement(
            f"{runtime_of(module)} is not installed here, and an emulated board runs the same version",
            needs.installation,
        ) from None


def _modules(target: Target, architecture: str, runtime: str) -> list[str]:
    """The modules of the target's runtimes and one more; all run there."""
    names = [need.name for need in target.runtimes]
    modules = [module_of(name) for name in dict.fromkeys([*names, *([runtime] if runtime else [])])]
    for module in modules:
        _needs(module, architecture)
    return modules


def _emulation(argument: str) -> tuple[Target, Emulation, Architecture]:
    target = load_target(argument)
    emulation = target.emulation
    if emulation is None:
        raise DeviceError(f"target '{argument}' cannot be emulated: its profile has no [emulation] table")
    architecture = ARCHITECTURES.get(emulation.architecture)
    if architecture is None:
        raise DeviceError(
            f"target '{argument}': {emulation.architecture} cannot be emulated", f"Known: {', '.join(ARCHITECTURES)}."
        )
    if emulation.cpu not in architecture.cpus:
        raise DeviceError(
            f"target '{argument}': no description of the processor '{emulation.cpu}'",
            f"Known: {', '.join(architecture.cpus)}.",
        )
    return target, emulation, architecture


def _qemu(architecture: Architecture) -> str:
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
