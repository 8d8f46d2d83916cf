"""Builds an ARM root file system for emulation: an interpreter, numpy and ONNX Runtime, in a cache folder.

It needs no privileges: apt resolves and downloads for the other architecture in private folders, with the
user's own package sources; ``dpkg-deb`` unpacks; pip downloads wheels for the interpreter that came along.

    FOLDER/root         the unpacked distribution packages
    FOLDER/python       the unpacked wheels
    FOLDER/cpus/NAME    one prefix a processor for qemu's ``-L``: links into ``root``, own ``proc``, ``sys``

The folder appears under its name only when it is complete and has run.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeexport.devices._building import building, run
from edgeexport.errors import MissingRequirement

# The standard library comes in two parts; numpy and ONNX Runtime need libstdc++.
PACKAGES = ("python3-minimal", "libpython3-stdlib", "libstdc++6")
_OLDEST_GLIBC = 17
# Everything the runner imports: it proves the root, and leaves bytecode that later runs start from.
_SELF_TEST = "import ctypes, importlib, json, os, platform, sys, time, numpy, onnxruntime"
_VERSIONS = "import os, sys; print(*sys.version_info[:2], os.confstr('CS_GNU_LIBC_VERSION').split('.')[1])"

# Given to apt after the user's own configuration, which stays in force but for hooks of the real system.
_APT_CONFIGURATION = """\
Dir::State "{work}/state";
Dir::State::status "{work}/status";
Dir::Cache "{work}/cache";
APT::Architecture "{architecture}";
#clear APT::Architectures;
APT::Architectures {{ "{architecture}"; }};
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Acquire::Languages "none";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
#clear DPkg::Pre-Install-Pkgs;
"""


@dataclass(frozen=True)
class Emulator:
    """How to start the root's interpreter.

    Attributes:
        program: path of the qemu program.
        cpu: its ``-cpu``.
    """

    program: str
    cpu: str

    def command(self, folder: Path) -> list[str]:
        """The command that starts the interpreter of the root in ``folder``; arguments follow."""
        prefix = folder / "cpus" / self.cpu
        return [self.program, "-cpu", self.cpu, "-L", str(prefix), str(prefix / "usr/bin/python3")]


def environment(folder: Path, write_bytecode: bool = False) -> dict[str, str]:
    """Environment of the emulated interpreter, with nothing of the caller's PYTHON* and LD_*."""
    variables = {"PYTHONPATH": str(folder / "python"), "PYTHONNOUSERSITE": "1", "LC_ALL": "C.UTF-8"}
    if not write_bytecode:
        variables["PYTHONDONTWRITEBYTECODE"] = "1"
    return variables


@dataclass(frozen=True)
class Plan:
    """What a root is made of.

    Attributes:
        architecture: the distribution's name for it, such as ``arm64``.
        machine: what ``uname -m`` prints there, as in wheel tags.
        requirements: wheels, as pip names them; their dependencies are not followed.
        cpus: for each processor, the text of its own files by path (``proc/cpuinfo``).
    """

    architecture: str
    machine: str
    requirements: Sequence[str]
    cpus: Mapping[str, Mapping[str, str]]


def build(folder: Path, plan: Plan, emulator: Emulator, report: Callable[[str], None]) -> None:
    """Build the root at ``folder``, unless another process has done so meanwhile.

    Args:
        folder: where it will be; its parent is made.
        plan: what goes in.
        emulator: proves the result.
        report: gets one line a step.

    Raises:
        MissingRequirement: a program is missing, or packages or wheels could not be had.
    """
    _require_programs()
    with building(folder.parent, report) as workplace:
        if folder.is_dir():
            return
        work = workplace()
        done = work / "done"
        _unpack_packages(done / "root", work, plan.architecture, report)
        _link_cpus(done, plan.cpus)
        _unpack_wheels(done, work, plan, emulator, report)
        report("trying it")
        run(
            [*emulator.command(done), "-c", _SELF_TEST],
            "the new root cannot run ONNX Runtime",
            environment(done, write_bytecode=True),
        )
        done.rename(folder)


def _require_programs() -> None:
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise MissingRequirement(
                f"building an emulated device needs {program}, which Debian and its descendants have"
            )
    if importlib.util.find_spec("pip") is None:
        raise MissingRequirement(
            "building an emulated device needs pip in this environment", f"{sys.executable} -m ensurepip"
        )


def _unpack_packages(root: Path, work: Path, architecture: str, report: Callable[[str], None]) -> None:
    for name in ("state/lists/partial", "cache/archives/partial"):
        (work / name).mkdir(parents=True)
    (work / "status").touch()
    configuration = work / "apt.conf"
    configuration.write_text(_APT_CONFIGURATION.format(work=work, architecture=architecture))
    apt = ["apt-get", "-q", "-y", "-c", str(configuration)]
    variables = {**os.environ, "LC_ALL": "C"}
    report(f"reading the package lists for {architecture}")
    # One dead source among many ends this with an error; what counts is whether the packages can be had.
    update = subprocess.run([*apt, "update"], env=variables, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    report("downloading system packages")
    run(
        [*apt, "install", "--download-only", *PACKAGES],
        f"the {architecture} system packages could not be downloaded",
        variables,
        before=update.stderr.decode(errors="replace"),
        hint="Is there a network, and do this machine's package sources (/etc/apt) offer that architecture? "
        "Ubuntu keeps it in a separate archive that has to be added.",
    )
    archives = sorted((work / "cache/archives").glob("*.deb"))
    report(f"unpacking {len(archives)} packages")
    root.mkdir(parents=True)
    for archive in archives:
        run(["dpkg-deb", "-x", str(archive), str(root)], f"{archive.name} could not be unpacked", variables)
    # With a merged /usr, the link from /lib to it comes in a package that nothing here depends on.
    for name in ("bin", "lib", "sbin"):
        if not (root / name).exists() and (root / "usr" / name).is_dir():
            (root / name).symlink_to(f"usr/{name}")


def _link_cpus(folder: Path, cpus: Mapping[str, Mapping[str, str]]) -> None:
    shared = [entry.name for entry in (folder / "root").iterdir() if entry.name not in ("proc", "sys")]
    for cpu, files in cpus.items():
        prefix = folder / "cpus" / cpu
        prefix.mkdir(parents=True)
        for name in shared:
            (prefix / name).symlink_to(f"../../root/{name}")
        for name, text in files.items():
            (prefix / name).parent.mkdir(parents=True, exist_ok=True)
            (prefix / name).write_text(text)


def _unpack_wheels(folder: Path, work: Path, plan: Plan, emulator: Emulator, report: Callable[[str], None]) -> None:
    interpreter = [*emulator.command(folder), "-c", _VERSIONS]
    versions = run(interpreter, "the new root cannot run", environment(folder))
    major, minor, glibc = (int(word) for word in versions.split())
    tags = [f"manylinux_2_{number}_{plan.machine}" for number in range(glibc, _OLDEST_GLIBC - 1, -1)]
    wanted = f"{' and '.join(plan.requirements)} for Python {major}.{minor} on {plan.machine}"
    report(f"downloading {wanted}")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    command += [f"--python-version={major}.{minor}", f"--dest={work / 'wheels'}"]
    command += [f"--platform={tag}" for tag in tags]
    run(
        [*command, *plan.requirements],
        f"{wanted} could not be downloaded",
        dict(os.environ),
        hint="Is there a network, and does pip's package index (`pip config list`) offer these?",
    )
    for wheel in sorted((work / "wheels").glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder / "python")
