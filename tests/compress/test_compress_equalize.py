"""Equalization keeps every output, and int8 loses less behind it."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from edgeexport.compress._channels import Channels
from edgeexport.compress.equalize import open_method
from edgeexport.compression import Materials
from edgeexport.errors import ModelError, RecipeError, SamplesError
from edgeexport.samples import open_samples
from edgeexport.source import SourceOptions
from edgeexport.sources import transformers as folders
from edgeexport.sources.torch import TorchSource
from edgeexport.stages import Equalize

HIDDEN = 16
WIDTHS = {"hidden_size": HIDDEN, "num_attention_heads": 4, "num_hidden_layers": 2}
CAUSAL = {"vocab_size": 40, "intermediate_size": 24, "num_key_value_heads": 2, **WIDTHS}


@pytest.fixture
def equalize(tmp_path):
    """``equalize(source, samples, alpha=…)``: the facts and the weights by name; samples are arrays by input name."""

    def run(source, samples=None, **stage):
        calibration = None
        if samples is not None:
            np.savez(tmp_path / "calibration.npz", **samples)
            calibration = open_samples(tmp_path / "calibration.npz")
        folder = tmp_path / "equalized"
        folder.mkdir()
        materials = Materials(None, calibration, None, None, "", open=None, work=tmp_path / "work")
        facts = open_method().compress(source, Equalize(**stage), materials, folder)
        return facts, load_file(folder / "model.safetensors")

    return run


def spoil(model, seed=0):
    """Weights that a trained model might have: norms and statistics of their own, uneven channels."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if getattr(module, "running_mean", None) is not None:
                module.running_mean.normal_(0, 0.3, generator=generator)
                module.running_var.uniform_(0.3, 3, generator=generator)
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.empty_like(parameter).normal_(0, 0.3, generator=generator))
            elif "embed" not in name:
                rows = torch.empty(len(parameter), *[1] * (parameter.ndim - 1))
                parameter.mul_(2 * rows.normal_(0, 0.7, generator=generator).exp())
    return model.eval()


def source_of(model, example, name="net"):
    """A torch source of a module made here."""
    model.example_inputs = example
    return TorchSource(model.eval(), name, "digest", "nowhere:factory")


def folder_of(model, tmp_path):
    """A Transformers source of a model made here."""
    spoil(model).save_pretrained(tmp_path / "model")
    return folders.open_source(str(tmp_path / "model"), SourceOptions())


def ids(count, source):
    """Token ids and what goes with them."""
    random = np.random.default_rng(0)
    shape = (count, 11)
    made = {
        "input_ids": random.integers(0, 40, shape),
        "attention_mask": np.ones(shape, np.int64),
        "token_type_ids": np.zeros(shape, np.int64),
        "position_ids": np.broadcast_to(np.arange(shape[1]), shape),
    }
    return {spec.name: made[spec.name].astype(np.int64) for spec in source.signature.inputs}


def pixels(count, _source):
    """Images of 32x32."""
    return {"pixel_values": np.random.default_rng(0).standard_normal((count, 3, 32, 32)).astype(np.float32)}


def bert():
    from transformers import BertConfig, BertForSequenceClassification

    return BertForSequenceClassification(BertConfig(vocab_size=40, intermediate_size=24, **WIDTHS))


def gpt2():
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=HIDDEN, n_layer=2, n_head=4, n_positions=32))


def llama():
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(LlamaConfig(**CAUSAL))


def qwen3():
    from transformers import Qwen3Config, Qwen3ForCausalLM

    return Qwen3ForCausalLM(Qwen3Config(head_dim=4, **CAUSAL))


def vit():
    from transformers import ViTConfig, ViTForImageClassification

    return ViTForImageClassification(ViTConfig(image_size=32, patch_size=8, intermediate_size=24, **WIDTHS))


def mobilenet():
    from transformers import MobileNetV2Config, MobileNetV2ForImageClassification

    config = MobileNetV2Config(image_size=32, depth_multiplier=0.25, finegrained_output=False, num_labels=5)
    return MobileNetV2ForImageClassification(config)


def resnet():
    from transformers import ResNetConfig, ResNetForImageClassification

    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[2, 2], layer_type="basic")
    return ResNetForImageClassification(config)


# What each architecture has: groups by kind, layers left out by what stands in their way.
ARCHITECTURES = {
    # Post-norm: norms feed the residual too, whose next norm must see it unchanged. Only attention is left, and the
    # last norm, which feeds the pooler alone.
    bert: (
        {"layer to layer": 2, "norm to layers": 1, "query to key": 2},
        {"layer_norm": 8, "gelu": 2, "tanh": 1},
    ),
    gpt2: ({"layer to layer": 2, "norm to layers": 4, "query to key": 2}, {"add": 2}),
    # Values to outputs with two query heads a key, and the linear half of the gated layer; rotated queries and keys.
    llama: ({"layer to layer": 4, "norm to layers": 5, "query to key": 2}, {}),
    # Norms of its own in between leave queries and keys without weights to equalize.
    qwen3: ({"layer to layer": 4, "norm to layers": 5}, {}),
    vit: ({"layer to layer": 2, "norm to layers": 5, "query to key": 2}, {"gelu": 2, "model input": 1}),
    # ReLU6 stands behind every layer but the linear bottlenecks.
    mobilenet: ({"layer to layer": 2, "several layers to several": 5}, {"hardtanh": 35, "model input": 1}),
    resnet: ({"layer to layer": 4, "several layers to several": 2}, {"model input": 1}),
}


@pytest.mark.parametrize("make", list(ARCHITECTURES), ids=lambda make: make.__name__)
def test_architectures_keep_their_outputs(make, tmp_path, equalize):
    torch.manual_seed(0)
    source = folder_of(make(), tmp_path)
    images = "pixel_values" in [spec.name for spec in source.signature.inputs]
    samples = (pixels if images else ids)(24, source)
    facts, state = equalize(source, {name: array[:20] for name, array in samples.items()})

    groups, left_out = ARCHITECTURES[make]
    assert facts["groups"] == groups
    assert facts["left_out"] == left_out
    assert facts["calibrated_on"] == 20
    before = source.editable().model.state_dict()
    tied = {"lm_head.weight"} if make is gpt2 else set()  # stored under the embedding's name
    assert set(state) == set(before) - tied
    assert {name: tensor.shape for name, tensor in state.items()} == {name: before[name].shape for name in state}
    changed = [name for name in state if not torch.equal(state[name], before[name])]
    assert len(changed) > sum(groups.values())

    equalized = folders.open_source(str(tmp_path / "equalized"), SourceOptions())
    for number in range(20, 24):  # none that was calibrated on
        sample = {name: array[number : number + 1] for name, array in samples.items()}
        expected, found = source.reference(sample), equalized.reference(sample)
        for name, array in expected.items():
            assert np.abs(found[name] - array).max() <= 1e-5 * np.abs(array).max()


class Convolutions(nn.Module):
    """With a norm, a depthwise layer, pooling, padding, and channels that are flattened away."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.grouped = nn.Conv2d(8, 16, 3, padding=1, groups=2)
        self.head = nn.Linear(16 * 4, 5)

    def forward(self, image):
        hidden = functional.relu(self.norm(self.stem(image)))
        hidden = functional.leaky_relu(self.depthwise(hidden), 0.1)
        hidden = functional.max_pool2d(functional.relu(self.grouped(hidden)), 4)
        return self.head(hidden.flatten(1))


class Perceptron(nn.Module):
    """Two layers with something in between."""

    def __init__(self, between=functional.relu, width=32):
        super().__init__()
        self.first, self.second = nn.Linear(12, width), nn.Linear(width, 6)
        self.between = between

    def forward(self, x):
        return self.second(self.between(self.first(x)))


class Normed(nn.Module):
    """A norm that feeds two layers."""

    def __init__(self):
        super().__init__()
        self.norm, self.left, self.right = nn.LayerNorm(12), nn.Linear(12, 7), nn.Linear(12, 5)

    def forward(self, x):
        hidden = self.norm(x)
        return torch.cat([self.left(hidden), self.right(hidden)], -1)


def uneven(model, factor=100.0):
    """The same function with channels up to ``factor`` apart, as training without care for int8 leaves them."""
    scale = torch.logspace(0, float(np.log10(factor)), 8)[torch.randperm(8, generator=torch.Generator().manual_seed(3))]
    with torch.no_grad():
        model.norm.weight.mul_(scale)
        model.norm.bias.mul_(scale)
        model.depthwise.weight.div_(scale[:, None, None, None])
        model.grouped.weight[0].mul_(factor)
        model.grouped.bias[0].mul_(factor)
        model.head.weight[:, :4].div_(factor)
    return model


def rounded(values, axis=None):
    """To int8 steps over the range of the whole tensor, or of each row."""
    largest = (
        values.abs().max() if axis is None else values.abs().flatten(1).amax(1).reshape(-1, *[1] * (values.ndim - 1))
    )
    step = largest.clamp(min=1e-12) / 127
    return (values / step).round() * step


def int8_error(model, inputs, state=None, per_channel=False):
    """Mean square error of outputs, over their mean square, with weights and layer inputs in int8."""
    import copy

    model = copy.deepcopy(model)
    if state is not None:
        model.load_state_dict(state, strict=True)
    with torch.no_grad():
        expected = model(inputs)
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                module.weight.copy_(rounded(module.weight, 0 if per_channel else None))
                module.register_forward_pre_hook(lambda _module, given: (rounded(given[0]),))
        return float((model(inputs) - expected).square().mean() / expected.square().mean())


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("calibrated", [False, True])
def test_int8_loses_at_most_a_third(per_channel, calibrated, equalize):
    torch.manual_seed(0)
    model = uneven(spoil(Convolutions()))
    images = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    source = source_of(model, {"image": images[:1]})
    _, state = equalize(source, {"image": images[:32].numpy()} if calibrated else None)
    before = int8_error(model, images[32:], per_channel=per_channel)
    after = int8_error(model, images[32:], state, per_channel=per_channel)
    assert after <= before / 3


def test_smoothquant_formula(equalize):
    torch.manual_seed(0)
    model = spoil(Normed())
    x = np.random.default_rng(0).standard_normal((40, 12)).astype(np.float32)
    x[-1, 3] = 60  # only the last sample has it
    facts, state = equalize(source_of(model, {"x": torch.zeros(1, 12)}), {"x": x}, alpha=0.7, cross_layer=False)
    with torch.no_grad():
        largest = model.norm(torch.from_numpy(x)).abs().amax(0)
        sides = [layer.weight.abs().amax(0) / layer.weight.abs().max() for layer in (model.left, model.right)]
        expected = largest**0.7 / torch.maximum(*sides) ** 0.3
    found = (model.norm.weight / state["norm.weight"]).detach()
    np.testing.assert_allclose(found / found.mean(), expected / expected.mean(), rtol=1e-5)
    np.testing.assert_allclose(state["left.weight"], model.left.weight.detach() * found, rtol=1e-5)
    np.testing.assert_allclose(state["norm.bias"], model.norm.bias.detach() / found, rtol=1e-5)
    assert facts["groups"] == {"norm to layers": 1}
    assert facts["ratios"]["activations"][1] < facts["ratios"]["activations"][0]


def test_without_cross_layer_the_first_of_two_weights_does_not_count(equalize):
    torch.manual_seed(0)
    model = spoil(Perceptron())
    x = torch.randn(40, 12)
    example = {"x": torch.zeros(1, 12)}
    _, state = equalize(source_of(model, example), {"x": x.numpy()}, cross_layer=False)
    with torch.no_grad():
        largest = functional.relu(model.first(x)).abs().amax(0).clamp(min=1e-9)
        expected = (largest / model.second.weight.abs().amax(0)).sqrt()
        found = model.first.bias / state["first.bias"]
    there = (largest > 1e-2 * largest.max()).numpy()
    assert there.sum() > 20
    np.testing.assert_allclose(
        (found / found[there].mean())[there], (expected / expected[there].mean())[there], rtol=1e-4
    )


class Grouped(nn.Module):
    """Attention in one kernel, two query heads to a key and value head."""

    def __init__(self):
        super().__init__()
        self.query, self.output = nn.Linear(12, 16), nn.Linear(16, 6)
        self.key, self.value = nn.Linear(12, 8), nn.Linear(12, 8)

    def forward(self, x):
        query, key, value = (
            layer(x).unflatten(-1, (-1, 4)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value, enable_gqa=True)
        return self.output(mixed.transpose(1, 2).flatten(2))


class Learned(nn.Module):
    """A learned token joins the samples' own before a layer reads both."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(12, 8), nn.Linear(8, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 8))

    def forward(self, x):
        return self.last(torch.cat([self.token.expand(len(x), 1, 8), self.first(x)], 1).relu())


def test_a_learned_token_is_scaled_along(equalize):
    torch.manual_seed(0)
    model = spoil(Learned())
    x = torch.randn(20, 5, 12)
    facts, state = equalize(source_of(model, {"x": x[:1]}), {"x": x.numpy()})
    assert facts["groups"] == {"layer to layer": 1}
    found = (state["token"] / model.token.detach())[0, 0]
    np.testing.assert_allclose(found, state["first.bias"] / model.first.bias.detach(), rtol=1e-5)
    assert found.std() > 0.05


class Alone(nn.Module):
    """A layer that reads what was learned, whatever the sample."""

    def __init__(self):
        super().__init__()
        self.last, self.token = nn.Linear(8, 4), nn.Parameter(torch.randn(1, 8))

    def forward(self, x):
        return self.last(self.token.expand(len(x), 8).relu()) + x


def test_a_learned_token_alone_is_scaled_too(equalize):
    torch.manual_seed(0)
    x = torch.randn(20, 4)
    facts, _ = equalize(source_of(spoil(Alone()), {"x": x[:1]}), {"x": x.numpy()})
    assert facts["groups"] == {"learned values to layers": 1}


def test_query_heads_that_share_a_value_share_its_scale(equalize):
    torch.manual_seed(0)
    model = spoil(Grouped())
    x = torch.randn(4, 5, 12)
    facts, state = equalize(source_of(model, {"x": x[:1]}), {"x": x.numpy()})
    assert facts["groups"] == {"layer to layer": 1, "query to key": 1}
    with torch.no_grad():
        value = (state["value.bias"] / model.value.bias).view(2, 1, 4).expand(2, 2, 4).flatten()
        key = (state["key.bias"] / model.key.bias).view(2, 1, 4).expand(2, 2, 4).flatten()
        output = (state["output.weight"] / model.output.weight)[0]
        query = state["query.bias"] / model.query.bias
    assert value.std() > 0.05
    assert key.std() > 0.05
    np.testing.assert_allclose(output, 1 / value, rtol=1e-5)
    np.testing.assert_allclose(query, 1 / key, rtol=1e-5)


def test_cross_layer_formula(equalize):
    torch.manual_seed(0)
    facts, state = equalize(source_of(spoil(Perceptron()), {"x": torch.randn(1, 12)}))
    made = state["first.weight"].abs().amax(1)
    read = state["second.weight"].abs().amax(0)
    np.testing.assert_allclose(made / made.max(), read / read.max(), rtol=1e-4)
    assert facts["calibrated_on"] == 0
    assert "activations" not in facts["ratios"]
    assert "without samples" in facts["summary"]


class Behind(nn.Module):
    """A convolution with a norm behind it, and one that reads it."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.second = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1)

    def forward(self, image):
        return self.second(functional.relu(self.norm(self.first(image))))


def test_a_norm_behind_a_convolution_counts_as_folded(equalize):
    torch.manual_seed(0)
    facts, state = equalize(source_of(spoil(Behind()), {"image": torch.randn(1, 3, 8, 8)}))
    gain = state["norm.weight"].abs() / (state["norm.running_var"] + 1e-5).sqrt()
    made = gain * state["first.weight"].abs().flatten(1).amax(1)
    read = state["second.weight"].abs().amax((0, 2, 3))
    np.testing.assert_allclose(made / made.max(), read / read.max(), rtol=1e-4)
    assert facts["groups"] == {"layer to layer": 1}


@pytest.mark.parametrize(
    ("between", "reason"),
    [
        (functional.gelu, "gelu"),
        (functional.silu, "silu"),
        (torch.tanh, "tanh"),
        (functional.relu6, "relu6"),
        (functional.hardswish, "hardswish"),
        (lambda hidden: hidden + 1, "add"),
        (lambda hidden: functional.pad(hidden[:, 1:], (0, 1), value=1.0), "pad"),
        (lambda hidden: hidden.clamp(0, 3), "clamp"),
        (lambda hidden: hidden.masked_fill(hidden > 1, 1.0), "masked_fill"),
        (lambda hidden: hidden * hidden, "mul"),
        (lambda hidden: hidden.sort(-1).values, "sort"),
    ],
)
def test_nothing_passes_what_is_not_homogeneous(between, reason, equalize, tmp_path):
    torch.manual_seed(0)
    with pytest.raises(ModelError, match=rf"{reason} \(1\)"):
        equalize(source_of(Perceptron(between), {"x": torch.randn(1, 12)}))
    assert not list((tmp_path / "equalized").iterdir())


@pytest.mark.parametrize(
    "between",
    [
        functional.relu,
        lambda hidden: hidden.clamp(min=0),
        lambda hidden: functional.pad(hidden[:, 1:], (0, 1)),
        lambda hidden: functional.pad(hidden[:, 1:], (1, 0), mode="replicate"),
        lambda hidden: (hidden / 3).reshape(-1, 4, 8).transpose(1, 2).flatten(1).relu_(),
        lambda hidden: torch.cat(hidden.chunk(2, -1)[::-1], -1) * 2,
        lambda hidden: hidden.relu() - hidden.neg().relu() / 2,
    ],
)
def test_what_is_homogeneous_is_passed(between, equalize):
    torch.manual_seed(0)
    model = spoil(Perceptron(between))
    x = torch.randn(1, 12)
    _, state = equalize(source_of(model, {"x": x}))
    assert not torch.equal(state["first.weight"], model.first.weight)
    expected = model(x).detach()
    model.load_state_dict(state, strict=True)
    np.testing.assert_allclose(model(x).detach(), expected, atol=1e-5 * float(expected.abs().max()))


class Tied(nn.Module):
    """Reads one weight twice: as a layer of its own, or under another name."""

    def __init__(self, named):
        super().__init__()
        self.first, self.last = nn.Linear(8, 8), nn.Linear(8, 8)
        self.named = named
        if named:
            self.other = nn.Linear(8, 8)
            self.other.weight = self.first.weight

    def forward(self, x):
        hidden = functional.relu(self.first(x))
        return self.last(functional.relu((self.other if self.named else self.first)(hidden)))


@pytest.mark.parametrize("named", [False, True])
def test_shared_weights_stay(named, equalize):
    torch.manual_seed(0)
    with pytest.raises(ModelError, match=r"shared weight"):
        equalize(source_of(Tied(named), {"x": torch.randn(1, 8)}))


class Different(nn.Module):
    """Does something else than its graph says."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(12, 16), nn.Linear(16, 6)

    def forward(self, x):
        hidden = self.first(x)
        return self.second(hidden.relu() if torch.compiler.is_exporting() else functional.gelu(hidden))


def test_outputs_are_compared(equalize, tmp_path):
    torch.manual_seed(0)
    with pytest.raises(ModelError, match="changed its outputs"):
        equalize(source_of(spoil(Different()), {"x": torch.randn(1, 12)}))
    assert not list((tmp_path / "equalized").iterdir())


def test_refusals(equalize):
    source = source_of(Perceptron(), {"x": torch.randn(1, 12)})
    with pytest.raises(RecipeError, match="nothing to equalize"):
        equalize(source, cross_layer=False)


def test_samples_that_do_not_vary_are_refused(equalize):
    with pytest.raises(SamplesError, match="do not vary"):
        equalize(source_of(Perceptron(), {"x": torch.randn(1, 12)}), {"x": np.ones((8, 12), np.float32)})


def test_channels_tied_to_their_inverse_are_fixed():
    channels = Channels()
    one, two, three, other = channels.fresh(4)
    channels.tie(np.array([one, two]), np.array([two, three]), sign=-1)
    assert channels.free(np.array([one, two, three, other])).all()
    roots, signs = channels.find(np.array([one, two, three]))
    assert len(set(roots.tolist())) == 1
    assert signs[0] == signs[2] == -signs[1]
    channels.tie(np.array([one]), np.array([three]), sign=-1)
    assert channels.free(np.array([one, two, three, other])).tolist() == [False, False, False, True]
    channels.fix(np.array([other]), "a reason")
    assert channels.reason(int(other)) == "a reason"
