"""From torch modules to float32 files: names, shapes, numbers, and what is refused. The converter takes ten seconds."""

import hashlib
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from tflite_models import by_name, cosine, make_settings, normal, operators, run
from torch import nn

from edgeexport.artifact import Artifact
from edgeexport.errors import ConversionError, MissingRequirement, ModelError, RecipeError
from edgeexport.formats.tflite import TfliteFormat
from edgeexport.formats.tflite.export import write_float32
from edgeexport.formats.tflite.flatbuffer import read_model, signatures
from edgeexport.formats.tflite.inspect import read_signature
from edgeexport.preprocess import ImagePreprocess
from edgeexport.settings import Interface
from edgeexport.signature import Signature, TensorSpec
from edgeexport.sources.onnx import OnnxSource
from edgeexport.sources.torch import TorchSource


def source(module, example, axes=None, **attributes):
    torch.manual_seed(0)
    module.example_inputs = example
    for name, value in {**({} if axes is None else {"dynamic_axes": axes}), **attributes}.items():
        setattr(module, name, value)
    return TorchSource(module, "net", "digest")


class Classifier(nn.Module):
    """Two layers over the mean of a text's embeddings, and the number of its words; the names ask for trouble."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(50, 16)
        self.output = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 3))

    def forward(self, ids, mask):
        kept = mask.float().unsqueeze(-1)
        count = kept.sum(1)
        return self.output((self.words(ids) * kept).sum(1) / count), count


class Images(nn.Module):
    """Two convolutions with a sum, on images of any size."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.second = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 4)

    def forward(self, pixels):
        one = torch.relu(self.first(pixels))
        return self.head((one + self.second(one)).mean((2, 3)))


class Identity(nn.Module):
    def __init__(self, forward):
        super().__init__()
        self.dense = nn.Linear(4, 4)
        self._forward = forward

    def forward(self, *inputs):
        return self._forward(self.dense, *inputs)


class Inner(nn.Module):
    def forward(self, x):
        return torch.linalg.svd(x)[1]


class Outer(nn.Module):
    def __init__(self):
        super().__init__()
        self.dense, self.inner = nn.Linear(4, 4), Inner()

    def forward(self, x):
        return self.inner(self.dense(x))


@dataclass
class Converted:
    source: TorchSource
    path: Path
    signature: Signature


TEXT_AXES = {name: {0: "batch", 1: "sequence"} for name in ("ids", "mask")}


def text_source():
    example = {name: torch.ones(1, 6, dtype=torch.int64) for name in ("ids", "mask")}
    return source(Classifier(), example, TEXT_AXES, output_names=["scores", "count"])


def image_source():
    axes = {"pixels": {0: "batch", 2: "height", 3: "width"}}
    preprocess = ImagePreprocess(resize=(8, 10), input="pixels")
    return source(Images(), {"pixels": torch.zeros(1, 3, 12, 12)}, axes, preprocess=preprocess)


def text(length, seed=0):
    ids = np.random.default_rng(seed).integers(0, 50, (1, length))
    mask = np.ones_like(ids)
    mask[0, length - 1 :] = 0
    return {"ids": ids, "mask": mask}


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "model.tflite"
    made = text_source()
    return Converted(made, path, write_float32(made, Interface(lengths=(8, 4)), path))


@pytest.fixture(scope="module")
def cnn(tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "model.tflite"
    made = image_source()
    return Converted(made, path, write_float32(made, Interface(channels_last=True), path))


def tensors_of(path):
    model = read_model(path)
    return [name for number in range(len(model.subgraphs)) for name in by_name(model, number)]


# lengths and names


def test_one_signature_a_length_shortest_first(classifier):
    assert [entry.key for entry in signatures(read_model(classifier.path))] == ["sequence_4", "sequence_8"]
    assert classifier.signature == Signature(
        (TensorSpec("ids", "int32", (1, "sequence")), TensorSpec("mask", "int32", (1, "sequence"))),
        (TensorSpec("scores", "float32", (1, 3)), TensorSpec("count", "float32", (1, 1))),
        {"sequence": (4, 8)},
    )
    assert read_signature(read_model(classifier.path), "file") == classifier.signature


@pytest.mark.parametrize("length", [4, 8])
def test_every_length_gives_the_sources_outputs_by_name(classifier, length):
    for seed in range(5):
        sample = text(length, seed)
        narrow = {name: array.astype(np.int32) for name, array in sample.items()}
        found = run(classifier.path, narrow, f"sequence_{length}")
        expected = classifier.source.reference(sample)
        assert set(found) == set(expected) == {"scores", "count"}
        assert np.abs(found["scores"] - expected["scores"]).max() < 1e-5
        assert found["count"].tolist() == expected["count"].tolist() == [[length - 1]]


def test_names_are_paths_unique_and_short(classifier):
    names = tensors_of(classifier.path)
    assert len(set(names)) == len(names)
    assert {"input.0", "input.1", "output.0", "output.1", "words", "output.0:2"} <= set(names)
    assert {f"1/{name}" for name in by_name(read_model(classifier.path))} <= set(names)
    assert not any("torch" in name or ";" in name for name in names)
    assert max(map(len, names)) < 24


def test_weights_are_stored_once_for_all_lengths(classifier):
    stored = sum(item.bytes for item in TfliteFormat().inspect(classifier.path)[1] if item.dtype == "float32")
    parameters = classifier.source.float32_bytes
    assert parameters <= stored < parameters + 200


@pytest.mark.parametrize("precision", ["w8", "w8a8", "w8a8-dynamic"])
def test_what_was_converted_can_be_quantized(classifier, tmp_path, precision):
    baseline = Artifact("tflite", classifier.path, "fp32", classifier.signature)
    samples = [
        {name: array.astype(np.int32) for name, array in text(4 if seed % 2 else 8, seed).items()} for seed in range(20)
    ]
    made = TfliteFormat().convert(baseline, make_settings(precision), lambda _: iter(samples), tmp_path / "q.tflite")
    both = [
        np.concatenate([run(path, feed, f"sequence_{feed['ids'].shape[1]}")["scores"] for feed in samples])
        for path in (classifier.path, made.path)
    ]
    assert 0.999 < cosine(*both) < 1
    assert made.signature == classifier.signature


def test_the_same_source_gives_the_same_bytes(classifier, tmp_path):
    write_float32(text_source(), Interface(lengths=(4, 8)), tmp_path / "again.tflite")
    digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in (classifier.path, tmp_path / "again.tflite")}
    assert len(digests) == 1


def test_a_length_given_twice_is_converted_once(tmp_path):
    signature = write_float32(text_source(), Interface(lengths=(5, 5)), tmp_path / "model.tflite")
    assert signature.lengths == {"sequence": (5,)}
    assert [entry.key for entry in signatures(read_model(tmp_path / "model.tflite"))] == ["sequence_5"]


# images


def test_images_go_in_with_channels_last_at_the_preprocessings_size(cnn):
    assert cnn.signature == Signature(
        (TensorSpec("pixels", "float32", (1, 8, 10, 3)),), (TensorSpec("output", "float32", (1, 4)),)
    )
    assert read_signature(read_model(cnn.path), "file") == cnn.signature
    for seed in range(5):
        pixels = normal(1, 8, 10, 3, seed=seed)
        expected = cnn.source.reference({"pixels": pixels.transpose(0, 3, 1, 2)})["output"]
        assert np.abs(run(cnn.path, {"pixels": pixels})["output"] - expected).max() < 1e-5


def test_nothing_is_transposed_before_the_first_convolution(cnn, tmp_path):
    write_float32(image_source(), Interface(), tmp_path / "model.tflite")
    first = [operators(read_model(path))[0] for path in (cnn.path, tmp_path / "model.tflite")]
    assert first == ["CONV_2D", "TRANSPOSE"]


def test_channels_first_stay_where_they_are(tmp_path):
    made = image_source()
    signature = write_float32(made, Interface(), tmp_path / "model.tflite")
    assert signature.inputs[0].shape == (1, 3, 8, 10)
    pixels = normal(1, 3, 8, 10, seed=1)
    expected = made.reference({"pixels": pixels})["output"]
    assert np.abs(run(tmp_path / "model.tflite", {"pixels": pixels})["output"] - expected).max() < 1e-5


def test_a_crop_decides_the_size_before_the_resize(tmp_path):
    made = image_source()
    made.preprocess = ImagePreprocess(resize=20, crop=(6, 7), input="pixels")
    signature = write_float32(made, Interface(channels_last=True), tmp_path / "model.tflite")
    assert signature.inputs[0].shape == (1, 6, 7, 3)


@pytest.mark.parametrize("preprocess", [ImagePreprocess(input="pixels"), ImagePreprocess(resize=9, input="pixels")])
def test_images_of_any_size_are_refused(tmp_path, preprocess):
    made = image_source()
    made.preprocess = preprocess
    with pytest.raises(RecipeError, match="the image preprocessing gives images of any size"):
        write_float32(made, Interface(channels_last=True), tmp_path / "model.tflite")


# other shapes and types


def test_a_fixed_length_that_equals_no_batch_stays(tmp_path):
    made = source(Identity(lambda dense, x: dense(x).mean(0)), {"x": torch.zeros(1, 4)})
    signature = write_float32(made, Interface(), tmp_path / "model.tflite")
    assert [spec.shape for spec in (*signature.inputs, *signature.outputs)] == [(1, 4), (4,)]
    assert read_signature(read_model(tmp_path / "model.tflite"), "file") == signature


def test_a_batch_that_is_not_dynamic_stays(tmp_path):
    made = source(Identity(lambda dense, x: dense(x)), {"x": torch.zeros(2, 4)}, {})
    signature = write_float32(made, Interface(lengths=(4, 8)), tmp_path / "model.tflite")
    assert [spec.shape for spec in (*signature.inputs, *signature.outputs)] == [(2, 4), (2, 4)]
    assert signature.lengths == {}
    assert [entry.key for entry in signatures(read_model(tmp_path / "model.tflite"))] == ["main"]
    x = normal(2, 4)
    found = run(tmp_path / "model.tflite", {"x": x})["output"]
    assert np.abs(found - made.reference({"x": x})["output"]).max() < 1e-6


def test_types_are_narrowed_to_what_the_file_takes(tmp_path):
    example = {"wide": torch.zeros(1, 4, dtype=torch.float64), "keep": torch.ones(1, 4, dtype=torch.bool)}
    made = source(Identity(lambda dense, x, keep: torch.where(keep, dense(x.float()), x.float())), example)
    signature = write_float32(made, Interface(), tmp_path / "model.tflite")
    assert [spec.dtype for spec in signature.inputs] == ["float32", "bool"]
    assert read_signature(read_model(tmp_path / "model.tflite"), "file") == signature
    x, keep = normal(1, 4), np.array([[True, False, True, False]])
    expected = made.reference({"wide": x.astype(np.float64), "keep": keep})["output"]
    assert np.abs(run(tmp_path / "model.tflite", {"wide": x, "keep": keep})["output"] - expected).max() < 1e-6


def test_inputs_and_outputs_keep_their_order_and_names(tmp_path):
    example = {name: torch.zeros(1, 4) for name in ("zulu", "alpha")}
    made = source(
        Identity(lambda dense, zulu, alpha: (alpha - zulu, dense(zulu), alpha * 2)),
        example,
        output_names=["third", "first", "second"],
    )
    signature = write_float32(made, Interface(), tmp_path / "model.tflite")
    assert [spec.name for spec in (*signature.inputs, *signature.outputs)] == [
        "zulu",
        "alpha",
        "third",
        "first",
        "second",
    ]
    feed = {"zulu": normal(1, 4), "alpha": normal(1, 4, seed=1)}
    found, expected = run(tmp_path / "model.tflite", feed), made.reference(feed)
    assert all(np.abs(found[name] - expected[name]).max() < 1e-6 for name in ("third", "first", "second"))


# what is refused


def test_a_source_without_a_torch_module_is_refused(tmp_path):
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
    )
    onnx.save(helper.make_model(graph), str(tmp_path / "given.onnx"))
    with pytest.raises(ModelError, match="TFLite is converted from torch modules, and this model is none") as caught:
        write_float32(OnnxSource(tmp_path / "given.onnx"), Interface(), tmp_path / "model.tflite")
    assert "There is no route from .onnx to TFLite here" in caught.value.hint
    assert not (tmp_path / "model.tflite").exists()


def test_an_operator_that_tflite_lacks_is_named_with_its_module(tmp_path):
    made = source(Outer(), {"x": torch.zeros(1, 4, 4)})
    with pytest.raises(ConversionError) as caught:
        write_float32(made, Interface(), tmp_path / "model.tflite")
    assert caught.value.what == (
        "net: TFLite has no form of the operator aten._linalg_svd.default, which module 'inner' uses"
    )


def test_what_cannot_be_traced_is_refused_with_its_reason(tmp_path):
    made = source(Identity(lambda dense, x: dense(x) if x.sum() > 0 else x), {"x": torch.zeros(1, 4)})
    with pytest.raises(ConversionError, match="converting net to TFLite failed: ") as caught:
        write_float32(made, Interface(), tmp_path / "model.tflite")
    assert "torch.export.export(module, inputs)" in caught.value.hint


def test_complex_inputs_are_refused(tmp_path):
    made = source(
        Identity(lambda dense, x: dense(torch.view_as_real(x)[..., 0])), {"x": torch.zeros(1, 4, dtype=torch.complex64)}
    )
    with pytest.raises(ModelError, match=r"TFLite has no inputs of dtype complex64 \('x'\)"):
        write_float32(made, Interface(), tmp_path / "model.tflite")


def test_two_dynamic_dimensions_are_refused_by_name(tmp_path):
    axes = {"x": {0: "batch", 1: "rows", 2: "columns"}}
    made = source(Identity(lambda dense, x: dense(x.mean((1, 2)))), {"x": torch.zeros(1, 5, 6, 4)}, axes)
    with pytest.raises(RecipeError, match="the dimensions rows, columns are all dynamic"):
        write_float32(made, Interface(lengths=(8,)), tmp_path / "model.tflite")


def test_lengths_must_be_given(tmp_path):
    with pytest.raises(RecipeError, match="no length is given for 'sequence'") as caught:
        write_float32(text_source(), Interface(), tmp_path / "model.tflite")
    assert "--set interface.lengths=" in caught.value.hint


def test_a_missing_converter_is_named_with_what_installs_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "litert_torch", None)
    with pytest.raises(MissingRequirement, match="converting to TFLite needs litert-torch") as caught:
        write_float32(text_source(), Interface(lengths=(4,)), tmp_path / "model.tflite")
    assert caught.value.hint == "pip install 'edgeexport[litert]'"


def test_the_terminal_stays_quiet(tmp_path, capfd):
    write_float32(source(Identity(lambda dense, x: dense(x)), {"x": torch.zeros(1, 4)}), Interface(), tmp_path / "m")
    assert capfd.readouterr() == ("", "")


def test_a_baseline_is_the_conversion(tmp_path):
    made = source(Identity(lambda dense, x: dense(x)), {"x": torch.zeros(1, 4)})
    artifact = TfliteFormat().baseline(made, Interface(), tmp_path / "model.tflite")
    assert (artifact.format, artifact.precision, artifact.notes) == ("tflite", "fp32", ())
    assert artifact.signature == TfliteFormat().inspect(artifact.path)[0]
