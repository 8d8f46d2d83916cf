"""A job for the runner: what goes to a device, and what comes back."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec
import numpy as np

from edgeexport.errors import MissingRequirement, RunFailed
from edgeexport.results import Conditions, Finding
from edgeexport.runtimes import tensors

RUNTIMES_FOLDER = Path(tensors.__file__).parent
RUNNER = RUNTIMES_FOLDER / "runner.py"
_LOG_CHARACTERS = 4000
_LEAST_FREE = 1 << 16

Evidence = Literal["measured", "emulated", "estimated"]
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Job:
    """Run models on inputs.

    Attributes:
        runtime: module name in :mod:`edgeexport.runtimes`.
        models: artifact paths; ``latency`` times all of them in turn, ``outputs`` runs the first.
        inputs: samples, each a dict of arrays with a leading batch axis.
        mode: ``outputs`` or ``latency``; of a language model also ``score`` and ``generate``, whose samples are
            ``input_ids``.
        threads: intra-op threads.
        warmup: untimed repetitions.
        pairs: timed repetitions.
        timeout_s: after this many seconds the run is stopped and has failed.
        decoder: how a language model is driven; see :func:`edgeexport.decoder.to_runner`.
        sampling: of ``generate``; see :mod:`edgeexport.runtimes.runner`.
        heard: gets each token of ``generate`` as it is chosen.
    """

    runtime: str
    models: tuple[Path, ...]
    inputs: Iterable[Mapping[str, np.ndarray]]
    mode: Literal["outputs", "latency", "score", "generate"] = "outputs"
    threads: int = 1
    warmup: int = 0
    pairs: int = 0
    timeout_s: float = 600.0
    decoder: Mapping[str, Any] | None = None
    sampling: Mapping[str, Any] | None = None
    heard: Progress | None = None

    def listener(self, progress: Progress | None) -> Callable[[bytes], None]:
        """What takes the lines that the runner prints."""
        told = {b"progress": progress, b"token": self.heard}

        def take(line: bytes) -> None:
            word, _, count = line.partition(b" ")
            tell = told.get(word)
            if tell is not None and count.strip().isdigit():
                tell(int(count))

        return take


@dataclass(frozen=True)
class JobResult:
    """What the runner answered.

    Attributes:
        runtime: its public name, such as ``onnxruntime``.
        version: its version there; empty where something stood in for it.
        machine: what ``uname -m`` prints there.
        samples: how many samples it ran.
        outputs: one dict of arrays a sample, read from the job's folder as it is iterated.
        latency_ns: one list a model, in the order of ``Job.models``.
        peak_memory_bytes: of the runner's process, interpreter included; None where it cannot be known.
        stand_in: what ran the models in the place of a runtime that the system does not have: such results are
            ``emulated`` wherever they were computed, and neither their times nor their memory mean anything.
        delegate: who has the first model's operators, of a runtime with a choice: ``xnnpack`` or ``none`` of
            TensorFlow Lite.
        arena_bytes: of the first model's arena in use, of a runtime that plans its memory in one.
        findings: where values of the first model left a type's range; None of a runtime that does not look.
        conditions: before and after a timing; empty of other jobs.
        energy_j: joules a sample of each model that was timed; empty where the device does not count them.
    """

    runtime: str
    version: str
    machine: str
    samples: int
    outputs: Iterable[dict[str, np.ndarray]]
    latency_ns: tuple[tuple[int, ...], ...]
    peak_memory_bytes: int | None
    stand_in: str | None = None
    delegate: str | None = None
    arena_bytes: int | None = None
    findings: tuple[Finding, ...] | None = None
    conditions: tuple[Conditions, ...] = ()
    energy_j: tuple[float, ...] = ()


@dataclass(frozen=True)
class DeviceInfo:
    """What a device says of itself.

    Attributes:
        name: as the user named it, such as ``local`` or ``emulated:raspberry-pi-4``.
        machine: its processor architecture.
        cpu: a model name for people.
        evidence: how far its results count.
        timed: whether its latencies mean anything.
        instead: the runtimes that it has its own builds of, with these in their place; both by public names, such as
            ``{"onnxruntime": "onnxruntime-web"}``.
        elsewhere: whether it computes on another machine's processor, and may do so while others compute.
    """

    name: str
    machine: str
    cpu: str
    evidence: Evidence
    timed: bool
    instead: Mapping[str, str] = field(default_factory=dict)
    elsewhere: bool = False


class Device(Protocol):
    """Somewhere a runner can be started."""

    def run(self, job: Job, folder: Path, progress: Progress | None = None) -> JobResult:
        """Run a job, with ``folder`` (empty, the caller's) for its files.

        Raises:
            RunFailed: the runtime crashed, hung or ran out of memory.
        """

    def check(self, runtime: str) -> None:
        """See that the device has what a runtime needs; quick, to be asked before work whose result would run there.

        Args:
            runtime: module name in :mod:`edgeexport.runtimes`.

        Raises:
            MissingRequirement: it lacks something; the hint says what provides it.
            DeviceError: the runtime does not exist for that device.
        """

    def describe(self) -> DeviceInfo:
        """What the device is."""

    def close(self) -> None:
        """Let go of connections and temporary files."""


def write_inputs(job: Job, folder: Path) -> None:
    """Write the job's inputs to ``folder``."""
    writer = tensors.Writer(str(folder / "inputs"))
    for sample in job.inputs:
        writer.add(sample)
    writer.close()


def write_job(job: Job, folder: Path) -> None:
    """Write the job's description and inputs to ``folder``."""
    write_inputs(job, folder)
    description = {
        "runtime": job.runtime,
        "mode": job.mode,
        "models": [str(path.resolve()) for path in job.models],
        "threads": job.threads,
        "warmup": job.warmup,
        "pairs": job.pairs,
        **({} if job.decoder is None else {"decoder": dict(job.decoder)}),
        **({} if job.sampling is None else {"sampling": dict(job.sampling)}),
    }
    (folder / "job.json").write_text(json.dumps(description))


def run_command(
    command: Sequence[str],
    folder: Path,
    timeout_s: float,
    environment: Mapping[str, str] | None = None,
    listener: Callable[[bytes], None] = lambda _line: None,
) -> JobResult:
    """Start a runner by ``command``, wait for it and read its result from ``folder``.

    ``listener`` gets the lines that it prints.

    Raises:
        RunFailed: with the exit status or signal, and the end of the log.
        MissingRequirement: this machine's disk had no room for the outputs.
    """
    log = folder / "log.txt"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=environment,
            start_new_session=True,
        )
        timed_out = _watch(process, timeout_s, listener)
    text = log.read_bytes()[-_LOG_CHARACTERS:].decode(errors="replace").strip()
    if timed_out:
        raise RunFailed(f"the runtime did not finish within {timeout_s:g} s and was stopped", text)
    if process.returncode != 0:
        if shutil.disk_usage(folder).free < _LEAST_FREE:  # not from the log: there may have been no room for one
            raise MissingRequirement(
                f"the disk is full: a model's outputs could not be written to {folder.parent}",
                "Free some space, or name a folder on another disk with TMPDIR.",
            )
        raise RunFailed(_describe_exit(process.returncode), text)
    return read_result(folder, text)


def read_result(folder: Path, log: str = "") -> JobResult:
    """Read what a runner left in ``folder``.

    Args:
        folder: the job's.
        log: the end of what the runner printed, for the message.

    Raises:
        RunFailed: the result is missing, malformed, or has another number of samples than of outputs.
    """
    try:
        result: dict[str, Any] = json.loads((folder / "result.json").read_text())
        outputs: Any = ()
        if (folder / "outputs").is_dir():
            outputs = tensors.Reader(str(folder / "outputs"))
            if len(outputs) != result["samples"]:
                raise ValueError(f"{result['samples']} samples and {len(outputs)} outputs")
        return JobResult(
            runtime=str(result["runtime"]),
            version=str(result["version"]),
            machine=str(result["machine"]),
            samples=int(result["samples"]),
            outputs=outputs,
            latency_ns=tuple(tuple(int(value) for value in times) for times in result["latency_ns"]),
            peak_memory_bytes=result["peak_memory_bytes"],
            stand_in=None if result.get("stand_in") is None else str(result["stand_in"]),
            delegate=None if result.get("delegate") is None else str(result["delegate"]),
            arena_bytes=None if result.get("arena_bytes") is None else int(result["arena_bytes"]),
            findings=msgspec.convert(result.get("findings"), tuple[Finding, ...] | None),
            conditions=msgspec.convert(result.get("conditions") or (), tuple[Conditions, ...]),
            energy_j=tuple(float(value) for value in result.get("energy_j") or ()),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunFailed(f"the runner's result is missing or malformed: {error}", log) from error


def _watch(process: subprocess.Popen[bytes], timeout_s: float, listener: Callable[[bytes], None]) -> bool:
    """Pass on lines until the process ends; kill its group at the limit. True if it was killed."""
    killed = threading.Event()

    def kill() -> None:
        killed.set()
        os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(timeout_s, kill)
    timer.start()
    try:
        assert process.stdout is not None
        for line in process.stdout:
            listener(line)
        process.wait()
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    finally:
        timer.cancel()
    return killed.is_set()


def _describe_exit(status: int) -> str:
    if status >= 0:
        return f"the runtime failed (exit status {status})"
    name = signal.Signals(-status).name
    remark = ", often a sign of too little memory" if name == "SIGKILL" else ""
    return f"the runtime crashed ({name}{remark})"
