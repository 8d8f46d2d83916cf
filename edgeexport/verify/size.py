"""Where the artifact's bytes are."""

from __future__ import annotations

from collections.abc import Iterable

from edgeexport.results import Component, Size


def measure(artifact_bytes: int, float32_bytes: int, tensors: Iterable[tuple[str, str, int]]) -> Size:
    """Group tensors by component and dtype; what no tensor accounts for is the graph itself.

    Args:
        artifact_bytes: of the file.
        float32_bytes: of the source's parameters.
        tensors: component, dtype and bytes of each stored tensor.
    """
    groups: dict[tuple[str, str], int] = {}
    for name, dtype, count in tensors:
        groups[name, dtype] = groups.get((name, dtype), 0) + count
    groups["graph", "-"] = artifact_bytes - sum(groups.values())
    components = sorted(groups.items(), key=lambda item: (-item[1], item[0]))
    return Size(
        artifact_bytes=artifact_bytes,
        source_float32_bytes=float32_bytes,
        ratio=artifact_bytes / float32_bytes if float32_bytes else 0.0,
        components=tuple(Component(name=name, bytes=count, dtype=dtype) for (name, dtype), count in components),
    )
