"""Torch modules to float32 programs: what goes through which of coremltools' two frontends, and which lengths."""

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("coremltools", reason="pip install 'edgeexport[coreml]'")

from edgeexport import mil
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
