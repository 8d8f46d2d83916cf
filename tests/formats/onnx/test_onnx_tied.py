"""A table shared by embedding and head, stored once."""

import numpy as np
import pytest
from onnx import helper, numpy_helper

from edgeexport.formats.onnx.graph import Graph
from edgeexport.formats.onnx.tied import quantize_tied_tables

IDS = np.array([[1, 5, 63], [0, 2, 2]])


def stored(model):
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_embedding_and_head_read_one_int8_table(tied):
    assert quantize_tied_tables(Graph(tied)) == ["table"]
    saved = stored(tied)
    matrices = {name: array.dtype.name for name, array in saved.items() if array.ndim == 2}
    assert matrices == {"table_int8": "int8"}
    assert "MatMul" not in {node.op_type for node in tied.graph.node}


def test_outputs_equal_numpy_to_the_quantization_step(tied, run):
    table = stored(tied)["table"]
    quantize_tied_tables(Graph(tied))
    scale = np.abs(table).max(axis=1) / np.float32(127)
    steps = np.round(table / scale[:, None])
    assert np.array_equal(stored(tied)["table_int8"], steps.astype(np.int8))
    rows = np.maximum((steps * scale[:, None])[IDS], 0).astype(np.float32)
    # DynamicQuantizeLinear: 8 bits over [min with 0, max]
    step = np.float32(rows.max() / np.float32(255))
    activation = np.clip(np.round(rows / step), 0, 255)
    expected = (activation @ steps.T) * step * scale
    logits = run(tied, {"ids": IDS})[0]
    assert logits.shape == (2, 3, 64)
    # an activation on a rounding boundary may fall either way: at most one step of one of 16 channels
    assert np.abs(logits - expected).max() <= step * np.abs(table).max()
    assert np.abs(logits - expected).mean() < 1e-4


def test_outputs_stay_near_the_float_ones(tied, run):
    before = run(tied, {"ids": IDS})[0]
    quantize_tied_tables(Graph(tied))
    after = run(tied, {"ids": IDS})[0]
    cosine = (before * after).sum() / np.linalg.norm(before) / np.linalg.norm(after)
    assert cosine > 0.9995
    assert not np.array_equal(before, after)


def _untransposed(model):
    model.graph.node[-1].input[1] = "table2"
    model.graph.initializer.append(numpy_helper.from_array(np.ones((16, 64), np.float32), "table2"))
    del model.graph.node[2]


def _turned_on_the_left(model):
    model.graph.node[-1].input[:] = ["turned", "hidden"]


def _another_reader(model):
    model.graph.node.append(helper.make_node("Neg", ["table"], ["z"], name="reader"))


def _no_lookup(model):
    model.graph.node[1].input[0] = "table"
    del model.graph.node[0]


@pytest.mark.parametrize("change", [_untransposed, _turned_on_the_left, _another_reader, _no_lookup])
def test_what_is_not_tied_is_left(tied, change):
    change(tied)
    before = tied.SerializeToString()
    assert quantize_tied_tables(Graph(tied)) == []
    assert tied.SerializeToString() == before


@pytest.mark.parametrize("name", ["embed", "head"])
def test_a_table_with_a_node_left_float_is_left(tied, name):
    before = tied.SerializeToString()
    assert quantize_tied_tables(Graph(tied), {name}) == []
    assert tied.SerializeToString() == before
