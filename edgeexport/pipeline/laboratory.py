"""Where a search tries settings: artifacts out of the cache, run on a device; see :mod:`edgeexport.search`."""

from __future__ import annotations

import contextlib
import itertools
import math
import random
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from edgeexport import tree
from edgeexport.analysis import Trial
from edgeexport.artifact import Bundle, Golden, digest_values, file_digest
from edgeexport.cache import opened_cache
from edgeexport.conversion import Layer
from edgeexport.errors import ConversionError, ModelError, RecipeError, SamplesError
from edgeexport.interface import quantize
from edgeexport.job import RUNTIMES_FOLDER
from edgeexport.merge import merge
from edgeexport.pipeline.exporting import Export
from edgeexport.pipeline.opening import open_device
from edgeexport.progress import Progress
from edgeexport.recipe import Recipe
from edgeexport.results import Check, Run
from edgeexport.runtime_names import module_of, needs_of
from edgeexport.runtimes import tensors
from edgeexport.search import space
from edgeexport.search.measures import Bounds
from edgeexport.settings import Settings, Timing
from edgeexport.verify import budget as budgets
from edgeexport.verify import size
from edgeexport.verify.harness import Case, Plan, timing_example, verify_on

SEED = 0
_SCREENED = 64
_ALONE = 24
_LEAST = 32
_TRIED = "trial.json"
_PROMISES = ("size_ratio", "latency_ratio")


def split(samples: int, seed: int, limit: int | None = None) -> tuple[list[int], list[int]]:
    """Numbers of the choosing and of the scoring samples, each in ascending order: halves, drawn at random.

    Args:
        samples: how many there are.
        seed: of the draw.
        limit: take only the first so many.

    Raises:
        RecipeError: too few samples for either part to say anything.
    """
    count = samples if limit is None else min(limit, samples)
    if count < 2 * _LEAST:
        raise RecipeError(
            f"a budget needs an evaluation set of {2 * _LEAST} samples, and it has {count}: one half chooses "
            "the settings, the other scores them",
            "Give more with --evaluation." if count == samples else "Give more with --limit, or leave it out.",
        )
    order = random.Random(seed).sample(range(count), count)
    return sorted(order[: count // 2]), sorted(order[count // 2 :])


class _Tried(msgspec.Struct, frozen=True):
    """What is kept of a trial: the run, and the artifact's bytes."""

    run: Run
    bytes: int


@dataclass
class Laboratory:
    """See :class:`edgeexport.search.strategy.Laboratory`.

    Args:
        export: opened, its stages run.
        device_name: where trials run.
        progress: told of every stage.
        limit: only the first so many samples are used.

    Attributes:
        metric: that drops are of, once something was run.
        evidence: of the runs, likewise.
    """

    export: Export
    device_name: str
    progress: Progress
    limit: int | None = None
    metric: str = ""
    evidence: Any = "measured"
    _derived: dict[str, Export] = field(default_factory=dict)
    _staged: dict[str, Export] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.device = open_device(self.device_name)
        self.about = self.device.describe()
        name = self.export.target.runtimes[0].name
        self.runtime = self.about.instead.get(name, name)
        assert self.export.evaluation is not None
        self.samples = self.export.evaluation
        self.choosing, self.scoring = split(len(self.samples), SEED, self.limit)
        drawn = random.Random(SEED).sample(self.choosing, min(_SCREENED, len(self.choosing)))
        self._few = sorted(drawn)
        self._fewer = sorted(drawn[:_ALONE])

    @cached_property
    def _references(self) -> Path:
        return self.export.references(self.samples, self.limit)

    @property
    def timed(self) -> bool:
        """Whether trials are timed against float32."""
        settings, needs = self.export.recipe.settings, needs_of(module_of(self.runtime))
        evaluated = self.device_name == "local" and needs is not None and needs.evaluated
        whole = settings.quantization.io_type == "float32"
        return self.about.timed and not evaluated and whole and settings.timing.pairs > 0

    def variations(self, flags: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        """See the protocol."""
        recipe = self._with(flags).recipe
        return space.variations(self.export.format.knobs, msgspec.to_builtins(recipe.settings), recipe.origins)

    def bounds(self, flags: Mapping[str, Any]) -> Bounds:
        """See the protocol."""
        export = self._with(flags)
        limits = export.recipe.settings.limits
        ratio = None if limits.size_ratio is None else limits.size_ratio * export.float32_bytes
        sizes = {"limits.size_ratio": ratio, "limits.artifact_bytes": limits.artifact_bytes}
        known = {key: float(bound) for key, bound in sizes.items() if bound is not None}
        tightest = min(known, key=lambda key: known[key], default="")
        drop = limits.accuracy_drop
        if export.source.task == "generation":
            drop = None if limits.perplexity_ratio is None else limits.perplexity_ratio - 1
        return Bounds(
            known.get(tightest),
            limits.latency_ratio if self.timed else None,
            drop,
            _set_by(export, tightest),
            _set_by(export, "limits.latency_ratio"),
        )

    def layers(self, flags: Mapping[str, Any]) -> list[Layer]:
        """See the protocol."""
        export = self._with(flags)
        return list(export.format.layers(export.baseline, export.recipe.settings))

    def overrides(
        self, flags: Mapping[str, Any], precisions: Mapping[str, str], units: list[space.Unit]
    ) -> dict[str, Any]:
        """See the protocol."""
        names: dict[str, list[str]] = {}
        for unit in units:
            if unit.path in precisions:
                for override in unit.overrides(precisions[unit.path], flags["precision"]):
                    names.setdefault(override["precision"], []).append(override["name"])
        return self._overridden(flags, [{"precision": kind, "name": "|".join(each)} for kind, each in names.items()])

    def _overridden(self, flags: Mapping[str, Any], added: list[dict[str, str]]) -> dict[str, Any]:
        own = msgspec.to_builtins(self._with(flags).recipe.settings.overrides)
        return {**flags, "overrides": [*own, *added]}

    def screened(self, flags: Mapping[str, Any], timed: bool) -> Trial:
        """See the protocol. A latency beyond its limit is taken twice more, and the median counts."""
        trial = self._try(flags, self._few, timed=timed)
        limit = self._with(flags).recipe.settings.limits.latency_ratio if trial.artifact_bytes is not None else None
        if limit is None or trial.latency_ratio is None or trial.latency_ratio <= limit:
            return trial
        more = (self._tried(flags, self._few[:1], timed=True, attempt=attempt).run for attempt in (1, 2))
        ratios = [trial.latency_ratio, *(_ratio(run) or math.inf for run in more)]
        return msgspec.structs.replace(trial, latency_ratio=statistics.median(ratios))

    def alone(self, flags: Mapping[str, Any], unit: space.Unit, precision: str) -> Trial:
        """See the protocol."""
        added = [{"precision": "fp32", "name": unit.others()}]
        if precision != flags["precision"]:
            added += unit.overrides(precision, flags["precision"])
        return self._try(self._overridden(flags, added), self._fewer, timed=False, keep=False)

    def evaluated(self, flags: Mapping[str, Any], screened: Trial) -> Trial:
        """See the protocol."""
        return self._judged(flags, screened, self.choosing)

    def scored(self, chosen: Trial) -> Trial:
        """The chosen settings on the samples that chose nothing."""
        trial = self._judged(chosen.settings, chosen, self.scoring)
        return msgspec.structs.replace(trial, number=chosen.number, title=chosen.title)

    def hopeless(self, screened: Trial) -> str:
        """See the protocol; a drop on few samples counts where it is beyond the limit by two standard errors."""
        settings = self._with(screened.settings).recipe.settings
        limit = settings.limits.accuracy_drop
        if limit is not None and screened.drop is not None and screened.unlike is not None:
            error = (screened.unlike + 1) ** 0.5 / screened.samples
            if screened.drop - 2 * error > limit:
                return f"{screened.unlike} of {screened.samples} samples are unlike float32 already"
        return ""

    def _judged(self, flags: Mapping[str, Any], screened: Trial, numbers: Sequence[int]) -> Trial:
        """The settings on a part of the evaluation set, held to every limit; the latency is the screened one."""
        trial = self._try(flags, numbers, timed=False)
        if trial.artifact_bytes is None:
            return msgspec.structs.replace(trial, evaluated=True, kept=False)
        settings = self._with(flags).recipe.settings
        broken = [check for check in self._checks(flags, numbers) if check.verdict == "fail"]
        limit = settings.limits.latency_ratio
        slow = limit is not None and screened.latency_ratio is not None and screened.latency_ratio > limit
        names = [check.name for check in broken] + (["latency_ratio"] if slow else [])
        note = f"breaks the limit of {', '.join(names)}" if names else ""
        if trial.drop is None and not names:
            note = f"the metric is no number over these {len(numbers)} samples"
        return msgspec.structs.replace(
            trial, evaluated=True, latency_ratio=screened.latency_ratio, kept=not note, note=note
        )

    def _checks(self, flags: Mapping[str, Any], numbers: Sequence[int]) -> list[Check]:
        export = self._with(flags)
        limits, tried = export.recipe.settings.limits, self._tried(flags, numbers, timed=False)
        whole = size.measure(tried.bytes, export.float32_bytes, ())
        tokens = export.source.task == "generation"
        return [*budgets.size_checks(whole, limits), *budgets.run_checks(tried.run, limits, tokens=tokens)]

    def _try(self, flags: Mapping[str, Any], numbers: Sequence[int], timed: bool, keep: bool = True) -> Trial:
        """The settings on some samples; what cannot be converted or run is a trial with a note."""
        trial = Trial(number=0, title="", settings=dict(flags), evaluated=False, samples=len(numbers))
        try:
            export = self._with(flags)
            tried = self._tried(flags, numbers, timed, keep=keep)
        except (RecipeError, ConversionError, ModelError, SamplesError) as error:
            return msgspec.structs.replace(trial, note=str(error))
        run, parity = tried.run, tried.run.parity
        if run.error is not None or parity is None or parity.max_abs is None:
            return msgspec.structs.replace(trial, note=run.error or "its outputs are not finite")
        self.evidence = run.evidence
        return msgspec.structs.replace(
            trial,
            artifact_bytes=tried.bytes,
            size_ratio=tried.bytes / export.float32_bytes,
            latency_ratio=_ratio(run),
            drop=self._drop(run),
            unlike=None if export.source.task == "generation" else parity.unlike,  # tokens, and not samples
            snr_db=parity.snr_db,
        )

    def _drop(self, run: Run) -> float | None:
        if run.accuracy is None or run.accuracy.reference is None:
            return None
        self.metric = run.accuracy.metric
        value, reference = run.accuracy.value, run.accuracy.reference
        better = run.accuracy.higher_is_better
        drop = budgets.accuracy_drop(run.accuracy, reference) if better else value / reference - 1
        return drop if math.isfinite(drop) else None

    def _with(self, flags: Mapping[str, Any]) -> Export:
        """The export with more settings; what does not depend on them is shared."""
        key = digest_values(dict(flags))
        if key not in self._derived:
            # Another source is opened for other stages before conversion: once, and not for each of its settings.
            stages = digest_values({"compress": flags.get("compress")})
            base = self._staged.get(stages, self.export).with_found(flags)
            self._derived[key] = base.with_found(merge(flags, released(base.recipe)))
            self._staged.setdefault(stages, self._derived[key])
        return self._derived[key]

    def settings_of(self, chosen: Trial) -> Mapping[str, Any]:
        """What to export with, to get the model of a trial held to what it was held to here."""
        return self._with(chosen.settings).request.found

    def _tried(
        self, flags: Mapping[str, Any], numbers: Sequence[int], timed: bool, *, attempt: int = 0, keep: bool = True
    ) -> _Tried:
        """What the runtime does on some samples, or did in an earlier run of the same settings.

        Without ``keep`` the model is gone afterwards: those of single layers are many, and as large as float32.
        """
        export = self._with(flags)
        timing = export.recipe.settings.timing if timed else None
        key = {
            "artifact": export.artifact_key,
            "references": self._references.name,
            "numbers": digest_values({"numbers": list(numbers)}),
            "timing": msgspec.to_builtins(timing),
            "task": export.source.task,
            "labels": export.source.labels,
            "attempt": attempt,
            "runtime": self.runtime,
            "device": asdict(self.about),
            "runner": digest_values({p.name: file_digest(p) for p in RUNTIMES_FOLDER.glob("*.*")}),
        }
        entry = export.cache.find("trials", key)
        if entry is not None:
            return msgspec.json.decode((entry / _TRIED).read_bytes(), type=_Tried)
        with contextlib.ExitStack() as stack:
            if not keep:
                scratch = stack.enter_context(opened_cache(keep=False))
                stack.callback(self._derived.pop, digest_values(dict(flags)))
                export = export.with_found(flags, scratch)
            run, _ = verify_on(self.device, self.runtime, self._plan(export, numbers, timing), self.progress)
            tried = _Tried(run=run, bytes=tree.size(export.artifact.path))
        # Not what failed, as the next search may find the device in better shape; nor what JSON has no number for.
        if run.error is None and (run.accuracy is None or math.isfinite(run.accuracy.value)):
            content = msgspec.json.encode(tried)
            self.export.cache.make("trials", key, lambda folder: _write(folder / _TRIED, content))
        return tried

    def _plan(self, export: Export, numbers: Sequence[int], timing: Timing | None) -> Plan:
        manifest = export.manifest(Golden(samples=0, origin="evaluation"), None, ())
        bundle = Bundle(export.artifact.path.parent, manifest)
        cases = self._cases(export, bundle, numbers)
        first = next(cases)
        settings: Settings = export.recipe.settings
        return Plan(
            bundle=bundle,
            cases=itertools.chain([first], cases),
            count=len(numbers),
            over="evaluation",
            timing=settings.timing,
            example=timing_example(bundle, first.inputs, settings.timing),
            float32=None if timing is None or not self.timed else export.baseline.path,
        )

    def _cases(self, export: Export, bundle: Bundle, numbers: Sequence[int]) -> Iterator[Case]:
        chosen = set(numbers)  # samples of the other part are not even decoded
        fed = export.fed((sample for number, sample in enumerate(self.samples) if number in chosen), len(chosen))
        outputs = tensors.Reader(str(self._references))
        references = (reference for number, reference in enumerate(outputs) if number in chosen)
        for (sample, arrays), reference in zip(fed, references, strict=True):
            given = arrays if bundle.manifest.decoder is not None else quantize(arrays, bundle.signature)
            yield Case(sample, given, reference, scored=True)


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _ratio(run: Run) -> float | None:
    """Latency over float32's."""
    return None if run.latency_ms is None else run.latency_ms.p50 / run.latency_ms.float32_p50


def released(recipe: Recipe) -> dict[str, Any]:
    """The target's own limits of size and latency as settings that lift them: a budget takes their place.

    They say what one precision is good for; here several compete, and one would lose to a worse that was promised less.
    What a recipe or the command line says stays.
    """
    origins = {key: recipe.origins.get(f"limits.{key}", "default") for key in _PROMISES}
    return {"limits": {key: None for key, origin in origins.items() if origin.startswith("target")}}


def _set_by(export: Export, key: str) -> str:
    """A setting and who set it: a target's limit on one precision is not the budget that somebody asked for."""
    return f"{key} ({export.recipe.origins.get(key, 'default')})"
