"""A report against an earlier one of the same kind: what got worse since."""

from __future__ import annotations

from collections.abc import Iterator

from edgeexport.results import Check, Latency, Report, Run, Size
from edgeexport.verify.budget import judge

_LATENCY_GROWTH = 0.10
"""A small model's ratio moves by some hundredths from process to process, and by no more."""


def compare(earlier: Report, runs: tuple[Run, ...], size: Size, evaluation: str | None) -> Iterator[Check]:
    """One check for each figure that both have, with what was lost since then; nothing may be, and latency may move.

    Runs are the same where runtime and device are. What cannot be compared is said, and not passed.

    Args:
        earlier: the report to compare with.
        runs: of now.
        size: of now.
        evaluation: SHA-256 of the evaluation set of now, or None.
    """
    yield judge("artifact_bytes_since", size.artifact_bytes - earlier.size.artifact_bytes, 0, "bytes", "artifact")
    now = {run.place: run for run in runs}
    for before in earlier.runs:
        if before.place not in now:
            note = "the earlier report has this run, and this one does not"
            yield Check(
                name="run_since", measured=None, limit=None, unit="", verdict="fail", where=before.place, note=note
            )
            continue
        if before.error is None and now[before.place].error is None:
            reason = "" if evaluation == earlier.evaluation else "the earlier report is on another evaluation set"
            yield from _one(before, now[before.place], reason)


def _one(before: Run, after: Run, reason: str) -> Iterator[Check]:
    where = after.place
    if before.accuracy is not None:
        lost, note = None, reason
        if after.accuracy is None or after.accuracy.samples != before.accuracy.samples:
            note = note or "the accuracy of now is on other samples"
        elif not reason:
            lost = before.accuracy.value - after.accuracy.value
            lost = lost if after.accuracy.higher_is_better else -lost
        yield judge("accuracy_drop_since", lost, 0, "share", where, note=note)
    if before.parity is not None and before.parity.agreement is not None:
        lost, note = None, reason
        if after.parity is None or after.parity.agreement is None or after.parity.samples != before.parity.samples:
            note = note or "the agreement of now is over other samples"
        elif not reason:
            lost = before.parity.agreement - after.parity.agreement
        yield judge("agreement_drop_since", lost, 0, "share", where, note=note)
    if before.latency_ms is not None and after.latency_ms is not None:
        growth = _ratio(after.latency_ms) / _ratio(before.latency_ms) - 1
        yield judge("latency_ratio_since", growth, _LATENCY_GROWTH, "share", where)


def _ratio(latency: Latency) -> float:
    """To float32, timed in turn: milliseconds of two runs are not compared."""
    return latency.p50 / latency.float32_p50
