"""A module that torchao's PT2E has quantized goes through as integers: the route of quantization-aware training."""

import warnings

import numpy as np
import pytest
import torch

from edgeexport.formats.tflite import open_format
from edgeexport.formats.tflite.export import import_converter
from edgeexport.formats.tflite.flatbuffer import op_name, read_model
from edgeexport.interface import dequantize, quantize
from edgeexport.settings import Interface
from edgeexport.sources.torch import TorchSource

pytestmark = pytest.mark.slow


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution = torch.nn.Conv2d(3, 8, 3, padding=1)
        self.linear = torch.nn.Linear(8, 4)

    def forward(self, x):
        return self.linear(torch.relu(self.convolution(x)).mean((2, 3)))


@pytest.fixture
def quantized():
    import_converter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from litert_torch.quantize.pt2e_quantizer import PT2EQuantizer, get_symmetric_quantization_config
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

        torch.manual_seed(0)
        example = torch.randn(1, 3, 8, 8)
        exported = torch.export.export(Net().eval(), (example,)).module()
        quantizer = PT2EQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
        prepared = prepare_pt2e(exported, quantizer)
        for _ in range(8):
            prepared(torch.randn(1, 3, 8, 8))
        module = convert_pt2e(prepared, fold_quantize=False)
    module.eval = lambda: module
    module.example_inputs, module.dynamic_axes, module.pt2e_quantizer = {"x": example}, {"x": {}}, quantizer
    return TorchSource(module, "pt2e", "0")


def test_its_operators_are_integers_and_answer_as_the_fake_quantized_module(quantized, tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    artifact = open_format().baseline(quantized, Interface(), tmp_path / "model.tflite")
    model = read_model(artifact.path)
    used = {op_name(model, operator) for operator in model.subgraphs[0].operators}
    assert {"CONV_2D", "FULLY_CONNECTED"} <= used
    assert not used & {"QUANTIZE", "DEQUANTIZE"}
    (spec,) = artifact.signature.inputs
    assert (spec.dtype, artifact.signature.outputs[0].dtype) == ("int8", "int8")
    x = np.random.default_rng(1).standard_normal((1, 3, 8, 8)).astype(np.float32)
    runner = Interpreter(str(artifact.path)).get_signature_runner()
    answered = dequantize(runner(**quantize({"x": x}, artifact.signature)), artifact.signature)["output"]
    expected = quantized.reference({"x": x})["output"]
    assert np.abs(answered - expected).max() <= 1.5 * artifact.signature.outputs[0].scale
