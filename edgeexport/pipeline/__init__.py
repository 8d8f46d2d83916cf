"""The stages, chained: source → convert → package → verify → report. Nothing else chains them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgeexport.analysis import Budget, Search
from edgeexport.artifact import Bundle, load_bundle
from edgeexport.cache import Cache, cache_root, opened_cache
from edgeexport.errors import ModelError, RecipeError
from edgeexport.pipeline.compressing import Record, StageRequest, accompanied, run_stage
from edgeexport.pipeline.exporting import Export, Request
from edgeexport.pipeline.linting import LintRequest, run_lint
from edgeexport.pipeline.meta import baseline_key
from edgeexport.pipeline.opening import open_device, open_format, open_source
from edgeexport.pipeline.packaging import check_packaging
from edgeexport.pipeline.searching import SearchOptions, budget_of, search, with_search, within_limits
from edgeexport.pipeline.verifying import Evaluation, Verification, measure_size, rules
from edgeexport.progress import Progress
from edgeexport.results import Report
from edgeexport.samples import Samples

__all__ = [
    "Budget",
    "LintRequest",
    "Request",
    "SearchOptions",
    "StageRequest",
    "budget_of",
    "compress",
    "measure_size",
    "open_device",
    "open_format",
    "open_source",
    "run_export",
    "run_lint",
    "run_verify",
]


def run_export(
    request: Request,
    progress: Progress,
    *,
    verify: bool = True,
    devices: tuple[str, ...] = ("local",),
    limit: int | None = None,
    budget: Budget | None = None,
    options: SearchOptions | None = None,
    explain: bool | None = None,
) -> tuple[Bundle, Report | None]:
    """Export a model and verify the bundle.

    Args:
        request: what to export.
        progress: told of every stage.
        verify: False leaves the bundle without a report.
        devices: where to verify, as ``NAME`` or ``NAME:ARGUMENT``.
        limit: verify on the first so many samples of the evaluation set.
        budget: what may be lost; settings are searched for that keep it, on the first of ``devices``.
        options: what bounds that search.
        explain: compare layers with float32; None does so where a parity check failed.

    Returns:
        The bundle and its report.

    Raises:
        EdgeExportError: nothing was written, or the bundle is complete and only its verification could not start.
    """
    if accompanied():
        raise RecipeError(
            "an export runs in one process, and was started in several",
            "Run the stage that trains by itself (accelerate launch -m edgeexport distill …), then export its model.",
        )
    if budget is not None and not verify:
        raise RecipeError(
            "a search within a budget tells what it found by a report, and --no-verify leaves that out",
            "Leave out --max-drop, or --no-verify.",
        )
    verification = Verification(devices, progress, explain) if verify else None
    with opened_cache(keep=request.use_cache) as cache:
        found: Search | None = None
        if budget is not None and verification is not None:
            bounds = replace(options or SearchOptions(), device=devices[0], limit=limit)
            request, found = _within(request, budget, bounds, verification=verification, progress=progress, cache=cache)
        export = Export(request, progress, cache)
        check_packaging(export.target.packaging)
        if verification is not None:
            verification.require(export.target)
        bundle = export.pack()
        if verification is None:
            return bundle, None
        evaluation = None
        if export.evaluation is not None:
            evaluation = Evaluation(export.evaluation, export.references(export.evaluation, None), limit)
        report = verification.cached(bundle, evaluation, export.baseline.path, cache)
        return bundle, report if found is None else with_search(bundle, report, found)


def _within(
    request: Request,
    budget: Budget,
    options: SearchOptions,
    *,
    verification: Verification,
    progress: Progress,
    cache: Cache,
) -> tuple[Request, Search]:
    """The request with settings that keep the budget, or come closest."""
    held = replace(request, flags=within_limits(request.flags, budget))
    export = Export(held, progress, cache)
    check_packaging(export.target.packaging)
    verification.require(export.target)
    export.judge(learns=True)
    found, settings = search(export, budget, options, progress)
    output = request.output or Path(f"{export.source.name}-{export.target.name}-within-budget")
    return replace(held, found=settings, output=output), found


def run_verify(
    path: Path,
    evaluation: Samples | None,
    progress: Progress,
    *,
    devices: tuple[str, ...] = ("local",),
    limit: int | None = None,
    float32: Path | None = None,
    earlier: Report | None = None,
    explain: bool | None = None,
) -> tuple[Bundle, Report]:
    """Verify a bundle again, here or elsewhere, and write its report.

    Args:
        path: the bundle.
        evaluation: samples; None takes the golden ones.
        progress: told of every stage.
        devices: where.
        limit: the first so many samples of the evaluation set.
        float32: a float32 model of the same format to time against; where None, the one in the cache, if any.
        earlier: a report that this one is compared with: what got worse is a failed check.
        explain: compare layers with float32; None does so where a parity check failed.

    Raises:
        BundleError: the bundle is incomplete or was altered.
        ModelError: there is no float32 model at that path.
    """
    bundle = load_bundle(path)
    if float32 is not None:
        if not (float32.is_dir() if bundle.model_path.is_dir() else float32.is_file()):
            raise ModelError(f"no float32 model at {float32}")
        open_format(bundle.manifest.format).inspect(float32)
    verification = Verification(devices, progress, explain)
    given = None if evaluation is None else Evaluation(evaluation, None, limit)
    compared = float32 or _cached_float32(bundle)
    return bundle, verification.run(bundle, given, compared, named=float32 is not None, earlier=earlier)


def compress(request: StageRequest, progress: Progress, *, use_cache: bool = True) -> Record | None:
    """Run one stage by itself: distillation, for one; see :func:`edgeexport.pipeline.compressing.run_stage`."""
    with opened_cache(keep=use_cache) as cache:
        return run_stage(request, cache, progress)


def _cached_float32(bundle: Bundle) -> Path | None:
    """The float32 artifact that this machine's cache still has from the bundle's export, or None."""
    manifest = bundle.manifest
    _, settings = rules(bundle)
    key = baseline_key(
        manifest.format, str(manifest.source["fingerprint"]), settings.interface, manifest.decoder is not None
    )
    entry = Cache(cache_root()).find("float32", key)
    return None if entry is None else entry / manifest.artifact
