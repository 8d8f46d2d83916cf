"""A runtime's packages for a board without internet: downloaded here for its Python, unpacked there."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeexport.devices._building import run
from edgeexport.errors import DeviceError
from edgeexport.runtime_names import Needs, runtime_of

if TYPE_CHECKING:
    from edgeexport.devices._remote import RemoteDevice

ABOUT = """import json, platform, sys
print(json.dumps({"python": platform.python_version(), "machine": platform.machine(), "libc": platform.libc_ver(),
    "system": sys.platform}))"""
"""Asked on the board."""
_OLDEST_GLIBC = 17


def prepare(device: RemoteDevice, module: str, needs: Needs, say: Callable[[str], None]) -> None:
    """Bring a runtime and what it imports to a board; nothing of the board's own is changed.

    Args:
        device: the board.
        module: the runtime's.
        needs: what the module imports.
        say: gets one line a step.

    Raises:
        DeviceError: its system has no wheels.
        MissingRequirement: the wheels could not be downloaded.
    """
    about = device.ask_python(ABOUT)
    try:
        told = json.loads(about)
        release, machine = str(told["python"]), str(told["machine"])
        platforms = tags(str(told["system"]), machine, tuple(told["libc"]))
    except (ValueError, KeyError, TypeError) as error:
        raise DeviceError(f"{device.name} does not say which Python it has: {about[:200]!r}") from error
    if not platforms:
        raise DeviceError(
            f"there are no wheels for {device.name} ({machine}, {' '.join(told['libc']) or 'no glibc'})",
            f"Install {needs.distribution} there by its own means.",
        )
    say(f"downloading {needs.distribution} for Python {release} on {machine}")
    with tempfile.TemporaryDirectory(prefix="edgeexport-wheels-") as place:
        folder = Path(place)
        run(_command(needs, release, platforms, folder), f"no wheels of {needs.distribution}", dict(os.environ))
        wheels = sorted(folder.glob("*.whl"))
        say(f"copying {len(wheels)} packages, {sum(path.stat().st_size for path in wheels) / 1e6:.1f} MB")
        device.unpack_wheels(module, wheels)
    device.check(module)
    say(f"{device.name} runs {runtime_of(module)}")


def tags(system: str, machine: str, libc: tuple[Any, ...]) -> list[str]:
    """The platform tags of wheels that run there, newest first (PEP 600); empty where there are none."""
    name, release = (str(libc[0]), str(libc[1])) if len(libc) == 2 else ("", "")
    major, _, minor = release.partition(".")
    if system != "linux" or name != "glibc" or major != "2" or not minor.isdigit():
        return []
    newest = int(minor)
    found = [f"manylinux_2_{number}_{machine}" for number in range(newest, _OLDEST_GLIBC - 1, -1)]
    return [*found, f"manylinux2014_{machine}"] if newest >= _OLDEST_GLIBC else []


def _command(needs: Needs, release: str, platforms: list[str], folder: Path) -> list[str]:
    command = [sys.executable, "-m", "pip", "download", "--only-binary=:all:", "--no-input", "--quiet"]
    command += ["--python-version", ".".join(release.split(".")[:2]), "--implementation", "cp", "--dest", str(folder)]
    command += [part for tag in platforms for part in ("--platform", tag)]
    try:
        pinned = needs.version or version(needs.distribution)
    except PackageNotFoundError:
        pinned = ""
    return [*command, f"{needs.distribution}=={pinned}" if pinned else needs.distribution, needs.numpy]
