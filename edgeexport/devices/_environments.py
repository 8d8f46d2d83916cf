"""Which Python runs a runtime on this machine: the running one, or one in an environment of the runtime's own.

A runtime whose version or numpy does not go with edgeexport's own packages gets a virtual environment in the cache. It
is built when asked for (``edgeexport devices create local:RUNTIME``), never on the way.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from edgeexport.cache import cache_root
from edgeexport.devices._building import Say, building, run
from edgeexport.errors import DeviceError, MissingRequirement
from edgeexport.runtime_names import Needs, module_of, needs_of, runtime_modules, runtime_of


def python_for(module: str) -> Path:
    """The interpreter that a runner of ``module`` is started with.

    Args:
        module: name in :mod:`edgeexport.runtimes`; one that says nothing of its needs gets the running interpreter.

    Raises:
        MissingRequirement: the runtime is not installed; the hint says what installs it.
        DeviceError: it runs in a browser only.
    """
    needs = needs_of(module)
    if needs is None:
        return Path(sys.executable)
    runtime = runtime_of(module)
    if needs.browser:
        raise DeviceError(f"{runtime} runs in a browser, not on the device 'local'", "Verify with --on browser.")
    if needs.version:
        python = environment_folder(runtime, needs) / "bin" / "python"
        if not python.is_file():
            raise MissingRequirement(
                f"{runtime} {needs.version} needs an environment of its own, which has not been created",
                f"edgeexport devices create local:{runtime}",
            )
        return python
    if importlib.util.find_spec(needs.package) is None:
        raise MissingRequirement(f"{runtime} is not installed here", needs.installation)
    return Path(sys.executable)


def environment_of(module: str) -> dict[str, str] | None:
    """Variables for that interpreter; None keeps the caller's.

    An environment of its own sees nothing of the caller's Python: PYTHONPATH could lead to the very packages that it
    was built to be without.
    """
    needs = needs_of(module)
    if needs is None or not needs.version:
        return None
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def ready() -> dict[str, str]:
    """For every runtime but those of browsers, its version here, or what is missing and what provides it."""
    found = {}
    for runtime, module in runtime_modules().items():
        needs = needs_of(module)
        if needs is None or needs.browser:
            continue
        try:
            python_for(module)
            found[runtime] = _state(needs)
        except MissingRequirement as missing:
            found[runtime] = f"missing: {missing.hint}"
    return found


def create(runtime: str, say: Say) -> Path:
    """Build the environment of ``runtime``; give its folder.

    Args:
        runtime: public name.
        say: gets one line a step.

    Raises:
        TargetError: there is no such runtime.
        DeviceError: it takes no environment of its own.
        MissingRequirement: there is no Python that it has wheels for, or they could not be downloaded.
    """
    needs = needs_of(module_of(runtime))
    if needs is not None and needs.browser:
        raise DeviceError(f"{runtime} runs in a browser, not on the device 'local'", needs.installation)
    if needs is None or not needs.version:
        raise DeviceError(f"{runtime} runs in this environment", needs.installation if needs is not None else None)
    folder = environment_folder(runtime, needs)
    if folder.is_dir():
        say(f"already there: {folder}")
        return folder
    python = _python(runtime, needs)
    with building(folder.parent, say) as work:
        if not folder.is_dir():
            done = work() / "environment"
            _fill(done, python, runtime, needs, say)
            done.rename(folder)
    say(f"ready: {folder}")
    return folder


def _fill(folder: Path, python: str, runtime: str, needs: Needs, say: Say) -> None:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    say(f"making an environment with {python}")
    run(
        [python, "-m", "venv", str(folder)],
        "no virtual environment could be made",
        variables,
        hint="On Debian and its descendants: apt-get install python3-venv",
    )
    wanted = [f"{needs.distribution}=={needs.version}", needs.numpy]
    say(f"downloading {' and '.join(wanted)}")
    inside = str(folder / "bin" / "python")
    run(
        [inside, "-m", "pip", "install", "--no-input", "--only-binary=:all:", *wanted],
        f"{runtime} could not be installed",
        variables,
        hint="Is there a network, and does pip's package index (`pip config list`) offer these?",
    )
    say("trying it")
    run([inside, "-c", f"import numpy, {needs.imports}"], f"{runtime} cannot be imported", variables)


def _python(runtime: str, needs: Needs) -> str:
    """An interpreter that the runtime has wheels for: this one, or the newest such on PATH."""
    if not needs.newest_python or sys.version_info[:2] <= tuple(map(int, needs.newest_python.split("."))):
        return sys.executable
    found = shutil.which(f"python{needs.newest_python}")
    # A version manager's shim is on PATH for versions that are not installed too.
    if found is None or subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode != 0:
        here = ".".join(map(str, sys.version_info[:2]))
        raise MissingRequirement(
            f"{runtime} {needs.version} has no wheels for Python {here}; its last are for {needs.newest_python}",
            f"Install Python {needs.newest_python} so that python{needs.newest_python} is on PATH.",
        )
    return found


def environment_folder(runtime: str, needs: Needs) -> Path:
    """Where a runtime that needs one has its environment, there or not yet."""
    return cache_root().absolute() / "devices" / "environments" / f"{runtime}-{needs.version}"


def _state(needs: Needs) -> str:
    """The version that jobs here get, and whether it is the runtime itself."""
    version = needs.version or _installed(needs.distribution)
    if needs.evaluated:
        systems = {"Darwin": "macOS"}
        itself = systems.get(needs.system, needs.system)
        return f"evaluator for {needs.distribution} {version}: results are emulated; the runtime itself needs {itself}"
    return version


def _installed(distribution: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(distribution)
    except PackageNotFoundError:
        return "of unknown version"
