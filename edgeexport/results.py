"""What verification found, and nothing about how it is shown. ``report.json`` is a Report, field by field."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec

from edgeexport.analysis import Divergence, LintFinding, ModuleBytes, Search
from edgeexport.disk import write_whole
from edgeexport.errors import BundleError
from edgeexport.estimate import Estimate

SCHEMA_VERSION = 1
Verdict = Literal["pass", "fail", "not run"]


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One comparison of a measured value with a limit.

    Attributes:
        name: begins with ``size_ratio``, ``artifact_bytes``, ``accuracy_drop``, ``agreement``, ``cosine_min``,
            ``latency_ratio``, ``peak_memory``, ``compatibility``, ``numerics`` or ``run``.
        measured: None where it was not run.
        limit: None where the value is reported and not judged.
        unit: ``ratio``, ``bytes``, ``share``, ``operators`` or ``""``.
        where: the device and runtime, or the part of the bundle.
        note: why it was not run, or the log of a failed run.
    """

    name: str
    measured: float | None
    limit: float | None
    unit: str
    verdict: Verdict
    where: str
    note: str = ""


class Parity(msgspec.Struct, frozen=True, kw_only=True):
    """Distance of the outputs to the float32 source's, over ``samples`` samples.

    Attributes:
        cosine_mean, cosine_min: of the flattened outputs of each sample.
        max_abs: largest absolute difference of any element; None where an output holds NaN or infinity.
        snr_db: 10·log10(Σ reference² / Σ (reference − output)²); None where that is no number: equal outputs, a
            reference of zeros, NaN or infinity.
        agreement: share of samples with the same arg max; None where the task has no classes.
        unlike: how many samples that is not; None likewise.
        over: ``evaluation`` or ``golden``.
    """

    cosine_mean: float
    cosine_min: float
    max_abs: float | None
    snr_db: float | None
    agreement: float | None
    unlike: int | None
    samples: int
    over: Literal["evaluation", "golden"]


class Accuracy(msgspec.Struct, frozen=True, kw_only=True):
    """The task's metric on the evaluation set, and the float32 source's on the same samples.

    Attributes:
        metric: ``accuracy``, ``r2``, ``cosine`` or ``perplexity``; see :mod:`edgeexport.verify.accuracy`.
        reference: None where the source's outputs on this set are not at hand.
    """

    metric: str
    value: float
    reference: float | None
    samples: int
    higher_is_better: bool = True


class Conditions(msgspec.Struct, frozen=True, kw_only=True):
    """What the board told of itself; None where it does not.

    Attributes:
        temperature_c: its hottest zone's.
        frequency_mhz: of its processors, on average.
    """

    temperature_c: float | None = None
    frequency_mhz: float | None = None


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds a sample at batch 1, timed in turn with the float32 model of the same format.

    Attributes:
        before, after: the conditions around the timing, of a device that tells any.
        energy_j, float32_energy_j: joules a sample, each model run by itself; None where the board does not count them.
    """

    p50: float
    p90: float
    float32_p50: float
    float32_p90: float
    count: int
    threads: int
    before: Conditions | None = None
    after: Conditions | None = None
    energy_j: float | None = None
    float32_energy_j: float | None = None


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Values that an operator cannot hold on the device.

    Attributes:
        operator: its type, by the format's own name.
        output: the tensor that it writes.
        kind: ``overflow`` (beyond the tensor's type) or ``nan``.
        count: of such values, over all samples.
        where: the place in the model, as far as it is known.
    """

    operator: str
    output: str
    kind: Literal["overflow", "nan"]
    count: int
    where: str


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One runtime on one device.

    Attributes:
        evidence: ``measured`` (that runtime on that hardware), ``emulated`` (that runtime under an emulated CPU, or
            what stood in for it) or ``estimated`` (a cost model).
        stand_in: what computed the outputs in the place of a runtime that this system does not have; None where the
            runtime itself did. Then there is no version of it, and evidence is ``emulated``.
        delegate: what executes the operators where a runtime has a choice, such as ``xnnpack``.
        findings: where values left a type's range, of runtimes that look for such; None of others.
        arena_bytes: of a microcontroller runtime's tensor arena, used.
        estimate: what a cost model says; then there is no parity, and evidence is ``estimated``.
        error: why there are no figures, with the end of the log.
    """

    runtime: str
    runtime_version: str
    device: str
    machine: str
    cpu: str
    evidence: Literal["measured", "emulated", "estimated"]
    parity: Parity | None = None
    accuracy: Accuracy | None = None
    latency_ms: Latency | None = None
    peak_memory_bytes: int | None = None
    stand_in: str | None = None
    delegate: str | None = None
    arena_bytes: int | None = None
    findings: tuple[Finding, ...] | None = None
    estimate: Estimate | None = None
    error: str | None = None

    @property
    def place(self) -> str:
        """Runtime and device, for a check; the name of an emulated device says already that it is one."""
        place = f"{self.runtime} on {self.device}"
        return place if self.stand_in is None else f"{place}, emulated"


class Component(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of the artifact that hold tensors of one dtype for one kind of operator."""

    name: str
    bytes: int
    dtype: str


class Size(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of the artifact, and where they sit; the components add up to ``artifact_bytes``, and so do the modules.

    Attributes:
        modules: the same bytes by module of the source; empty in reports of earlier versions.
    """

    artifact_bytes: int
    source_float32_bytes: int
    ratio: float
    components: tuple[Component, ...]
    modules: tuple[ModuleBytes, ...] = ()


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that verification found out about one bundle.

    Attributes:
        verdict: ``fail`` if a check failed, else ``incomplete`` if one with a limit was not run, else ``pass``.
        evaluation: SHA-256 of the evaluation set, or None.
        lint: what is odd about the calibration set.
        divergences: where the outputs of runs that failed parity part from float32's.
        search: how the settings were found, where a budget was given.
    """

    schema_version: int = SCHEMA_VERSION
    target: str
    model: str
    precision: str
    verdict: Literal["pass", "fail", "incomplete"]
    size: Size
    runs: tuple[Run, ...]
    checks: tuple[Check, ...]
    evaluation: str | None = None
    notes: tuple[str, ...] = ()
    lint: tuple[LintFinding, ...] = ()
    divergences: tuple[Divergence, ...] = ()
    search: Search | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain

    def write(self, path: Path) -> None:
        """Write as JSON; the file is there complete, or as it was before."""
        write_whole(path, msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n")

    @classmethod
    def read(cls, path: Path) -> Report:
        """Read what :meth:`write` wrote; unknown fields of later versions are passed over.

        Raises:
            BundleError: the file is missing or is no report.
        """
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except FileNotFoundError as error:
            raise BundleError(f"{path} is missing", "`edgeexport verify BUNDLE` writes it.") from error
        except OSError as error:
            raise BundleError(f"{path} cannot be read: {error.strerror}") from error
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            raise BundleError(f"{path} is no report: {error}") from error


def overall(checks: tuple[Check, ...]) -> Literal["pass", "fail", "incomplete"]:
    """The verdict that follows from the checks."""
    verdicts = {check.verdict for check in checks}
    if "fail" in verdicts:
        return "fail"
    return "incomplete" if "not run" in verdicts else "pass"
