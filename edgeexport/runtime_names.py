"""Which shippable module runs which runtime: each says ``RUNTIME = "name"``, read without importing it."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

from edgeexport.errors import TargetError

_FOLDER = Path(__file__).parent / "runtimes"


@cache
def runtime_modules() -> dict[str, str]:
    """Module name by the runtime's public name, such as ``{"onnxruntime": "ort"}``."""
    modules = {}
    for path in sorted(_FOLDER.glob("*.py")):
        for statement in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant):
                names = [name.id for name in statement.targets if isinstance(name, ast.Name)]
                if names == ["RUNTIME"]:
                    modules[str(statement.value.value)] = path.stem
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
