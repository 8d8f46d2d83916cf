"""Layers of small float models: weights, positions, modules, and names that overrides match."""

import onnx
import pytest
from onnx import helper

from edgeexport.artifact import Artifact
from edgeexport.formats.onnx import OnnxFormat
from edgeexport.formats.onnx.layers import module_path
from edgeexport.onnx_file import read_signature
from edgeexport.settings import Override


@pytest.fixture
def layers(tmp_path):
    def find(model, settings):
        path = tmp_path / "float.onnx"
        onnx.save(model, str(path))
        return list(OnnxFormat().layers(Artifact("onnx", path, "fp32", read_signature(model)), settings))

    return find


def integers(model):
    """How many operators compute with integers or stored integers, by kind."""
    kinds = [node.op_type for node in model.graph.node]
    names = (
        "QuantizeLinear",
        "DequantizeLinear",
        "MatMulInteger",
        "ConvInteger",
        "MatMulNBits",
        "DynamicQuantizeMatMul",
    )
    return {kind: kinds.count(kind) for kind in names}


def stored(model):
    return sum(len(tensor.raw_data) for tensor in model.graph.initializer)


def test_weights_and_multiplications_of_a_chain(layers, chain, settings):
    first, second = layers(chain(), settings("w8a8"))
    assert (first.name, first.operator, first.weights, first.macs) == ("first", "MatMul", 16 * 32, 16 * 32)
    assert (second.name, second.weights, second.macs) == ("second", 32 * 8, 32 * 8)
    assert first.path == "first"
    assert first.alternatives == ("w8a8-dynamic", "fp32")


def test_a_convolution_multiplies_at_every_position(layers, convs, settings):
    first, second = layers(convs, settings("w8a8"))
    assert (first.weights, first.macs) == (16 * 8 * 3 * 3, 16 * 8 * 3 * 3 * 6 * 6)
    assert (second.weights, second.macs) == (4 * 16 * 3 * 3, 4 * 16 * 3 * 3 * 4 * 4)
    assert first.alternatives == ("fp32",)


def test_modules_by_the_exporters_marks():
    def node(name="", scopes=""):
        made = helper.make_node("MatMul", ["x", "w"], ["y"], name=name)
        if scopes:
            entry = made.metadata_props.add()
            entry.key, entry.value = "pkg.torch.onnx.name_scopes", scopes
        return made

    assert module_path(node(scopes="['', 'net.encoder', 'net.encoder.dense', 'linear']")) == "net.encoder.dense"
    assert module_path(node(scopes="['linear']")) == ""
    assert module_path(node("/encoder/dense/MatMul")) == "encoder.dense"
    assert module_path(node("/MatMul")) == ""
    assert module_path(node("node_linear_3")) == ""


@pytest.mark.parametrize("precision", ["w8a8", "w8a8-dynamic", "w8", "w4", "fp16"])
@pytest.mark.parametrize("kind", ["chain", "convs", "gemm"])
def test_an_override_by_a_layers_name_changes_that_layer(
    precision, kind, layers, chain, convs, settings, convert, chain_samples, conv_samples, build, normal
):
    if kind == "gemm":
        nodes = [
            helper.make_node("Gemm", ["x", "w1", "b1"], ["a"], name="one"),
            helper.make_node("Relu", ["a"], ["b"], name="relu"),
            helper.make_node("Gemm", ["b", "w2", "b2"], ["y"], name="two", transB=1),
        ]
        constants = {"w1": normal(64, 128), "b1": normal(128), "w2": normal(32, 128, seed=1), "b2": normal(32)}
        model = build(nodes, constants, {"x": ("float32", ["n", 64])}, {"y": ("float32", ["n", 32])})
        samples = [{"x": normal(1, 64, seed=seed)} for seed in range(20)]
    else:
        model, samples = (chain(), chain_samples) if kind == "chain" else (convs, conv_samples)
    found = layers(model, settings(precision))
    plain, _ = convert(model, settings(precision), samples)
    if precision == "w4" and kind == "convs":
        assert not any(integers(plain).values())
        return
    assert len(found) == 2
    for layer in found:
        for alternative in layer.alternatives:
            override = Override(precision=alternative, name=f"^{layer.name}$")
            changed, _ = convert(model, settings(precision, overrides=[override]), samples)
            left = layers(model, settings(precision, overrides=[override]))
            if alternative == "fp32":
                assert [each.name for each in left] == [each.name for each in found if each.name != layer.name]
                assert stored(changed) > stored(plain) + layer.weights // 2
            else:
                assert changed.SerializeToString() != plain.SerializeToString()
    every = [Override(precision="fp32", name="|".join(f"^{layer.name}$" for layer in found))]
    changed, _ = convert(model, settings(precision, overrides=every), samples)
    assert not any(integers(changed).values())
    assert stored(changed) >= 4 * sum(layer.weights for layer in found)
