"""Verification of a bundle on devices, up to the written report."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from edgeexport import tree
from edgeexport.artifact import GOLDEN, MANIFEST, REPORT, REPORT_PAGE, Bundle, digest_values, file_digest
from edgeexport.cache import Cache
from edgeexport.conversion import Format
from edgeexport.disk import readable_disk_errors, write_whole
from edgeexport.errors import BundleError, SamplesError
from edgeexport.interface import check_same_scales, quantize
from edgeexport.job import RUNTIMES_FOLDER, Device
from edgeexport.pipeline import releases
from edgeexport.pipeline.estimating import estimate
from edgeexport.pipeline.explaining import Explaining, Place
from edgeexport.pipeline.opening import open_device, open_estimator, open_format
from edgeexport.pipeline.running import run_all
from edgeexport.preprocess import from_dict
from edgeexport.progress import Progress
from edgeexport.report import html
from edgeexport.results import Check, Report, Run, Size, overall
from edgeexport.runtime_names import module_of
from edgeexport.runtimes import tensors
from edgeexport.samples import Sample, Samples, feeds
from edgeexport.settings import Settings
from edgeexport.source import LABELLED
from edgeexport.target import Target
from edgeexport.token_samples import as_texts, check_ids, longest_text
from edgeexport.verify import budget, regression, size
from edgeexport.verify.harness import Case, Plan, agreement, timing_example


@dataclass(frozen=True)
class Evaluation:
    """An evaluation set for one verification.

    Attributes:
        samples: the set.
        references: a folder with the source's outputs on it; None takes those in the bundle, if it has them.
        limit: only the first so many samples.
    """

    samples: Samples
    references: Path | None
    limit: int | None

    def __len__(self) -> int:
        return len(self.samples) if self.limit is None else min(self.limit, len(self.samples))


class Verification:
    """Verifies bundles on a list of devices.

    ``explain`` says whether layers are compared with float32; None does so where parity failed.

    Raises:
        DeviceError: on construction, for an unknown device.
        MissingRequirement: a device needs something that this machine lacks.
    """

    def __init__(self, devices: tuple[str, ...], progress: Progress, explain: bool | None = None) -> None:
        self._devices = [open_device(name) for name in devices]
        self._explain = explain
        self._progress = progress

    def require(self, target: Target) -> None:
        """Refuse what a verification for ``target`` would find missing, before a long export.

        Raises:
            MissingRequirement: a device lacks a runtime, or this machine the cost model.
            TargetError: there is no such cost model.
        """
        for device, runtime in self._places(target):
            device.check(module_of(runtime))
        if target.estimation is not None:
            open_estimator(target.estimation)

    def cached(self, bundle: Bundle, evaluation: Evaluation | None, float32: Path, cache: Cache) -> Report:
        """As :meth:`run`, or the report of an earlier run of the same bytes on the same devices and samples.

        A run that failed or was too slow is not kept: the next may find the machine in better shape.
        """
        key = {
            "bundle": file_digest(bundle.path / MANIFEST),
            "evaluation": evaluation.samples.digest() if evaluation else None,
            "limit": evaluation.limit if evaluation else None,
            "explain": self._explain,
            "devices": [asdict(device.describe()) for device in self._devices],
            "runner": digest_values({p.name: file_digest(p) for p in RUNTIMES_FOLDER.glob("*.*")}),
        }
        found = cache.find("reports", key)
        if found is not None:
            self._progress.say("verified earlier: same bytes, devices and samples (--no-cache runs it again)")
            report = _written(Report.read(found / REPORT), bundle)
            with readable_disk_errors(bundle.path):  # the first one's bytes: numbers may be written otherwise
                write_whole(bundle.report_path, (found / REPORT).read_bytes())
            return report
        report = self.run(bundle, evaluation, float32)
        slow = any(check.name == "latency_ratio" and check.verdict == "fail" for check in report.checks)
        if not slow and not any(run.error for run in report.runs):
            cache.make("reports", key, lambda folder: report.write(folder / REPORT))
        return report

    def run(
        self,
        bundle: Bundle,
        evaluation: Evaluation | None,
        float32: Path | None,
        *,
        named: bool = False,
        earlier: Report | None = None,
    ) -> Report:
        """Verify and write ``report.json`` and ``report.html`` into the bundle.

        ``named`` says that somebody chose ``float32``: then a float32 bundle is timed too, against that other model.
        What got worse since ``earlier`` fails.
        """
        target, settings = rules(bundle)
        self.require(target)
        opened = open_format(target.format)
        stored, _ = opened.inspect(bundle.model_path)
        check_same_scales(bundle.signature, stored, str(bundle.path))
        checks = list(_compatibility(opened, bundle, target))
        compared = float32 if named or bundle.manifest.precision != "fp32" else None
        places = self._places(target)

        def plan() -> Plan:
            return self._plan(bundle, evaluation, settings, compared)

        try:
            outcomes = run_all(places, plan, self._progress)
            runs = [run for run, _ in outcomes]
            judged = [list(self._judge(run, target, settings, evaluation, bundle)) for run in runs]
            ran = [Place(*place, run, found) for place, run, found in zip(places, runs, judged, strict=True)]
            explained = Explaining(bundle, float32, plan, self._progress, self._explain).run(ran)
        finally:
            for device in self._devices:
                device.close()
        predictions = [firsts for _, firsts in outcomes]
        if target.estimation is not None:
            runs.append(estimate(target.estimation, bundle, target))
            judged.append(list(self._judge(runs[-1], target, settings, evaluation, bundle)))
            predictions.append([])
        sizes = measure_size(bundle)
        checks += budget.size_checks(sizes, settings.limits)
        checks += itertools.chain.from_iterable(judged)
        checks += _between_devices(runs, predictions, settings, bundle)
        digest = evaluation.samples.digest() if evaluation else None
        if earlier is not None:
            checks += regression.compare(earlier, tuple(runs), sizes, digest)
        report = Report(
            target=target.name,
            model=str(bundle.manifest.source["name"]),
            precision=bundle.manifest.precision,
            verdict=overall(tuple(checks)),
            size=sizes,
            runs=tuple(runs),
            checks=tuple(checks),
            evaluation=digest,
            notes=(
                *bundle.manifest.notes,
                *_notes(bundle, evaluation),
                *_stand_ins(runs),
                *releases.notes(runs, target),
                *explained.notes,
            ),
            lint=bundle.manifest.lint,
            divergences=tuple(explained.divergences),
        )
        return _written(report, bundle)

    def _places(self, target: Target) -> list[tuple[Device, str]]:
        """Every runtime of the target on every device, as that device's own build of it where it has one."""
        places: list[tuple[Device, str]] = []
        for device in self._devices:
            instead = device.describe().instead
            names = dict.fromkeys(instead.get(need.name, need.name) for need in target.runtimes)
            places += [(device, name) for name in names]
        return places

    def _plan(self, bundle: Bundle, evaluation: Evaluation | None, settings: Settings, float32: Path | None) -> Plan:
        golden = list(_golden_cases(bundle))
        cases: Iterator[Case] = iter(golden)
        count = len(golden)
        over: Literal["golden", "evaluation"] = "golden"
        if evaluation is not None:
            references = _references(bundle, evaluation)
            cases = _evaluation_cases(bundle, evaluation, references)
            count, over = len(evaluation), "evaluation"
            if references is None:
                cases = itertools.chain(golden, cases)
                count, over = count + len(golden), "golden"
        example = timing_example(bundle, golden[0].inputs, settings.timing)
        return Plan(
            bundle=bundle,
            cases=cases,
            count=count,
            over=over,
            timing=settings.timing,
            example=example,
            float32=float32 if _comparable(bundle, settings) else None,
        )

    def _judge(
        self, run: Run, target: Target, settings: Settings, evaluation: Evaluation | None, bundle: Bundle
    ) -> Iterator[Check]:
        missing_accuracy = ""
        tokens = bundle.manifest.task == "generation"
        if (tokens or bundle.manifest.task in LABELLED) and run.evidence != "estimated":
            missing_accuracy = f"no {'' if tokens else 'labelled '}evaluation set was given (--evaluation)"
            if evaluation is not None:
                missing_accuracy = "the float32 source's outputs on this set are not in the bundle"
        missing_latency = ""
        if run.stand_in is not None:
            missing_latency = f"not timed: the times of an {run.stand_in} say nothing about a device"
        elif run.evidence == "measured" and bundle.manifest.precision != "fp32" and _comparable(bundle, settings):
            missing_latency = "the float32 model is not here; name it with --float32, or export again"
        yield from budget.run_checks(
            run,
            settings.limits,
            missing_accuracy=missing_accuracy,
            missing_latency=missing_latency,
            machine=target.machine,
            tokens=tokens,
        )
        yield from releases.judge(run, target)


def measure_size(bundle: Bundle) -> Size:
    """Where the bytes of the bundle's model are."""
    _, stored = open_format(bundle.manifest.format).inspect(bundle.model_path)
    return size.measure(
        tree.size(bundle.model_path),
        int(bundle.manifest.source["float32_bytes"]),
        stored,
    )


def _comparable(bundle: Bundle, settings: Settings) -> bool:
    """Whether timing against float32 is wanted and means something: both then take the same inputs."""
    integers = any(spec.scale is not None for spec in bundle.signature.inputs)
    return settings.timing.pairs > 0 and not integers


def _compatibility(opened: Format, bundle: Bundle, target: Target) -> Iterator[Check]:
    """What is known of the artifact's operators before it runs, for the lowest version of each runtime."""
    for need in target.runtimes:
        gaps = list(opened.gaps(bundle.model_path, need.name, need.minimum))
        yield Check(
            name="compatibility",
            measured=float(len(gaps)),
            limit=0.0,
            unit="operators",
            verdict="fail" if gaps else "pass",
            where=f"{need.name} {need.minimum}",
            note="; ".join(f"{gap.operator} at {gap.where}: {gap.what}" for gap in gaps),
        )


def rules(bundle: Bundle) -> tuple[Target, Settings]:
    """The target and the settings that the manifest carries."""
    manifest = bundle.manifest
    try:
        return msgspec.convert(manifest.target, Target), msgspec.convert(manifest.recipe.get("settings"), Settings)
    except msgspec.ValidationError as error:
        raise BundleError(
            f"{bundle.path / MANIFEST}: target or recipe is not one that this version reads: {error}",
            "Export it again.",
        ) from error


def _read_tensors(folder: Path) -> tensors.Reader:
    try:
        return tensors.Reader(str(folder))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{folder} is not a tensor stream: {error}", "Export the bundle again.") from error


def _golden_cases(bundle: Bundle) -> Iterator[Case]:
    inputs = _read_tensors(bundle.path / GOLDEN / "inputs")
    outputs = _read_tensors(bundle.path / GOLDEN / "outputs")
    if len(inputs) != len(outputs) or not len(inputs):
        raise BundleError(f"{bundle.path / GOLDEN} has {len(inputs)} inputs and {len(outputs)} outputs")
    for number, (feed, reference) in enumerate(zip(inputs, outputs, strict=True), 1):
        yield Case(Sample(f"golden sample {number}", {}), feed, reference, scored=False)


def _references(bundle: Bundle, evaluation: Evaluation) -> Path | None:
    if evaluation.references is not None:
        return evaluation.references
    kept = bundle.manifest.reference
    if kept is not None and kept.digest == evaluation.samples.digest():
        return bundle.path / kept.folder
    return None


def _evaluation_cases(bundle: Bundle, evaluation: Evaluation, references: Path | None) -> Iterator[Case]:
    samples = evaluation.samples
    scored = bundle.manifest.task != "generic"
    if bundle.manifest.task in LABELLED and not samples.labelled:
        raise SamplesError(
            f"the evaluation set {samples.path} has samples without a label", "Give every sample a 'label'."
        )
    preprocess = from_dict(bundle.manifest.preprocess)
    decoder = bundle.manifest.decoder
    if decoder is not None:
        samples = as_texts(samples, preprocess, longest_text(preprocess, decoder.context))
    encoded = feeds(samples, preprocess, bundle.sample_signature, bundle.path)
    outputs = itertools.repeat(None) if references is None else _read_tensors(references)
    if isinstance(outputs, tensors.Reader) and len(outputs) != len(samples):
        raise BundleError(f"{references} has {len(outputs)} outputs for {len(samples)} samples", "Export it again.")
    pairs = zip(encoded, outputs, strict=False)
    for (sample, inputs), reference in itertools.islice(pairs, evaluation.limit):
        if decoder is not None:
            check_ids(sample.name, inputs["input_ids"], decoder.vocabulary)
        given = inputs if decoder is not None else quantize(inputs, bundle.signature)
        yield Case(sample, given, reference, scored)


def _between_devices(
    runs: list[Run], predictions: list[list[np.ndarray]], settings: Settings, bundle: Bundle
) -> Iterator[Check]:
    """Whether later devices predict what the first does."""
    if bundle.manifest.task != "classification":
        return
    for run, later in zip(runs[1:], predictions[1:], strict=True):
        if run.error is None and runs[0].error is None and run.estimate is None:
            unlike, count = agreement(predictions[0], later)
            yield budget.judge(
                "agreement_between_devices",
                1 - unlike / count,
                settings.limits.agreement,
                "share",
                f"{run.place} and {runs[0].place}",
                at_least=True,
                note=f"{unlike} of {count} unlike",
            )


def _notes(bundle: Bundle, evaluation: Evaluation | None) -> Iterator[str]:
    if evaluation is None:
        yield f"parity over {bundle.manifest.golden.samples} golden samples ({bundle.manifest.golden.origin})"
    elif len(evaluation) < len(evaluation.samples):
        yield f"the first {len(evaluation)} of {len(evaluation.samples)} evaluation samples"


def _stand_ins(runs: list[Run]) -> Iterator[str]:
    for run in runs:
        if run.stand_in is not None and run.error is None:
            yield (
                f"{run.place}: {run.runtime} itself does not run on this system. The outputs are those of an "
                f"{run.stand_in}; it was not timed, for its times say nothing about a device"
            )


def _written(report: Report, bundle: Bundle) -> Report:
    """The report, as JSON and as a page in the bundle."""
    page = html.render(report, bundle.manifest).encode()
    with readable_disk_errors(bundle.path):
        report.write(bundle.report_path)
        write_whole(bundle.path / REPORT_PAGE, page)
    return report
