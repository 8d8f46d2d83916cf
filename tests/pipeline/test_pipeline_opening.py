"""What a recipe says of a model, and what is refused by name."""

import pytest

from edgeexport.errors import DeviceError, ModelError, RecipeError
from edgeexport.pipeline.opening import add_facts, open_device, open_format, open_source
from edgeexport.preprocess import ArraysPreprocess, ImagePreprocess
from edgeexport.settings import ModelFacts
from edgeexport.source import SourceOptions
from edgeexport.sources.onnx import OnnxSource


def test_facts_replace_what_the_source_does_not_say(tmp_path):
    source = OnnxSource(tmp_path / "m.onnx")
    image = {"kind": "image", "resize": 32, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    add_facts(source, ModelFacts(task="classification", labels=("cat", "dog"), preprocess=image))
    assert source.task == "classification"
    assert source.labels == ("cat", "dog")
    assert isinstance(source.preprocess, ImagePreprocess)
    assert source.preprocess.resize == 32


def test_no_facts_change_nothing(tmp_path):
    source = OnnxSource(tmp_path / "m.onnx")
    add_facts(source, ModelFacts())
    assert (source.task, source.labels, source.preprocess) == ("generic", None, ArraysPreprocess())


def test_a_tokenizer_needs_its_folder(tmp_path):
    source = OnnxSource(tmp_path / "m.onnx")
    text = {"kind": "tokenizer", "max_length": 16}
    with pytest.raises(RecipeError, match=r"tokenizer\.json"):
        add_facts(source, ModelFacts(preprocess=text))
    (tmp_path / "tokenizer.json").write_text("{}")
    add_facts(source, ModelFacts(preprocess=text, assets=str(tmp_path)))
    assert source.assets == tmp_path


def test_a_preprocessing_that_does_not_validate_is_a_recipe_error(tmp_path):
    with pytest.raises(RecipeError, match="preprocess does not validate"):
        add_facts(OnnxSource(tmp_path / "m.onnx"), ModelFacts(preprocess={"kind": "smell"}))


@pytest.mark.parametrize(
    ("opener", "error", "said"),
    [
        (lambda: open_source("nowhere", SourceOptions()), ModelError, "no model at 'nowhere'"),
        (lambda: open_format("paper"), ModelError, "Formats: coreml, onnx, tflite"),
        (lambda: open_device("toaster:1"), DeviceError, "Kinds: adb, browser, emulated"),
        (lambda: open_device("local:1"), DeviceError, "takes no argument"),
    ],
)
def test_unknown_names(opener, error, said):
    with pytest.raises(error) as caught:
        opener()
    assert said in str(caught.value)


@pytest.mark.parametrize("name", ["model.tflite", "model.mlmodel", "model.mlpackage"])
def test_a_converted_model_is_no_source_be_it_a_file_or_a_folder(tmp_path, name):
    path = tmp_path / name
    path.mkdir() if name.endswith("package") else path.write_bytes(b"")
    with pytest.raises(ModelError, match="is a converted model, and an export starts from the float32 one"):
        open_source(str(path), SourceOptions())
