from __future__ import annotations

import pytest

from edgeexport.formats.tflite.requirements import OpNeed, needs


def version(model):
    (need,) = needs(model)
    return need.version, need.why


@pytest.mark.parametrize(
    ("weight", "scales", "activation", "expected"),
    [
        ("float32", None, "float32", (1, "")),
        ("int8", [0.5], "float32", (3, "int8 weights")),
        ("int8", [0.5, 1.0, 2.0], "float32", (12, "per-channel weights with float activations")),
        ("int4", [0.5], "float32", (10, "int4 weights")),
        ("int4", [0.5, 1.0, 2.0], "float32", (12, "per-channel weights with float activations")),
        ("int8", [0.5], "int8", (4, "int8 activations")),
        ("int8", [0.5, 1.0, 2.0], "int8", (4, "int8 activations")),
        ("int4", [0.5], "int8", (10, "int4 weights")),
        ("int8", [0.5], "int16", (4, "int16 activations")),
        ("int16", [0.5], "int16", (7, "int16 weights and activations")),
        ("int4", [0.5], "int16", (13, "int4 weights with int16 activations")),
    ],
)
def test_fully_connected(build, weight, scales, activation, expected):
    # The file always states version 1, as a quantizer that raises nothing does.
    assert version(build.dense(weight, scales, activation=activation)) == expected


def test_never_below_what_the_file_states(build):
    assert version(build.dense(version=5)) == (5, "as the file states")
    assert version(build.dense("int8", [0.5, 1.0, 2.0], version=12)) == (
        12,
        "per-channel weights with float activations",
    )


def test_options_of_fully_connected_count(build):
    model = build.dense()
    options = model.subgraphs[0].operators[0].builtinOptions
    options.keepNumDims = True
    assert version(model) == (5, "an output of the input's rank")
    model.subgraphs[0].operators[0].inputs = [0, 1]
    assert version(model) == (6, "no bias")
    options.keepNumDims, options.asymmetricQuantizeInputs = False, True
    model = build.dense("int8", [0.5])
    model.subgraphs[0].operators[0].builtinOptions.asymmetricQuantizeInputs = True
    assert version(model) == (9, "asymmetric inputs")


@pytest.mark.parametrize(
    ("weight", "scales", "expected"),
    [
        ("int8", (0.5,), 2),
        ("int8", (0.5, 1.0, 2.0), 5),
        ("int4", (0.5,), 6),
        ("float16", None, 3),
        ("int16", (0.5,), 3),
    ],
)
def test_dequantize(build, weight, scales, expected):
    first, second = needs(build.weight_only(weight, scales, version=1))
    assert (first.op, first.version) == ("DEQUANTIZE", expected)
    assert (second.op, second.version) == ("FULLY_CONNECTED", 1)


def test_dequantized_weights_are_placed_where_they_are_used(build):
    assert [need.where for need in needs(build.weight_only())] == ["net.Net/torch.nn.modules.linear.Linear_head;"] * 2


@pytest.mark.parametrize(
    ("table", "scales", "expected"),
    [("float32", None, 1), ("int8", (0.5,), 1), ("int8", (0.5, 1.0, 2.0), 4), ("int4", (0.5,), 4)],
)
def test_embedding_lookup(build, table, scales, expected):
    assert needs(build.embedding(table, scales)) == [
        OpNeed("EMBEDDING_LOOKUP", expected, "y", needs(build.embedding(table, scales))[0].why)
    ]


@pytest.mark.parametrize(
    ("weight", "scales", "activation", "conv", "depthwise"),
    [
        ("float32", None, "float32", 1, 1),
        ("int8", [0.1], "float32", 2, 4),
        ("int8", [0.1, 0.2], "float32", 5, 6),
        ("int8", [0.1, 0.2], "int8", 3, 3),
        ("int4", [0.1, 0.2], "int8", 7, 7),
        ("int8", [0.1, 0.2], "int16", 4, 5),
    ],
)
def test_convolutions(graph, weight, scales, activation, conv, depthwise):
    for op, options, shape, axis, expected in (
        ("CONV_2D", "Conv2DOptions", [2, 1, 1, 2], 0, conv),
        ("DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions", [1, 1, 1, 2], 3, depthwise),
    ):
        made = graph()
        x = made.tensor("x", activation, [1, 3, 3, 2])
        w = made.tensor("w", weight, shape, scales=scales, axis=axis)
        y = made.tensor("y", activation, [1, 3, 3, 2])
        made.op(op, [x, w, -1], [y], kind=options)
        assert version(made.model([x], [y]))[0] == expected


def test_grouped_and_dilated_convolutions(graph):
    made = graph()
    x, w, y = (made.tensor(n, "float32", s) for n, s in (("x", [1, 3, 3, 4]), ("w", [4, 1, 1, 2]), ("y", [1, 3, 3, 4])))
    made.op("CONV_2D", [x, w, -1], [y], kind="Conv2DOptions")
    assert version(made.model([x], [y])) == (6, "grouped convolution")
    made = graph()
    x, w, y = (made.tensor(n, "float32", s) for n, s in (("x", [1, 3, 3, 4]), ("w", [1, 1, 1, 4]), ("y", [1, 3, 3, 4])))
    made.op("DEPTHWISE_CONV_2D", [x, w, -1], [y], kind="DepthwiseConv2DOptions", dilationWFactor=2)
    assert version(made.model([x], [y])) == (2, "dilation")


def unary(graph, op, dtype, rank=2, output=None, scales=None, kind=None, **options):
    made = graph()
    x = made.tensor("x", dtype, [2] * rank, scales=scales)
    y = made.tensor("y", output or dtype, [2] * rank, scales=scales)
    made.op(op, [x], [y], kind=kind, **options)
    return made.model([x], [y])


@pytest.mark.parametrize(
    ("op", "dtype", "expected"),
    [
        ("SOFTMAX", "float32", 1),
        ("SOFTMAX", "int8", 2),
        ("SOFTMAX", "int16", 3),
        ("LOGISTIC", "int8", 2),
        ("TANH", "int16", 3),
        ("RSQRT", "int16", 3),
        ("GELU", "int8", 2),
        ("GELU", "int16", 3),
        ("RELU", "uint8", 2),
        ("HARD_SWISH", "int8", 1),
        ("MEAN", "int8", 2),
        ("ABS", "int32", 5),
        ("RESHAPE", "int8", 1),
        ("MAX_POOL_2D", "int8", 2),
        ("CUMSUM", "float32", 1),
        ("BROADCAST_TO", "float32", 2),
        ("BROADCAST_TO", "int8", 3),
        ("DEQUANTIZE", "float16", 3),
    ],
)
def test_versions_by_type(graph, op, dtype, expected):
    assert version(unary(graph, op, dtype))[0] == expected


def test_ranks(graph):
    assert [version(unary(graph, "TRANSPOSE", "float32", rank))[0] for rank in (3, 4, 5, 6)] == [1, 1, 4, 6]
    assert [version(unary(graph, "PAD", "int8", rank))[0] for rank in (4, 5)] == [2, 4]
    assert [version(unary(graph, "SLICE", "int16", rank))[0] for rank in (4, 5)] == [4, 5]
    assert [version(unary(graph, "STRIDED_SLICE", "int8", rank))[0] for rank in (4, 5)] == [2, 4]


def test_options(graph):
    assert version(unary(graph, "STRIDED_SLICE", "float32", kind="StridedSliceOptions", newAxisMask=1))[0] == 6
    resize = {"kind": "ResizeBilinearOptions", "halfPixelCenters": True}
    assert version(unary(graph, "RESIZE_BILINEAR", "int8", 4, **resize)) == (3, "half-pixel centres")
    assert version(unary(graph, "ABS", "int16", scales=[0.1]))[0] == 3
    assert version(unary(graph, "ABS", "int16"))[0] == 4


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("float32", "int32", 1),
        ("int8", "float32", 3),
        ("float32", "float16", 5),
        ("int4", "float32", 6),
        ("bfloat16", "float32", 7),
    ],
)
def test_cast_looks_at_both_types(graph, source, target, expected):
    assert version(unary(graph, "CAST", source, output=target))[0] == expected


def test_quantize_looks_at_the_output(graph):
    assert [version(unary(graph, "QUANTIZE", "float32", output=t))[0] for t in ("int8", "int16", "int4")] == [1, 2, 4]
    assert version(unary(graph, "QUANTIZE", "float32", output="int8", scales=[0.1, 0.2]))[0] == 3


@pytest.mark.parametrize(
    ("op", "dtype", "scales", "expected"),
    [
        ("ADD", "int8", (0.1, 0.1, 0.1), 2),
        ("ADD", "int16", (0.1, 0.1, 0.1), 3),
        ("SUB", "int16", (0.1, 0.1, 0.1), 5),
        ("MUL", "int8", (0.1, 0.1, 0.1), 2),
        ("MUL", "int8", (0.5, 0.5, 0.2), 3),
        ("MUL", "float32", (0, 0, 0), 1),
        ("BATCH_MATMUL", "int8", (0.1, 0.1, 0.1), 2),
        ("MAXIMUM", "int16", (0.1, 0.1, 0.1), 4),
        ("SQUARED_DIFFERENCE", "int8", (0.1, 0.1, 0.1), 2),
    ],
)
def test_binary_operators(build, op, dtype, scales, expected):
    assert version(build.binary(op, dtype, scales))[0] == expected


def test_broadcasting_beyond_rank_4(build):
    shapes = ((2, 1, 3, 1, 4), (1, 2, 3, 2, 4))
    assert version(build.binary("SUB", "float32", (0, 0, 0), shapes)) == (3, "broadcasting beyond rank 4")
    assert version(build.binary("DIV", "float32", (0, 0, 0), shapes))[0] == 2
    assert version(build.binary("SUB", "float32", (0, 0, 0), (shapes[0], shapes[0])))[0] == 1


def test_the_values_of_a_split_are_its_second_input(graph):
    made = graph()
    axis = made.tensor("axis", "int32", [])
    x, y = made.tensor("x", "int16", [2]), made.tensor("y", "int16", [2])
    made.op("SPLIT", [axis, x], [y], kind="SplitOptions", numSplits=1)
    assert version(made.model([x], [y])) == (4, "int16 values")
