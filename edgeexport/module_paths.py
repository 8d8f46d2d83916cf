"""Where in a source model something is: the path of a torch module, such as ``bert.encoder.layer.0.output.dense``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

_WRAPPERS = ("edgeexport.", "litert_torch.")
_SELF = re.compile(r"^L\['self'\]\.?|^L__self___?")


def unwrapped(module: torch.nn.Module) -> torch.nn.Module:
    """The source's own module, out of those that a conversion puts around it."""
    while _is_wrapper(type(module)):
        children = list(module.children())
        if len(children) != 1:
            break
        module = children[0]
    return module


def source_path(node: Any) -> str | None:
    """The module that a node of an exported graph was recorded in; "" for the source's own, None where none is noted.

    Args:
        node: a ``torch.fx.Node``, whose ``nn_module_stack`` has the name and the class of each module around it.
    """
    stack = getattr(node, "meta", {}).get("nn_module_stack")
    if not stack:
        return None
    names = [(_SELF.sub("", str(name)), kind) for name, kind in stack.values()]
    own = next((name for name, kind in names if not _is_wrapper(kind)), names[-1][0])
    return relative(names[-1][0], own)


def relative(path: str, root: str) -> str:
    """The path below ``root``; as it is where it is elsewhere."""
    if not root:
        return path
    return path[len(root) :].lstrip(".") if path == root or path.startswith(f"{root}.") else path


def _is_wrapper(kind: Any) -> bool:
    name = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
    return name.startswith(_WRAPPERS)
