"""Int8 tables against numpy."""

import numpy as np
import pytest
from onnx import helper, numpy_helper

from edgeexport.formats.onnx.embeddings import column_scales, quantize_embeddings, round_to_int8
from edgeexport.formats.onnx.graph import Graph


@pytest.fixture
def table(normal):
    values = normal(40, 16) * np.geomspace(0.01, 10, 16, dtype=np.float32)
    values[:, 5] = 0
    return values


def embedding(build, table, gathers=1, axis=0, ids=("n", "s")):
    nodes = [
        helper.make_node("Gather", ["table", "ids"], [f"y{number}"], name=f"embed{number}", axis=axis)
        for number in range(gathers)
    ]
    return build(
        nodes,
        {"table": table},
        {"ids": ("int64", list(ids))},
        {f"y{number}": ("float32", None) for number in range(gathers)},
    )


def stored(model):
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_scales_are_the_largest_magnitudes_over_127(table):
    scale = column_scales(table)
    assert scale.dtype == np.float32
    expected = [np.float32(max(abs(float(value)) for value in column)) / np.float32(127) for column in table.T]
    expected[5] = np.finfo(np.float32).tiny
    assert np.allclose(scale, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize(
    ("value", "step"), [(0.5, 0), (1.5, 2), (-1.5, -2), (2.49, 2), (126.6, 127), (300, 127), (-300, -127)]
)
def test_rounding_is_to_the_nearest_even_within_127(value, step):
    assert round_to_int8(np.float32([[value]]), np.float32([1]))[0, 0] == step


@pytest.mark.parametrize("ids", [[[3, 0, 39], [7, 7, 1]], [[5]]])
def test_looked_up_rows_equal_numpy(build, run, table, ids):
    model = embedding(build, table)
    assert quantize_embeddings(Graph(model)) == ["table"]
    scale = np.maximum(np.abs(table).max(axis=0), np.finfo(np.float32).tiny * 127) / np.float32(127)
    steps = np.clip(np.round(table / scale), -127, 127).astype(np.int8)
    saved = stored(model)
    assert set(saved) == {"table_int8", "table_scale", "table_zero"}
    assert np.array_equal(saved["table_int8"], steps)
    assert np.array_equal(saved["table_scale"], scale.astype(np.float32))
    rows = run(model, {"ids": np.array(ids)})[0]
    assert np.array_equal(rows, (steps.astype(np.float32) * scale)[ids])
    assert np.all(np.abs(rows - table[ids]) <= scale / 2 * 1.0001)


def test_a_single_id_is_looked_up(build, run, table):
    model = embedding(build, table, ids=())
    quantize_embeddings(Graph(model))
    row = run(model, {"ids": np.array(4)})[0]
    assert row.shape == (16,)
    assert np.all(np.abs(row - table[4]) <= column_scales(table) / 2 * 1.0001)


def test_a_table_of_two_lookups_is_stored_once(build, run, table):
    model = embedding(build, table, gathers=2)
    quantize_embeddings(Graph(model))
    assert [name for name in stored(model) if name.endswith("int8")] == ["table_int8"]
    first, second = run(model, {"ids": np.array([[1, 2]])})
    assert np.array_equal(first, second)


@pytest.mark.parametrize("why", ["small", "axis", "other reader", "left float", "three axes", "graph output"])
def test_what_is_no_table_is_left(build, table, normal, why):
    left = ()
    if why == "small":
        model = embedding(build, table[:31])  # 496 elements
    elif why == "axis":
        model = embedding(build, table, axis=1)
    elif why == "three axes":
        model = embedding(build, normal(4, 16, 16))
    elif why == "left float":
        model, left = embedding(build, table, gathers=2), {"embed1"}
    else:
        model = embedding(build, table)
        if why == "other reader":
            model.graph.node.append(helper.make_node("Neg", ["table"], ["z"], name="reader"))
            model.graph.output.append(helper.make_tensor_value_info("z", 1, None))
        else:
            model.graph.output.append(helper.make_tensor_value_info("table", 1, [40, 16]))
    before = model.SerializeToString()
    assert quantize_embeddings(Graph(model), left) == []
    assert model.SerializeToString() == before
