"""Which shippable module runs which runtime, and what it imports: plain values in each, read without importing it.

A module is Python for a machine, or a script for a page in a browser.
"""

from __future__ import annotations

import ast
import json
import platform
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from edgeexport.errors import TargetError

_FOLDER = Path(__file__).parent / "runtimes"
_KINDS = (".py", ".js")
_NAMES = ("RUNTIME", "NEEDS")
_EXPORTED = re.compile(r"^export const (\w+) = (.+);$", re.MULTILINE)


@dataclass(frozen=True)
class Needs:
    """What a runtime's module imports: its ``NEEDS``.

    Attributes:
        imports: the module it imports.
        distribution: the package's name for pip.
        extra: of edgeexport, that installs it; empty where edgeexport always does.
        version: the only one that will do; such a runtime gets an environment of its own. Empty where the one in the
            running environment counts.
        numpy: the numpy it needs, as pip names it.
        newest_python: the last Python with wheels of that version, such as ``3.11``; empty where the newest has.
        boards: the ARM Linux architectures that it has wheels for, by Debian's names.
        browser: whether it is a script that runs in a page; its package is then npm's.
        instead_of: the runtime that it is a browser's build of, by public name: what that one is to run, a browser runs
            with this one. Empty where there is none.
        same_versions: whether it carries the release numbers of that runtime, and can be held to a target's lowest one.
        system: the only operating system with the runtime itself, as :func:`platform.system` names it; on any other an
            evaluator stands in for it. Empty where the runtime is the same everywhere.
    """

    imports: str
    distribution: str
    extra: str = ""
    version: str = ""
    numpy: str = "numpy"
    newest_python: str = ""
    boards: tuple[str, ...] = ()
    browser: bool = False
    instead_of: str = ""
    same_versions: bool = False
    system: str = ""

    @property
    def evaluated(self) -> bool:
        """Whether an evaluator stands in for the runtime on this system."""
        return self.system not in {"", platform.system()}

    @property
    def package(self) -> str:
        """The package that it imports."""
        return self.imports.partition(".")[0]

    @property
    def installation(self) -> str:
        """The command that installs it where it needs no environment of its own."""
        if self.browser:
            return "edgeexport devices create browser"
        return f"pip install 'edgeexport[{self.extra}]'" if self.extra else "pip install edgeexport"


@cache
def runtime_modules() -> dict[str, str]:
    """Module name by the runtime's public name, such as ``{"onnxruntime": "ort"}``."""
    modules = {}
    for path in sorted(path for kind in _KINDS for path in _FOLDER.glob(f"*{kind}")):
        name = _constants(path).get("RUNTIME")
        if isinstance(name, str):
            modules[name] = path.stem
    return modules


def module_of(runtime: str) -> str:
    """The module that runs ``runtime``.

    Raises:
        TargetError: there is none.
    """
    modules = runtime_modules()
    if runtime not in modules:
        raise TargetError(f"no runner for the runtime '{runtime}'", f"There is: {', '.join(modules)}.")
    return modules[runtime]


def runtime_of(module: str) -> str:
    """The public name of the runtime that ``module`` runs; the module's own where it says none."""
    return next((name for name, other in runtime_modules().items() if other == module), module)


@cache
def needs_of(module: str) -> Needs | None:
    """What ``module`` imports; None where it needs nothing, or is not one of these modules."""
    path = next((path for kind in _KINDS if (path := _FOLDER / f"{module}{kind}").is_file()), None)
    values = None if path is None else _constants(path).get("NEEDS")
    return Needs(**values) if isinstance(values, dict) else None


@cache
def _constants(path: Path) -> dict[str, object]:
    """What the module at ``path`` assigns at its top as plain values."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".js":
        return {name: json.loads(value) for name, value in _EXPORTED.findall(text) if name in _NAMES}
    values: dict[str, object] = {}
    for statement in ast.parse(text).body:
        if isinstance(statement, ast.Assign):
            for name in statement.targets:
                if isinstance(name, ast.Name) and name.id in _NAMES:
                    values[name.id] = ast.literal_eval(statement.value)
    return values
