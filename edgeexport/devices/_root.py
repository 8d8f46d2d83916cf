"""Builds an ARM root file system for emulation: an interpreter, numpy and runtimes, in a cache folder.

It needs no privileges: apt resolves and downloads for the other architecture in private folders, with the
user's own package sources; ``dpkg-deb`` unpacks; pip downloads wheels for the interpreter that came along.

    FOLDER/root          the unpacked distribution packages
    FOLDER/cpus/NAME     one prefix a processor for qemu's ``-L``: links into ``root``, own ``proc``, ``sys``
    FOLDER/python/NAME   the unpacked wheels of one runtime

FOLDER, and each folder of wheels, appears under its name only when it is complete and has run.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeexport.devices._building import Say, building, run
from edgeexport.errors import MissingRequirement

# The standard library comes in two parts; numpy and the runtimes need libstdc++.
PACKAGES = ("python3-minimal", "libpython3-stdlib", "libstdc++6")
_OLDEST_GLIBC = 17
# All of the standard library that the runner imports: it proves the root, and leaves bytecode for later runs.
_ROOT_TEST = "import ctypes, importlib.metadata, json, os, platform, sys, tempfile, time"
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


def environment(wheels: Path | None = None, write_bytecode: bool = False) -> dict[str, str]:
    """Environment of the emulated interpreter, with nothing of the caller's PYTHON* and LD_*.

    Args:
        wheels: the folder of the runtime's wheels.
        write_bytecode: whether it leaves bytecode beside what it imports.
    """
    variables = {"PYTHONNOUSERSITE": "1", "LC_ALL": "C.UTF-8"}
    if wheels is not None:
        variables["PYTHONPATH"] = str(wheels)
    if not write_bytecode:
        variables["PYTHONDONTWRITEBYTECODE"] = "1"
    return variables


@dataclass(frozen=True)
class RootPlan:
    """What a root is made of.

    Attributes:
        architecture: the distribution's name for it, such as ``arm64``.
        packages: the distribution's packages; their dependencies follow.
        cpus: for each processor, the text of its own files by path (``proc/cpuinfo``).
    """

    architecture: str
    packages: Sequence[str]
    cpus: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class WheelsPlan:
    """What one runtime's folder is made of.

    Attributes:
        machine: as in wheel tags.
        requirements: wheels, as pip names them; their dependencies are not followed.
        imports: what proves them.
    """

    machine: str
    requirements: Sequence[str]
    imports: str


def build_root(folder: Path, plan: RootPlan, emulator: Emulator, say: Say) -> None:
    """Build the root at ``folder``, unless another process has done so meanwhile.

    Args:
        folder: where it will be; its parent is made.
        plan: what goes in.
        emulator: proves the result.
        say: gets one line a step.

    Raises:
        MissingRequirement: a program is missing, or packages could not be had.
    """
    _require_programs()
    with building(folder.parent, say) as new_folder:
        if folder.is_dir():
            return
        work = new_folder()
        done = work / "done"
        _unpack_packages(done / "root", work, plan, say)
        _link_alternatives(done / "root")
        _link_cpus(done, plan.cpus)
        (done / "python").mkdir()
        say("trying it")
        run([*emulator.command(done), "-c", _ROOT_TEST], "the new root cannot run", environment(write_bytecode=True))
        done.rename(folder)


def add_wheels(folder: Path, name: str, plan: WheelsPlan, emulator: Emulator, say: Say) -> None:
    """Add a runtime's wheels to the root at ``folder`` as ``python/NAME``, unless another process has.

    Raises:
        MissingRequirement: pip is missing, or wheels could not be had or do not run.
    """
    _require_pip()
    with building(folder.parent, say) as new_folder:
        place = folder / "python" / name
        if place.is_dir():
            return
        work = new_folder()
        done = work / "done"
        _unpack_wheels(done, work / "wheels", plan, emulator.command(folder), say)
        say("trying it")
        run(
            [*emulator.command(folder), "-c", f"import numpy, {plan.imports}"],
            f"the new root cannot import {plan.imports}",
            environment(done, write_bytecode=True),
        )
        done.rename(place)


def _require_programs() -> None:
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise MissingRequirement(
                f"building an emulated device needs {program}, which Debian and its descendants have"
            )
    _require_pip()


def _require_pip() -> None:
    if importlib.util.find_spec("pip") is None:
        raise MissingRequirement(
            "building an emulated device needs pip in this environment", f"{sys.executable} -m ensurepip"
        )


def _unpack_packages(root: Path, work: Path, plan: RootPlan, say: Say) -> None:
    for name in ("state/lists/partial", "cache/archives/partial"):
        (work / name).mkdir(parents=True)
    (work / "status").touch()
    configuration = work / "apt.conf"
    configuration.write_text(_APT_CONFIGURATION.format(work=work, architecture=plan.architecture))
    apt = ["apt-get", "-q", "-y", "-c", str(configuration)]
    variables = {**os.environ, "LC_ALL": "C"}
    say(f"reading the package lists for {plan.architecture}")
    # One dead source among many ends this with an error; what counts is whether the packages can be had.
    update = subprocess.run([*apt, "update"], env=variables, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    say("downloading system packages")
    run(
        [*apt, "install", "--download-only", *plan.packages],
        f"the {plan.architecture} system packages could not be downloaded",
        variables,
        before=update.stderr.decode(errors="replace"),
        hint="Is there a network, and do this machine's package sources (/etc/apt) offer that architecture? "
        "Ubuntu keeps it in a separate archive that has to be added.",
    )
    archives = sorted((work / "cache/archives").glob("*.deb"))
    say(f"unpacking {len(archives)} packages")
    root.mkdir(parents=True)
    for archive in archives:
        run(["dpkg-deb", "-x", str(archive), str(root)], f"{archive.name} could not be unpacked", variables)
    # With a merged /usr, the link from /lib to it comes in a package that nothing here depends on.
    for name in ("bin", "lib", "sbin"):
        if not (root / name).exists() and (root / "usr" / name).is_dir():
            (root / name).symlink_to(f"usr/{name}")


def _link_alternatives(root: Path) -> None:
    """Link BLAS and LAPACK to where the loader looks, as their packages' installation scripts would."""
    for kind in ("blas", "lapack"):
        for library in root.glob(f"usr/lib/*/{kind}/*.so.3"):
            link = library.parent.parent / library.name
            if not link.exists():
                link.symlink_to(f"{kind}/{library.name}")


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


def _unpack_wheels(folder: Path, wheels: Path, plan: WheelsPlan, interpreter: Sequence[str], say: Say) -> None:
    versions = run([*interpreter, "-c", _VERSIONS], "the root cannot run", environment())
    major, minor, glibc = (int(word) for word in versions.split())
    tags = [f"manylinux_2_{number}_{plan.machine}" for number in range(glibc, _OLDEST_GLIBC - 1, -1)]
    wanted = f"{' and '.join(plan.requirements)} for Python {major}.{minor} on {plan.machine}"
    say(f"downloading {wanted}")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-input"]
    command += [f"--python-version={major}.{minor}", f"--dest={wheels}"]
    command += [f"--platform={tag}" for tag in tags]
    run(
        [*command, *plan.requirements],
        f"{wanted} could not be downloaded",
        dict(os.environ),
        hint="Is there a network, and does pip's package index (`pip config list`) offer these?",
    )
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
