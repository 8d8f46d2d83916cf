"""What an exported decoder does to its cache: nothing copies it."""

import onnx
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from edgeexport.settings import Interface
from edgeexport.source import SourceOptions
from edgeexport.sources.transformers import open_source

VIEWS = {"Squeeze", "Reshape", "Unsqueeze"}


@pytest.mark.slow
def test_the_past_is_only_viewed_and_multiplied(tmp_path):
    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=32, n_head=4, vocab_size=50, n_positions=64)).save_pretrained(tmp_path)
    path = tmp_path / "model.onnx"
    open_source(str(tmp_path), SourceOptions()).exported(Interface()).write_onnx(path)
    graph = onnx.load(str(path)).graph
    past = {value.name for value in graph.input if value.name.startswith("past_")}
    assert len(past) == 2
    readers = []
    for node in graph.node:
        if past & set(node.input):
            readers.append(node.op_type)
            if node.op_type in VIEWS:
                past.update(node.output)
    # ONNX Runtime fuses the keys' Transpose into the product; a Shape reads no values.
    assert set(readers) - VIEWS - {"Shape"} == {"Transpose", "MatMul"}
    assert readers.count("Transpose") == 1
    assert readers.count("MatMul") == 1
