"""One export: source → convert → package, each stage kept in the cache."""

from __future__ import annotations

import copy
import itertools
import shutil
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edgeexport import tree
from edgeexport.analysis import LintFinding
from edgeexport.artifact import (
    GOLDEN,
    Artifact,
    Bundle,
    Golden,
    Manifest,
    Reference,
    file_digest,
    write_manifest,
)
from edgeexport.cache import Cache, tool_versions
from edgeexport.calibration import RememberedFeeds
from edgeexport.decoder import prefill_feeds, text_signature
from edgeexport.disk import readable_disk_errors
from edgeexport.interface import fitted, for_source, quantize
from edgeexport.pipeline.checking import check_labels, check_sets, check_tokens
from edgeexport.pipeline.compressing import Compression, Record, Sets
from edgeexport.pipeline.linting import lint_export
from edgeexport.pipeline.meta import baseline_key, read_float32_bytes, read_meta, write_meta
from edgeexport.pipeline.opening import add_facts, open_format, open_source
from edgeexport.pipeline.packaging import check_memory, keep_references, pack_extras
from edgeexport.place import check_place, written_whole
from edgeexport.progress import Progress
from edgeexport.recipe import Recipe, read_recipe, resolve
from edgeexport.runtime_names import module_of
from edgeexport.samples import CheckedFeeds, Sample, Samples, feeds, open_samples
from edgeexport.settings import Interface
from edgeexport.signature import Signature
from edgeexport.source import SourceOptions
from edgeexport.target import Target, load_target
from edgeexport.text_features import TokenizerPreprocess
from edgeexport.token_samples import as_texts, check_ids, longest_text

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Request:
    """One export, as the user asked for it.

    Attributes:
        model: see :func:`open_source`.
        target: a shipped target's name, or a path.
        calibration, evaluation: see :mod:`edgeexport.samples`.
        train: what the recipe's stages before conversion learn from.
        label_pattern: how file names of a folder hold labels.
        recipe: a recipe file.
        flags: settings of the command line, nested.
        found: those that a search chose.
        output: the bundle's folder; default ``MODEL-TARGET-PRECISION`` here.
        options: about the source.
        use_cache: whether finished stages of earlier runs may be used, and kept for later ones.
    """

    model: str
    target: str
    calibration: Path | None = None
    evaluation: Path | None = None
    train: Path | None = None
    label_pattern: str | None = None
    recipe: Path | None = None
    flags: Mapping[str, Any] = field(default_factory=dict)
    found: Mapping[str, Any] = field(default_factory=dict)
    output: Path | None = None
    options: SourceOptions = field(default_factory=SourceOptions)
    use_cache: bool = True


class Export:
    """One export in progress: every input opened and checked, then :meth:`pack`.

    Raises:
        EdgeExportError: on construction, for anything wrong with the request that shows before converting.
    """

    def __init__(self, request: Request, progress: Progress, cache: Cache) -> None:
        self.request = request
        self.progress = progress
        self.cache = cache
        self.target: Target = load_target(request.target)
        for need in self.target.runtimes:
            module_of(need.name)
        self.recipe: Recipe = self._resolved(request.found)
        self.format = open_format(self.target.format)
        self.source = open_source(request.model, request.options)
        add_facts(self.source, self.recipe.settings.model)
        self.calibration, self.evaluation, self.train = (
            self._open(path) for path in (request.calibration, request.evaluation, request.train)
        )
        self._sets = Sets(train=self.train, calibration=self.calibration, evaluation=self.evaluation)
        check_sets(self._sets, self.source, self.recipe.settings, self.target)
        precision = self.recipe.settings.precision
        default = Path(f"{self.source.name}-{self.target.name}-{precision}")
        self.output = request.output or default
        check_place(self.output)
        self._found: dict[Hashable, dict[str, Any]] = {}
        self._stages: list[Record] = []
        self._lint: tuple[LintFinding, ...] = ()

    def with_found(self, found: Mapping[str, Any], cache: Cache | None = None) -> Export:
        """The same with settings that a search tries, its stages run; what does not depend on them is shared.

        ``cache`` is where its artifact then goes, and nothing else.
        """
        other = copy.copy(self)
        if cache is not None:
            other.cache, other.__dict__["baseline"] = cache, self.baseline
        other.request = replace(self.request, found=found)
        other.recipe = other._resolved(found)
        other.__dict__.pop("artifact", None)
        if other.recipe.settings.compress != self.recipe.settings.compress:
            other = Export(other.request, self.progress, self.cache)
            other.run_stages()
        return other

    def _resolved(self, found: Mapping[str, Any]) -> Recipe:
        table = read_recipe(self.request.recipe) if self.request.recipe else None
        return resolve(self.target, table, str(self.request.recipe or ""), self.request.flags, found)

    def pack(self) -> Bundle:
        """Run the recipe's stages, convert and write the bundle, without a report."""
        with readable_disk_errors(self.output):
            self.judge()
            self.run_stages()
            artifact = self.artifact
            check_labels(self.evaluation, self.source, artifact.signature.outputs[0])
            check_memory(artifact.signature, self.recipe.settings.limits, self.source.name, self.target.name)
            samples, origin = self._golden_set()
            with written_whole(self.output) as folder:
                tree.copy(artifact.path, folder / self.format.file_name)
                for name in self.preprocess.assets:
                    if self.source.assets is not None:
                        shutil.copyfile(self.source.assets / name, folder / name)
                count = self._write_golden(folder / GOLDEN, samples)
                reference = None
                if self.evaluation is not None:
                    reference = keep_references(folder, self.references(self.evaluation, None), self.evaluation)
                notes = pack_extras(self.target.packaging, folder, artifact, self.source.name, self.progress)
                if artifact.decoder is not None and not artifact.decoder.stop_ids:
                    notes = (*notes, "the model names no token that ends a text: it goes on up to the count asked for")
                golden = Golden(samples=count, origin=origin)
                stages = (record.note for record in self._stages)
                bundle = write_manifest(folder, self.manifest(golden, reference, (*stages, *artifact.notes, *notes)))
            return Bundle(self.output, bundle.manifest)

    def judge(self, learns: bool = False) -> None:
        """Refuse a calibration set that is unfit; see :func:`lint_export`. Stages have not been run yet."""
        given = self._sets, self.source, self.recipe.settings, self.cache, self.progress
        self._lint = lint_export(*given, learns=learns)

    def run_stages(self) -> None:
        """Make the better source that the recipe asks for."""
        settings = self.recipe.settings
        stages = Compression(
            self.cache, self.progress, self._sets, self.request.options, settings=settings, format=self.target.format
        )
        self.source = stages.run(self.source, settings.compress)
        self._stages = stages.records
        if self._stages:
            add_facts(self.source, settings.model)
        self.source = self.source.exported(settings.interface)
        check_tokens(self.source)

    @cached_property
    def preprocess(self) -> Any:
        """The bundle's preprocessing: it gives what the artifact takes."""
        if self.source.decoder is not None:
            tokenized = isinstance(self._bound, TokenizerPreprocess)
            return msgspec.structs.replace(self._bound, max_length=self._longest()) if tokenized else self._bound
        return fitted(self._bound, self.baseline.signature, self._interface)

    @property
    def _interface(self) -> Interface:
        return self.recipe.settings.interface

    @cached_property
    def _bound(self) -> Any:
        """The source's preprocessing, bound to the columns of the sets that were given."""
        spec = self.source.preprocess
        samples = self.calibration or self.evaluation
        if samples is not None and hasattr(spec, "bind"):
            return spec.bind(next(iter(samples)))
        return spec

    @cached_property
    def _preprocess_key(self) -> dict[str, Any]:
        """The preprocessing and the contents of its files, which need not be those of the source."""
        files = {}
        if self.source.assets is not None:
            files = {name: file_digest(self.source.assets / name) for name in self._bound.assets}
        return {"spec": msgspec.to_builtins(self._bound), "files": files}

    @cached_property
    def baseline(self) -> Artifact:
        """The float32 artifact, and what is known of the source once it was converted."""
        key = baseline_key(self.target.format, self.fingerprint, self._interface, self.source.decoder is not None)

        def fill(folder: Path) -> None:
            with self.progress.stage(f"exporting {self.source.name} to float32 {self.target.format}"):
                path = folder / self.format.file_name
                artifact = self.format.baseline(self.source, self._interface, path)
                write_meta(folder, artifact, self.source.float32_bytes)

        return read_meta(self.cache.make("float32", key, fill))

    @property
    def artifact_key(self) -> dict[str, Any]:
        """What decides the artifact's bytes."""
        return {
            "format": self.target.format,
            "source": self.fingerprint,
            "generates": self.source.decoder is not None,
            "recipe": self.recipe.digest(),
            "calibration": self.calibration.digest() if self.calibration else None,
            "preprocess": self._preprocess_key,
        }

    @cached_property
    def artifact(self) -> Artifact:
        """The compressed artifact."""

        def fill(folder: Path) -> None:
            baseline = self.baseline
            path = folder / self.format.file_name
            feeds = self._calibration_feeds(baseline)
            precision = self.recipe.settings.precision
            with self.progress.stage(f"quantizing to {precision}" if precision != "fp32" else "copying"):
                artifact = self.format.convert(baseline, self.recipe.settings, feeds, path)
            if feeds is not None and not feeds.used:
                note = f"the calibration set was not used: precision {precision} takes nothing from one here"
                artifact = replace(artifact, notes=(*artifact.notes, note))
            write_meta(folder, artifact, self.float32_bytes)

        return read_meta(self.cache.make("artifacts", self.artifact_key, fill))

    @cached_property
    def float32_bytes(self) -> int:
        """Bytes of the source's parameters in float32."""
        return read_float32_bytes(self.baseline.path.parent)

    @cached_property
    def fingerprint(self) -> str:
        """The source's."""
        return self.source.fingerprint()

    def references(self, samples: Samples, count: int | None) -> Path:
        """A folder with the source's float32 outputs on the first ``count`` samples, or on all."""
        total = len(samples) if count is None else min(count, len(samples))
        inputs = (arrays for _, arrays in self.fed(samples, total))
        return self._outputs(inputs, total, samples.path.name, {"samples": samples.digest()})

    def _outputs(self, inputs: Iterable[dict[str, np.ndarray]], count: int, title: str, key: Mapping[str, Any]) -> Path:
        """A folder with the source's outputs on ``count`` inputs, kept by ``key``, which says what they are."""
        from edgeexport.runtimes import tensors

        def fill(folder: Path) -> None:
            writer = tensors.Writer(str(folder))
            with self.progress.stage(f"running float32 {self.source.name} on {title}", count) as stage:
                for arrays in stage.follow(inputs):
                    writer.add(self.source.reference(self._for_source(arrays)))
            writer.close()

        complete = {
            "source": self.fingerprint,
            "generates": self.source.decoder is not None,
            "count": count,
            "preprocess": self._preprocess_key,
            "fitted": msgspec.to_builtins(self.preprocess),
            **key,
        }
        return self.cache.make("references", complete, fill)

    def fed(self, samples: Iterable[Sample], count: int | None) -> Iterator[tuple[Any, dict[str, np.ndarray]]]:
        """Samples as real numbers, as the artifact takes them but for integers that stand for such."""
        encoded = feeds(samples, self.preprocess, self._sample_signature(self.artifact), self.source.assets)
        for sample, arrays in itertools.islice(encoded, count):
            if self.source.decoder is not None:
                check_ids(sample.name, arrays["input_ids"], self.source.decoder.vocabulary)
            yield sample, arrays

    def _sample_signature(self, artifact: Artifact) -> Signature:
        """What one sample is: what the artifact takes, or a text for a language model."""
        return artifact.signature.real() if artifact.decoder is None else text_signature(artifact.decoder)

    def _open(self, path: Path | None) -> Samples | None:
        if path is None:
            return None
        samples = open_samples(path, self.request.label_pattern)
        if self.source.task != "generation":
            return samples
        return as_texts(samples, self.source.preprocess, self._longest())

    def _longest(self) -> int:
        """Tokens of a language model's sample at most."""
        return longest_text(self.source.preprocess, self._interface.context)

    def _for_source(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return for_source(arrays, self.source.signature, self.source.preprocess, self._interface)

    def _calibration_feeds(self, baseline: Artifact) -> RememberedFeeds | None:
        """The calibration set as a function that starts a checked pass over it, or None."""
        if self.calibration is None:
            return None
        samples = self.calibration
        checked = CheckedFeeds(
            samples,
            self.preprocess,
            baseline.signature if baseline.decoder is None else text_signature(baseline.decoder),
            self.source.assets,
            self.recipe.settings.calibration.minimum_samples,
        )

        def start(title: str) -> Iterator[Mapping[str, np.ndarray]]:
            with self.progress.stage(f"calibrating: {title}", len(samples)) as stage:
                for arrays in stage.follow(checked):
                    if baseline.decoder is None:
                        yield arrays
                    else:
                        check_ids(str(samples.path), arrays["input_ids"], baseline.decoder.vocabulary)
                        yield from prefill_feeds(baseline.decoder, arrays["input_ids"], baseline.signature)
            checked.finish()

        return RememberedFeeds(start, self._found)

    def _golden_set(self) -> tuple[Samples | None, Any]:
        if self.evaluation is not None:
            return self.evaluation, "evaluation"
        if self.calibration is not None:
            return self.calibration, "calibration"
        return None, "synthetic"

    def _write_golden(self, folder: Path, samples: Samples | None) -> int:
        """Write the golden inputs and the source's outputs on them; give how many."""
        from edgeexport.runtimes import tensors
        from edgeexport.synthetic import synthetic_inputs, token_count

        count = self.recipe.settings.golden_samples
        if samples is None:
            signature = self._sample_signature(self.artifact)
            inputs = synthetic_inputs(signature, self.preprocess, count, token_count(self.source))
            key = {"samples": "synthetic", "signature": signature.to_dict()}
            references = self._outputs(inputs, count, "synthetic inputs", key)
        else:
            inputs = [arrays for _, arrays in self.fed(samples, count)]
            references = self.references(samples, None if samples is self.evaluation else count)
        outputs = itertools.islice(tensors.Reader(str(references)), count)
        if self.artifact.decoder is None:
            inputs = [quantize(arrays, self.artifact.signature) for arrays in inputs]
        for name, items in (("inputs", inputs), ("outputs", outputs)):
            writer = tensors.Writer(str(folder / name))
            for item in items:
                writer.add(item)
            writer.close()
        return len(inputs)

    def manifest(self, golden: Golden, reference: Reference | None, notes: tuple[str, ...]) -> Manifest:
        """What a bundle of the artifact says of itself."""
        return Manifest(
            artifact=self.format.file_name,
            format=self.target.format,
            precision=self.artifact.precision,
            task=self.source.task,
            decoder=self.artifact.decoder,
            signature=self.artifact.signature.to_dict(),
            target=msgspec.to_builtins(self.target),
            recipe=self.recipe.to_dict(),
            preprocess=msgspec.to_builtins(self.preprocess),
            labels=self.source.labels,
            golden=golden,
            reference=reference,
            versions=tool_versions(),
            source={
                "name": self.source.name,
                "fingerprint": self.fingerprint,
                "float32_bytes": self.float32_bytes,
                **({"stages": [record.reproducible() for record in self._stages]} if self._stages else {}),
            },
            notes=notes,
            lint=self._lint,
        )
