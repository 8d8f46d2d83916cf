from __future__ import annotations

import re

import pytest

from edgeexport.errors import TargetError
from edgeexport.formats.tflite.requirements import nodes
from edgeexport.formats.tflite.runtime_ops import Problem, find_release, kind, problems

CLASSIC = ("tflite-runtime", "2.14.0")
MICRO = ("tflite-micro", "0.dev20261023182759")
LITERT = ("litert", "2.3.0")
CHANNELS = [0.5, 1.0, 2.0]


def test_hybrid_per_channel_weights_are_silently_wrong_on_tflite_runtime(build):
    # As ai-edge-quantizer writes it: the version of the float operator is left as it was.
    assert problems(build.dense("int8", CHANNELS, version=5), *CLASSIC) == [
        Problem(
            "FULLY_CONNECTED",
            "head",
            "needs FULLY_CONNECTED version 12 (per-channel weights with float activations); "
            "tflite-runtime 2.14 has version 10 and computes it wrong: it ignores the per-channel scales",
        )
    ]


def test_weight_only_per_channel_is_silently_wrong_on_tflite_micro(build):
    assert problems(build.weight_only("int8", CHANNELS), *MICRO) == [
        Problem(
            "DEQUANTIZE",
            "head",
            "needs DEQUANTIZE with int8 per-channel values to float32, which tflite-micro computes wrong: "
            "it scales every channel like the first",
        )
    ]


@pytest.mark.parametrize("runtime", [CLASSIC, MICRO])
def test_a_table_with_a_scale_per_row_is_silently_wrong(build, runtime):
    (found,) = problems(build.embedding("int8", CHANNELS), *runtime)
    assert found.op == "EMBEDDING_LOOKUP"
    assert found.what.endswith("wrong: it scales every row like the first")


@pytest.mark.parametrize(
    ("made", "arguments", "classic", "micro"),
    [
        ("dense", ("float32", None), True, True),
        ("dense", ("int8", [0.5]), True, False),
        ("dense", ("int8", CHANNELS), False, False),
        ("dense", ("int4", [0.5]), True, False),
        ("dense", ("int4", CHANNELS), False, False),
        ("dense", ("int8", [0.5], 4, "int8"), True, True),
        ("dense", ("int8", CHANNELS, 4, "int8"), True, True),
        ("dense", ("int8", CHANNELS, 4, "int16"), True, True),
        ("dense", ("int4", [0.5], 10, "int8"), True, True),
        ("dense", ("int4", CHANNELS, 10, "int8"), False, False),
        ("dense", ("int4", [0.5], 10, "int16"), False, False),
        ("weight_only", ("int8", [0.5]), True, True),
        ("weight_only", ("int8", CHANNELS), True, False),
        ("weight_only", ("int4", [0.5]), False, False),
        ("weight_only", ("float16", None), True, False),
        ("embedding", ("float32", None), True, True),
        ("embedding", ("int8", [0.5]), True, True),
        ("embedding", ("int8", CHANNELS), False, False),
        ("embedding", ("int4", [0.5]), False, False),
    ],
)
def test_what_runs_where(build, made, arguments, classic, micro):
    model = getattr(build, made)(*arguments)
    assert problems(model, *LITERT) == []
    assert (problems(model, *CLASSIC) == []) is classic
    assert (problems(model, *MICRO) == []) is micro


@pytest.mark.parametrize("runtime", [CLASSIC, LITERT])
def test_depthwise_hybrid_with_one_scale_reads_beyond_it_everywhere(graph, runtime):
    made = graph()
    x, y = made.tensor("x", "float32", [1, 3, 3, 2]), made.tensor("y", "float32", [1, 3, 3, 2])
    w = made.tensor("w", "int8", [1, 1, 1, 2], scales=[0.1], axis=0)
    made.op("DEPTHWISE_CONV_2D", [x, w, -1], [y], kind="DepthwiseConv2DOptions")
    (found,) = problems(made.model([x], [y]), *runtime)
    assert "float32 activations and int8 per-tensor weights" in found.what
    assert found.what.endswith("reads a scale per channel beyond the only one there is")


def test_operators_that_a_runtime_lacks(graph):
    made = graph()
    x, y = made.tensor("x", "float32", [2]), made.tensor("y", "float32", [2])
    made.op("GELU", [x], [y], kind="GeluOptions")
    made.op("STABLEHLO_COMPOSITE", [x], [y], kind="StableHLOCompositeOptions", name=b"odml.norm")
    made.op("CUSTOM", [x], [y], custom="Frobnicate")
    model = made.model([x], [y])
    assert [found.what for found in problems(model, *MICRO)] == [
        "needs GELU, which tflite-micro lacks",
        "needs STABLEHLO_COMPOSITE, which tflite-micro lacks",
        "needs CUSTOM(Frobnicate), which is no operator of TFLite and not a part of tflite-micro",
    ]
    assert [found.op for found in problems(model, *CLASSIC)] == [
        "STABLEHLO_COMPOSITE(odml.norm)",
        "CUSTOM(Frobnicate)",
    ]
    assert [found.op for found in problems(model, *LITERT)] == ["CUSTOM(Frobnicate)"]


def test_kinds_that_are_refused_are_named(build):
    (found,) = problems(build.dense("int8", [0.5]), *MICRO)
    assert found.what == (
        "needs FULLY_CONNECTED with float32 activations and int8 per-tensor weights, "
        "which tflite-micro does not support"
    )
    (found,) = problems(build.binary("DIV", "int8", (0.1, 0.1, 0.1)), *CLASSIC)
    assert found.what == "needs DIV with int8 values, which tflite-runtime 2.14 does not support"


def test_alike_problems_are_told_once_with_their_number(build):
    model = build.dense("int8", CHANNELS)
    (graph,) = model.subgraphs
    graph.operators = [graph.operators[0]] * 5
    (found,) = problems(model, *CLASSIC)
    assert (found.where, found.count) == ("head", 5)


def test_an_output_scale_that_ends_the_process(build):
    # `1 - mask` for a mask that was all ones in calibration.
    (found,) = problems(build.binary("SUB", "int8", (0.004, 0.004, 1e-9)), *CLASSIC)
    assert found.what.startswith("needs SUB with an output scale far below its inputs', which ends the process")
    assert problems(build.binary("SUB", "int8", (0.004, 0.004, 1e-8)), *CLASSIC) == []
    assert problems(build.binary("MUL", "int8", (0.004, 0.004, 1e-9)), *CLASSIC) == []
    assert len(problems(build.binary("ADD", "int8", (0.004, 0.004, 1e-9)), *LITERT)) == 1
    assert len(problems(build.binary("SQUARED_DIFFERENCE", "int8", (0.1, 0.1, 1e-6)), *CLASSIC)) == 1
    assert problems(build.binary("SQUARED_DIFFERENCE", "int8", (0.1, 0.1, 1e-5)), *CLASSIC) == []


def test_integer_products_broadcast_beyond_rank_4(build):
    shapes = ((2, 1, 3, 1, 4), (1, 2, 3, 2, 4))
    (found,) = problems(build.binary("MUL", "int8", (0.1, 0.1, 0.1), shapes), *CLASSIC)
    assert "broadcasts int8 values of rank 5" in found.what
    assert problems(build.binary("MUL", "int8", (0.1, 0.1, 0.1), shapes), *MICRO) == []
    assert problems(build.binary("MUL", "float32", (0, 0, 0), shapes), *CLASSIC) == []


def test_litert_by_release(build, graph):
    def found(model, version):
        return [re.sub(r" \(.*", "", problem.what) for problem in problems(model, "litert", version)]

    made = graph()
    x, y = made.tensor("x", "float32", [2]), made.tensor("y", "float32", [2])
    made.op("FULLY_CONNECTED", [x, x], [y], version=14, kind="FullyConnectedOptions")
    stated = made.model([x], [y])
    assert found(stated, "2.0.3") == ["needs FULLY_CONNECTED version 14"]
    assert found(stated, "2.1.0") == found(stated, "2.3.0") == []
    stated.operatorCodes[0].version = 15
    assert found(stated, "2.3.0") == ["needs FULLY_CONNECTED version 15"]
    # What comes after the last known release may have it.
    assert found(stated, "2.4.0") == found(stated, "3.0") == []
    assert found(build.dense("int8", CHANNELS), "1.0.1") == []


def test_releases_between_two_known_ones_count_as_the_earlier():
    assert find_release("litert", "1.3.0").version == (1, 2)
    assert find_release("litert", "2.2.9").version == (2, 2)
    assert find_release("tflite-runtime", "2.15").version == (2, 14)
    assert find_release("litert", "1.0.1").versions["FULLY_CONNECTED"] == 13
    assert find_release("tflite-runtime", "2.14.0").versions["FULLY_CONNECTED"] == 10


@pytest.mark.parametrize(("runtime", "version"), [("tflite-runtime", "2.5.0"), ("onnxruntime", "1.22")])
def test_what_is_not_known_is_said(build, runtime, version):
    with pytest.raises(TargetError, match="Nothing is known about the operators of"):
        problems(build.dense(), runtime, version)


def test_kinds(build, graph):
    def of(model):
        return [kind(node) for node in nodes(model)]

    assert of(build.dense("int8", CHANNELS)) == ["float32*int8/channel"]
    assert of(build.dense()) == ["float32*float32"]
    assert of(build.weight_only("float16", None)) == ["float16>float32", "float32*float32"]
    assert of(build.embedding("int4", [0.5], "int8")) == ["int4/tensor>int8"]
    assert of(build.binary("BATCH_MATMUL", "int8", (0.1, 0.1, 0.1))) == ["int8*int8"]
    made = graph()
    x, w = made.tensor("x", "int8", [1, 3, 3, 4]), made.tensor("w", "int8", [4, 1, 1, 2], scales=[0.1])
    made.op("CONV_2D", [x, w, -1], [x], kind="Conv2DOptions")
    assert of(made.model([x], [x])) == ["int8*int8/tensor/grouped"]
