"""Vela's figures for small models, and what is said where there are none."""

import importlib.util
from importlib.metadata import PackageNotFoundError

import numpy as np
import pytest

from edgeexport.errors import MissingRequirement, RunFailed, TargetError
from edgeexport.estimators import vela
from edgeexport.estimators.vela import open_estimator, read_summary

needs_vela = pytest.mark.skipif(importlib.util.find_spec("ethosu") is None, reason="ethos-u-vela is not installed")

SUMMARY = (
    "experiment,network,accelerator_configuration,system_config,memory_mode,core_clock,inference_time,"
    "sram_memory_used,dram_memory_used,on_chip_flash_memory_used,off_chip_flash_memory_used,nn_macs,cycles_total\n"
    "default,q,Ethos_U55_128,Ethos_U55_High_End_Embedded,Shared_Sram,500000000.0,0.000143854,24.21875,0.0,0.5,33.28125,"
    "1863936,71927\n"
)
LOG = "Network summary for q\n\nCPU operators = 1 (7.7%)\nNPU operators = 12 (92.3%)\n"
CHANNELS = 8


def write_cnn(path, integer=True, after=()):
    """A 3x3 convolution over [1, 8, 8, 3], and operators of one input after it."""
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    utils = pytest.importorskip("ai_edge_litert.tools.flatbuffer_utils")
    random = np.random.default_rng(2)
    model = schema.ModelT()
    model.version, model.description, model.buffers, model.operatorCodes = 3, "test", [schema.BufferT()], []
    graph = schema.SubGraphT()
    graph.name, graph.tensors, graph.operators = b"main", [], []
    kind, bias = (schema.TensorType.INT8, schema.TensorType.INT32) if integer else (schema.TensorType.FLOAT32,) * 2

    def tensor(name, shape, type_, scale=None, values=None):
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name.encode(), list(shape), type_, 0
        if values is not None:
            made.buffer = len(model.buffers)
            model.buffers.append(schema.BufferT())
            model.buffers[-1].data = np.frombuffer(values.tobytes(), np.uint8)
        if integer and scale is not None:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale = np.array([scale], np.float32)
            made.quantization.zeroPoint = np.zeros(1, np.int64)
        graph.tensors.append(made)
        return len(graph.tensors) - 1

    def operator(name, inputs, outputs, options=None):
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, name)
        code.version = 3 if name == "CONV_2D" and integer else 1
        model.operatorCodes.append(code)
        made = schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = len(model.operatorCodes) - 1, inputs, outputs
        if options is not None:
            made.builtinOptions = options
            made.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        graph.operators.append(made)

    weights = random.integers(-127, 128, (CHANNELS, 3, 3, 3)).astype(np.int8 if integer else np.float32)
    biases = random.integers(-500, 500, CHANNELS).astype(np.int32 if integer else np.float32)
    shape = (1, 8, 8, CHANNELS)
    options = schema.Conv2DOptionsT()
    options.strideH = options.strideW = 1
    options.padding = schema.Padding.SAME
    x = tensor("x", (1, 8, 8, 3), kind, 2**-5)
    w = tensor("w", weights.shape, kind, 2**-8, weights)
    b = tensor("b", biases.shape, bias, 2**-13, biases)
    y = tensor("y", shape, kind, 2**-4)
    operator("CONV_2D", [x, w, b], [y], options)
    for number, name in enumerate(after):
        z = tensor(f"z{number}", shape, schema.TensorType.FLOAT32)
        operator(name, [y], [z])
        y = z
    graph.inputs, graph.outputs = [x], [y]
    model.subgraphs, model.signatureDefs = [graph], []
    utils.write_model(model, str(path))
    return path


@needs_vela
class TestVela:
    def test_an_int8_convolution_runs_on_the_npu(self, tmp_path):
        estimate = open_estimator({}).estimate(write_cnn(tmp_path / "cnn.tflite"), tmp_path / "vela")
        assert (estimate.tool, estimate.accelerator) == ("vela", "ethos-u55-128")
        assert (estimate.npu_share, estimate.cpu_ops) == (1.0, ())
        assert estimate.clock_hz == 500_000_000
        # 8 * 8 * 8 * 27 products at 128 a cycle, at least; both feature maps at once, 8 * 8 * (3 + 8) bytes.
        assert 108 <= estimate.cycles < 10_000
        assert estimate.milliseconds == pytest.approx(1000 * estimate.cycles / estimate.clock_hz)
        assert 8 * 8 * (3 + CHANNELS) <= estimate.sram_bytes < 10_000
        assert 9 * 3 * CHANNELS / 2 <= estimate.flash_bytes < 10_000

    def test_a_larger_npu_takes_fewer_cycles(self, tmp_path):
        model = write_cnn(tmp_path / "cnn.tflite")
        sections = {"system_config": "Ethos_U55_Deep_Embedded", "memory_mode": "Shared_Sram"}
        small, large = (
            open_estimator({"accelerator": f"ethos-u55-{macs}", **sections}).estimate(model, tmp_path / "vela")
            for macs in (32, 256)
        )
        assert (small.accelerator, large.accelerator) == ("ethos-u55-32", "ethos-u55-256")
        assert small.clock_hz == large.clock_hz == 200_000_000
        assert small.cycles > large.cycles

    def test_nothing_of_a_float_model_runs_on_the_npu(self, tmp_path):
        estimate = open_estimator({}).estimate(write_cnn(tmp_path / "cnn.tflite", integer=False), tmp_path / "vela")
        assert (estimate.npu_share, estimate.cycles, estimate.sram_bytes) == (0.0, 0, 0)
        assert estimate.cpu_ops == ("CONV_2D",)
        assert "nothing runs on the accelerator" in estimate.summary()

    def test_operators_on_the_cpu_are_named(self, tmp_path):
        model = write_cnn(tmp_path / "cnn.tflite", after=("DEQUANTIZE", "FLOOR"))
        estimate = open_estimator({}).estimate(model, tmp_path / "vela")
        assert estimate.npu_share == pytest.approx(1 / 3)
        assert estimate.cpu_ops == ("DEQUANTIZE", "FLOOR")
        assert estimate.cycles >= 108

    def test_a_damaged_model_is_a_failed_run_with_its_log(self, tmp_path):
        (tmp_path / "cut.tflite").write_bytes(write_cnn(tmp_path / "cnn.tflite").read_bytes()[:200])
        with pytest.raises(RunFailed, match=r"vela ended with .* on cut.tflite") as failure:
            open_estimator({}).estimate(tmp_path / "cut.tflite", tmp_path / "vela")
        assert failure.value.log

    def test_an_unknown_accelerator_is_refused_before_anything_runs(self):
        with pytest.raises(TargetError, match="no accelerator 'ethos-u99'") as caught:
            open_estimator({"accelerator": "ethos-u99"})
        assert "ethos-u55-128" in caught.value.hint


def test_the_summary_is_read_in_bytes_and_hertz():
    estimate = read_summary(SUMMARY, LOG, ("FLOOR",), "5.2.0")
    assert (estimate.tool, estimate.tool_version, estimate.accelerator) == ("vela", "5.2.0", "ethos-u55-128")
    assert (estimate.cycles, estimate.clock_hz) == (71927, 500_000_000)
    assert estimate.milliseconds == pytest.approx(0.143854)
    assert estimate.sram_bytes == 24800
    assert estimate.flash_bytes == 512 + 34080
    assert estimate.npu_share == pytest.approx(12 / 13)
    assert estimate.cpu_ops == ("FLOOR",)


@pytest.mark.parametrize(
    ("summary", "log", "match"),
    [
        (SUMMARY.replace("cycles_total", "cycles"), LOG, "no figure 'cycles_total'"),
        (SUMMARY.replace("0.000143854", "soon"), LOG, "no figure 'inference_time'"),
        (SUMMARY.replace("0.000143854", "nan"), LOG, "nan as 'inference_time'"),
        (SUMMARY.splitlines()[0], LOG, "not one that this version reads"),
        (SUMMARY, "NPU operators = 12 (100.0%)", "not one that this version reads"),
    ],
)
def test_a_summary_without_figures_is_refused(summary, log, match):
    with pytest.raises(RunFailed, match=match):
        read_summary(summary, log, (), "5.2.0")


def test_a_missing_vela_says_what_installs_it(monkeypatch):
    def absent(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(vela, "version", absent)
    with pytest.raises(MissingRequirement, match="ethos-u-vela") as failure:
        open_estimator({})
    assert failure.value.hint == "pip install 'edgeexport[micro]'"


def test_a_vela_that_writes_nothing_is_a_failed_run(monkeypatch, tmp_path):
    monkeypatch.setattr(vela, "version", lambda name: "5.2.0")
    monkeypatch.setattr(vela.VelaEstimator, "_run", lambda self, model, folder: LOG)
    (tmp_path / "m_summary_of_an_earlier_run.csv").write_text(SUMMARY)
    with pytest.raises(RunFailed, match=r"0 summaries of m\.tflite"):
        open_estimator({}).estimate(tmp_path / "m.tflite", tmp_path)


@pytest.mark.parametrize(
    "options", [{"npu": "u55"}, {"system_config": "Ethos_U55_Deep_Embedded"}, {"memory_mode": "x"}, {"config": "x"}]
)
def test_unknown_and_lonely_options_are_refused(options):
    with pytest.raises(TargetError, match="vela"):
        open_estimator(options)
