"""Whole architectures against the torch modules that they were converted from, in float32 and with small weights."""

import logging

import numpy as np
import pytest
import torch
from torch import nn

from edgeexport import mil

ct = pytest.importorskip("coremltools", reason="pip install 'edgeexport[coreml]'")

import coremltools.optimize.coreml as cto  # noqa: E402

TOKENS = 32


@pytest.fixture(scope="module", autouse=True)
def quiet():
    logging.getLogger("coremltools").setLevel(logging.ERROR)


class First(nn.Module):
    """A Transformers model by its inputs in order, giving its first output alone."""

    def __init__(self, model, *names, **constant):
        super().__init__()
        self.model, self.names, self.constant = model, names, constant

    def forward(self, *arrays):
        return self.model(**dict(zip(self.names, arrays, strict=True)), **self.constant, return_dict=False)[0]


def resnet():
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(embedding_size=16, hidden_sizes=[16, 32], depths=[2, 2], layer_type="bottleneck")
    return First(ResNetForImageClassification(config), "pixel_values"), [image(48)]


def mobilenet():
    from transformers import MobileNetV2Config, MobileNetV2ForImageClassification

    config = MobileNetV2Config(depth_multiplier=0.35, image_size=64)
    return First(MobileNetV2ForImageClassification(config), "pixel_values"), [image(64)]


def vit():
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=48, num_hidden_layers=3, num_attention_heads=4, intermediate_size=96, image_size=32, patch_size=8
    )
    return First(ViTForImageClassification(config), "pixel_values"), [image(32)]


def whisper():
    from transformers import WhisperConfig, WhisperModel

    config = WhisperConfig(
        d_model=32, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4,
        encoder_ffn_dim=64, decoder_ffn_dim=64, max_source_positions=20, max_target_positions=16, vocab_size=200,
        num_mel_bins=10, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
    )  # fmt: skip
    return First(WhisperModel(config).get_encoder(), "input_features"), [torch.randn(1, 10, 40)]


class Lstm(nn.Module):
    """Speech in, one of twelve words out."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(20, 24, num_layers=2, bidirectional=True, batch_first=True)
        self.head = nn.Linear(48, 12)

    def forward(self, frames):
        return self.head(self.lstm(frames)[0].mean(1))


def lstm():
    return Lstm(), [torch.randn(1, 25, 20)]


def image(side):
    return torch.randn(1, 3, side, side)


def shaken(module):
    """The module with running statistics and biases that are not those of a fresh one, which hide mistakes."""
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.uniform_(-0.2, 0.2)
            part.running_var.uniform_(0.5, 1.5)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if name.endswith("bias"):
                parameter.uniform_(-0.1, 0.1)
    return module.eval()


def convert(module, arrays):
    if isinstance(module, Lstm):  # an operator that coremltools translates from traced graphs alone
        program = torch.jit.trace(module, tuple(arrays))
    else:
        program = torch.export.export(module, tuple(arrays)).run_decompositions({})
    inputs = [
        ct.TensorType(f"in{at}", tuple(array.shape), dtype=np.float32 if array.is_floating_point() else np.int32)
        for at, array in enumerate(arrays)
    ]
    return ct.convert(
        program,
        inputs=inputs,
        outputs=[ct.TensorType("out", dtype=np.float32)],
        minimum_deployment_target=ct.target.iOS18,
        compute_precision=ct.precision.FLOAT32,
        skip_model_load=True,
    )


def feed(arrays):
    return {
        f"in{at}": array.numpy().astype(np.float32 if array.is_floating_point() else np.int32)
        for at, array in enumerate(arrays)
    }


ARCHITECTURES = [resnet, mobilenet, vit, whisper, lstm]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """``built(make)``: the torch module, its inputs, the converted model and its package; made once each."""
    made = {}

    def build(make):
        if make not in made:
            torch.manual_seed(3)
            module, arrays = make()
            module = shaken(module)
            model = convert(module, arrays)
            path = tmp_path_factory.mktemp(make.__name__) / "model.mlpackage"
            model.save(str(path))
            made[make] = module, arrays, model, path
        return made[make]

    return build


@pytest.mark.parametrize("make", ARCHITECTURES)
def test_float32_is_torchs(built, make):
    module, arrays, _, path = built(make)
    with torch.no_grad():
        expected = module(*arrays).numpy()
    found = mil.load(path)(feed(arrays))["out"]
    assert found.shape == expected.shape
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-5 * max(1.0, np.abs(expected).max()))


def int8(model):
    return cto.linear_quantize_weights(model, cto.OptimizationConfig(cto.OpLinearQuantizerConfig(weight_threshold=64)))


def int4(model):
    config = cto.OpLinearQuantizerConfig(dtype="int4", granularity="per_block", block_size=8, weight_threshold=64)
    return cto.linear_quantize_weights(model, cto.OptimizationConfig(config))


def palettized(model):
    config = cto.OpPalettizerConfig(mode="uniform", nbits=4, weight_threshold=64)
    return cto.palettize_weights(model, cto.OptimizationConfig(config))


def pruned(model):
    config = cto.OpMagnitudePrunerConfig(target_sparsity=0.5, weight_threshold=64)
    return cto.prune_weights(model, cto.OptimizationConfig(config))


@pytest.mark.parametrize("compress", [int8, int4, palettized, pruned])
@pytest.mark.parametrize("make", [resnet, vit, lstm])
def test_compressed_weights_are_those_that_coremltools_expands(built, make, compress, tmp_path):
    """coremltools' own expansion gives a float program, whose evaluation is checked against torch above."""
    _, arrays, model, whole = built(make)
    small = compress(model)
    path, plain = tmp_path / "small.mlpackage", tmp_path / "plain.mlpackage"
    small.save(str(path))
    cto.decompress_weights(small).save(str(plain))
    sizes = [sum(file.stat().st_size for file in one.rglob("weight.bin")) for one in (path, whole)]
    assert sizes[0] < 0.75 * sizes[1]
    found, expected, exact = (mil.load(one)(feed(arrays))["out"] for one in (path, plain, whole))
    np.testing.assert_allclose(found, expected, atol=2e-5 * max(1.0, np.abs(expected).max()))
    assert np.abs(found - exact).max() > 1e-4, "nothing was compressed"


class Decoder(nn.Module):
    """GPT-2 by its own weights, one token a call, keys and values in states: ``[layers, heads, tokens, size]``."""

    def __init__(self, model):
        super().__init__()
        self.body, self.head = model.transformer, model.lm_head
        config = model.config
        self.heads, self.size = config.n_head, config.n_embd // config.n_head
        shape = (config.n_layer, self.heads, TOKENS, self.size)
        self.register_buffer("keys", torch.zeros(shape))
        self.register_buffer("values", torch.zeros(shape))

    def forward(self, token, position):
        """``token`` and ``position``: int [1]; gives the scores of the next token, [1, vocabulary]."""
        steps = torch.arange(TOKENS)
        here = (steps == position).to(torch.float32).reshape(1, 1, TOKENS, 1)
        unseen = torch.where(steps > position, -1e4, 0.0).reshape(1, 1, TOKENS)
        hidden = self.body.wte(token) + self.body.wpe(position)
        new = ([], [])
        for number, block in enumerate(self.body.h):
            parts = block.attn.c_attn(block.ln_1(hidden)).reshape(3, self.heads, 1, self.size)
            kept = [
                cache[number] * (1 - here[0]) + part * here[0]
                for cache, part in zip((self.keys, self.values), (parts[1], parts[2]), strict=True)
            ]
            for to, one in zip(new, kept, strict=True):
                to.append(one)
            scores = parts[0] @ kept[0].transpose(1, 2) / self.size**0.5 + unseen
            mixed = (torch.softmax(scores, -1) @ kept[1]).reshape(1, -1)
            hidden = hidden + block.attn.c_proj(mixed)
            hidden = hidden + block.mlp(block.ln_2(hidden))
        self.keys.mul_(0).add_(torch.stack(new[0]))
        self.values.mul_(0).add_(torch.stack(new[1]))
        return self.head(self.body.ln_f(hidden))


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory):
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(4)
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=300, n_positions=64, n_embd=48, n_layer=3, n_head=4, initializer_range=0.3)
    ).eval()
    example = (torch.tensor([5]), torch.tensor([0]))
    traced = torch.jit.trace(Decoder(model).eval(), example, check_trace=False)
    shape = (3, 4, TOKENS, 12)
    package = ct.convert(
        traced,
        inputs=[ct.TensorType(name, (1,), dtype=np.int32) for name in ("token", "position")],
        outputs=[ct.TensorType("scores", dtype=np.float32)],
        states=[ct.StateType(ct.TensorType(shape=shape, dtype=np.float16), name=name) for name in ("keys", "values")],
        minimum_deployment_target=ct.target.iOS18,
        compute_precision=ct.precision.FLOAT32,
        skip_model_load=True,
    )
    path = tmp_path_factory.mktemp("gpt2") / "model.mlpackage"
    package.save(str(path))
    return model, path


def test_gpt2_decodes_32_tokens_with_its_keys_and_values_in_states(gpt2):
    model, path = gpt2
    program, tokens, found = mil.load(path), [5], []
    state = program.new_state()
    for position in range(TOKENS):
        given = {"token": np.int32([tokens[-1]]), "position": np.int32([position])}
        found.append(program(given, state)["scores"][0])
        tokens.append(int(found[-1].argmax()))
    with torch.no_grad():
        expected = model(torch.tensor([tokens[:-1]]), use_cache=False).logits[0].numpy()
    assert len(set(tokens)) > 5
    np.testing.assert_array_equal(expected.argmax(1), tokens[1:])
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())


def test_gpt2_without_its_state_is_another(gpt2):
    _, path = gpt2
    program = mil.load(path)
    state = program.new_state()
    first = program({"token": np.int32([5]), "position": np.int32([0])}, state)["scores"]
    given = {"token": np.int32([7]), "position": np.int32([1])}
    assert np.abs(program(given, state)["scores"] - program(given)["scores"]).max() > 0.01
    assert np.isfinite(first).all()
