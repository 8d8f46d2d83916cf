"""The calibration set, judged before anything is learnt from it; see :mod:`edgeexport.lint`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from edgeexport.analysis import LintFinding
from edgeexport.artifact import file_digest
from edgeexport.cache import Cache, opened_cache
from edgeexport.errors import ModelError
from edgeexport.lint._movement import Movement, observe
from edgeexport.lint._rule import findings, overruled, stop
from edgeexport.lint._subject import Subject
from edgeexport.lint._view import view
from edgeexport.pipeline.compressing import Sets
from edgeexport.pipeline.opening import add_facts, open_source
from edgeexport.preprocess import Preprocess
from edgeexport.progress import Progress
from edgeexport.recipe import resolve
from edgeexport.sample_files import wrong_kind
from edgeexport.samples import Samples, feeds, open_samples
from edgeexport.settings import STATIC, Interface, Settings
from edgeexport.signature import Signature, TensorSpec
from edgeexport.source import Source, SourceOptions
from edgeexport.target import load_target
from edgeexport.text_features import TokenizerPreprocess
from edgeexport.token_samples import as_texts, longest_text

_FINDINGS = "findings.json"
_TEXT = Signature((TensorSpec("input_ids", "int64", (1, "sequence")),), ())
_LEARNING = frozenset({*STATIC, "w8a8-dynamic"})
_OFF = LintFinding(
    rule="lint-off",
    level="warning",
    evidence="the calibration set was not looked at (calibration.lint=off)",
    remedy="Look at it with `edgeexport lint`.",
)


def lint_export(
    sets: Sets, source: Source, settings: Settings, cache: Cache, progress: Progress, *, learns: bool = False
) -> tuple[LintFinding, ...]:
    """What is odd about the calibration set of an export that may learn from it; nothing where none does.

    Args:
        sets: those of the export.
        source: as it was opened, before any stage.
        settings: complete.
        cache: where findings are kept.
        progress: told of them.
        learns: whether the set is learnt from whatever the settings say, as by a search through settings.

    Raises:
        LintError: it has errors that the settings do not overrule.
        RecipeError: ``calibration.ignore`` names no rule.
    """
    rules = settings.calibration
    learns |= settings.precision in _LEARNING or any(one.precision in _LEARNING for one in settings.overrides)
    if sets.calibration is None or not (learns or settings.compress):
        return ()
    if rules.lint == "off":
        return (_OFF,)
    found = overruled(_kept(sets, source, settings, cache, progress), rules)
    stop(found, str(sets.calibration.path))
    for one in found:
        progress.say(f"calibration: {one.evidence} [{one.rule}]")
    return found


@dataclass(frozen=True)
class LintRequest:
    """A set to look at by itself.

    Attributes:
        model: see :func:`~edgeexport.pipeline.opening.open_source`.
        calibration, evaluation: see :mod:`edgeexport.samples`.
        target: whose settings count, such as the least number of samples.
        label_pattern: how file names of a folder hold labels.
        options: about the source.
    """

    model: str
    calibration: Path
    evaluation: Path | None = None
    target: str = "desktop-x86"
    label_pattern: str | None = None
    options: SourceOptions = field(default_factory=SourceOptions)


def run_lint(request: LintRequest, flags: dict[str, Any], progress: Progress) -> tuple[LintFinding, ...]:
    """All that is odd about a calibration set, errors among it; ``flags`` are settings, nested.

    Raises:
        EdgeExportError: something was not found, or is of another kind than the model takes.
    """
    settings = resolve(load_target(request.target), flags=flags).settings
    source = open_source(request.model, request.options)
    add_facts(source, settings.model)
    calibration, evaluation = (
        None if path is None else _opened(path, source, settings.interface, request.label_pattern)
        for path in (request.calibration, request.evaluation)
    )
    with opened_cache(keep=True) as cache:
        found = _kept(Sets(calibration=calibration, evaluation=evaluation), source, settings, cache, progress)
    return overruled(found, settings.calibration)


def _opened(path: Path, source: Source, interface: Interface, label_pattern: str | None) -> Samples:
    samples = open_samples(path, label_pattern)
    if source.task == "generation":
        samples = as_texts(samples, source.preprocess, longest_text(source.preprocess, interface.context))
    if samples.kind != source.preprocess.accepts:
        raise wrong_kind(source.preprocess.accepts, f"{samples.path} is {samples.what}")
    return samples


def _kept(sets: Sets, source: Source, settings: Settings, cache: Cache, progress: Progress) -> tuple[LintFinding, ...]:
    """What all rules find, looked for once for the same sets and the same model."""
    calibration, evaluation = sets.calibration, sets.evaluation
    assert calibration is not None
    preprocess = source.preprocess
    if isinstance(preprocess, TokenizerPreprocess):
        preprocess = preprocess.bind(next(iter(calibration)))
    key = {
        "calibration": calibration.digest(),
        "evaluation": evaluation.digest() if evaluation else None,
        "source": source.fingerprint(),
        "preprocess": msgspec.to_builtins(preprocess),
        "files": {name: file_digest(source.assets / name) for name in preprocess.assets} if source.assets else {},
        "task": source.task,
        "labels": source.labels,
        "interface": msgspec.to_builtins(settings.interface),
        "minimum": settings.calibration.minimum_samples,
    }

    def fill(folder: Path) -> None:
        subject = _subject(source, preprocess, settings)
        with progress.stage(f"judging the calibration set {calibration.path.name}"):
            seen = view(calibration, evaluation, subject, lambda samples: _movement(samples, source, subject))
            (folder / _FINDINGS).write_bytes(msgspec.json.encode(findings(seen)))

    entry = cache.make("lint", key, fill)
    return msgspec.json.decode((entry / _FINDINGS).read_bytes(), type=tuple[LintFinding, ...])


def _subject(source: Source, preprocess: Preprocess, settings: Settings) -> Subject:
    longest = None
    if isinstance(preprocess, TokenizerPreprocess):
        longest = min(preprocess.max_length, max(settings.interface.lengths, default=preprocess.max_length))
        if source.task == "generation":
            longest = longest_text(preprocess, settings.interface.context)
    return Subject(
        preprocess=preprocess,
        signature=_TEXT if source.task == "generation" else source.signature,
        assets=source.assets,
        task=source.task,
        labels=source.labels,
        longest=longest,
        minimum=settings.calibration.minimum_samples,
    )


def _movement(samples: Samples, source: Source, subject: Subject) -> Movement | None:
    """Ranges inside the source, where it is a torch module that takes whole samples."""
    if source.task == "generation":
        return None
    try:
        module = source.module()
    except ModelError:
        return None
    encoded = (arrays for _, arrays in feeds(samples, subject.preprocess, subject.signature, subject.assets))
    together = all(spec.shape and isinstance(spec.shape[0], str) for spec in subject.signature.inputs)
    return observe(module, [spec.name for spec in subject.signature.inputs], encoded, len(samples), together=together)
