"""The module of the source that each operation of a program comes from, kept in the package.

The names of operations tell nothing of modules, and a program is read and written several times on its way. So the
package's metadata has, under ``edgeexport.modules``, a line a module with the names of its operations, packed by zlib
and base64. Later names of an operation are its own with what a pass adds, such as ``_cast_fp16``.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

from edgeexport.module_paths import source_path

KEY = "edgeexport.modules"
_ADDED = re.compile(r"_(?:(?:cast|to)_(?:fp|u?int)\d+|within_fp16|quantized|dequantized|palettized|cast|\d+)$")
_SCOPES = ("EXIR_STACK_TRACE", "TORCHSCRIPT_MODULE_NAME")
_MARK = "module "
_MOST = 1 << 22
"""Bytes that a package's lines may come to."""


def note(program: Any) -> None:
    """Let an exported program's nodes carry their module's path where coremltools looks for a stack trace.

    A normalisation that is folded into the convolution before it counts as a part of that.
    """
    for node in program.graph.nodes:
        path = source_path(node)
        before = node.args[0] if node.args else None
        if "batch_norm" in str(node.target) and "conv" in str(getattr(before, "target", "")):
            path = source_path(before)
        if path is not None:
            node.meta["stack_trace"] = f"{_MARK}{path}"


def keep(model: Any, operations: Iterable[Any]) -> None:
    """Write the module of every operation into the metadata of a model that was just converted."""
    paths: dict[str, list[str]] = {}
    for operation in operations:
        path = "" if operation.op_type == "const" else _noted(operation)
        if path:
            paths.setdefault(path, []).append(operation.name)
    lines = "\n".join(f"{path}\t{' '.join(names)}" for path, names in sorted(paths.items()))
    model.user_defined_metadata[KEY] = base64.b64encode(zlib.compress(lines.encode(), 9)).decode()


def read(metadata: Mapping[str, str]) -> dict[str, str]:
    """The path of the module of each operation by name; empty where a package does not tell."""
    try:
        unpacker = zlib.decompressobj()
        text = unpacker.decompress(base64.b64decode(metadata.get(KEY, ""), validate=True), _MOST).decode()
    except (binascii.Error, zlib.error, ValueError):
        return {}
    found = {}
    for line in text.splitlines():
        path, _, names = line.partition("\t")
        found.update(dict.fromkeys(names.split(" "), path))
    return found


def module_of(name: str, paths: Mapping[str, str]) -> str:
    """The module of an operation by its name, or by that which it had before passes added to it; else ""."""
    while name not in paths:
        shorter = _ADDED.sub("", name)
        if shorter == name:
            return ""
        name = shorter
    return paths[name]


def _noted(operation: Any) -> str:
    for source, data in operation.scopes.items():
        if source.name in _SCOPES:
            parts = [str(part) for part in data if part]
            if source.name == _SCOPES[0]:
                return next((part.removeprefix(_MARK) for part in parts if part.startswith(_MARK)), "")
            return ".".join(parts)
    return ""
