"""An artifact's bytes against limits and against another artifact's, naming the modules that grew."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgeexport.excess import explain
from edgeexport.results import Check, Size
from edgeexport.verify.budget import judge

_TOLD = 5


@dataclass(frozen=True)
class SizeLimits:
    """What a size is held to; None is no limit.

    Attributes:
        bytes: of the artifact, at most.
        ratio: of the source's float32 bytes, at most.
        growth: against the other artifact, as a share of that, at most.
    """

    bytes: int | None = None
    ratio: float | None = None
    growth: float | None = None


@dataclass(frozen=True)
class Growth:
    """A module whose bytes changed.

    Attributes:
        path: the module; empty for what belongs to none.
        before, after: its bytes in both.
    """

    path: str
    before: int
    after: int

    @property
    def bytes(self) -> int:
        """More than before."""
        return self.after - self.before


def gate(size: Size, limits: SizeLimits, earlier: Size | None) -> Iterator[Check]:
    """The checks: ``artifact_bytes``, ``size_ratio`` where the source's size is known, and ``artifact_bytes_growth``.

    A failed one names modules: what is beyond a quarter most, or what grew most.
    """
    largest = "; ".join(
        f"{part.path or 'no module'}: {part.bytes:+,} bytes, {part.reason}" for part in explain(size).parts[:_TOLD]
    )
    checks = [judge("artifact_bytes", size.artifact_bytes, limits.bytes, "bytes", "artifact")]
    if size.source_float32_bytes:
        checks.append(judge("size_ratio", size.ratio, limits.ratio, "ratio", "artifact"))
    for check in checks:
        failed = check.verdict == "fail" and size.source_float32_bytes
        yield _noted(check, f"beyond a quarter of float32: {largest}") if failed else check
    if earlier is not None:
        yield _growth_check(size, earlier, limits.growth)


def growths(before: Size, after: Size) -> tuple[Growth, ...]:
    """Every module whose bytes changed, the one that grew most first."""
    paths = {module.path: [0, 0] for size in (before, after) for module in size.modules}
    for place, size in enumerate((before, after)):
        for module in size.modules:
            paths[module.path][place] += module.bytes
    found = [Growth(path, *counts) for path, counts in paths.items() if counts[0] != counts[1]]
    return tuple(sorted(found, key=lambda growth: (-growth.bytes, growth.path)))


def _growth_check(size: Size, earlier: Size, limit: float | None) -> Check:
    grown = size.artifact_bytes - earlier.artifact_bytes
    share = grown / earlier.artifact_bytes
    more = [growth for growth in growths(earlier, size) if growth.bytes > 0][:_TOLD]
    note = f"{grown:+,} bytes"
    if grown > 0:
        named = (f"{one.path or 'no module'}: {one.bytes:+,} ({one.before:,} to {one.after:,})" for one in more)
        note = f"{note}; {'; '.join(named)}"
    return judge("artifact_bytes_growth", share, limit, "share", "artifact", note=note)


def _noted(check: Check, note: str) -> Check:
    return judge(check.name, check.measured, check.limit, check.unit, check.where, note=note)
