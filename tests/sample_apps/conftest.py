"""Bundles that the sample apps read, each exported once a run, and where the apps are."""

from pathlib import Path

import pytest

import edgeexport
from edgeexport.artifact import load_bundle

APPS = Path(__file__).parent.parent.parent / "sample_apps"
FREE = {"limits": {"size_ratio": 1000.0, "latency_ratio": 1000.0, "accuracy_drop": 0.1, "agreement": 0.9}}
"""Small models on a busy machine keep no ratio."""


@pytest.fixture(scope="session")
def apps():
    """The folder of the sample apps."""
    return APPS


@pytest.fixture(scope="session")
def text_bundle(once, tiny_bert, board):
    """Texts, ONNX."""

    def fill(folder):
        edgeexport.export(
            tiny_bert.model,
            target=board,
            calibration=tiny_bert.calibration,
            evaluation=tiny_bert.evaluation,
            settings=FREE,
            output=folder / "out",
        )

    return load_bundle(once("app-text", fill) / "out")


@pytest.fixture(scope="session")
def stripes(once):
    """A CNN on pictures: the folder of its sets."""
    import stripes as module

    folder = once("app-stripes", module.train)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEEXPORT_STRIPES", str(folder))
        yield folder


@pytest.fixture(scope="session")
def picture_bundle(once, stripes, board):
    """Pictures, ONNX, channels first."""

    def fill(folder):
        edgeexport.export(
            "stripes:factory",
            target=board,
            calibration=stripes / "calibration",
            evaluation=stripes / "evaluation",
            settings=FREE,
            output=folder / "out",
        )

    return load_bundle(once("app-pictures", fill) / "out")


@pytest.fixture(scope="session")
def tones(once):
    """A CNN on recordings: the folder of its sets."""
    import tones as module

    folder = once("app-tones", module.train)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEEXPORT_TONES", str(folder))
        yield folder


@pytest.fixture(scope="session")
def tones_bundle(once, tones):
    """Recordings, TFLite with integer inputs and outputs, and C++ sources for a microcontroller."""
    pytest.importorskip("litert_torch", reason="converts to TFLite: pip install 'edgeexport[litert]'")
    pytest.importorskip("tflite_micro", reason="runs microcontroller models: pip install 'edgeexport[micro]'")

    def fill(folder):
        edgeexport.export(
            "tones:factory",
            target="cortex-m7",
            calibration=tones / "calibration",
            evaluation=tones / "evaluation",
            settings=FREE,
            output=folder / "out",
        )

    return load_bundle(once("app-tones-bundle", fill) / "out")


@pytest.fixture(scope="session")
def expected():
    """``expected(bundle, samples)``: inputs and outputs of edgeexport's own road for the samples, as real numbers."""
    import tempfile

    from edgeexport.devices.local import open_device
    from edgeexport.interface import dequantize, quantize
    from edgeexport.job import Job
    from edgeexport.preprocess import from_dict
    from edgeexport.samples import feeds, open_samples

    runtimes = {"onnx": "ort", "tflite": "tflm"}

    def run(bundle, path, count=100):
        preprocess = from_dict(bundle.manifest.preprocess)
        samples = open_samples(path).head(count)
        encoded = [arrays for _, arrays in feeds(samples, preprocess, bundle.signature.real(), bundle.path)]
        given = [quantize(arrays, bundle.signature) for arrays in encoded]
        with tempfile.TemporaryDirectory() as folder:
            job = Job(runtimes[bundle.manifest.format], (bundle.model_path,), given)
            found = [dict(one) for one in open_device("").run(job, Path(folder)).outputs]
        return samples, encoded, [dequantize(one, bundle.signature) for one in found]

    return run
