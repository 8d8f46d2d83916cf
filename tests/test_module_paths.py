"""The path of a module in the source, whatever a conversion wraps around it."""

import pytest
import torch
from torch import nn

from edgeexport.module_paths import relative, source_path, unwrapped


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(4, 4)

    def forward(self, x):
        return torch.relu(self.dense(x))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.ModuleList([Block(), Block()])
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        for block in self.layer:
            x = block(x)
        return self.head(x) * 2


class Wrapper(nn.Module):
    def __init__(self, model, attribute):
        super().__init__()
        setattr(self, attribute, model)
        self._attribute = attribute

    def forward(self, x):
        return getattr(self, self._attribute)(x)


@pytest.fixture
def ours(monkeypatch):
    """Two wrappers as conversions put them around a source."""
    monkeypatch.setattr(Wrapper, "__module__", "edgeexport.formats.some")
    return lambda model: Wrapper(Wrapper(model, "model"), "wrapped")


def paths(module):
    program = torch.export.export(module.eval(), (torch.zeros(1, 4),))
    found = {}
    for node in program.graph.nodes:
        if node.op == "call_function":
            found.setdefault(source_path(node), []).append(str(node.target).split(".")[1])
    return found


EXPECTED = {
    "layer.0.dense": ["linear"],
    "layer.0": ["relu"],
    "layer.1.dense": ["linear"],
    "layer.1": ["relu"],
    "head": ["linear"],
    "": ["mul"],
}


def test_paths_have_what_is_never_called():
    assert paths(Net()) == EXPECTED


def test_paths_begin_at_the_source(ours):
    assert paths(ours(Net())) == EXPECTED


def test_a_wrapper_of_the_sources_own_counts():
    assert "wrapped.head" in paths(Wrapper(Net(), "wrapped"))


def test_a_node_without_modules_has_no_path():
    program = torch.export.export(Net().eval(), (torch.zeros(1, 4),))
    placeholder = next(iter(program.graph.nodes))
    placeholder.meta.pop("nn_module_stack", None)
    assert source_path(placeholder) is None


def test_the_source_out_of_its_wrappers(ours):
    net = Net()
    assert unwrapped(ours(net)) is net
    assert unwrapped(net) is net


@pytest.mark.parametrize(
    ("path", "root", "expected"),
    [
        ("model.head", "model", "head"),
        ("model", "model", ""),
        ("models.head", "model", "models.head"),
        ("head", "", "head"),
        ("other", "model", "other"),
    ],
)
def test_below_a_root(path, root, expected):
    assert relative(path, root) == expected
