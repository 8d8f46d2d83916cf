"""Where the artifact's bytes are: by kind of operator, and by module of the source."""

from __future__ import annotations

from collections.abc import Iterable

from edgeexport.analysis import ModuleBytes
from edgeexport.conversion import TensorBytes
from edgeexport.results import Component, Size

GRAPH = "graph"
STRUCTURE = "structure"


def measure(artifact_bytes: int, float32_bytes: int, tensors: Iterable[TensorBytes]) -> Size:
    """Group the artifact's bytes; what a format accounts for nowhere is the graph's own structure.

    Args:
        artifact_bytes: of the file, or of all files in the folder.
        float32_bytes: of the source's parameters.
        tensors: everything stored, as :meth:`edgeexport.conversion.Format.inspect` gives it.

    Returns:
        Components and modules, each of which add up to ``artifact_bytes``, the largest first.
    """
    components: dict[tuple[str, str], int] = {(GRAPH, "-"): 0}
    modules: dict[tuple[str, str, str], int] = {}
    rest = artifact_bytes
    for tensor in tensors:
        if tensor.bytes:
            kind = tensor.component, tensor.dtype or "-"
            components[kind] = components.get(kind, 0) + tensor.bytes
            place = tensor.path, tensor.what, tensor.dtype
            modules[place] = modules.get(place, 0) + tensor.bytes
            rest -= tensor.bytes
    if rest:
        components[GRAPH, "-"] += rest
        modules["", STRUCTURE, ""] = modules.get(("", STRUCTURE, ""), 0) + rest
    return Size(
        artifact_bytes=artifact_bytes,
        source_float32_bytes=float32_bytes,
        ratio=artifact_bytes / float32_bytes if float32_bytes else 0.0,
        components=tuple(
            Component(name=name, bytes=count, dtype=dtype)
            for (name, dtype), count in sorted(components.items(), key=lambda item: (-item[1], item[0]))
        ),
        modules=tuple(
            ModuleBytes(path=path, what=what, dtype=dtype, bytes=count)
            for (path, what, dtype), count in sorted(modules.items(), key=lambda item: (-item[1], item[0]))
        ),
    )
