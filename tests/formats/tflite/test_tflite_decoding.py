import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("litert_torch", reason="pip install 'edgeexport[litert]'")

import torch
import transformers

from edgeexport.decoder import to_runner
from edgeexport.errors import ConversionError
from edgeexport.formats.tflite import open_format
from edgeexport.formats.tflite.decoding import _check_shared, separate_gains
from edgeexport.formats.tflite.flatbuffer import constant, dtype_name, op_name, read_model, signatures, write_model
from edgeexport.formats.tflite.requirements import needs
from edgeexport.recipe import parse_assignments, resolve
from edgeexport.settings import Interface
from edgeexport.source import SourceOptions
from edgeexport.sources.transformers import open_source
from edgeexport.target import load_target

RUNTIMES = Path(__import__("edgeexport").__file__).parent / "runtimes"
INTERFACE = Interface(context=24, prefill=(8,))
VOCABULARY = 112
# The runner's side, in a process of its own as on a device: greedy decoding, and the logits of a text in pieces.
DRIVER = """
import json, sys, time
import numpy as np
import decoder, litert
about, prompts, count = json.loads(sys.argv[2]), np.load(sys.argv[3]), int(sys.argv[4])
model = litert.load(sys.argv[1], 1)
text = decoder.Decoder(model, about)
tokens, logits = [], []
for prompt in prompts:
    found, _ = decoder.generate(
        text, prompt, count=count, sampler=decoder.Sampler(), stop_ids=(), clock=time.perf_counter, tell=lambda _: None
    )
    tokens.append(found)
    text.reset()
    logits.append(text.feed([*prompt, *found[:-1]])[len(prompt) - 1 :])
np.savez(sys.argv[5], tokens=tokens, logits=logits, kind=type(model).__name__)
"""
DRIVER_SCORE = """
import json, sys
import numpy as np
import decoder, litert
text = decoder.Decoder(litert.load(sys.argv[1], 1), json.loads(sys.argv[2]))
np.savez(sys.argv[5], nll=[decoder.score(text, ids)["nll"] for ids in np.load(sys.argv[3])])
"""


def gpt2():
    config = transformers.GPT2Config(n_layer=2, n_embd=64, n_head=4, vocab_size=VOCABULARY, n_positions=32)
    return transformers.GPT2LMHeadModel(config)


def llama():
    config = transformers.LlamaConfig(
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=VOCABULARY,
        tie_word_embeddings=True,
    )
    return transformers.LlamaForCausalLM(config)


@pytest.fixture(scope="module", params=[gpt2, llama], ids=["gpt2", "llama"])
def exported(request, tmp_path_factory):
    """Source and float32 artifact of a small model whose biases and gains are not those it begins with."""
    folder = tmp_path_factory.mktemp(request.param.__name__)
    torch.manual_seed(0)
    model = request.param()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder / "model")
    source = open_source(str(folder / "model"), SourceOptions()).exported(INTERFACE)
    return source, open_format().baseline(source, INTERFACE, folder / "model.tflite")


def convert(artifact, folder, *settings):
    recipe = resolve(load_target("android-arm64-litert"), None, "", parse_assignments(settings))
    return open_format().convert(artifact, recipe.settings, None, folder / "converted.tflite")


def run(artifact, prompts, count, folder, driver=DRIVER):
    np.save(folder / "prompts.npy", prompts)
    about = json.dumps(to_runner(artifact.decoder, artifact.signature))
    command = [sys.executable, "-c", driver, artifact.path, about, folder / "prompts.npy", str(count), folder / "o.npz"]
    environment = {**os.environ, "PYTHONPATH": str(RUNTIMES)}
    done = subprocess.run(
        [*map(str, command)], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return np.load(folder / "o.npz")


def greedy(model, prompts, count):
    """Tokens and logits by Transformers without a cache."""
    tokens, logits = [], []
    with torch.inference_mode():
        for prompt in prompts:
            ids = torch.from_numpy(prompt)[None]
            for _ in range(count):
                last = model(input_ids=ids, use_cache=False).logits[0]
                ids = torch.cat((ids, last[-1].argmax()[None, None]), 1)
            tokens.append(ids[0, len(prompt) :].numpy())
            logits.append(last[len(prompt) - 1 :].numpy())
    return np.array(tokens), np.array(logits)


def matrices(model):
    """Type of each weight with two axes of more than one row, by the operators that read its buffer."""
    found = {}
    for graph in model.subgraphs:
        for operator in graph.operators:
            for index in (index for index in operator.inputs if index >= 0):
                tensor = graph.tensors[index]
                if len(tensor.shape) == 2 and min(tensor.shape) > 1 and constant(model, tensor) is not None:
                    key = (tensor.buffer, tuple(tensor.shape), dtype_name(tensor.type))
                    found.setdefault(key, []).append(op_name(model, operator))
    return found


def test_signatures_have_the_shared_names_and_fixed_slots(exported):
    source, artifact = exported
    model = read_model(artifact.path)
    assert [entry.key for entry in signatures(model)] == ["decode", "prefill_8"]
    names = ["input_ids", "position_ids", "attention_mask", "past_key_0", "past_value_0", "past_key_1", "past_value_1"]
    for entry, length in zip(signatures(model), (1, 8), strict=True):
        tensors = model.subgraphs[entry.subgraph].tensors
        assert list(entry.inputs) == names
        assert list(entry.outputs) == ["logits", "new_key_0", "new_value_0", "new_key_1", "new_value_1"]
        heads = source.decoder.kv_heads
        shapes = {name: list(tensors[index].shape) for name, index in {**entry.inputs, **entry.outputs}.items()}
        assert shapes["attention_mask"] == [1, 1, length, 24 + length]
        assert shapes["past_key_1"] == [1, heads, 24, 16]
        assert shapes["new_value_1"] == [1, heads, length, 16]
        assert shapes["logits"] == [1, length, VOCABULARY]
        assert dtype_name(tensors[entry.inputs["input_ids"]].type) == "int32"
    assert artifact.decoder.prefill == (8,)
    assert open_format().inspect(artifact.path)[0] == artifact.signature
    assert artifact.signature.lengths == {"sequence": (1, 8), "total": (25, 32)}


def test_greedy_tokens_and_logits_are_those_of_torch(exported, tmp_path):
    source, artifact = exported
    prompts = np.random.default_rng(0).integers(0, VOCABULARY, (3, 11))
    tokens, logits = greedy(source._model, prompts, 12)
    found = run(artifact, prompts, 12, tmp_path)
    assert str(found["kind"]) == "Held"
    np.testing.assert_array_equal(found["tokens"], tokens)
    assert np.abs(found["logits"] - logits).max() < 1e-4


def test_a_window_slides_over_the_oldest_slots(exported, tmp_path):
    source, artifact = exported
    if not source.decoder.slides:
        pytest.skip("a table of positions ends")
    prompts = np.random.default_rng(1).integers(0, VOCABULARY, (1, 20))
    found = run(artifact, prompts, 30, tmp_path)
    assert found["tokens"].shape == (1, 30)
    with torch.inference_mode():  # the first token past the context sees one less than the whole text
        ids = torch.from_numpy(np.concatenate([prompts[0], found["tokens"][0]]))[None]
        whole = source._model(input_ids=ids[:, :24], use_cache=False).logits[0, -1].argmax()
    assert found["tokens"][0, 4] == int(whole)


def test_every_layer_is_a_product_with_a_weight_stored_once(exported):
    _, artifact = exported
    found = matrices(read_model(artifact.path))
    assert all(len(set(ops)) == 1 or set(ops) == {"EMBEDDING_LOOKUP", "FULLY_CONNECTED"} for ops in found.values())
    assert all(set(ops) <= {"EMBEDDING_LOOKUP", "FULLY_CONNECTED"} for ops in found.values())
    assert all(len(ops) % 2 == 0 for ops in found.values())  # each signature reads each
    (table,) = [ops for (_, shape, _), ops in found.items() if shape == (VOCABULARY, 64) and len(ops) > 2]
    assert sorted(table) == ["EMBEDDING_LOOKUP"] * 2 + ["FULLY_CONNECTED"] * 2


@pytest.mark.parametrize(
    ("settings", "dtype", "others", "correlation"),
    [
        (["precision=w8a8-dynamic"], "int8", "int8", 0.999),
        (["precision=w8"], "int8", "int8", 0.999),
        (["precision=w4"], "int4", "int4", 0.9),
        (["precision=w4", "quantization.embedding_bits=8"], "int8", "int4", 0.9),
        (["precision=w4", "quantization.block_size=0"], "int4", "int4", 0.8),
        (["precision=w8a8-dynamic", "quantization.embedding_bits=4"], "int4", "int8", 0.8),
    ],
)
def test_a_tied_table_is_quantized_once(exported, tmp_path, settings, dtype, others, correlation):
    source, artifact = exported
    converted = convert(artifact, tmp_path, *settings)
    model = read_model(converted.path)
    tables = [
        (kind, ops)
        for (_, shape, kind), ops in matrices(model).items()
        if shape == (VOCABULARY, 64) and "FULLY_CONNECTED" in ops and "EMBEDDING_LOOKUP" in ops
    ]
    if "precision=w8" not in settings:  # whose float product reads what a DEQUANTIZE gives
        assert tables == [(dtype, ["EMBEDDING_LOOKUP", "FULLY_CONNECTED"] * 2)]
        assert {
            kind
            for (_, shape, kind), ops in matrices(model).items()
            if shape[0] != VOCABULARY and "FULLY_CONNECTED" in ops
        } == {others}
    sizes = [len(buffer.data) for buffer in model.buffers if buffer.data is not None]
    bits = {"int8": 8, "int4": 4}[dtype]
    assert sizes.count(VOCABULARY * 64 * bits // 8) == 1
    prompts = np.random.default_rng(0).integers(0, VOCABULARY, (2, 11))
    _, expected = greedy(source._model, prompts, 1)
    found = run(converted, prompts, 1, tmp_path)["logits"]
    assert np.corrcoef(found.reshape(-1), expected.reshape(-1))[0, 1] > correlation


def test_every_operator_is_known_to_the_register(exported, tmp_path):
    _, artifact = exported
    for settings in (["precision=w8a8-dynamic"], ["precision=w4"]):
        converted = convert(artifact, tmp_path, *settings)
        assert list(open_format().gaps(converted.path, "litert", "2.3.0")) == []
        stated = {need.op: need.version for need in needs(read_model(converted.path))}
        assert stated["EMBEDDING_LOOKUP"] >= 4
        assert stated["FULLY_CONNECTED"] >= 10
        problems = list(open_format().gaps(converted.path, "tflite-runtime", "2.14.0"))
        assert {"EMBEDDING_LOOKUP", "FULLY_CONNECTED"} <= {problem.operator for problem in problems}
    early = [gap for gap in open_format().gaps(converted.path, "litert", "1.2.0") if "gives zeros" in gap.what]
    assert [gap.operator for gap in early] == ["EMBEDDING_LOOKUP"]  # which LiteRT 1.4 reads right
    assert not any("gives zeros" in gap.what for gap in open_format().gaps(converted.path, "litert", "1.4.0"))


def test_weights_that_signatures_do_not_share_are_refused(exported, tmp_path):
    _, artifact = exported
    model = read_model(artifact.path)
    graph = model.subgraphs[1]
    for operator in graph.operators:
        if op_name(model, operator) == "FULLY_CONNECTED":
            tensor = graph.tensors[operator.inputs[1]]
            copied = type(model.buffers[0])()
            copied.data = np.array(model.buffers[tensor.buffer].data)
            model.buffers.append(copied)
            tensor.buffer = len(model.buffers) - 1
    write_model(model, tmp_path / "apart.tflite")
    with pytest.raises(ConversionError, match="are not shared by its signatures"):
        _check_shared("model", tmp_path / "apart.tflite")


@pytest.fixture(scope="module")
def codelm(shared, tmp_path_factory):
    """The trained model's source and artifact, with its whole context."""
    source = open_source(str(shared / "models" / "codelm"), SourceOptions()).exported(Interface())
    return source, open_format().baseline(source, Interface(), tmp_path_factory.mktemp("codelm") / "model.tflite")


@pytest.mark.slow
@pytest.mark.shared
def test_a_trained_model_decodes_as_in_torch(codelm, shared, tmp_path):
    source, artifact = codelm
    ids = np.load(shared / "data" / "code" / "validation_ids.npy").reshape(-1)
    prompts = np.stack([ids[start : start + 40] for start in range(0, 8 * 4096, 4096)]).astype(np.int64)
    tokens, logits = greedy(source._model, prompts, 64)
    found = run(artifact, prompts, 64, tmp_path)
    np.testing.assert_array_equal(found["tokens"], tokens)
    assert np.abs(found["logits"] - logits).max() < 1e-3


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize(
    ("precision", "ratio", "size"), [("w8a8-dynamic", 1.01, 0.26), ("w8", 1.01, 0.26), ("w4", 1.05, 0.15)]
)
def test_perplexity_of_a_trained_model(codelm, shared, tmp_path, precision, ratio, size):
    source, artifact = codelm
    converted = convert(artifact, tmp_path, f"precision={precision}")
    assert converted.bytes <= size * source.float32_bytes
    ids = np.load(shared / "data" / "code" / "validation_ids.npy").reshape(-1)
    texts = np.stack([ids[start : start + 512] for start in range(0, 8 * 16384, 16384)]).astype(np.int64)
    losses = {}
    for name, model in (("float", artifact), ("converted", converted)):
        found = run(model, texts, 1, tmp_path, DRIVER_SCORE)
        losses[name] = found["nll"].mean(dtype=np.float64)
    assert np.exp(losses["converted"] - losses["float"]) < ratio


def test_norms_are_given_back_and_compute_the_same():
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.LayerNorm(8), torch.nn.Linear(8, 4), torch.nn.LayerNorm(4, bias=False))
    torch.nn.init.normal_(module[0].weight)
    torch.nn.init.normal_(module[0].bias)
    before, values = module[0], torch.randn(2, 3, 8)
    expected = module(values)
    with separate_gains(module):
        assert module[0] is not before
        torch.testing.assert_close(module(values), expected)
    assert module[0] is before
