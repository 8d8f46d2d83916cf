"""What explains a report: where the bytes sit, where outputs diverge, what a search tried, what is odd in a set.

Each is found by a part of its own; :class:`edgeexport.results.Report` carries them and pages show them.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class ModuleBytes(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of the artifact that belong to one module of the source and are stored as one dtype.

    Attributes:
        path: the module in the source, such as ``bert.encoder.layer.0.output.dense``; empty where bytes belong to no
            module, as the file's own structure does.
        what: ``weight``, ``scale`` (scales and zero points), ``constant``, ``structure`` (names, operators, shapes,
            padding) or what else a format stores.
        dtype: as stored; empty for structure.
        bytes: of the file.
    """

    path: str
    what: str
    dtype: str
    bytes: int


class LayerError(msgspec.Struct, frozen=True, kw_only=True):
    """How far one layer's output is from the float32 model's.

    Attributes:
        path: the module in the source where that is known, else the operator's name.
        operator: by the format's own name.
        snr_db: 10·log10(Σ reference² / Σ (reference − output)²); None where that is no number: equal values, a
            reference of zeros, NaN or infinity.
        channel_snr_db: the same of the median channel: half of them are below. It is far under ``snr_db`` where a few
            channels are much larger than the others and have the steps to themselves.
        finite: whether every value of the output is a number.
        clipped: share of the float32 values beyond what the quantized output's range holds; None of float outputs.
        low, high: the float32 output's range.
        samples: that it was taken over.
        reads: places of the layers that it is computed from, among the divergence's; empty of what reads inputs alone.
    """

    path: str
    operator: str
    snr_db: float | None
    clipped: float | None
    low: float
    high: float
    samples: int
    channel_snr_db: float | None = None
    finite: bool = True
    reads: tuple[int, ...] = ()


class Divergence(msgspec.Struct, frozen=True, kw_only=True):
    """Where float32 and quantized outputs part on one runtime.

    Attributes:
        runtime, device: as of the run.
        evidence: as of the run.
        layers: in the order of execution.
        worst: paths of the first layers where it happens, in the order of execution: those that lose most against what
            they read; see :mod:`edgeexport.verify.divergence`. Empty where none loses more than what it reads.
    """

    runtime: str
    device: str
    evidence: Literal["measured", "emulated"]
    layers: tuple[LayerError, ...]
    worst: tuple[str, ...]


class LintFinding(msgspec.Struct, frozen=True, kw_only=True):
    """Something about a calibration set.

    Attributes:
        rule: its name, such as ``duplicate-samples``.
        level: an ``error`` stops an export, a ``warning`` is in its report.
        evidence: what was seen, in numbers.
        remedy: what to do.
    """

    rule: str
    level: Literal["error", "warning"]
    evidence: str
    remedy: str


class Budget(msgspec.Struct, frozen=True, kw_only=True):
    """What a search may lose. None is no bound.

    Attributes:
        drop: of the task's metric, as a share (0.005 is half a point); for a metric that is better lower, the share by
            which it may rise.
        bytes: of the artifact.
        latency_ratio: to float32, same format and runtime, timed in turn.
    """

    drop: float | None = None
    bytes: int | None = None
    latency_ratio: float | None = None


class Sensitivity(msgspec.Struct, frozen=True, kw_only=True):
    """What quantizing one layer alone does to the model's outputs.

    Attributes:
        layer: its name in the format, which overrides match.
        path: the module in the source where that is known, else the same name.
        precision: that it alone had.
        snr_db: of the model's outputs to the float32 source's; None where nothing changed.
        unlike: predictions unlike float32's, of ``samples``; None where the task has no classes.
        samples: that it was taken over.
        bytes: of its weights, in that precision.
        macs: share of the model's multiplications that are its own, 0 to 1.
    """

    layer: str
    path: str
    precision: str
    snr_db: float | None
    unlike: int | None
    samples: int
    bytes: int
    macs: float


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One setting that a search tried on the real runtime.

    Attributes:
        number: from 1, in the order of trying.
        title: what distinguishes it, in a few words.
        settings: flags beside the target's, the recipe's and the user's, as nested plain values.
        evaluated: whether it was run on the whole choosing part; else only on ``samples`` of it.
        samples: that its figures are over.
        artifact_bytes: of the model.
        size_ratio: over the source's float32 parameters.
        latency_ratio: None where it was not timed.
        drop: as in :class:`Budget`; None where the task has no metric.
        unlike: predictions unlike float32's; None where the task has no classes.
        snr_db: of the outputs to the float32 source's.
        kept: whether it keeps the budget; None where it was not evaluated.
        note: why it failed to run or was passed over.
    """

    number: int
    title: str
    settings: dict[str, Any]
    evaluated: bool
    samples: int
    artifact_bytes: int | None = None
    size_ratio: float | None = None
    latency_ratio: float | None = None
    drop: float | None = None
    unlike: int | None = None
    snr_db: float | None = None
    kept: bool | None = None
    note: str = ""


class Search(msgspec.Struct, frozen=True, kw_only=True):
    """A search for settings that keep a budget.

    Attributes:
        budget: what was asked for.
        metric: that drops are of.
        runtime, device: where trials ran.
        evidence: as of a run.
        seed: of the split of the evaluation set.
        choosing: samples that chose.
        scoring: the others, which judged the choice once.
        trials: all, in order.
        chosen: the trial whose settings the bundle has.
        score: the chosen trial's figures over the scoring part; None where there was none to score on.
        met: whether the budget is kept, over the scoring part.
        sensitivities: of the layers, as far as they were taken.
        evaluations: of models on the whole choosing or scoring part.
        stopped: why the search ended, in a sentence.
    """

    budget: Budget
    metric: str
    runtime: str
    device: str
    evidence: Literal["measured", "emulated"]
    seed: int
    choosing: int
    scoring: int
    trials: tuple[Trial, ...]
    chosen: int
    score: Trial | None
    met: bool
    sensitivities: tuple[Sensitivity, ...]
    evaluations: int
    stopped: str
