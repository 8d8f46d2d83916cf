"""Small float models by onnx.helper, and the settings that a target would give."""

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from edgeexport.artifact import Artifact
from edgeexport.formats.onnx import OnnxFormat
from edgeexport.onnx_file import read_signature
from edgeexport.settings import Calibration, Quantization, Settings

TYPES = {"float32": 1, "int64": 7}


def build_model(nodes, constants, inputs, outputs, opset=18):
    """``inputs`` and ``outputs``: name → (dtype, shape), where the shape of an output may be None."""

    def infos(values):
        return [helper.make_tensor_value_info(name, TYPES[dtype], shape) for name, (dtype, shape) in values.items()]

    initializers = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "test", infos(inputs), infos(outputs), initializers)
    unshaped = [value for value in graph.output if not value.type.tensor_type.HasField("shape")]
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    if not unshaped:
        onnx.checker.check_model(model, full_check=True)
    return model


def run_model(model, feeds, outputs: Sequence[str] | None = None):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(outputs, feeds)


def make_settings(precision="w8a8-dynamic", overrides=(), method="minmax", percentile=99.99, bins=2048, **quantization):
    rules = {
        "activation_type": "uint8",
        "per_channel": True,
        "op_types": ("MatMul", "Conv"),
        "float_outputs": ("MatMul",),
        **quantization,
    }
    return Settings(
        precision=precision,
        quantization=Quantization(**rules),
        calibration=Calibration(method=method, minimum_samples=1, percentile=percentile, bins=bins),
        overrides=tuple(overrides),
    )


def weights(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.fixture(scope="session")
def build():
    return build_model


@pytest.fixture(scope="session")
def run():
    return run_model


@pytest.fixture(scope="session")
def settings():
    return make_settings


@pytest.fixture(scope="session")
def normal():
    return weights


@pytest.fixture
def convert(tmp_path):
    """Convert a ModelProto as the pipeline would; gives the written model and its notes."""
    count = iter(range(100))

    def convert(model, settings, samples=None):
        number = next(count)
        source, target = tmp_path / f"float{number}.onnx", tmp_path / f"model{number}.onnx"
        onnx.save(model, str(source))
        baseline = Artifact("onnx", source, "fp32", read_signature(model))
        feeds = None if samples is None else lambda _title: iter(samples)
        artifact = OnnxFormat().convert(baseline, settings, feeds, target)
        assert artifact.path == target
        assert artifact.precision == settings.precision
        return onnx.load(str(target)), artifact.notes

    return convert


def matmul_chain(opset=18):
    """x [n, 4, 16] → MatMul 32 → Relu → MatMul 8."""
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("MatMul", ["b", "w2"], ["y"], name="second"),
    ]
    constants = {"w1": weights(16, 32, seed=1), "w2": weights(32, 8, seed=2)}
    return build_model(nodes, constants, {"x": ("float32", ["n", 4, 16])}, {"y": ("float32", ["n", 4, 8])}, opset=opset)


def convolutions():
    """x [n, 8, 6, 6] → Conv 16 → Relu → Conv 4 → mean over the plane."""
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["a"], name="first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], name="relu"),
        helper.make_node("Conv", ["b", "w2", "b2"], ["c"], name="second"),
        helper.make_node("GlobalAveragePool", ["c"], ["y"], name="pool"),
    ]
    constants = {
        "w1": weights(16, 8, 3, 3, seed=3) / 8,
        "b1": weights(16, seed=4),
        "w2": weights(4, 16, 3, 3, seed=5) / 12,
        "b2": weights(4, seed=6),
    }
    return build_model(nodes, constants, {"x": ("float32", ["n", 8, 6, 6])}, {"y": ("float32", ["n", 4, 1, 1])})


def tied_head(vocabulary=64, width=16):
    """ids [n, s] → Gather → Relu → MatMul with the transposed table."""
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"], name="embed"),
        helper.make_node("Relu", ["rows"], ["hidden"], name="relu"),
        helper.make_node("Transpose", ["table"], ["turned"], name="turn", perm=[1, 0]),
        helper.make_node("MatMul", ["hidden", "turned"], ["logits"], name="head"),
    ]
    constants = {"table": weights(vocabulary, width, seed=7)}
    inputs, outputs = {"ids": ("int64", ["n", "s"])}, {"logits": ("float32", ["n", "s", vocabulary])}
    return build_model(nodes, constants, inputs, outputs)


@pytest.fixture
def chain():
    return matmul_chain


@pytest.fixture
def convs():
    return convolutions()


@pytest.fixture
def tied():
    return tied_head()


@pytest.fixture
def chain_samples():
    return [{"x": weights(1, 4, 16, seed=seed)} for seed in range(20)]


@pytest.fixture
def conv_samples():
    return [{"x": weights(1, 8, 6, 6, seed=seed)} for seed in range(20)]
