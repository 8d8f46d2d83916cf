"""Nodes that torch's exporter writes have their module's path in their names."""

import onnx
import torch
from torch import nn

from edgeexport.formats.onnx.graph import Graph
from edgeexport.formats.onnx.paths import Paths
from edgeexport.sources.torch import TorchSource


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([nn.Sequential(nn.Linear(6, 6), nn.ReLU()) for _ in range(2)])
        self.head = nn.Linear(6, 3)
        self.example_inputs = {"x": torch.zeros(1, 6)}
        self.output_names = ["scores"]

    def forward(self, x):
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


def test_names_tell_modules(tmp_path):
    TorchSource(Net().eval(), "net", "digest").write_onnx(tmp_path / "m.onnx")
    model = onnx.load(str(tmp_path / "m.onnx"))
    paths = Paths(Graph(model))
    assert [(node.op_type, paths.of_node(node)) for node in model.graph.node if node.op_type in ("Gemm", "Relu")] == [
        ("Gemm", "blocks.0.0"),
        ("Relu", "blocks.0.1"),
        ("Gemm", "blocks.1.0"),
        ("Relu", "blocks.1.1"),
        ("Gemm", "head"),
    ]
    names = [node.name for node in model.graph.node]
    assert "/head/node_linear_2" in names
    assert len(set(names)) == len(names)
