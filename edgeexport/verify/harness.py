"""Run a bundle's model on a device and compare it with the float32 source."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from edgeexport.artifact import Bundle
from edgeexport.decoder import to_runner
from edgeexport.disk import readable_disk_errors, temporary_folder
from edgeexport.errors import RunFailed
from edgeexport.interface import dequantize
from edgeexport.job import Device, Job, JobResult
from edgeexport.preprocess import TokenizerPreprocess, from_dict
from edgeexport.progress import Progress, Stage
from edgeexport.results import Accuracy, Finding, Latency, Parity, Run
from edgeexport.runtime_names import module_of, needs_of
from edgeexport.samples import Sample
from edgeexport.settings import Timing
from edgeexport.verify.accuracy import METERS
from edgeexport.verify.latency import summarize
from edgeexport.verify.parity import ParityMeter, TokenParityMeter

Arrays = Mapping[str, np.ndarray]
_SAMPLES_A_JOB = 256
_BYTES_A_JOB = 64 << 20
_HERE = "local"


@dataclass(frozen=True)
class Case:
    """One sample to run.

    Attributes:
        sample: where it came from, and its label.
        inputs: as the model takes them.
        reference: the float32 source's outputs, or None where they are not at hand.
        scored: whether its label counts towards the task's metric.
    """

    sample: Sample
    inputs: Arrays
    reference: Arrays | None
    scored: bool


@dataclass(frozen=True)
class Plan:
    """What to run.

    Attributes:
        bundle: whose model.
        cases: streamed once.
        count: how many cases there are, for progress.
        over: whether they are the evaluation set or the golden samples.
        timing: how to time.
        example: inputs for timing and memory, one sample.
        float32: the float32 model of the same format, or None where it is not here.
        timeout_s: limit of one job.
    """

    bundle: Bundle
    cases: Iterable[Case]
    count: int
    over: Literal["evaluation", "golden"]
    timing: Timing
    example: Arrays
    float32: Path | None
    timeout_s: float = 900.0


def verify_on(device: Device, runtime: str, plan: Plan, progress: Progress) -> tuple[Run, list[np.ndarray]]:
    """Run the plan on one device.

    Returns:
        The run, with ``error`` set where the runtime failed, and each case's class scores, for comparing devices.
    """
    about = device.describe()
    module = module_of(runtime)
    needs = needs_of(module)
    evaluated = about.name == _HERE and needs is not None and needs.evaluated
    run = Run(
        runtime=runtime,
        runtime_version="",
        device=about.name,
        machine=about.machine,
        cpu=about.cpu,
        evidence="emulated" if evaluated else about.evidence,
        stand_in="evaluator" if evaluated else None,  # which says more of itself unless it fails
    )
    try:
        with progress.stage(f"running {runtime} on {about.name}", plan.count) as stage:
            outcome = _compare(device, module, plan, stage)
        latency = None
        timed = about.timed and outcome.last.stand_in is None
        if timed and plan.float32 is not None:
            with progress.stage(f"timing against float32 on {about.name}"):
                latency = _time(device, module, plan, plan.float32)
    except RunFailed as failure:
        log = f"\n{failure.log}" if failure.log else ""
        return _with(run, error=f"{failure.what}{log}"), []
    last = outcome.last
    run = _with(run, parity=outcome.parity, accuracy=outcome.accuracy, latency_ms=latency)
    run = _with(run, runtime_version=last.version, machine=last.machine, peak_memory_bytes=outcome.peak)
    run = _with(run, delegate=last.delegate, arena_bytes=last.arena_bytes, findings=outcome.findings)
    if last.stand_in is not None:
        run = _with(run, stand_in=last.stand_in, evidence="emulated", peak_memory_bytes=None)
    return run, outcome.firsts


@dataclass
class _Outcome:
    parity: Parity
    accuracy: Accuracy | None
    last: JobResult
    peak: int | None
    firsts: list[np.ndarray]
    findings: tuple[Finding, ...] | None


def _compare(device: Device, module: str, plan: Plan, stage: Stage) -> _Outcome:
    manifest, signature = plan.bundle.manifest, plan.bundle.signature
    parity = TokenParityMeter() if manifest.task == "generation" else ParityMeter(manifest.task == "classification")
    decoder = driver(plan.bundle)
    meter = METERS[manifest.task](manifest.labels)
    peaks: list[int] = []
    findings: list[Finding] = []
    firsts: list[np.ndarray] = []
    result: JobResult | None = None
    done, scored = 0, False
    for cases in _jobs(plan.cases):
        with job_folder() as folder:
            job = Job(
                runtime=module,
                models=(plan.bundle.model_path,),
                inputs=[case.inputs for case in cases],
                mode="outputs" if decoder is None else "score",
                threads=plan.timing.threads,
                timeout_s=plan.timeout_s,
                decoder=decoder,
            )
            result = device.run(job, folder, lambda count, base=done: stage.at(base + count))  # type: ignore[misc]
            if result.samples != len(cases):
                raise RunFailed(f"the runner answered {result.samples} samples for {len(cases)}")
            for case, answered in zip(cases, result.outputs, strict=True):
                outputs = dequantize(answered, signature)
                if case.reference is not None:
                    _check_outputs(case.sample.name, case.reference, outputs)
                    parity.add(case.reference, outputs)
                if case.scored:
                    scored = True
                    meter.add(case.sample, case.reference, outputs)
                if manifest.task == "classification":
                    firsts.append(next(iter(outputs.values())))
        if result.peak_memory_bytes is not None:
            peaks.append(result.peak_memory_bytes)
        findings += result.findings or ()
        done += len(cases)
        stage.at(done)
    if result is None:
        raise RunFailed("there was no sample to run")
    accuracy = meter.result() if scored else None
    found = None if result.findings is None else _together(findings)
    return _Outcome(parity.result(plan.over), accuracy, result, max(peaks, default=None), firsts, found)


def driver(bundle: Bundle) -> dict[str, Any] | None:
    """How the runner drives the bundle's model, if it is a decoder."""
    decoder = bundle.manifest.decoder
    return None if decoder is None else to_runner(decoder, bundle.signature)


def _together(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """One finding for each tensor and kind, with the counts of all jobs."""
    found: dict[tuple[str, str], Finding] = {}
    for finding in findings:
        key = (finding.output, finding.kind)
        before = found[key].count if key in found else 0
        found[key] = msgspec.structs.replace(finding, count=before + finding.count)
    return tuple(found.values())


@contextmanager
def job_folder() -> Iterator[Path]:
    """A folder for one job's files, gone with the block."""
    parent = Path(tempfile.gettempdir())
    with readable_disk_errors(parent), temporary_folder(parent, "edgeexport-job-") as folder:
        yield folder


def _check_outputs(sample: str, reference: Arrays, outputs: Arrays) -> None:
    for name, expected in reference.items():
        if name not in outputs or outputs[name].shape != expected.shape:
            shape = list(outputs[name].shape) if name in outputs else "missing"
            raise RunFailed(f"{sample}: output '{name}' is {shape}, the float32 source's is {list(expected.shape)}")


def _time(device: Device, module: str, plan: Plan, float32: Path) -> Latency:
    with job_folder() as folder:
        job = Job(
            runtime=module,
            models=(plan.bundle.model_path, float32),
            inputs=[plan.example],
            mode="latency",
            threads=plan.timing.threads,
            warmup=plan.timing.warmup,
            pairs=plan.timing.pairs,
            timeout_s=plan.timeout_s,
            decoder=driver(plan.bundle),
        )
        result = device.run(job, folder)
    if len(result.latency_ns) != 2 or not all(result.latency_ns):
        raise RunFailed("the runner's timings are missing")
    model, reference = result.latency_ns
    return summarize(model, reference, plan.timing.threads, result.conditions, result.energy_j)


def _jobs(cases: Iterable[Case]) -> Iterator[list[Case]]:
    """Split cases so that a job holds a bounded number of samples and bytes."""
    pending: list[Case] = []
    size = 0
    for case in cases:
        pending.append(case)
        size += sum(array.nbytes for array in case.inputs.values())
        if len(pending) >= _SAMPLES_A_JOB or size >= _BYTES_A_JOB:
            yield pending
            pending, size = [], 0
    if pending:
        yield pending


def timing_example(bundle: Bundle, inputs: Arrays, timing: Timing) -> dict[str, np.ndarray]:
    """One sample's inputs at the length that is timed, or the longest that the model takes."""
    decoder, preprocess = bundle.manifest.decoder, from_dict(bundle.manifest.preprocess)
    if decoder is not None:
        return {"input_ids": np.resize(inputs["input_ids"], (1, min(timing.length, decoder.context - 1)))}
    if not isinstance(preprocess, TokenizerPreprocess):
        return dict(inputs)
    shapes = {spec.name: spec.shape for spec in bundle.signature.inputs}
    return example_of_length(inputs, shapes, min(timing.length, preprocess.max_length), bundle.signature.lengths)


def example_of_length(
    inputs: Arrays,
    axes: Mapping[str, tuple[int | str, ...]],
    length: int,
    lengths: Mapping[str, tuple[int, ...]],
) -> dict[str, np.ndarray]:
    """Inputs of one sample, repeated or cut to ``length`` along every dynamic axis but the batch.

    Args:
        inputs: one sample, with a leading batch axis of 1.
        axes: the shape of each input in the signature.
        length: the wanted length.
        lengths: the only ones that a dimension takes; the smallest that holds ``length`` is taken, or the largest.
    """
    resized = {}
    for name, array in inputs.items():
        taken = array
        for axis, dimension in enumerate(axes[name][1:], 1):
            if isinstance(dimension, str):
                allowed = lengths.get(dimension, (length,))
                taken_length = min((other for other in allowed if other >= length), default=max(allowed))
                index = np.resize(np.arange(array.shape[axis]), taken_length)
                taken = np.take(taken, index, axis=axis)
        resized[name] = np.ascontiguousarray(taken)
    return resized


def agreement(first: list[np.ndarray], second: list[np.ndarray]) -> tuple[int, int]:
    """How many predictions of two devices are unlike, and of how many."""
    pairs = list(itertools.zip_longest(first, second))
    unlike = sum(a is None or b is None or not np.array_equal(a.argmax(-1), b.argmax(-1)) for a, b in pairs)
    return unlike, len(pairs)


def _with(run: Run, **changes: object) -> Run:
    return msgspec.structs.replace(run, **changes)
