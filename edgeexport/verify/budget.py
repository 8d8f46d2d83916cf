"""Measured values against the target's limits."""

from __future__ import annotations

from collections.abc import Iterator

from edgeexport.results import Accuracy, Check, Finding, Run, Size, Verdict
from edgeexport.settings import Limits

_TOLD = 5


def judge(
    name: str,
    measured: float | None,
    limit: float | None,
    unit: str,
    where: str,
    *,
    at_least: bool = False,
    note: str = "",
) -> Check:
    """One check. Without a limit a measured value passes; with a limit and no value it is not run."""
    if measured is None:
        return Check(name=name, measured=None, limit=limit, unit=unit, verdict="not run", where=where, note=note)
    kept = limit is None or (measured >= limit if at_least else measured <= limit)
    verdict: Verdict = "pass" if kept else "fail"
    return Check(name=name, measured=measured, limit=limit, unit=unit, verdict=verdict, where=where, note=note)


def size_checks(size: Size, limits: Limits) -> Iterator[Check]:
    """The artifact's bytes, alone and against the source's."""
    yield judge("size_ratio", size.ratio, limits.size_ratio, "ratio", "artifact")
    if limits.artifact_bytes is not None:
        yield judge("artifact_bytes", size.artifact_bytes, limits.artifact_bytes, "bytes", "artifact")


def run_checks(
    run: Run,
    limits: Limits,
    *,
    missing_accuracy: str = "",
    missing_latency: str = "",
    machine: str = "",
    tokens: bool = False,
) -> Iterator[Check]:
    """Every check that one run answers.

    Args:
        run: what a runtime did on a device; a failed one gives a single failed check with its log.
        limits: the target's.
        missing_accuracy, missing_latency: why the run has no such figure; empty where none is expected of it.
        machine: the target's processor architecture, to say where a latency was taken on another.
        tokens: whether the model is a language model.
    """
    where = run.place
    if run.error is not None:
        yield Check(name="run", measured=None, limit=None, unit="", verdict="fail", where=where, note=run.error)
        return
    yield from _parity(run, limits, tokens)
    if tokens:
        yield _perplexity(run, limits, missing_accuracy)
    else:
        yield from _accuracy(run, limits, missing_accuracy)
    if run.findings is not None:
        yield judge("numerics", len(run.findings), 0, "operators", where, note=_in_words(run.findings))
    if run.latency_ms is not None:
        ratio = run.latency_ms.p50 / run.latency_ms.float32_p50
        note = "" if run.machine == machine else f"timed on {run.machine}; the target is {machine}"
        yield judge("latency_ratio", ratio, limits.latency_ratio, "ratio", where, note=note)
    elif limits.latency_ratio is not None and missing_latency:
        note = missing_latency
        yield judge("latency_ratio", None, limits.latency_ratio, "ratio", where, note=note)
    if run.peak_memory_bytes is not None:
        yield judge("peak_memory", run.peak_memory_bytes, limits.peak_memory, "bytes", where)
    if run.arena_bytes is not None:
        yield judge("peak_memory_arena", run.arena_bytes, limits.arena_bytes, "bytes", where)
    if run.estimate is not None:
        note = f"estimated by {run.estimate.tool}"
        whole: int | None = run.estimate.sram_bytes
        if run.estimate.npu_share < 1:
            left = ", ".join(run.estimate.cpu_ops)
            whole, note = None, f"{run.estimate.tool} leaves operators to the CPU, and out of its figures: {left}"
        yield judge("peak_memory_sram", whole, limits.sram_bytes, "bytes", where, note=note)


def _parity(run: Run, limits: Limits, tokens: bool) -> Iterator[Check]:
    if run.parity is None:
        return
    # Two scores near a decision boundary turn far for a tiny change, so classes are judged by agreement; of a language
    # model's likeliest tokens many are near ties, and it is judged by perplexity. A few numbers near zero turn as far,
    # so regression is judged by R² wherever that is known.
    by_r2 = run.accuracy is not None and run.accuracy.metric == "r2" and run.accuracy.reference is not None
    limit = limits.cosine_min if tokens or (run.parity.agreement is None and not by_r2) else None
    yield judge("cosine_min", run.parity.cosine_min, limit, "", run.place, at_least=True)
    if run.parity.agreement is not None:
        note = f"{run.parity.unlike} of {run.parity.samples} unlike float32"
        limit = None if tokens else limits.agreement
        yield judge("agreement", run.parity.agreement, limit, "share", run.place, at_least=True, note=note)


def _accuracy(run: Run, limits: Limits, missing: str) -> Iterator[Check]:
    if run.accuracy is not None and run.accuracy.reference is not None:
        yield judge(
            "accuracy_drop",
            accuracy_drop(run.accuracy, run.accuracy.reference),
            limits.accuracy_drop,
            "share",
            run.place,
        )
    elif limits.accuracy_drop is not None and missing:
        yield judge("accuracy_drop", None, limits.accuracy_drop, "share", run.place, note=missing)


def accuracy_drop(accuracy: Accuracy, reference: float) -> float:
    """What was lost, rounded to 12 places: 0.88 - 0.86 is more than 0.02 in binary, and a limit may be met exactly."""
    drop = reference - accuracy.value
    return round(drop if accuracy.higher_is_better else -drop, 12)


def _perplexity(run: Run, limits: Limits, missing: str) -> Check:
    limit, found = limits.perplexity_ratio, run.accuracy
    if found is None or found.reference is None:
        return judge("perplexity_ratio", None, limit, "ratio", run.place, note=missing)
    note = f"{found.value:.4g} over {found.samples} tokens, float32 {found.reference:.4g}"
    return judge("perplexity_ratio", found.value / found.reference, limit, "ratio", run.place, note=note)


def _in_words(findings: tuple[Finding, ...]) -> str:
    """The first findings, each with its place, and how many more there are."""
    words = {"overflow": "beyond its type", "nan": "NaN"}
    told = [f"{one.operator} at {one.where}: {one.count:,} values {words[one.kind]}" for one in findings[:_TOLD]]
    more = len(findings) - len(told)
    return "; ".join(told) + (f"; and {more} more" if more else "")
