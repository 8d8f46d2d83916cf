"""Language models with a cache: equal to Transformers without one, for architectures of several kinds."""

from types import SimpleNamespace

import numpy as np
import pytest
import tiny_lm
import torch

from edgeexport.decoder import MASKED
from edgeexport.errors import ModelError, RecipeError
from edgeexport.settings import Interface
from edgeexport.source import SourceOptions
from edgeexport.sources import transformers as source_module
from edgeexport.sources._cached_attention import obstacle
from edgeexport.sources._decoding import example_inputs

KINDS = ("gpt2", "llama", "qwen2")


@pytest.fixture(scope="module", params=KINDS)
def folder(request, tmp_path_factory):
    return tiny_lm.save(tmp_path_factory.mktemp(request.param), request.param)


def opened(folder, **interface):
    return source_module.open_source(str(folder), SourceOptions()).exported(Interface(**interface))


def fed(decoder, run, ids, pieces):
    """Logits of a text that goes through ``run`` in pieces, with the cache kept here, its slots in reverse order."""
    count = len(ids)
    past = [np.zeros((1, decoder.kv_heads, count, decoder.head_dim), np.float32) for _ in decoder.past_names()]
    logits, done = [], 0
    for length in pieces:
        mask = np.full((1, 1, length, count + length), MASKED, np.float32)
        mask[..., count - done : count] = 0
        mask[..., count:] = np.triu(mask[..., count:], 1)
        positions = np.arange(done, done + length)[None]
        found = run(np.array(ids[done : done + length])[None], positions, mask, past)
        logits.append(found[0])
        for slots, new in zip(past, found[1:], strict=True):
            slots[:, :, count - done - length : count - done] = new[:, :, ::-1]
        done += length
    return np.concatenate(logits, 1)[0]


def test_a_text_in_pieces_is_the_text_at_once(folder):
    source = opened(folder)
    ids = np.random.default_rng(0).integers(1, 60, 20).tolist()

    def run(*arrays):
        with torch.inference_mode():
            found = source.module()(*(torch.from_numpy(a) for a in arrays[:3]), *map(torch.from_numpy, arrays[3]))
        return [one.numpy() for one in found]

    with torch.inference_mode():
        expected = tiny_lm.reference(folder)(torch.tensor([ids])).logits[0].numpy()
    assert np.abs(fed(source.decoder, run, ids, (7, 1, 1, 11)) - expected).max() < 1e-5 * np.abs(expected).max()


def test_onnx_is_the_module_at_any_length(folder, tmp_path):
    import onnxruntime

    source = opened(folder)
    source.write_onnx(tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    assert [tuple(one.shape) for one in session.get_inputs()[:4]] == [
        (1, "sequence"),
        (1, "sequence"),
        (1, 1, "sequence", "total"),
        (1, source.decoder.kv_heads, "past", tiny_lm.HEAD_DIM),
    ]
    generator = torch.Generator().manual_seed(1)
    for length, slots in ((1, 0), (6, 0), (1, 33), (4, 9)):
        example = [one.clone() for one in example_inputs(source.decoder, length, slots)]
        example[0] = torch.randint(1, 60, example[0].shape, generator=generator)
        example[3:] = [torch.randn(one.shape, generator=generator) for one in example[3:]]
        with torch.inference_mode():
            expected = [one.numpy() for one in source.module()(*example)]
        found = session.run(None, {name: one.numpy() for name, one in zip(names, example, strict=True)})
        for one, other in zip(expected, found, strict=True):
            np.testing.assert_allclose(other, one, atol=2e-5 * max(1, np.abs(one).max()))


def test_the_reference_is_the_likelihood_of_the_text(folder):
    ids = np.array([[3, 9, 4, 4, 17]])
    found = opened(folder).reference({"input_ids": ids})
    with torch.inference_mode():
        logits = tiny_lm.reference(folder)(torch.from_numpy(ids)).logits[0]
        loss = torch.nn.functional.cross_entropy(logits[:-1], torch.from_numpy(ids[0, 1:]), reduction="none")
    np.testing.assert_allclose(found["nll"], loss.numpy(), rtol=1e-5)
    assert found["token"].tolist() == logits.argmax(-1).tolist()
    np.testing.assert_allclose(found["logits"], logits[-1].numpy(), rtol=1e-5, atol=1e-5)


def test_what_a_caller_must_know(folder):
    about = opened(folder, context=40).decoder
    gpt = folder.name.startswith("gpt2")
    assert (about.layers, about.kv_heads, about.head_dim) == (2, 4 if gpt else 2, 8)
    assert (about.context, about.vocabulary, about.stop_ids, about.slides) == (40, 64, (0,), not gpt)
    assert opened(folder).decoder.context == tiny_lm.CONTEXT


@pytest.mark.parametrize(
    ("interface", "words"),
    [
        ({"context": 49}, "has 48 positions, and interface.context asks for 49"),
        ({"context": 16, "prefill": (8, 32)}, "interface.prefill has 32 tokens at once, more than the context of 16"),
    ],
)
def test_an_interface_that_the_model_lacks(tmp_path, interface, words):
    tiny_lm.save(tmp_path)
    with pytest.raises(RecipeError, match=words):
        opened(tmp_path, **interface)


def test_layers_that_look_back_less_far_are_refused(tmp_path):
    from transformers import MistralConfig, MistralForCausalLM

    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=48,
        sliding_window=24,
    )
    MistralForCausalLM(config).save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="look back on 24 tokens, and the context is 48"):
        opened(tmp_path)
    assert opened(tmp_path, context=24, prefill=(8,)).decoder.context == 24


@pytest.mark.parametrize(
    ("config", "supports", "words"),
    [
        ({}, False, "the attention of 'thing' cannot be exchanged"),
        ({"scale_attn_by_inverse_layer_idx": True}, True, "a scale of its own in each layer"),
        ({"layer_types": ["full_attention", "linear_attention"]}, True, "it has layers of linear_attention"),
        ({"layer_types": ["sliding_attention"], "sliding_window": 8}, True, "look back on 8 tokens"),
        ({"layer_types": ["full_attention"], "sliding_window": 8}, True, None),
        ({}, True, None),
    ],
)
def test_what_stands_in_the_way(config, supports, words):
    inner = SimpleNamespace(model_type="thing", **config)
    model = SimpleNamespace(config=SimpleNamespace(get_text_config=lambda: inner), _supports_attention_backend=supports)
    found = obstacle(model, 16)
    assert found is None if words is None else words in found
