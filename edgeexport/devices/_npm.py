"""A browser's runtimes, which are packages of npm: in a folder of the user's, or installed in the cache on request."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from edgeexport.devices._building import Say, building, run
from edgeexport.devices._environments import environment_folder
from edgeexport.errors import DeviceError, MissingRequirement
from edgeexport.runtime_names import Needs, runtime_of

_MODULES = "node_modules"


def packages_folder(module: str, needs: Needs, chosen: Path | None) -> Path:
    """The folder that holds a runtime's package, and those that it imports.

    Args:
        module: name in :mod:`edgeexport.runtimes`.
        needs: of that module.
        chosen: the user's folder: a ``node_modules``, or one with a ``node_modules``; None takes what
            :func:`install` made.

    Raises:
        MissingRequirement: the package has not been installed in the cache.
        DeviceError: nor is it in the folder that the user chose.
    """
    if chosen is None:
        folder = environment_folder(runtime_of(module), needs) / _MODULES
        if not (folder / needs.distribution / "package.json").is_file():
            raise MissingRequirement(f"{runtime_of(module)} for browsers has not been installed", needs.installation)
        return folder
    for folder in (chosen / _MODULES, chosen):
        if (folder / needs.distribution / "package.json").is_file():
            return folder
    raise DeviceError(
        f"{chosen} holds no {needs.distribution}: neither in it nor in its {_MODULES}",
        f"npm install {needs.distribution} there, or leave the folder out and run `{needs.installation}`.",
    )


def package_version(folder: Path, needs: Needs) -> str:
    """The version of a runtime's package in ``folder``."""
    return str(json.loads((folder / needs.distribution / "package.json").read_text())["version"])


def install(module: str, needs: Needs, say: Say) -> Path:
    """Install a runtime's package in the cache; give its folder.

    Raises:
        MissingRequirement: npm is missing, or could not download it.
    """
    runtime = runtime_of(module)
    folder = environment_folder(runtime, needs)
    if folder.is_dir():
        say(f"already there: {folder}")
        return folder
    npm = shutil.which("npm")
    if npm is None:
        raise MissingRequirement(
            f"npm, which downloads {runtime}, is missing",
            "On Debian and its descendants: apt-get install npm. Or name a folder that has it: --on browser:FOLDER.",
        )
    with building(folder.parent, say) as work:
        if not folder.is_dir():
            done = work() / "environment"
            done.mkdir()
            wanted = f"{needs.distribution}@{needs.version}"
            say(f"downloading {wanted}")
            (done / "package.json").write_text('{"private": true}\n')
            # Its packages are files to serve: nothing of them is to run here.
            run(
                [npm, "install", "--prefix", str(done), "--ignore-scripts", "--no-audit", "--no-fund", wanted],
                f"{wanted} could not be installed",
                dict(os.environ),
                hint="Is there a network, and does npm's registry (`npm config get registry`) offer it?",
            )
            done.rename(folder)
    say(f"ready: {folder}")
    return folder
