"""Tiny models of every architecture that distillation cuts, and sources that are there without a file."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MobileNetV2Config,
    MobileNetV2ForImageClassification,
    Qwen2Config,
    Qwen2ForCausalLM,
    SwinConfig,
    SwinForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)

from edgeexport.compress._encoded import Column, Encoded
from edgeexport.source import SourceOptions
from edgeexport.sources.transformers import open_source

_SIZES = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 96}
_VIT = {"image_size": 16, "patch_size": 8, "num_labels": 3}


def _bert(**more):
    return BertConfig(vocab_size=40, num_hidden_layers=4, max_position_embeddings=32, **_SIZES, **more)


MAKERS = {
    "bert": lambda: BertForSequenceClassification(_bert(num_labels=3)),
    "encoder": lambda: BertModel(_bert(), add_pooling_layer=False),
    "distilbert": lambda: DistilBertForSequenceClassification(
        DistilBertConfig(vocab_size=40, dim=32, n_layers=4, n_heads=4, hidden_dim=96, max_position_embeddings=32)
    ),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(vocab_size=40, n_positions=32, n_embd=32, n_layer=4, n_head=4)),
    "vit": lambda: ViTForImageClassification(ViTConfig(num_hidden_layers=4, **_VIT, **_SIZES)),
    "llama": lambda: LlamaForCausalLM(
        LlamaConfig(vocab_size=40, num_hidden_layers=4, num_key_value_heads=4, max_position_embeddings=32, **_SIZES)
    ),
    "qwen": lambda: Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=40,
            num_hidden_layers=4,
            num_key_value_heads=2,
            max_position_embeddings=32,
            use_sliding_window=True,
            sliding_window=4,
            max_window_layers=2,
            **_SIZES,
        )
    ),
    "swin": lambda: SwinForImageClassification(
        SwinConfig(image_size=32, embed_dim=16, depths=[1, 1, 1], num_heads=[2, 2, 2], window_size=2, num_labels=3)
    ),
    "mobilenet": lambda: MobileNetV2ForImageClassification(
        MobileNetV2Config(image_size=32, depth_multiplier=0.25, finegrained_output=False, num_labels=3)
    ),
}


@pytest.fixture(autouse=True, scope="module")
def quick(one_thread):
    """Everything here trains."""


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory):
    """``folder_of(kind)``: a model's folder, made at the first call, its weights larger than freshly initialised."""
    made = {}

    def make(kind):
        if kind not in made:
            torch.manual_seed(5)
            model = MAKERS[kind]()
            for parameter in model.parameters():
                parameter.data.mul_(3).add_(torch.randn_like(parameter) * 0.01)
            made[kind] = tmp_path_factory.mktemp("teachers") / kind
            model.save_pretrained(made[kind])
        return made[kind]

    return make


@pytest.fixture
def source_of(folder_of):
    def open_it(kind):
        return open_source(str(folder_of(kind)), SourceOptions())

    return open_it


@pytest.fixture
def editable_of(source_of):
    def open_it(kind):
        return source_of(kind).editable()

    return open_it


@pytest.fixture(scope="session")
def inputs_of():
    """Two samples of what a kind takes, the second shorter."""
    ids = torch.tensor([[2, 10, 6, 8, 3, 7], [2, 10, 9, 3, 0, 0]])
    text = {"input_ids": ids, "attention_mask": (ids != 0).long()}

    def make(kind):
        if kind == "vit":
            return {"pixel_values": torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))}
        if kind in {"gpt2", "llama", "qwen"}:
            return {**text, "position_ids": torch.arange(6).expand(2, 6)}
        return text if kind == "distilbert" else {**text, "token_type_ids": torch.zeros_like(ids)}

    return make


@pytest.fixture(scope="session")
def arrays():
    """``arrays(x=[samples, size], labels)``: an encoded set of vectors."""

    def make(values, labels):
        values = torch.as_tensor(values, dtype=torch.float32)
        count = len(values)
        column = Column(values.flatten(), tuple(values.shape[1:]), torch.float32, 0)
        lengths = np.ones(count, np.int64)
        return Encoded({"x": column}, lengths, np.asarray(labels, np.int64), torch.from_numpy(np.stack([lengths] * 2)))

    return make


@pytest.fixture
def lines(tmp_path):
    """Write a set of records as ``.jsonl``; gives its path."""

    def write(records, name="set.jsonl"):
        path = Path(tmp_path) / name
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        return path

    return write


@pytest.fixture
def road(tmp_path):
    """``road(trained, target, **quantization)``."""

    from rehearsals import Road

    def make(trained, target, calibration=None, interface=None, model=None, **rules):
        flags = {"precision": "w8a8", "quantization": rules}
        if calibration:
            flags["calibration"] = calibration
        if interface:
            flags["interface"] = interface
        folder = tmp_path / ("trained-road" if model else "road")
        return Road(model or trained.model, target, flags, trained.calibration, trained.evaluation, folder)

    return make
