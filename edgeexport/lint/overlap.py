"""Samples that both sets have."""

from __future__ import annotations

from collections.abc import Iterator

from edgeexport.lint._rule import Found, rule
from edgeexport.lint._view import View


@rule("evaluation-overlap")
def overlap(view: View) -> Iterator[Found]:
    """A model is scored too well on samples that its ranges were fitted to."""
    if view.evaluation is None:
        return
    evaluation = set(view.evaluation.records)
    count = sum(record in evaluation for record in view.calibration.records)
    if count:
        whole = count == view.calibration.total
        yield Found(
            "error" if whole else "warning",
            f"{'all' if whole else count} of {view.calibration.total} samples are in the evaluation set too",
            "Calibrate on samples that are not scored.",
        )
