"""Transformers folders, all made here."""

import json

import numpy as np
import pytest
import torch
from onnx import numpy_helper

from edgeexport.errors import ConversionError, ModelError
from edgeexport.onnx_file import load_onnx, read_signature
from edgeexport.preprocess import ArraysPreprocess, ImagePreprocess, TokenizerPreprocess
from edgeexport.source import SourceOptions
from edgeexport.sources.transformers import accepts, open_source


def rewrite(path, **changes):
    values = json.loads(path.read_text())
    values.update(changes)
    path.write_text(json.dumps(values))


@pytest.fixture(scope="session")
def bert(bert_folder, options):
    return open_source(str(bert_folder), options)


@pytest.fixture(scope="session")
def bert_file(bert, tmp_path_factory):
    path = tmp_path_factory.mktemp("bert") / "model.onnx"
    bert.write_onnx(path)
    return path


@pytest.fixture(scope="session")
def gpt(gpt_folder, options):
    return open_source(str(gpt_folder), options)


@pytest.fixture(scope="session")
def gpt_file(gpt, tmp_path_factory):
    path = tmp_path_factory.mktemp("gpt") / "model.onnx"
    gpt.write_onnx(path)
    return path


@pytest.fixture(scope="session")
def mobilenet(mobilenet_folder, options):
    return open_source(str(mobilenet_folder), options)


def test_accepts(tmp_path):
    (tmp_path / "file.txt").write_text("")
    assert accepts(str(tmp_path))
    assert accepts("organisation/name")
    assert not accepts(str(tmp_path / "file.txt"))
    assert not accepts("package.module:factory")
    assert not accepts("name-alone")


# what a folder says


def test_a_classifier(bert):
    assert (bert.name, bert.task, bert.labels) == ("tiny-bert", "classification", ("bad", "fair", "good"))
    assert isinstance(bert.preprocess, TokenizerPreprocess)
    assert bert.preprocess.max_length == 32
    assert (bert.assets / "tokenizer.json").is_file()
    signature = bert.signature
    assert [(spec.name, spec.dtype) for spec in signature.inputs] == [
        ("input_ids", "int64"),
        ("attention_mask", "int64"),
        ("token_type_ids", "int64"),
    ]
    assert {spec.shape for spec in signature.inputs} == {("batch_size", "sequence_length")}
    assert [(spec.name, spec.dtype, spec.shape) for spec in signature.outputs] == [
        ("logits", "float32", ("batch_size", 3))
    ]


def test_labels_are_in_the_order_of_their_numbers(bert_folder, copied, options):
    folder = copied(bert_folder)
    rewrite(folder / "config.json", id2label={str(n): f"label {n}" for n in (10, 9, 2, 0, 1)})
    expected = ("label 0", "label 1", "label 2", "label 9", "label 10")
    assert open_source(str(folder), options).labels == expected


@pytest.mark.parametrize(
    ("changes", "task"),
    [
        ({"problem_type": "regression"}, "regression"),
        ({"problem_type": "regression", "id2label": {"0": "LABEL_0"}}, "regression"),
        ({"id2label": {"0": "LABEL_0"}}, "regression"),
        ({"id2label": {"0": "LABEL_0"}, "problem_type": None}, "regression"),
        ({"id2label": None, "num_labels": 1}, "regression"),
        ({"id2label": {"0": "LABEL_0"}, "problem_type": "single_label_classification"}, "regression"),
        ({"problem_type": "single_label_classification"}, "classification"),
        ({"id2label": None}, "classification"),
    ],
)
def test_heads_of_real_numbers_are_regressions(bert_folder, copied, options, changes, task):
    folder = copied(bert_folder)
    rewrite(folder / "config.json", **changes)
    source = open_source(str(folder), options)
    assert source.task == task
    assert task == "classification" or source.labels is None


def test_a_saved_regression_opens_as_one(bert_folder, copied, options, tmp_path):
    """As Transformers writes its configuration, whatever that leaves out."""
    from transformers import BertForSequenceClassification

    folder = copied(bert_folder)
    model = BertForSequenceClassification.from_pretrained(bert_folder, num_labels=1, ignore_mismatched_sizes=True)
    model.save_pretrained(folder)
    source = open_source(str(folder), options)
    assert (source.task, source.labels) == ("regression", None)
    assert source.signature.outputs[0].shape == ("batch_size", 1)


def test_an_image_classifier(mobilenet):
    assert (mobilenet.task, len(mobilenet.labels)) == ("classification", 5)
    assert isinstance(mobilenet.preprocess, ImagePreprocess)
    assert (mobilenet.preprocess.resize, mobilenet.preprocess.crop) == (36, (32, 32))


def test_a_language_model_without_a_tokenizer_takes_arrays(gpt):
    assert (gpt.task, gpt.labels, gpt.preprocess) == ("generation", None, ArraysPreprocess())


# numbers


def test_a_classifiers_reference_equals_transformers(bert, bert_folder, sentences):
    from transformers import BertForSequenceClassification

    model = BertForSequenceClassification.from_pretrained(bert_folder).eval()
    with torch.inference_mode():
        expected = model(**{name: torch.from_numpy(array) for name, array in sentences.items()}).logits.numpy()
    logits = bert.reference(sentences)["logits"]
    assert np.abs(logits - expected).max() < 1e-5
    assert np.abs(logits[0] - logits[1]).max() > 0.1  # the sentences matter


def test_a_reference_does_not_change_its_feeds_or_keep_gradients(bert, sentences):
    before = {name: array.copy() for name, array in sentences.items()}
    first, second = bert.reference(sentences)["logits"], bert.reference(sentences)["logits"]
    assert np.array_equal(first, second)
    assert all(np.array_equal(before[name], sentences[name]) for name in sentences)
    assert not any(parameter.requires_grad for parameter in bert.module().parameters())
    assert not bert.module().training


@pytest.mark.parametrize(("batch", "length"), [(1, 1), (1, 32), (5, 7)])
def test_a_classifiers_export_equals_torch(bert, bert_file, run_file, batch, length):
    generator = np.random.default_rng(batch * length)
    mask = np.ones((batch, length), np.int64)
    mask[:, max(1, length - 2) :] = 0
    feeds = {
        "input_ids": generator.integers(0, 16, (batch, length)),
        "attention_mask": mask,
        "token_type_ids": generator.integers(0, 2, (batch, length)),
    }
    expected = bert.reference(feeds)["logits"]
    assert np.abs(run_file(bert_file, feeds)["logits"] - expected).max() < 1e-4


def test_the_file_has_the_sources_names(bert, bert_file):
    written = read_signature(load_onnx(bert_file))
    names = [spec.name for spec in (*bert.signature.inputs, *bert.signature.outputs)]
    assert [spec.name for spec in (*written.inputs, *written.outputs)] == names
    assert {spec.shape for spec in written.inputs} == {("batch_size", "sequence_length")}


def test_two_exports_are_the_same_file(bert, bert_file, tmp_path):
    bert.write_onnx(tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").read_bytes() == bert_file.read_bytes()


@pytest.mark.parametrize(("batch", "length"), [(1, 9), (3, 4)])
def test_a_language_models_export_equals_torch(gpt, gpt_file, run_file, batch, length):
    ids = np.random.default_rng(0).integers(0, 64, (batch, length))
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    feeds["position_ids"] = np.broadcast_to(np.arange(length), ids.shape).copy()
    feeds = {spec.name: feeds[spec.name] for spec in gpt.signature.inputs}
    expected = gpt.reference(feeds)["logits"]
    assert expected.shape == (batch, length, 64)
    assert np.abs(run_file(gpt_file, feeds)["logits"] - expected).max() < 1e-4


def test_a_tied_head_counts_once_and_is_stored_once(gpt, gpt_file, gpt_folder):
    from transformers import GPT2LMHeadModel

    model = GPT2LMHeadModel.from_pretrained(gpt_folder)
    assert model.lm_head.weight is model.transformer.wte.weight
    floats = [*model.parameters(), *(buffer for buffer in model.buffers() if buffer.is_floating_point())]
    assert gpt.float32_bytes == 4 * sum(tensor.numel() for tensor in floats)
    tables = [tensor.name for tensor in load_onnx(gpt_file).graph.initializer if sorted(tensor.dims) == [32, 64]]
    assert len(tables) == 1


def test_an_image_classifiers_export_equals_torch(mobilenet, tmp_path, run_file):
    mobilenet.write_onnx(tmp_path / "model.onnx")
    (name,) = [spec.name for spec in mobilenet.signature.inputs]
    for batch in (1, 3):
        pixels = np.random.default_rng(batch).standard_normal((batch, 3, 32, 32)).astype(np.float32)
        expected = mobilenet.reference({name: pixels})["logits"]
        assert expected.shape == (batch, 5)
        assert np.abs(run_file(tmp_path / "model.onnx", {name: pixels})["logits"] - expected).max() < 1e-4


def test_float32_bytes_of_a_classifier(bert, bert_folder):
    from safetensors import safe_open

    with safe_open(bert_folder / "model.safetensors", "np") as file:
        elements = sum(np.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    assert bert.float32_bytes == 4 * elements


# sentence embeddings


def pooled(folder, mode, normalize):
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]
    if normalize:
        modules.append({"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"})
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    modes = ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens", "weightedmean_tokens", "lasttoken")
    config = {"word_embedding_dimension": 32} | {f"pooling_mode_{name}": name in mode for name in modes}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(config))
    return folder


@pytest.mark.parametrize("mode", ["mean_tokens", "cls_token"])
@pytest.mark.parametrize("normalize", [True, False])
def test_pooling_equals_numpy(encoder_folder, copied, options, sentences, tmp_path, run_file, mode, normalize):
    hidden = open_source(str(encoder_folder), options).reference(sentences)["last_hidden_state"].astype(np.float64)
    if mode == "cls_token":
        expected = hidden[:, 0]
    else:
        mask = sentences["attention_mask"][..., None]
        expected = (hidden * mask).sum(axis=1) / mask.sum(axis=1)
    if normalize:
        expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    source = open_source(str(pooled(copied(encoder_folder), [mode], normalize)), options)
    assert source.task == "embedding"
    assert [(spec.name, spec.shape) for spec in source.signature.outputs] == [
        ("sentence_embedding", ("batch_size", 32))
    ]
    outputs = source.reference(sentences)
    assert list(outputs) == ["sentence_embedding"]
    assert np.abs(outputs["sentence_embedding"] - expected).max() < 1e-5
    source.write_onnx(tmp_path / "model.onnx")
    exported = run_file(tmp_path / "model.onnx", sentences)
    assert list(exported) == ["sentence_embedding"]
    assert np.abs(exported["sentence_embedding"] - expected).max() < 1e-4


@pytest.mark.parametrize("modes", [["max_tokens"], ["cls_token", "mean_tokens"], []])
def test_other_pooling_is_refused(encoder_folder, copied, options, modes):
    with pytest.raises(ModelError, match="is not supported"):
        open_source(str(pooled(copied(encoder_folder), modes, False)), options)


def test_another_module_is_refused(encoder_folder, copied, options):
    folder = pooled(copied(encoder_folder), ["mean_tokens"], False)
    modules = json.loads((folder / "modules.json").read_text())
    modules.append({"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"})
    (folder / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(ModelError, match="module 'Dense' is not supported"):
        open_source(str(folder), options)


# fingerprints


def test_a_fingerprint_follows_weights_and_configuration_alone(bert_folder, copied, options):
    def of(folder):
        return open_source(str(folder), options).fingerprint()

    first = of(bert_folder)
    folder = copied(bert_folder, "another-name")
    assert of(folder) == first
    (folder / "README.md").write_text("words")
    (folder / ".gitattributes").write_text("words")
    assert of(folder) == first
    seen = {first}
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    seen.add(of(folder))
    rewrite(folder / "config.json", layer_norm_eps=1e-6)
    seen.add(of(folder))
    rewrite(folder / "tokenizer_config.json", model_max_length=16)
    seen.add(of(folder))
    (folder / "modeling_own.py").write_text("x = 1\n")
    seen.add(of(folder))
    assert len(seen) == 5


def test_a_fingerprint_follows_the_pooling(encoder_folder, copied, options):
    folder = copied(encoder_folder)
    fingerprints = [
        open_source(str(pooled(folder, [mode], normalize)), options).fingerprint()
        for mode in ("mean_tokens", "cls_token")
        for normalize in (False, True)
    ]
    assert len(set(fingerprints)) == 4


# what is refused


def test_a_pickle_with_a_payload_is_refused_and_it_is_not_run(bert_folder, copied, options, payload, tmp_path):
    malicious, trace = payload
    folder = copied(bert_folder)
    (folder / "model.safetensors").unlink()
    torch.save({"bert.embeddings.word_embeddings.weight": malicious}, folder / "pytorch_model.bin")
    source = open_source(str(folder), options)
    source.fingerprint()
    for use in (lambda: source.signature, lambda: source.float32_bytes, lambda: source.write_onnx(tmp_path / "m.onnx")):
        with pytest.raises(ModelError, match="a pickle that would run code"):
            use()
    assert not trace.exists()
    assert not (tmp_path / "m.onnx").exists()


def test_a_pickle_in_shards_is_not_run(bert_folder, copied, options, payload):
    malicious, trace = payload
    folder = copied(bert_folder)
    (folder / "model.safetensors").unlink()
    name = "pytorch_model-00001-of-00001.bin"
    torch.save({"classifier.bias": malicious}, folder / name)
    index = {"metadata": {"total_size": 1}, "weight_map": {"classifier.bias": name}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError):
        _ = open_source(str(folder), options).float32_bytes
    assert not trace.exists()


def test_safetensors_beside_a_pickle_are_what_is_read(bert_folder, copied, options, payload, bert, sentences):
    malicious, trace = payload
    folder = copied(bert_folder)
    torch.save({"classifier.bias": malicious}, folder / "pytorch_model.bin")
    source = open_source(str(folder), options)
    assert np.array_equal(source.reference(sentences)["logits"], bert.reference(sentences)["logits"])
    assert not trace.exists()


def test_a_plain_pickle_of_tensors_is_read(bert_folder, copied, options, bert, sentences):
    from safetensors.torch import load_file

    folder = copied(bert_folder)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    source = open_source(str(folder), options)
    assert np.array_equal(source.reference(sentences)["logits"], bert.reference(sentences)["logits"])


OWN_CODE = """
from pathlib import Path
from transformers import BertForSequenceClassification

Path({trace!r}).touch()

class Doubled(BertForSequenceClassification):
    def forward(self, *arguments, **named):
        result = super().forward(*arguments, **named)
        result.logits = result.logits * 2
        return result
"""


def test_code_of_its_own_needs_permission(bert_folder, copied, options, bert, sentences, tmp_path, monkeypatch):
    trace = tmp_path / "the-code-ran"
    folder = copied(bert_folder)
    (folder / "modeling_doubled.py").write_text(OWN_CODE.format(trace=str(trace)))
    rewrite(folder / "config.json", auto_map={"AutoModelForSequenceClassification": "modeling_doubled.Doubled"})
    with pytest.raises(ModelError, match="needs Python code of its own"):
        open_source(str(folder), options)
    assert not trace.exists()
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    source = open_source(str(folder), SourceOptions(trust_remote_code=True))
    assert not trace.exists()
    doubled = source.reference(sentences)["logits"]
    assert trace.exists()
    assert np.allclose(doubled, 2 * bert.reference(sentences)["logits"], rtol=1e-6)


def test_unfit_folders_are_refused(bert_folder, copied, options, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"has no config\.json"):
        open_source(str(tmp_path / "empty"), options)
    folder = copied(bert_folder)
    rewrite(folder / "config.json", architectures=["BertForTokenClassification"])
    with pytest.raises(ModelError, match="'BertForTokenClassification' is not supported"):
        open_source(str(folder), options)
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelError, match="is not valid JSON"):
        open_source(str(folder), options)
    folder = copied(bert_folder, "without")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="holds no weights"):
        open_source(str(folder), options)


@pytest.mark.parametrize("how", ["truncated", "of another shape"])
def test_unfit_weights_are_refused(bert_folder, copied, options, how):
    folder = copied(bert_folder)
    if how == "truncated":
        weights = (folder / "model.safetensors").read_bytes()
        (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    else:
        rewrite(folder / "config.json", intermediate_size=48)
    with pytest.raises(ModelError, match="cannot be loaded"):
        _ = open_source(str(folder), options).float32_bytes


def test_missing_weights_are_refused(bert_folder, copied, options):
    """Transformers would make them up at random and only warn."""
    from safetensors.torch import load_file, save_file

    folder = copied(bert_folder)
    weights = load_file(folder / "model.safetensors")
    del weights["classifier.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"classifier\.weight"):
        _ = open_source(str(folder), options).float32_bytes


def test_an_exporter_that_fails_is_a_conversion_error(bert, tmp_path, monkeypatch):
    def fail(*_arguments, **_named):
        raise RuntimeError("no such operator")

    monkeypatch.setattr("optimum.exporters.onnx.convert.export", fail)
    with pytest.raises(ConversionError, match="exporting tiny-bert to ONNX failed: RuntimeError: no such operator"):
        bert.write_onnx(tmp_path / "model.onnx")


def test_the_exported_weights_are_those_of_the_folder(bert_folder, bert_file):
    from safetensors.numpy import load_file

    table = load_file(bert_folder / "model.safetensors")["bert.embeddings.word_embeddings.weight"]
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in load_onnx(bert_file).graph.initializer}
    assert any(array.shape == table.shape and np.array_equal(array, table) for array in stored.values())
