"""Whether the runtime that ran is as new as the target needs, a browser's build of it included."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from edgeexport.results import Check, Run
from edgeexport.runtime_names import Needs, needs_of, runtime_modules
from edgeexport.target import Target
from edgeexport.versions import older


def judge(run: Run, target: Target) -> Iterator[Check]:
    """A failed check where it is older. What stood in for a runtime has no release, and a cost model is none."""
    needs = _needs(run)
    names = {run.runtime, needs.instead_of} if needs is not None and needs.same_versions else {run.runtime}
    if run.error is not None or run.stand_in is not None or run.estimate is not None:
        return
    for need in target.runtimes:
        if need.name in names and older(run.runtime_version, need.minimum):
            yield Check(
                name="run",
                measured=None,
                limit=None,
                unit="",
                verdict="fail",
                where=run.place,
                note=f"the device has {run.runtime} {run.runtime_version}; the target needs {need.minimum}",
            )


def notes(runs: Iterable[Run], target: Target) -> Iterator[str]:
    """Where it cannot be known, as a browser's build has release numbers of its own."""
    for run in runs:
        needs = _needs(run)
        if run.error is not None or needs is None or needs.same_versions:
            continue
        for need in target.runtimes:
            if need.name == needs.instead_of:
                yield (
                    f"{run.place}: the releases of {run.runtime} ({run.runtime_version} ran) have numbers of their "
                    f"own, so whether it is as new as {need.name} {need.minimum}, which the target needs, is not known"
                )


def _needs(run: Run) -> Needs | None:
    """None of cost models."""
    return needs_of(runtime_modules().get(run.runtime, ""))
