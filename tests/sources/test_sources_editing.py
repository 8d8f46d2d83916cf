"""Sources that are changed and written again: what is carried along, and that nothing else changes."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from edgeexport.compression import RECORD
from edgeexport.errors import ModelError
from edgeexport.pipeline.opening import open_source


def content(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


@pytest.fixture
def saved(tmp_path, options):
    """Save a source's editable copy; gives the folder."""

    def save(source, name="saved"):
        folder = tmp_path / name
        folder.mkdir()
        source.editable().save(folder)
        return folder

    return save


@pytest.fixture
def pooled_folder(encoder_folder, copied):
    folder = copied(encoder_folder, "pooled")
    modules = [
        {"path": "", "type": "sentence_transformers.models.Transformer"},
        {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_mean_tokens": True}))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 16}))
    return folder


def check_same(first, second, feeds):
    expected, found = first.reference(feeds), second.reference(feeds)
    assert list(expected) == list(found)
    for name, array in expected.items():
        assert array.tobytes() == found[name].tobytes()
        assert array.std() > 0
    assert (first.task, first.labels, first.preprocess) == (second.task, second.labels, second.preprocess)
    assert first.signature == second.signature
    assert first.float32_bytes == second.float32_bytes


@pytest.mark.parametrize("kind", ["bert_folder", "encoder_folder", "pooled_folder"])
def test_a_text_model_written_again(request, saved, options, sentences, kind):
    folder = request.getfixturevalue(kind)
    before = content(folder)
    source = open_source(str(folder), options)
    made = saved(source)
    check_same(source, open_source(str(made), options), sentences)
    assert set(content(made)) == set(before)
    for name in before:
        if name not in {"config.json", "model.safetensors"}:
            assert (made / name).read_bytes() == before[name]
    assert content(folder) == before
    again = open_source(str(saved(source, "again")), options)
    assert again.fingerprint() == open_source(str(made), options).fingerprint()


def test_an_image_model_written_again(mobilenet_folder, saved, options):
    source = open_source(str(mobilenet_folder), options)
    made = saved(source)
    pixels = np.random.default_rng(0).standard_normal((2, 3, 32, 32)).astype(np.float32)
    check_same(source, open_source(str(made), options), {"pixel_values": pixels})
    name = "preprocessor_config.json"
    assert (made / name).read_bytes() == (mobilenet_folder / name).read_bytes()


def test_tied_weights_are_stored_once(gpt_folder, saved, options):
    source = open_source(str(gpt_folder), options)
    made = saved(source)
    ids = np.array([[3, 9, 60, 1]])
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "position_ids": np.arange(4)[None]}
    check_same(source, open_source(str(made), options), feeds)
    with safe_open(made / "model.safetensors", "pt") as file:
        assert "lm_head.weight" not in file.keys()  # noqa: SIM118
    model = source.editable().model
    assert model.lm_head.weight is model.transformer.wte.weight


def test_files_of_the_weights_as_they_were_stay_behind(bert_folder, copied, saved, options):
    folder = copied(bert_folder)
    (folder / RECORD).write_text("{}")
    (folder / "model.safetensors.index.json").write_text("{}")
    (folder / "vocab.txt").write_text("words")
    (folder / "chat_template.jinja").write_text("template")
    (folder / "optimizer.pt").write_bytes(b"not of the model")
    made = saved(open_source(str(folder), options))
    assert {"vocab.txt", "chat_template.jinja"} <= set(content(made))
    assert not {RECORD, "model.safetensors.index.json", "optimizer.pt"} & set(content(made))


def test_a_record_is_no_part_of_the_model(bert_folder, copied, options):
    folder = copied(bert_folder)
    before = open_source(str(folder), options).fingerprint()
    (folder / RECORD).write_text("{}")
    assert open_source(str(folder), options).fingerprint() == before
    (folder / "other.json").write_text("{}")
    assert open_source(str(folder), options).fingerprint() != before


def test_a_copy_is_changed_and_the_source_is_not(bert_folder, options, sentences):
    source = open_source(str(bert_folder), options)
    before = source.reference(sentences)["logits"]
    editable = source.editable()
    assert all(parameter.requires_grad for parameter in editable.model.parameters())
    with torch.no_grad():
        editable.model.classifier.bias.add_(1)
    tensors = {name: torch.from_numpy(array) for name, array in sentences.items()}
    with torch.no_grad():
        changed = editable.run(tensors)
    np.testing.assert_allclose(changed["logits"].numpy(), before + 1, rtol=1e-5)
    assert source.reference(sentences)["logits"].tobytes() == before.tobytes()
    assert source.editable().model is not editable.model


def test_insides_that_are_asked_for(pooled_folder, options, sentences):
    editable = open_source(str(pooled_folder), options).editable()
    tensors = {name: torch.from_numpy(array) for name, array in sentences.items()}
    with torch.no_grad():
        found = editable.run(tensors, output_hidden_states=True, output_attentions=True)
    assert set(found) == {"sentence_embedding", "hidden_states", "attentions"}
    assert [tuple(state.shape) for state in found["hidden_states"]] == [(2, 6, 32)] * 3
    assert [tuple(state.shape) for state in found["attentions"]] == [(2, 4, 6, 6)] * 2
    mask = tensors["attention_mask"][..., None]
    vector = (found["hidden_states"][-1] * mask).sum(1) / mask.sum(1)
    torch.testing.assert_close(found["sentence_embedding"], torch.nn.functional.normalize(vector, dim=1))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(bert_folder, options, tmp_path, value):
    editable = open_source(str(bert_folder), options).editable()
    with torch.no_grad():
        editable.model.classifier.weight[1, 3] = value
    with pytest.raises(ModelError, match=r"tiny-bert: the weight 'classifier.weight' is not finite; nothing was"):
        editable.save(tmp_path)
    assert content(tmp_path) == {}


# torch factories


FACTORY = """
import torch


class Net(torch.nn.Module):
    def __init__(self, size=4):
        super().__init__()
        self.first = torch.nn.Linear(8, size)
        self.norm = torch.nn.BatchNorm1d(size)
        self.second = torch.nn.Linear(8, size)
        self.second.weight = self.first.weight
        self.example_inputs = {"x": torch.zeros(1, 8)}
        self.output_names = ["scores", "others"]
        self.labels = ["a", "b", "c", "d"]

    def forward(self, x):
        return self.norm(self.first(x)), self.second(x)


def make():
    return Net()


def other():
    return Net(5)
"""


@pytest.fixture
def factory(tmp_path, monkeypatch):
    name = f"factory_{tmp_path.name}".replace("-", "_").replace("[", "_").replace("]", "_")
    (tmp_path / f"{name}.py").write_text(FACTORY)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield name
    sys.modules.pop(name, None)


def trained(source):
    editable = source.editable()
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in editable.model.parameters():
            parameter.copy_(torch.randn_like(parameter))
        editable.model.norm.running_mean.add_(0.5)
    return editable


def test_a_factorys_module_written_again(factory, options, tmp_path):
    source = open_source(f"{factory}:make", options)
    editable = trained(source)
    folder = tmp_path / "made"
    folder.mkdir()
    editable.save(folder)
    assert set(content(folder)) == {"factory.json", "model.safetensors"}
    made = open_source(str(folder), options)
    assert (made.name, made.labels, made.task) == ("made", ("a", "b", "c", "d"), "classification")
    values = torch.randn(3, 8)
    with torch.no_grad():
        expected = editable.run({"x": values})
    found = made.reference({"x": values.numpy()})
    assert list(found) == ["scores", "others"]
    for name, tensor in expected.items():
        assert found[name].tobytes() == tensor.numpy().tobytes()
    assert made.float32_bytes == source.float32_bytes == 4 * (32 + 4 + 4 + 4 * 4)  # the shared weight once
    model = made.editable().model
    assert model.first.weight is model.second.weight
    again = tmp_path / "again"
    again.mkdir()
    made.editable().save(again)
    assert content(again) == content(folder)
    assert open_source(str(again), options).fingerprint() == made.fingerprint() != source.fingerprint()


def test_a_factorys_source_is_left_as_it_is(factory, options):
    source = open_source(f"{factory}:make", options)
    before = source.fingerprint()
    trained(source)
    assert source.fingerprint() == before


def test_a_folder_whose_factory_has_changed(factory, options, tmp_path):
    folder = tmp_path / "made"
    folder.mkdir()
    open_source(f"{factory}:make", options).editable().save(folder)
    (folder / "factory.json").write_text(json.dumps({"factory": f"{factory}:other"}))
    with pytest.raises(ModelError, match=f"the weights in {folder} do not fit what {factory}:other makes"):
        open_source(str(folder), options)
    (folder / "factory.json").write_text(json.dumps({"factory": "no_such_module:make"}))
    with pytest.raises(ModelError, match="'no_such_module:make' cannot be imported"):
        open_source(str(folder), options)
    for text in ("{}", "[]", "{", '"x"'):
        (folder / "factory.json").write_text(text)
        with pytest.raises(ModelError, match="names no factory"):
            open_source(str(folder), options)


def test_a_folder_whose_weights_are_gone_or_damaged(factory, options, tmp_path):
    folder = tmp_path / "made"
    folder.mkdir()
    open_source(f"{factory}:make", options).editable().save(folder)
    weights = folder / "model.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[:-10])
    with pytest.raises(ModelError, match=f"the weights in {folder} do not fit"):
        open_source(str(folder), options)
    weights.unlink()
    with pytest.raises(ModelError, match=f"the weights in {folder} do not fit"):
        open_source(str(folder), options)


def test_insides_of_a_factorys_module_are_not_known(factory, options):
    editable = open_source(f"{factory}:make", options).editable()
    with pytest.raises(ModelError, match="whose hidden states and attentions have no known names"):
        editable.run({"x": torch.zeros(1, 8)}, output_hidden_states=True)
    assert list(editable.run({"x": torch.zeros(2, 8)}, output_attentions=False)) == ["scores", "others"]


def test_graphs_that_are_fixed_are_refused(linear, tmp_path, options):
    module = torch.nn.Linear(8, 2).eval()
    program = torch.export.export(module, (torch.zeros(1, 8),))
    torch.export.save(program, tmp_path / "program.pt2")
    for model, name in ((linear.model, "linear"), (str(tmp_path / "program.pt2"), "program")):
        with pytest.raises(ModelError) as raised:
            open_source(model, options).editable()
        assert raised.value.what == f"{name} cannot be trained or changed: its graph is fixed"
        assert "Transformers folder or the package.module:factory" in raised.value.hint


def test_a_copied_folder_is_the_same_model(bert_folder, options, tmp_path):
    folder = shutil.copytree(bert_folder, tmp_path / "elsewhere")
    assert open_source(str(folder), options).fingerprint() == open_source(str(bert_folder), options).fingerprint()
