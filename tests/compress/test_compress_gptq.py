"""GPTQ on whole models: what it rounds, what it leaves, and that an export finds its integers again."""

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from edgeexport.compress._steps import Grid
from edgeexport.compress.gptq import Compensation
from edgeexport.compression import Materials
from edgeexport.errors import RecipeError
from edgeexport.formats.onnx.blocks import pack_blocks
from edgeexport.formats.onnx.scheme import open_scheme
from edgeexport.samples import open_samples
from edgeexport.settings import Calibration, Quantization, Settings
from edgeexport.stages import Gptq


def settings(precision="w4", block_size=16):
    rules = Quantization(activation_type="uint8", per_channel=True, op_types=("MatMul",), block_size=block_size)
    return Settings(
        precision=precision,
        quantization=rules,
        calibration=Calibration(method="minmax", minimum_samples=1),
    )


@pytest.fixture
def samples(tmp_path):
    ids = np.random.default_rng(0).integers(0, 40, (24, 16))
    arrays = {"input_ids": ids, "attention_mask": np.ones_like(ids), "position_ids": np.tile(np.arange(16), (24, 1))}
    np.savez(tmp_path / "ids.npz", **arrays)
    return open_samples(tmp_path / "ids.npz")


@pytest.fixture
def rounded(source_of, samples, tmp_path):
    """``rounded(kind, **stage)``: the source's model, the rounded one, and what was said."""

    def run(kind, scheme=None, precision="w4", calibration=samples, **stage):
        folder = tmp_path / "rounded"
        folder.mkdir()
        materials = Materials(
            train=None,
            calibration=calibration,
            evaluation=None,
            settings=None if precision is None else settings(precision),
            format="",
            open=lambda name: None,
            work=tmp_path,
            scheme=scheme,
        )
        source = source_of(kind)
        facts = Compensation().compress(source, Gptq(**stage), materials, folder)
        return source.editable().model, AutoModelForCausalLM.from_pretrained(folder).eval(), facts

    return run


def linear(model):
    """Weights [outputs, inputs] of its linear layers by name."""
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            found[name] = module.weight
        elif type(module).__name__ == "Conv1D":
            found[name] = module.weight.T
    return found


def nearest(weight, grid, block):
    return grid.round(weight, grid.scales(weight, block, torch.ones(weight.shape[1]), 0))


def test_a_tied_table_is_left_and_all_else_is_on_the_grid(rounded):
    before, after, facts = rounded("gpt2")
    table = before.lm_head.weight
    assert torch.equal(after.lm_head.weight, table)
    assert torch.equal(after.transformer.wpe.weight, before.transformer.wpe.weight)
    layers = linear(after)
    layers.pop("lm_head")
    assert set(facts["layers"]) == set(layers)
    assert len(layers) == 16
    for name, weight in layers.items():
        assert not torch.equal(weight, linear(before)[name])
        assert torch.allclose(nearest(weight, Grid(4, False), 16), weight, rtol=1e-6, atol=0), name


@pytest.mark.parametrize("kind", ["llama", "qwen"])
def test_an_untied_head_is_rounded_as_well(rounded, kind):
    _, after, facts = rounded(kind)
    assert set(facts["layers"]) == set(linear(after))
    assert "lm_head" in facts["layers"]
    for weight in linear(after).values():
        assert torch.allclose(nearest(weight, Grid(4, False), 16), weight, rtol=1e-6, atol=0)


def test_the_onnx_quantizer_finds_weights_and_codes_bit_for_bit(rounded):
    _, after, _ = rounded("gpt2", scheme=open_scheme())
    for name, weight in linear(after).items():
        if name == "lm_head":
            continue
        codes, scales = pack_blocks(weight.detach().T.numpy(), 4, 16)
        steps = np.stack([codes & 15, codes >> 4], -1).reshape(*codes.shape[:2], 16).astype(np.float32) - 8
        assert np.array_equal((steps * scales[..., None]).reshape(weight.shape), weight.detach().numpy()), name


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_layers_err_less_than_by_plain_rounding(rounded, kind):
    _, _, facts = rounded(kind)
    assert np.mean(list(facts["layers"].values())) < 0.8
    assert "24 samples" in facts["summary"]


def test_later_blocks_see_what_rounded_ones_give(rounded, samples, source_of):
    """The last block's Hessian is that of the rounded model's inputs: its layers' errors are taken on those."""
    before, after, facts = rounded("gpt2", clips=0)
    name = "transformer.h.3.attn.c_attn"
    layer = after.get_submodule(name)
    seen = []
    layer.register_forward_pre_hook(lambda _module, given: seen.append(given[0].reshape(-1, 32)))
    with torch.inference_mode():
        for sample in samples:
            after(input_ids=torch.from_numpy(np.asarray(sample.record["input_ids"])))
    x = torch.cat(seen)
    weight, changed = linear(before)[name], linear(after)[name]
    plain = nearest(weight, Grid(4, False), 16)
    ratio = ((x @ (changed - weight).T) ** 2).sum() / ((x @ (plain - weight).T) ** 2).sum()
    assert float(ratio) == pytest.approx(facts["layers"][name], rel=1e-3)


def test_contradictions_are_refused(rounded):
    with pytest.raises(RecipeError, match="calibration"):
        rounded("gpt2", calibration=None)


@pytest.mark.parametrize(
    ("stage", "precision", "what"),
    [({"block_size": 32}, "w4", "blocks of 16"), ({}, "w8", "precision is w8"), ({"bits": 8}, "w4", "8 bits")],
)
def test_a_stage_that_contradicts_the_target_is_refused(rounded, stage, precision, what):
    with pytest.raises(RecipeError, match=what):
        rounded("gpt2", precision=precision, **stage)


def test_without_a_target_blocks_have_32(rounded):
    _, after, facts = rounded("gpt2", precision=None)
    assert facts["block_size"] == 32
    weight = linear(after)["transformer.h.0.mlp.c_proj"]
    assert torch.allclose(nearest(weight, Grid(4, False), 32), weight, rtol=1e-6, atol=0)
    assert not torch.allclose(nearest(weight, Grid(4, False), 16), weight, rtol=1e-6, atol=0)
