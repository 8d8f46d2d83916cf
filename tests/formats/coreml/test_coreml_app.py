"""What an app sees: images and labels, by the description that Vision reads and by the numbers that come out."""

import numpy as np
import pytest
import stripes
import torch
from torch import nn

pytest.importorskip("coremltools", reason="pip install 'edgeexport[coreml]'")

from coremltools.proto import FeatureTypes_pb2, Model_pb2

from edgeexport import mil
from edgeexport.errors import RecipeError
from edgeexport.formats.coreml import CoremlFormat
from edgeexport.interface import fitted, for_source
from edgeexport.preprocess import ImagePreprocess
from edgeexport.recipe import resolve
from edgeexport.sample_files import Sample
from edgeexport.settings import Interface
from edgeexport.source import SourceOptions
from edgeexport.sources.torch import TorchSource, open_source
from edgeexport.target import load_target

BOTH = Interface(images=True, classifier=True)
LABELS = stripes.LABELS


def source(**attributes):
    torch.manual_seed(0)
    module = stripes.Stripes()
    for name, value in attributes.items():
        setattr(module, name, value)
    return TorchSource(module, "stripes", "digest")


@pytest.fixture(scope="module")
def baseline(tmp_path_factory):
    return CoremlFormat().baseline(source(), BOTH, tmp_path_factory.mktemp("app") / "float.mlpackage")


@pytest.fixture(scope="module")
def pixels():
    generator = np.random.default_rng(0)
    return [{"image": generator.integers(0, 256, (1, 3, 16, 24)).astype(np.float32)} for _ in range(12)]


def compress(baseline, path, precision, pixels=None, **flags):
    flags = {"interface": {"images": True, "classifier": True}, **flags}
    settings = resolve(load_target("iphone-ios17"), None, "", {"precision": precision, **flags}).settings
    return CoremlFormat().convert(baseline, settings, lambda _: iter(pixels), path)


def description(path):
    spec = Model_pb2.Model()
    spec.ParseFromString((path / "Data" / "com.apple.CoreML" / "model.mlmodel").read_bytes())
    return spec.description


def expected(pixels, of):
    given = for_source(pixels, of.signature, of.preprocess, BOTH)
    return of.reference(given)["scores"]


def softmax(scores):
    shifted = np.exp(scores - scores.max())
    return shifted / shifted.sum()


def test_pixels_become_what_the_source_takes(tmp_path):
    """The path of a picture through the artifact's preprocessing and back to the source's is exact."""
    from PIL import Image

    picture = stripes.picture(1, np.random.default_rng(3))
    Image.fromarray(picture).save(tmp_path / "a.png")
    one = Sample("a", tmp_path / "a.png", None)
    of = source()
    raw = fitted(of.preprocess, of.signature, BOTH).prepare()(one)
    np.testing.assert_array_equal(raw["image"][0].transpose(1, 2, 0), picture)
    normalised = for_source(raw, of.signature, of.preprocess, BOTH)
    np.testing.assert_array_equal(normalised["image"], of.preprocess.prepare()(one)["image"])


def test_the_program_normalises_and_gives_labels(baseline, pixels):
    program = mil.load(baseline.path)
    for one in pixels:
        found, wanted = program(one), expected(one, source())
        np.testing.assert_allclose(found["scores"], wanted, rtol=1e-4, atol=1e-5)
        assert found["classLabel"] == LABELS[wanted.argmax()]
        assert list(found["classLabel_probs"]) == list(LABELS)
        np.testing.assert_allclose(list(found["classLabel_probs"].values()), softmax(wanted[0]), rtol=1e-4)


@pytest.mark.parametrize("precision", ["fp16", "w8", "w8a8"])
def test_every_precision_keeps_image_and_labels(baseline, pixels, tmp_path, precision):
    artifact = compress(baseline, tmp_path / "a.mlpackage", precision, pixels)
    found = description(artifact.path)
    assert found == description(baseline.path)
    (image,) = found.input
    assert (image.name, image.type.WhichOneof("Type")) == ("image", "imageType")
    about = image.type.imageType
    assert (about.width, about.height) == (24, 16)
    assert about.colorSpace == FeatureTypes_pb2.ImageFeatureType.RGB
    assert (found.predictedFeatureName, found.predictedProbabilitiesName) == ("classLabel", "classLabel_probs")
    assert [item.name for item in found.output] == ["classLabel", "classLabel_probs", "scores"]
    program = mil.load(artifact.path, "device")
    for one in pixels:
        results, wanted = program(one), expected(one, source())
        np.testing.assert_allclose(results["scores"], wanted, atol=0.03 if precision == "w8a8" else 0.01)
        assert results["classLabel"] == LABELS[results["scores"].argmax()]
    written = CoremlFormat().inspect(artifact.path)[0]
    assert artifact.signature == baseline.signature
    assert written.inputs == artifact.signature.inputs
    assert [(spec.name, spec.dtype) for spec in written.outputs[:2]] == [
        ("classLabel", "string"),
        ("classLabel_probs", "float32"),
    ]
    assert written.outputs[2:] == artifact.signature.outputs
    assert list(CoremlFormat().gaps(artifact.path, "coreml", "17")) == []


def test_an_exported_program_gets_them_too(pixels, tmp_path):
    path = tmp_path / "stripes.pt2"
    torch.manual_seed(0)
    module = stripes.Stripes().eval()
    torch.export.save(torch.export.export(module, tuple(module.example_inputs.values())), path)
    exported = open_source(str(path), SourceOptions())
    exported.preprocess, exported.labels, exported.task = module.preprocess, LABELS, "classification"
    artifact = CoremlFormat().baseline(exported, BOTH, tmp_path / "a.mlpackage")
    program, score = mil.load(artifact.path), exported.signature.outputs[0].name
    for one in pixels:
        found, wanted = program(one), expected(one, source())
        np.testing.assert_allclose(found[score], wanted, rtol=1e-4, atol=1e-5)
        assert found["classLabel"] == LABELS[wanted.argmax()]


def test_blue_first_is_declared(tmp_path):
    first = ImagePreprocess(input="image", resize=(16, 24), channels="BGR", rescale=None)
    artifact = CoremlFormat().baseline(source(preprocess=first), Interface(images=True), tmp_path / "a.mlpackage")
    (image,) = description(artifact.path).input
    assert image.type.imageType.colorSpace == FeatureTypes_pb2.ImageFeatureType.BGR


def test_without_them_tensors_go_in_and_come_out(tmp_path):
    artifact = CoremlFormat().baseline(source(), Interface(), tmp_path / "a.mlpackage")
    found = description(artifact.path)
    assert [item.type.WhichOneof("Type") for item in (*found.input, *found.output)] == ["multiArrayType"] * 2


class Values(nn.Module):
    """No images, no classes."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 3)
        self.example_inputs = {"x": torch.zeros(1, 8)}

    def forward(self, x):
        return self.layer(x)


@pytest.mark.parametrize(
    ("make", "interface", "what"),
    [
        (lambda: TorchSource(Values(), "values", "d"), Interface(images=True), "takes no images"),
        (lambda: TorchSource(Values(), "values", "d"), Interface(classifier=True), "no classifier with names"),
        (lambda: source(labels=["a", "b"]), Interface(classifier=True), "names 2 classes"),
        (lambda: source(labels=["a", "b", "a"]), Interface(classifier=True), "two classes of the same name"),
        (source, Interface(channels_last=True), "channels first"),
    ],
)
def test_interfaces_that_a_source_cannot_have(make, interface, what, tmp_path):
    with pytest.raises(RecipeError, match=what) as caught:
        CoremlFormat().baseline(make(), interface, tmp_path / "a.mlpackage")
    assert caught.value.hint
    assert not (tmp_path / "a.mlpackage").exists()
