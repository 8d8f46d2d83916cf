"""Why an artifact is not a quarter of its float32 source: what takes more bytes than int8 weights alone would.

A quarter is a byte a parameter. What is beyond it is exactly

    Σ (bytes of a stored weight − one byte for each of its values)     weights that stayed float, biases of four bytes
    + scales and zero points + constants of the graph + structure
    + (values stored − parameters of the source)                       copies, padding; less where a fold merged some
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from edgeexport.analysis import ModuleBytes
from edgeexport.results import Size

_BITS = re.compile(r"\d+")
_BYTE = 8
_FLOAT32_BYTES = 4
_OWN_STRUCTURE, _FILE_STRUCTURE = "names, operators, shapes", "structure of the file"
_OVERALL = {_OWN_STRUCTURE: "structure", _FILE_STRUCTURE: "structure"}
KINDS = ("int8", "float", "other", "scale", "structure")


@dataclass(frozen=True)
class Beyond:
    """A part of what is beyond a quarter.

    Attributes:
        path: the module; empty for what belongs to none.
        reason: in a few words, such as ``float32 weights``.
        bytes: beyond one byte a value; less than 0 for weights of fewer bits.
    """

    path: str
    reason: str
    bytes: int


@dataclass(frozen=True)
class Excess:
    """What an artifact has beyond a quarter of its source's float32 bytes.

    Attributes:
        quarter: of the source's float32 bytes.
        bytes: of the artifact, less that.
        parts: which add up to ``bytes``, the largest first.
    """

    quarter: int
    bytes: int
    parts: tuple[Beyond, ...]

    def by_reason(self) -> tuple[tuple[str, int], ...]:
        """Reasons with what they come to over all modules, the largest first."""
        found: dict[str, int] = {}
        for part in self.parts:
            reason = _OVERALL.get(part.reason, part.reason)
            found[reason] = found.get(reason, 0) + part.bytes
        return tuple(sorted(found.items(), key=lambda item: (-item[1], item[0])))


@dataclass(frozen=True)
class Branch:
    """The bytes of a module and all that is inside it, by kind.

    Attributes:
        path: cut off at some depth; empty for what belongs to no module.
        kinds: bytes by each of ``KINDS``.
        bytes: all together.
    """

    path: str
    kinds: dict[str, int]
    bytes: int


def explain(size: Size) -> Excess:
    """What is beyond a quarter, exactly."""
    quarter = size.source_float32_bytes // _FLOAT32_BYTES
    parts: dict[tuple[str, str], int] = {}
    values = 0
    for module in size.modules:
        count = _values(module)
        values += count
        if module.bytes != count:
            key = module.path, _reason(module)
            parts[key] = parts.get(key, 0) + module.bytes - count
    copies = values - quarter
    if copies:
        more, fewer = "values stored more than once, or as padding", "parameters merged into others, or left out"
        reason = more if copies > 0 else fewer
        parts["", reason] = copies
    ordered = sorted(parts.items(), key=lambda item: (-item[1], item[0]))
    return Excess(
        quarter, size.artifact_bytes - quarter, tuple(Beyond(path, reason, count) for (path, reason), count in ordered)
    )


def rolled_up(modules: Iterable[ModuleBytes], depth: int) -> tuple[Branch, ...]:
    """Modules by the first ``depth`` parts of their paths, the largest first; all parts where it is 0."""
    found: dict[str, dict[str, int]] = {}
    for module in modules:
        parts = module.path.split(".")
        path = ".".join(parts[:depth] if depth else parts)
        kinds = found.setdefault(path, dict.fromkeys(KINDS, 0))
        kinds[_kind(module)] += module.bytes
    branches = [Branch(path, kinds, sum(kinds.values())) for path, kinds in found.items()]
    return tuple(sorted(branches, key=lambda branch: (-branch.bytes, branch.path)))


def _values(module: ModuleBytes) -> int:
    """How many parameters of the source are in a share; none in scales, constants and structure."""
    digits = _BITS.findall(module.dtype)
    if module.what != "weight" or not digits:
        return 0
    return module.bytes * _BYTE // int(digits[0])


def _reason(module: ModuleBytes) -> str:
    if module.what == "scale":
        return "scales and zero points"
    if module.what == "structure":
        return _OWN_STRUCTURE if module.path else _FILE_STRUCTURE
    if module.what == "weight":
        return f"{module.dtype} biases" if module.dtype == "int32" else f"{module.dtype} weights"
    return f"{module.what}s of the graph"


def _kind(module: ModuleBytes) -> str:
    if module.what in ("scale", "structure"):
        return module.what
    if "float" in module.dtype:
        return "float"
    digits = _BITS.findall(module.dtype)
    return "int8" if module.what == "weight" and digits and int(digits[0]) <= _BYTE else "other"
