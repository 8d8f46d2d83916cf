"""Blocks of integers as ONNX Runtime's kernels read them."""

import numpy as np
import pytest
from onnx import helper, numpy_helper

from edgeexport.formats.onnx.blocks import DOMAIN, pack_blocks
from edgeexport.formats.onnx.graph import Graph
from edgeexport.formats.onnx.tied import quantize_tied_blocks

IDS = np.array([[1, 5, 63], [0, 2, 2]])


def unpacked(codes, scales, bits):
    """[outputs, inputs] in float32."""
    if bits == 4:
        codes = np.stack([codes & 15, codes >> 4], -1).reshape(*codes.shape[:2], -1)
    steps = codes.astype(np.float32) - 2 ** (bits - 1)
    return (steps * scales[..., None]).reshape(len(codes), -1)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("block", [16, 32])
def test_packing_equals_numpy(normal, bits, block):
    matrix = normal(64, 24)
    codes, scales = pack_blocks(matrix, bits, block)
    assert codes.shape == (24, 64 // block, block * bits // 8)
    parts = matrix.T.reshape(24, -1, block)
    largest = np.take_along_axis(parts, np.abs(parts).argmax(-1)[..., None], -1)[..., 0]
    assert np.allclose(scales, -largest / 2 ** (bits - 1), rtol=1e-6)
    apart = np.abs(unpacked(codes, scales, bits) - matrix.T).reshape(parts.shape)
    # half a step, but for the end that the grid lacks
    assert (apart <= np.abs(scales)[..., None] * 1.0001).all()
    assert np.mean(apart <= np.abs(scales)[..., None] * 0.5001) > 0.95


@pytest.mark.parametrize("bits", [4, 8])
def test_one_tensor_is_embedding_and_head(tied, run, bits):
    table = numpy_helper.to_array(tied.graph.initializer[0]).copy()
    assert quantize_tied_blocks(Graph(tied), bits, 16) == ["table"]
    tied.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in tied.graph.initializer}
    assert sum(array.nbytes for array in stored.values() if array.size > 64) == 64 * 16 * bits // 8
    codes, scales = pack_blocks(table.T, bits, 16)
    assert np.array_equal(stored["table_blocks"], codes)
    known = unpacked(codes, scales, bits)
    tied.graph.output.append(helper.make_tensor_value_info("rows", 1, None))
    logits, rows = run(tied, {"ids": IDS})
    assert rows.dtype == np.float32
    assert np.array_equal(rows, known[IDS])  # bit for bit
    hidden = np.maximum(rows, 0)
    # activations are rounded to int8 in blocks of 16
    allowed = np.abs(hidden).max(-1, keepdims=True) / 127 * 0.51 * np.abs(known).sum(1) + 1e-5
    assert logits.shape == (2, 3, 64)
    assert (np.abs(logits - hidden @ known.T) <= allowed).all()


def test_rows_of_no_whole_number_of_blocks_are_left(tied):
    before = tied.SerializeToString()
    assert quantize_tied_blocks(Graph(tied), 4, 32) == []
    assert tied.SerializeToString() == before


@pytest.mark.parametrize("name", ["embed", "head"])
def test_a_table_with_a_node_left_float_stays_float(tied, name):
    before = tied.SerializeToString()
    assert quantize_tied_blocks(Graph(tied), 4, 16, {name}) == []
    assert tied.SerializeToString() == before


@pytest.mark.parametrize(
    ("precision", "block", "dtype"), [("w4", 16, "uint8"), ("w8", 16, "uint8"), ("w4", 32, "int8")]
)
def test_conversion_keeps_one_table(tied, convert, settings, run, precision, block, dtype):
    before = run(tied, {"ids": IDS})[0]
    model, notes = convert(tied, settings(precision, block_size=block))
    large = [tensor for tensor in model.graph.initializer if np.prod(tensor.dims) > 64]
    assert [numpy_helper.to_array(tensor).dtype.name for tensor in large] == [dtype]
    assert any("stored once" in note for note in notes)
    after = run(model, {"ids": IDS})[0]
    cosine = (before * after).sum() / np.linalg.norm(before) / np.linalg.norm(after)
    assert cosine > (0.98 if precision == "w4" else 0.9995)
