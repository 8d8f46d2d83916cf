"""Names of nodes that torch's ONNX exporter writes: by the module of the source, as optimum's exporter gives them."""

from __future__ import annotations

import ast
from typing import Any

from edgeexport.module_paths import relative

_SCOPES = "pkg.torch.onnx.name_scopes"


def name_by_module(graph: Any, root: str) -> None:
    """Put the path of its module before each node's name: ``node_linear`` becomes ``/encoder.dense/node_linear``.

    Args:
        graph: an ``onnx_ir`` graph, whose nodes carry the modules around them as metadata.
        root: the source's own module, where something is wrapped around it.
    """
    for node in graph:
        scopes = node.metadata_props.get(_SCOPES)
        path = _module(scopes) if scopes else ""
        path = relative(path, root)
        if path:
            node.name = f"/{path}/{node.name}"


def _module(scopes: str) -> str:
    """The innermost module; behind it the list has the name of the operator."""
    try:
        names = ast.literal_eval(scopes)
    except (SyntaxError, ValueError):
        return ""
    return str(names[-2]) if isinstance(names, list) and len(names) > 1 else ""
