"""Find the modules of a package by file name, and those that other packages register as entry points."""

from __future__ import annotations

import importlib
import pkgutil
from importlib.metadata import entry_points
from types import ModuleType


def names(package: str) -> list[str]:
    """Names in ``package`` (``edgeexport.devices``), without importing what they name.

    An entry point of the group ``edgeexport.devices`` adds a module of another distribution. Modules whose name
    begins with an underscore are helpers.
    """
    folder = importlib.import_module(package).__path__
    found = {module.name for module in pkgutil.iter_modules(folder) if not module.name.startswith("_")}
    found.update(entry.name for entry in entry_points(group=package))
    return sorted(found)


def load(package: str, name: str) -> ModuleType | None:
    """Import the module ``name`` of ``package``, or None where there is none."""
    for entry in entry_points(group=package):
        if entry.name == name:
            module: ModuleType = entry.load()
            return module
    if name not in names(package):
        return None
    return importlib.import_module(f"{package}.{name}")
