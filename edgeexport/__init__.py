"""edgeexport: a trained model to the devices people own, with proof that it arrived intact.

bundle = edgeexport.export("MODEL", target="raspberry-pi-4", calibration="texts.jsonl", evaluation="labelled.jsonl")
report = edgeexport.verify(bundle.path, on=["local", "emulated:raspberry-pi-4"])
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgeexport.artifact import Bundle
    from edgeexport.pipeline.generating import Generation
    from edgeexport.progress import Progress
    from edgeexport.results import Report

__all__ = ["__version__", "export", "generate", "verify"]
__version__ = "0.1.0"

Place = str | PathLike[str]

# ONNX Runtime reports its use to Microsoft unless this is set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# The package of that name is empty and loads nothing. Loaded later, it would take the place of the function below.
importlib.import_module("edgeexport.verify")


def export(
    model: Place,
    *,
    target: Place,
    calibration: Place | None = None,
    evaluation: Place | None = None,
    train: Place | None = None,
    label_pattern: str | None = None,
    precision: str | None = None,
    recipe: Place | None = None,
    settings: Mapping[str, Any] | None = None,
    output: Place | None = None,
    verify: bool = True,
    on: Sequence[str] = ("local",),
    limit: int | None = None,
    max_drop: float | None = None,
    max_bytes: int | None = None,
    max_latency_ratio: float | None = None,
    trials: int = 12,
    minutes: float | None = None,
    sensitivity: bool = False,
    explain: bool | None = None,
    cache: bool = True,
    trust_remote_code: bool = False,
    progress: Progress | None = None,
) -> Bundle:
    """Convert a model for a target, pack it with all an app needs, and verify it.

    Args:
        model: a Transformers folder or hub id, ``package.module:factory``, a ``.pt2`` program or an ``.onnx`` file.
        target: a shipped target's name, or the path of a profile.
        calibration: samples that set the integer ranges; see :mod:`edgeexport.samples`.
        evaluation: labelled samples to verify on.
        train: what the recipe's stages before conversion learn from.
        label_pattern: for flat folders of files, a regular expression with a group ``label``.
        precision: see :data:`edgeexport.settings.Precision`; default: the target's own.
        recipe: a settings file; wins over the target.
        settings: nested settings, such as ``{"calibration": {"method": "mse"}}``; win over the recipe.
        output: the bundle's folder; default ``MODEL-TARGET-PRECISION`` in the working folder.
        verify: False leaves the bundle without a report.
        on: devices to verify on; the first is the reference for the others.
        limit: verify on the first so many samples.
        max_drop: search for the smallest and fastest settings that lose at most so many points of the metric, 0.5 being
            half a point; of perplexity, percent.
        max_bytes: of the model, with ``max_drop``.
        max_latency_ratio: over float32's latency, with ``max_drop``.
        trials: of that search: models run on half of the evaluation set, at most.
        minutes: after which the search begins nothing new.
        sensitivity: let the search measure every layer's even where all of them may be quantized.
        explain: say layer by layer where the model parts from float32; None does so where a parity check failed.
        cache: use what earlier exports of the same inputs left.
        trust_remote_code: let a model folder run Python code of its own.
        progress: told of every stage.

    Returns:
        The bundle; ``Report.read(bundle.report_path)`` has what verification found.

    Raises:
        EdgeExportError: for anything wrong; the message says what, where, and what to do.
    """
    from pathlib import Path

    from edgeexport.pipeline import Request, SearchOptions, budget_of, run_export
    from edgeexport.progress import Progress
    from edgeexport.source import SourceOptions

    flags = dict(settings or {})
    if precision is not None:
        flags["precision"] = precision
    request = Request(
        model=str(model),
        target=str(target),
        calibration=None if calibration is None else Path(calibration),
        evaluation=None if evaluation is None else Path(evaluation),
        train=None if train is None else Path(train),
        label_pattern=label_pattern,
        recipe=None if recipe is None else Path(recipe),
        flags=flags,
        output=None if output is None else Path(output),
        options=SourceOptions(trust_remote_code=trust_remote_code),
        use_cache=cache,
    )
    bundle, _ = run_export(
        request,
        progress or Progress(),
        verify=verify,
        devices=tuple(on),
        limit=limit,
        budget=budget_of(max_drop, max_bytes, max_latency_ratio),
        options=SearchOptions(trials, None if minutes is None else 60 * minutes, sensitivity),
        explain=explain,
    )
    return bundle


def verify(
    bundle: Place,
    *,
    on: Sequence[str] = ("local",),
    evaluation: Place | None = None,
    label_pattern: str | None = None,
    limit: int | None = None,
    float32: Place | None = None,
    against: Place | None = None,
    explain: bool | None = None,
    progress: Progress | None = None,
) -> Report:
    """Verify a bundle on devices and write its report.

    Args:
        bundle: its folder.
        on: devices; the first is the reference for the others.
        evaluation: labelled samples; default: the golden samples in the bundle.
        label_pattern: see :func:`export`.
        limit: the first so many samples of the evaluation set.
        float32: the float32 model of the same format, to time against in turn.
        against: an earlier ``report.json``; what got worse since then is a failed check.
        explain: say layer by layer where the model parts from float32; None does so where a parity check failed.
        progress: told of every stage.

    Raises:
        EdgeExportError: the bundle is incomplete or altered, or a device cannot be used.
    """
    from pathlib import Path

    from edgeexport.pipeline import run_verify
    from edgeexport.progress import Progress
    from edgeexport.results import Report
    from edgeexport.samples import open_samples

    samples = None if evaluation is None else open_samples(Path(evaluation), label_pattern)
    baseline = None if float32 is None else Path(float32)
    _, report = run_verify(
        Path(bundle),
        samples,
        progress or Progress(),
        devices=tuple(on),
        limit=limit,
        float32=baseline,
        earlier=None if against is None else Report.read(Path(against)),
        explain=explain,
    )
    return report


def generate(
    bundle: Place,
    prompts: Sequence[str | Sequence[int]],
    *,
    on: str = "local",
    max_tokens: int = 64,
    temperature: float = 0.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int = 0,
    stop: Sequence[str] = (),
    heard: Callable[[str], None] | None = None,
) -> list[Generation]:
    """Go on with prompts by a language model's bundle, on a device.

    Args:
        bundle: its folder.
        prompts: texts, or token ids; each is a text of its own.
        on: the device.
        max_tokens: new ones, at most.
        temperature: 0 takes the likeliest token; else logits are divided by it and a token is drawn.
        top_k: draw from the likeliest so many; 0 is all.
        top_p: draw from the likeliest that have this share of the probability together.
        seed: of the draw.
        stop: tokens that end the text, beside the model's own.
        heard: gets pieces of text as they are made.

    Returns:
        One result a prompt, with its tokens, text and milliseconds.

    Raises:
        EdgeExportError: the bundle is no language model's, a prompt does not fit it, or the device fails.
    """
    from pathlib import Path

    from edgeexport.pipeline.generating import Sampling, run_generate

    sampling = Sampling(
        count=max_tokens, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed, stop=tuple(stop)
    )
    return run_generate(Path(bundle), prompts, sampling, device=on, heard=heard)
