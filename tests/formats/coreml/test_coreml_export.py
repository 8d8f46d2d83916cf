"""Torch modules to float32 programs: what goes through which of coremltools' two frontends, and which lengths."""

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("coremltools", reason="pip install 'edgeexport[coreml]'")

from edgeexport import mil
from edgeexport.errors import ConversionError, RecipeError
from edgeexport.formats.coreml import CoremlFormat
from edgeexport.settings import Interface
from edgeexport.sources.torch import TorchSource


class Recurrent(nn.Module):
    def __init__(self, layer):
        super().__init__()
        torch.manual_seed(0)
        self.layer = layer(20, 24, num_layers=2, batch_first=True)
        self.head = nn.Linear(24, 12)
        self.example_inputs = {"frames": torch.randn(1, 25, 20)}
        self.output_names = ["scores"]

    def forward(self, frames):
        return self.head(self.layer(frames)[0][:, -1])


@pytest.mark.parametrize("layer", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_go_through_tracing(layer, tmp_path):
    module = Recurrent(layer).eval()
    CoremlFormat().baseline(TorchSource(module, "words", "digest"), Interface(), tmp_path / "float.mlpackage")
    frames = torch.randn(1, 25, 20)
    with torch.no_grad():
        wanted = module(frames).numpy()
    found = mil.load(tmp_path / "float.mlpackage")({"frames": frames.numpy()})["scores"]
    assert np.ptp(wanted) > 0.1
    np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("interface", "what"),
    [
        (Interface(longest=30), "one length"),
        (Interface(lengths=(20, 30), deployment_target="iOS18"), "one length"),
        (Interface(lengths=(25,), classifier=True), "classifier interface"),
    ],
)
def test_what_tracing_cannot_give_is_refused(interface, what, tmp_path):
    module = Recurrent(nn.LSTM).eval()
    module.dynamic_axes = {"frames": {1: "time"}}
    module.labels = [str(number) for number in range(12)]
    with pytest.raises(RecipeError, match=what) as caught:
        CoremlFormat().baseline(TorchSource(module, "words", "digest"), interface, tmp_path / "a.mlpackage")
    assert "recurrent" in str(caught.value)


class Causal(nn.Module):
    """Attends as a language model of Transformers does: its mask is made of ones, its positions a slice of a table."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(60, 32)
        self.register_buffer("places", torch.arange(40)[None])
        self.table, self.head = nn.Embedding(40, 32), nn.Linear(32, 60)
        self.example_inputs = {name: torch.ones(1, 20, dtype=torch.int64) for name in ("ids", "mask")}

    def forward(self, ids, mask):
        length = ids.shape[1]
        hidden = self.words(ids) + self.table(self.places[:, :length])
        allowed = ids.new_ones((length, length), dtype=torch.bool).tril()[None] & mask.bool()[:, None]
        scores = hidden @ hidden.transpose(1, 2)
        scores = torch.where(allowed, scores, torch.finfo(torch.float32).min)
        return self.head(torch.softmax(scores, -1) @ hidden)


@pytest.mark.parametrize(
    ("interface", "lengths"),
    [
        (Interface(lengths=(40,)), (40,)),
        (Interface(longest=40), (40, 7, 2, 1)),
        (Interface(lengths=(8, 40), deployment_target="iOS18"), (8, 40)),
    ],
)
def test_operators_that_coremltools_lacks_are_broken_down(interface, lengths, tmp_path):
    module = Causal().eval()
    module.dynamic_axes = {"ids": {1: "length"}, "mask": {1: "length"}}
    source = TorchSource(module, "net", "digest")
    CoremlFormat().baseline(source, interface, tmp_path / "float.mlpackage")
    program, random = mil.load(tmp_path / "float.mlpackage"), np.random.default_rng(0)
    for length in lengths:
        mask = (np.arange(length) < max(1, length - 3)).astype(np.int64)[None]
        given = {"ids": random.integers(0, 60, (1, length)), "mask": mask}
        found = program({name: array.astype(np.int32) for name, array in given.items()})["output"]
        np.testing.assert_allclose(found, source.reference(given)["output"], atol=1e-5)


class Bessel(nn.Module):
    def forward(self, x):
        return torch.special.bessel_j0(x)


def test_an_operator_without_a_translation_is_named(tmp_path):
    module = Bessel()
    module.example_inputs = {"x": torch.zeros(1, 8)}
    with pytest.raises(ConversionError, match="does not translate torch's operator 'special_bessel_j0'"):
        CoremlFormat().baseline(TorchSource(module, "bessel", "digest"), Interface(), tmp_path / "a.mlpackage")


def test_a_longest_length_beside_fixed_ones_is_refused(tmp_path):
    source = TorchSource(Recurrent(nn.LSTM).eval(), "words", "digest")
    for interface, what in ((Interface(lengths=(20,), longest=50), "contradicts"), (Interface(longest=50), "dynamic")):
        with pytest.raises(RecipeError, match=what):
            CoremlFormat().baseline(source, interface, tmp_path / "a.mlpackage")


def test_recurrence_in_an_exported_program_is_refused_alike(tmp_path):
    """Its module has no recurrent layer any more, but the operator."""
    module = Recurrent(nn.LSTM).eval()
    program = torch.export.export(module, (torch.randn(1, 25, 20),)).module()
    program.example_inputs, program.eval = module.example_inputs, lambda: program
    program.dynamic_axes = {"frames": {}}
    program.output_names, program.labels = module.output_names, [str(number) for number in range(12)]
    source = TorchSource(program, "words", "digest")
    with pytest.raises(RecipeError, match="classifier interface"):
        CoremlFormat().baseline(source, Interface(classifier=True), tmp_path / "a.mlpackage")
