"""The operators, one module a family; each enters its own into :mod:`edgeexport.mil.table`."""

from __future__ import annotations

import importlib
import pkgutil

REFUSED: dict[str, str] = {
    "_const_symbolic": "it stands for a dimension while a program is being built, and is never in a file",
    "conv_quantized": "no converter writes it, and nothing says how it rounds",
}
"""Operators that are not executed, and why."""


def load_all() -> None:
    """Import every family."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
