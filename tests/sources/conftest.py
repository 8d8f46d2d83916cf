"""Tiny models, made here: no network, seeds fixed."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from edgeexport.source import SourceOptions

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS += ["a", "good", "bad", "film", "plot", "the", "was", "very", "not", "##s", "and"]


def write_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    vocabulary = {word: number for number, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "BertTokenizerFast", "model_max_length": 32, "pad_token": "[PAD]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def bert_config(**more):
    from transformers import BertConfig

    return BertConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=32,
        **more,
    )


@pytest.fixture(scope="session")
def options():
    return SourceOptions()


@pytest.fixture(scope="session")
def bert_folder(tmp_path_factory):
    import torch
    from transformers import BertForSequenceClassification

    folder = tmp_path_factory.mktemp("models") / "tiny-bert"
    torch.manual_seed(0)
    labels = {0: "bad", 1: "fair", 2: "good"}
    model = BertForSequenceClassification(bert_config(id2label=labels, label2id={v: k for k, v in labels.items()}))
    # trained models do not have the initial near-zero weights, at which every output is alike
    for parameter in model.parameters():
        parameter.data.mul_(4)
    model.save_pretrained(folder)
    write_tokenizer(folder)
    return folder


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory):
    import torch
    from transformers import BertModel

    folder = tmp_path_factory.mktemp("models") / "tiny-encoder"
    torch.manual_seed(1)
    model = BertModel(bert_config(), add_pooling_layer=False)
    for parameter in model.parameters():
        parameter.data.mul_(4)
    model.save_pretrained(folder)
    write_tokenizer(folder)
    return folder


@pytest.fixture(scope="session")
def gpt_folder(tmp_path_factory):
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path_factory.mktemp("models") / "tiny-gpt"
    torch.manual_seed(2)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=64, n_positions=32, n_embd=32, n_layer=2, n_head=4))
    for parameter in model.parameters():
        parameter.data.mul_(4)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def mobilenet_folder(tmp_path_factory):
    import torch
    from transformers import MobileNetV2Config, MobileNetV2ForImageClassification, MobileNetV2ImageProcessor

    folder = tmp_path_factory.mktemp("models") / "tiny-mobilenet"
    torch.manual_seed(3)
    config = MobileNetV2Config(image_size=32, depth_multiplier=0.25, finegrained_output=False, num_labels=5)
    model = MobileNetV2ForImageClassification(config)
    generator = torch.Generator().manual_seed(4)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    model.save_pretrained(folder)
    MobileNetV2ImageProcessor(size={"shortest_edge": 36}, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


@pytest.fixture
def copied(tmp_path):
    """A folder that the test may change."""

    def copy(folder: Path, name: str = "copy") -> Path:
        return Path(shutil.copytree(folder, tmp_path / name))

    return copy


@pytest.fixture
def payload(tmp_path):
    """A pickle that would leave a file behind if it were loaded; gives the pickle's object and that file."""
    trace = tmp_path / "the-payload-ran"

    class Malicious:
        def __reduce__(self):
            return (Path.touch, (trace,))

    pickle.loads(pickle.dumps(Malicious()))
    assert trace.exists()  # it is a payload
    trace.unlink()
    return Malicious(), trace


@pytest.fixture(scope="session")
def sentences():
    """Ids and masks of two padded sentences, as int64."""
    ids = np.array([[2, 10, 6, 8, 3, 0], [2, 10, 9, 11, 7, 3]])
    return {"input_ids": ids, "attention_mask": (ids != 0).astype(np.int64), "token_type_ids": np.zeros_like(ids)}


@pytest.fixture(scope="session")
def run_file():
    """Run an ONNX file on named arrays."""

    def run(path, feeds):
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        wanted = {value.name for value in session.get_inputs()}
        names = [value.name for value in session.get_outputs()]
        return dict(zip(names, session.run(names, {k: v for k, v in feeds.items() if k in wanted}), strict=True))

    return run


@pytest.fixture(scope="session")
def digits_module(tmp_path_factory):
    """The folder of a module with a factory: a convolutional net trained on scikit-learn's digits."""
    folder = tmp_path_factory.mktemp("factory")
    (folder / "digits_layers.py").write_text(LAYERS)
    (folder / "digits_net.py").write_text(NET)
    return folder


LAYERS = """
import torch


def block(inputs, outputs):
    return torch.nn.Sequential(torch.nn.Conv2d(inputs, outputs, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2))
"""

NET = """
import torch
from digits_layers import block
from sklearn.datasets import load_digits


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.features = torch.nn.Sequential(block(1, 8), block(8, 16))
        self.head = torch.nn.Linear(64, 10)

    def forward(self, pixels):
        return self.head(self.features(pixels).flatten(1))


def data():
    digits = load_digits()
    pixels = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    return pixels, torch.tensor(digits.target)


def make():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    net = Net()
    pixels, target = data()
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    for start in [*range(0, 1200, 100)] * 3:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(pixels[start : start + 100]), target[start : start + 100]).backward()
        optimizer.step()
    net.example_inputs = {"pixels": pixels[:1]}
    net.labels = range(10)
    return net
"""
