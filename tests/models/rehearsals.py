"""What tests of quantization-aware training share: a rehearsal of an export, and the export itself."""

import importlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from edgeexport.compress._encoded import encode
from edgeexport.compress.qat import Rehearsal
from edgeexport.compression import Materials
from edgeexport.pipeline.opening import open_source
from edgeexport.progress import Progress
from edgeexport.recipe import resolve
from edgeexport.samples import open_samples
from edgeexport.source import SourceOptions
from edgeexport.stages import Qat
from edgeexport.target import load_target


@dataclass
class Road:
    """One model on its way to one target."""

    model: str
    target: str
    flags: dict
    calibration: Path
    evaluation: Path
    folder: Path

    @property
    def settings(self):
        return resolve(load_target(self.target), None, "", self.flags).settings

    @property
    def scheme(self):
        name = load_target(self.target).format
        return importlib.import_module(f"edgeexport.formats.{name}.scheme").open_scheme()

    @property
    def source(self):
        return open_source(self.model, SourceOptions())

    def encoded(self, samples):
        source = self.source
        place = self.folder / f"encoded-{samples.name}-{len(self.model)}"
        return encode(source, open_samples(samples, None), place, Progress(), max(self._lengths, default=None))

    def rehearsal(self, stage=None):
        """The rounded model, calibrated."""
        source = self.source
        seen, cpu = self.encoded(self.calibration), torch.device("cpu")
        return Rehearsal(
            source,
            source.editable(),
            seen,
            scheme=self.scheme,
            settings=self.settings,
            stage=stage or Qat(),
            device=cpu,
        )

    def exported(self):
        """First outputs of the integer model, on its own runtime."""
        from edgeexport.cache import Cache
        from edgeexport.interface import quantize
        from edgeexport.job import Job
        from edgeexport.pipeline import open_device
        from edgeexport.pipeline.exporting import Export, Request
        from edgeexport.preprocess import from_dict
        from edgeexport.runtime_names import module_of
        from edgeexport.samples import feeds

        self.folder.mkdir(exist_ok=True)
        request = Request(
            self.model, self.target, calibration=self.calibration, flags=self.flags, output=self.folder / "bundle"
        )
        bundle = Export(request, Progress(), Cache(self.folder / "cache")).pack()
        prepared = from_dict(bundle.manifest.preprocess)
        encoded = feeds(open_samples(self.evaluation, None), prepared, bundle.signature.real(), bundle.path)
        inputs = [quantize(arrays, bundle.signature) for _, arrays in encoded]
        runtime = module_of(bundle.manifest.target["runtimes"][0]["name"])
        with tempfile.TemporaryDirectory() as folder:
            job = Job(runtime=runtime, models=(bundle.model_path,), inputs=inputs, timeout_s=600)
            result = open_device("local").run(job, Path(folder))
            return np.concatenate([next(iter(output.values())) for output in result.outputs])

    def labels(self):
        return self.encoded(self.evaluation).labels

    def materials(self, train):
        return Materials(
            train=open_samples(train, None),
            calibration=open_samples(self.calibration, None),
            evaluation=open_samples(self.evaluation, None),
            settings=self.settings,
            format=load_target(self.target).format,
            open=lambda name: open_source(name, SourceOptions()),
            work=self.folder / "work",
            scheme=self.scheme,
        )

    @property
    def _lengths(self):
        return self.settings.interface.lengths
