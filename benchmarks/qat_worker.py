"""What `qat.py` runs in processes of their own: training, and the rounded model against the exported one."""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np


def main() -> None:
    command, asked = sys.argv[1], json.loads(sys.argv[2])
    print(json.dumps({"train": train, "compare": compare}[command](asked)))


def opened(asked: dict[str, Any]) -> tuple[Any, Any, Any, Any]:
    """Target, settings, source and the format's integer scheme."""
    from edgeexport.pipeline.opening import open_source
    from edgeexport.recipe import read_recipe, resolve
    from edgeexport.source import SourceOptions
    from edgeexport.target import load_target

    target = load_target(asked["target"])
    recipe = Path(asked["recipe"])
    settings = resolve(target, read_recipe(recipe), recipe.name, {}).settings
    scheme = importlib.import_module(f"edgeexport.formats.{target.format}.scheme").open_scheme()
    return target, settings, open_source(asked["model"], SourceOptions()), scheme


def train(asked: dict[str, Any]) -> dict[str, Any]:
    from edgeexport.compress.qat import open_method
    from edgeexport.compression import Materials
    from edgeexport.pipeline.opening import open_source
    from edgeexport.samples import open_samples
    from edgeexport.source import SourceOptions
    from edgeexport.stages import Qat

    target, settings, source, scheme = opened(asked)
    materials = Materials(
        train=open_samples(Path(asked["train"]), None),
        calibration=open_samples(Path(asked["calibration"]), None),
        evaluation=open_samples(Path(asked["evaluation"]), None),
        settings=settings,
        format=target.format,
        open=lambda name: open_source(name, SourceOptions()),
        work=Path(asked["work"]),
        scheme=scheme,
    )
    output = Path(asked["output"])
    output.mkdir()
    return open_method().compress(source, msgspec.convert({"method": "qat", **asked["stage"]}, Qat), materials, output)


def compare(asked: dict[str, Any]) -> dict[str, Any]:
    import torch

    from edgeexport.artifact import load_bundle
    from edgeexport.compress._encoded import encode
    from edgeexport.compress.qat import Rehearsal
    from edgeexport.interface import quantize
    from edgeexport.job import Job
    from edgeexport.pipeline import open_device
    from edgeexport.preprocess import from_dict
    from edgeexport.progress import Progress
    from edgeexport.runtime_names import module_of
    from edgeexport.samples import feeds, open_samples
    from edgeexport.stages import Qat

    _, settings, source, scheme = opened(asked)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    path = Path(asked["bundle"])
    bundle = load_bundle(path)
    evaluation = open_samples(Path(asked["evaluation"]), None)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        longest = max(settings.interface.lengths, default=None)
        seen = encode(source, open_samples(Path(asked["calibration"]), None), place / "seen", Progress(), longest)
        scored = encode(source, evaluation, place / "scored", Progress(), longest)
        editable = source.editable()
        editable.model.to(device)
        rehearsal = Rehearsal(
            source, editable, seen.to(device), scheme=scheme, settings=settings, stage=Qat(), device=device
        )
        rounded = rehearsal.outputs(scored.to(device))
        encoded = feeds(evaluation, from_dict(bundle.manifest.preprocess), bundle.signature.real(), path)
        inputs = [quantize(arrays, bundle.signature) for _, arrays in encoded]
        runtime = module_of(bundle.manifest.target["runtimes"][0]["name"])
        job = Job(runtime=runtime, models=(bundle.model_path,), inputs=inputs, timeout_s=3600)
        result = open_device("local").run(job, place / "run")
        exported = np.concatenate([next(iter(output.values())) for output in result.outputs])
        labels = scored.labels
    return {
        "rounded_right": int((rounded.argmax(1) == labels).sum()),
        "unlike": int((rounded.argmax(1) != exported.argmax(1)).sum()),
        "snr_db": float(10 * np.log10((rounded**2).sum() / ((rounded - exported) ** 2).sum())),
    }


if __name__ == "__main__":
    main()
