"""What all sources share."""

import numpy as np
import pytest
import torch

from edgeexport.errors import ModelError
from edgeexport.source import Source, SourceOptions, TorchReference, float32_bytes


class Two(torch.nn.Module):
    def forward(self, x, y):
        return x - y, (x > y), x.to(torch.bfloat16)


def test_a_reference_passes_inputs_in_order_and_names_outputs():
    reference = TorchReference(Two(), ("x", "y"), ("difference", "larger", "short"))
    feeds = {"y": np.float32([1, 5]), "x": np.float32([4, 2]), "unused": np.zeros(1)}
    outputs = reference(feeds)
    assert list(outputs) == ["difference", "larger", "short"]
    assert outputs["difference"].tolist() == [3, -3]
    assert outputs["larger"].tolist() == [True, False]
    assert outputs["larger"].dtype == bool
    assert outputs["short"].dtype == np.float32


def test_a_lone_tensor_is_an_output():
    outputs = TorchReference(torch.nn.Identity(), ("x",), ("y",))({"x": np.float32([3])})
    assert outputs["y"].tolist() == [3]


def test_another_number_of_outputs_than_named_is_refused():
    with pytest.raises(ValueError, match="longer"):
        TorchReference(Two(), ("x", "y"), ("one", "two"))({"x": np.zeros(1), "y": np.zeros(1)})


def test_an_input_is_copied_and_may_be_read_only():
    class Change(torch.nn.Module):
        def forward(self, x):
            return x.add_(1)

    x = np.zeros(2, np.float32)
    x.flags.writeable = False
    assert TorchReference(Change(), ("x",), ("y",))({"x": x})["y"].tolist() == [1, 1]
    assert x.tolist() == [0, 0]


def test_no_gradients_are_kept():
    layer = torch.nn.Linear(2, 2)
    seen = []
    layer.register_forward_hook(lambda _module, _inputs, output: seen.append(output.requires_grad))
    TorchReference(layer, ("x",), ("y",))({"x": np.zeros((1, 2), np.float32)})
    assert seen == [False]


def test_float32_bytes_count_each_tensor_once_at_four_bytes():
    table = torch.nn.Embedding(10, 4)
    head = torch.nn.Linear(4, 10)
    head.weight = table.weight
    module = torch.nn.Sequential(table, head, torch.nn.BatchNorm1d(10).half())
    # BatchNorm: weight, bias, mean and variance of 10, and an integer counter
    assert float32_bytes(module) == 4 * (40 + 10 + 4 * 10)


def test_parameters_of_one_storage_count_once():
    first = torch.nn.Linear(3, 3, bias=False)
    second = torch.nn.Linear(3, 3, bias=False)
    second.weight = torch.nn.Parameter(first.weight.data)  # as some loaders tie them
    assert second.weight is not first.weight
    assert float32_bytes(torch.nn.ModuleList([first, second])) == 4 * 9


def test_untied_tensors_of_equal_values_count_each():
    module = torch.nn.ModuleList([torch.nn.Linear(3, 3, bias=False) for _ in range(2)])
    module[1].weight.data.copy_(module[0].weight.data)
    assert float32_bytes(module) == 4 * 18


def test_nothing_is_trusted_by_default():
    assert SourceOptions().trust_remote_code is False


def test_a_source_without_a_module_says_so():
    class Plain(Source):
        name = "plain"
        signature = float32_bytes = fingerprint = reference = write_onnx = None

    with pytest.raises(ModelError, match="plain cannot be had as a torch module"):
        Plain().module()
