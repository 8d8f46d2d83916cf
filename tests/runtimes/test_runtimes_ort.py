"""ONNX Runtime: large files are mapped, and give what they give when they are read."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from edgeexport.runtimes import ort

X = np.random.default_rng(1).standard_normal((2, 64)).astype(np.float32)


def model(size=64, external=False):
    draw = np.random.default_rng(0)
    constants = [
        numpy_helper.from_array(draw.standard_normal((64, size)).astype(np.float32), "w"),
        numpy_helper.from_array(draw.standard_normal(size).astype(np.float32)[:8], "small"),
        helper.make_tensor("typed", 1, [size], draw.standard_normal(size)),  # as float_data, not raw
        numpy_helper.from_array(draw.integers(0, 9, (size, 100)), "table"),
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Add", ["a", "typed"], ["b"]),
        helper.make_node("Cast", ["table"], ["t"], to=1),
        helper.make_node("MatMul", ["b", "t"], ["y"]),
        helper.make_node("Identity", ["small"], ["z"]),
    ]
    inputs = [helper.make_tensor_value_info("x", 1, ["n", 64])]
    outputs = [helper.make_tensor_value_info(name, 1, None) for name in ("y", "z")]
    graph = helper.make_graph(nodes, "g", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10, doc_string="a note")


@pytest.fixture
def path(tmp_path):
    onnx.save(model(), str(tmp_path / "a model.onnx"))
    return str(tmp_path / "a model.onnx")


def test_a_mapped_model_gives_the_same_bits(path, monkeypatch):
    plain = ort.load(path, 1).run({"x": X})
    monkeypatch.setattr(ort, "MAPPED", 1)
    given = []
    session = onnxruntime.InferenceSession
    monkeypatch.setattr(
        onnxruntime, "InferenceSession", lambda what, *a, **k: given.append(what) or session(what, *a, **k)
    )
    mapped = ort.load(path, 1).run({"x": X})
    assert [type(what) for what in given] == [bytes]
    assert list(plain) == list(mapped) == ["y", "z"]
    for name, array in plain.items():
        assert np.array_equal(array, mapped[name])


def test_large_weights_are_named_by_their_place(path):
    graph = onnx.load_model_from_string(ort.graph_of(path))
    before = onnx.load(path)
    data = Path(path).read_bytes()
    assert graph.doc_string == "a note"
    assert graph.graph.node == before.graph.node
    outside = []
    for tensor, known in zip(graph.graph.initializer, before.graph.initializer, strict=True):
        assert (tensor.name, tensor.dims, tensor.data_type) == (known.name, known.dims, known.data_type)
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            assert tensor == known
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        start, length = int(entries["offset"]), int(entries["length"])
        assert entries["location"] == "a model.onnx"
        assert data[start : start + length] == known.raw_data
        outside.append(tensor.name)
    assert outside == ["w", "table"]


def test_what_is_external_already_is_left(tmp_path, monkeypatch):
    path = str(tmp_path / "model.onnx")
    onnx.save(model(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert ort.graph_of(path) is None
    monkeypatch.setattr(ort, "MAPPED", 1)
    assert ort.load(path, 1).run({"x": X})["y"].shape == (2, 100)


@pytest.mark.parametrize("content", [b"\x3a\xff\xff\xff\x7fabc", b"\xff" * 40, b"\x0b\x0b", b"\x3a\x05ab"])
def test_a_broken_file_is_refused_as_when_it_is_read(tmp_path, monkeypatch, content):
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    messages = []
    for least in (1, 1 << 40):
        monkeypatch.setattr(ort, "MAPPED", least)
        with pytest.raises(Exception, match=r"broken\.onnx") as caught:
            ort.load(str(path), 1)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_loading_takes_less_memory(tmp_path):
    onnx.save(model(1 << 17), str(tmp_path / "large.onnx"))  # 33 MB and 105 MB
    code = (
        "import sys; from edgeexport.runtimes import ort; ort.MAPPED = int(sys.argv[2]); "
        "ort.load(sys.argv[1], 1); print(open('/proc/self/status').read())"
    )

    def peak(least):
        call = [sys.executable, "-c", code, str(tmp_path / "large.onnx"), str(least)]
        said = subprocess.run(call, capture_output=True, text=True, check=True).stdout
        return int(re.search(r"VmHWM:\s+(\d+)", said).group(1)) * 1024

    assert peak(1 << 40) - peak(1) > 0.5 * (33 + 105) * 1e6  # the table is expanded in either case
