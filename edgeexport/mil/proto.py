"""The messages of Core ML's specification, from coremltools, without the seconds that importing all of it takes."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType

from edgeexport.errors import MissingRequirement

_PARENT = "edgeexport._coreml_proto"
"""The name under which coremltools' folder ``proto`` is imported. Its modules only import one another."""


def messages(name: str) -> ModuleType:
    """The generated module ``name``, such as ``MIL_pb2``.

    Raises:
        MissingRequirement: coremltools is not installed.
    """
    if "coremltools.proto" in sys.modules:
        return importlib.import_module(f"coremltools.proto.{name}")
    if _PARENT not in sys.modules:
        _import_parent()
    return importlib.import_module(f"{_PARENT}.{name}")


def _import_parent() -> None:
    found = importlib.util.find_spec("coremltools")
    if found is None or not found.submodule_search_locations:
        raise MissingRequirement(
            "coremltools is not installed, which has the schema of Core ML models",
            "pip install 'edgeexport[coreml]'",
        )
    folder = f"{next(iter(found.submodule_search_locations))}/proto"
    spec = importlib.util.spec_from_file_location(_PARENT, f"{folder}/__init__.py", submodule_search_locations=[folder])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[_PARENT] = module
    spec.loader.exec_module(module)
