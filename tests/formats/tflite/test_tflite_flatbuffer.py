from __future__ import annotations

import random
import struct

import numpy as np
import pytest

from edgeexport.errors import ConversionError, ModelError
from edgeexport.formats.tflite import flatbuffer
from edgeexport.formats.tflite.flatbuffer import (
    Entry,
    constant,
    dtype_name,
    op_name,
    read_model,
    signatures,
    size_in_bytes,
    tensor_name,
    write_model,
)


def test_what_is_written_is_read_back(build, save):
    model = read_model(save(build.dense("int8", [0.5, 1.0, 2.0])))
    (graph,) = model.subgraphs
    assert [op_name(model, operator) for operator in graph.operators] == ["FULLY_CONNECTED"]
    assert [tensor_name(tensor) for tensor in graph.tensors][:3] == ["x", "w", "b"]
    assert [dtype_name(tensor.type) for tensor in graph.tensors] == ["float32", "int8", "float32", "float32"]
    assert constant(model, graph.tensors[1]).tolist() == [[-6, -5, -4, -3], [-2, -1, 0, 1], [2, 3, 4, 5]]
    assert constant(model, graph.tensors[0]) is None
    assert list(graph.tensors[1].quantization.scale) == [0.5, 1.0, 2.0]
    assert signatures(model) == [Entry("serving_default", {"args_0": 0}, {"output_0": 3}, 0)]


def test_writing_is_deterministic_and_stable_over_a_round_trip(build, tmp_path):
    first, second, third = (tmp_path / name for name in ("a.tflite", "b.tflite", "c.tflite"))
    write_model(build.dense(), first)
    write_model(build.dense(), second)
    write_model(read_model(first), third)
    assert first.read_bytes() == second.read_bytes() == third.read_bytes()


def test_constants_lie_on_multiples_of_16_bytes(graph, save):
    made = graph()
    values = [np.arange(n, dtype=np.int8) + n for n in (3, 7, 20, 33)]
    inputs = [made.tensor(f"c{len(v)}", "int8", [len(v)], data=v) for v in values]
    out = made.tensor("y", "int8", [63])
    made.op("CONCATENATION", inputs, [out], kind="ConcatenationOptions")
    path = save(made.model([], [out]))
    data = path.read_bytes()
    for value in values:
        assert data.find(value.tobytes()) % 16 == 0


def test_four_bit_values_come_unpacked_with_their_sign(build, save):
    model = read_model(save(build.dense("int4", [1.0])))
    weight = constant(model, model.subgraphs[0].tensors[1])
    assert weight.dtype == np.int8
    assert weight.tolist() == [[-6, -5, -4, -3], [-2, -1, 0, 1], [2, 3, 4, 5]]


def test_two_bit_values_come_unpacked_with_their_sign(graph, save):
    made = graph()
    y = made.tensor("y", "int2", [3, 2])
    made.op("CUSTOM", [], [y], custom="gives")
    model = made.model([], [y])
    model.buffers.append(flatbuffer.schema().BufferT())
    model.buffers[1].data = [0b11_10_01_00, 0b00_00_10_11]
    model.subgraphs[0].tensors[0].buffer = 1
    model = read_model(save(model))
    assert constant(model, model.subgraphs[0].tensors[0]).tolist() == [[0, 1], [-2, -1], [-1, -2]]


def test_custom_and_composite_operators_have_their_inner_name(graph):
    made = graph()
    y = made.tensor("y", "float32", [1])
    made.op("CUSTOM", [], [y], custom="Frobnicate")
    made.op("STABLEHLO_COMPOSITE", [], [y], kind="StableHLOCompositeOptions", name=b"odml.rms_norm")
    model = made.model([], [y])
    names = [op_name(model, operator) for operator in model.subgraphs[0].operators]
    assert names == ["CUSTOM(Frobnicate)", "STABLEHLO_COMPOSITE(odml.rms_norm)"]


def test_an_operator_newer_than_the_schema_has_its_number(build):
    model = build.dense()
    model.operatorCodes[0].builtinCode = 9999
    assert op_name(model, model.subgraphs[0].operators[0]) == "BUILTIN_9999"


def test_sizes_in_bytes(graph):
    made = graph()
    for dtype, shape in (("float32", [3, 5]), ("int4", [5]), ("bool", []), ("string", [2]), ("bfloat16", [4])):
        made.tensor("t", dtype, shape)
    assert [size_in_bytes(tensor) for tensor in made._tensors] == [60, 3, 1, None, 8]


def test_constants_are_views_that_do_not_change_the_file(build, save):
    path = save(build.dense())
    before = path.read_bytes()
    model = read_model(path)
    constant(model, model.subgraphs[0].tensors[1])[0, 0] = 99
    assert constant(model, model.subgraphs[0].tensors[1])[0, 0] == 99
    assert path.read_bytes() == before


def test_a_missing_file(tmp_path):
    with pytest.raises(ModelError, match=r"There is no model at .*absent\.tflite"):
        read_model(tmp_path / "absent.tflite")


def test_a_folder_is_no_model(tmp_path):
    with pytest.raises(ModelError, match="cannot be read"):
        read_model(tmp_path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "it has only 0 bytes"),
        (b"TFL3", "it has only 4 bytes"),
        (b"PK\x03\x04" + b"\0" * 40, "does not carry the identifier TFL3"),
        (b"\x08\0\0\0TFL3" + b"\0" * 64, "there is no table at byte 8"),
        (b"\xff\xff\xff\xffTFL3" + b"\0" * 64, "cut off or corrupt"),
    ],
)
def test_what_is_no_model_says_why(tmp_path, content, sentence):
    path = tmp_path / "m.tflite"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=sentence):
        read_model(path)


def test_another_schema_version(build, save):
    model = build.dense()
    model.version = 4
    with pytest.raises(ModelError, match="its schema version is 4, and 3 is known"):
        read_model(save(model))


def test_every_truncation_is_refused(build, save):
    path = save(build.dense("int8", [0.5, 1.0, 2.0]))
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(ModelError, match="not a readable TFLite model"):
            read_model(path)


def test_no_altered_byte_does_more_than_raise_or_give_a_usable_model(build, save, tmp_path):
    path = save(build.weight_only("int8", [0.5, 1.0, 2.0]))
    data, chance, refused = path.read_bytes(), random.Random(0), 0
    for position in range(len(data)):
        for change in (0xFF, 0x80, 1, chance.randrange(1, 256)):
            altered = bytearray(data)
            altered[position] ^= change
            path.write_bytes(altered)
            try:
                model = read_model(path)
            except ModelError:
                refused += 1
                continue
            for graph in model.subgraphs:
                for tensor in graph.tensors:
                    constant(model, tensor), tensor_name(tensor), dtype_name(tensor.type)
                for operator in graph.operators:
                    op_name(model, operator)
            signatures(model)
            write_model(model, tmp_path / "again.tflite")
    assert refused > len(data)


def test_a_stretch_of_zeros_does_not_become_millions_of_tables(build, save):
    model = build.dense()
    model.buffers[1].data = np.zeros(4_000_000, np.uint8)
    path = save(model)
    data = bytearray(path.read_bytes())
    start = data.find(bytes(1000))
    # The vector of operators now lies in the zeros, and claims to fill them.
    root = struct.unpack_from("<I", data, 0)[0]
    vtable = root - struct.unpack_from("<i", data, root)[0]
    field = root + struct.unpack_from("<H", data, vtable + 4 + 2 * 2)[0]
    struct.pack_into("<I", data, start + 16, 900_000)
    struct.pack_into("<I", data, field, start + 16 - field)
    path.write_bytes(data)
    with pytest.raises(ModelError, match="there is no table"):
        read_model(path)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda m: setattr(m.subgraphs[0].operators[0], "opcodeIndex", 7), "operator code 7 of 1"),
        (lambda m: setattr(m.subgraphs[0].operators[0], "inputs", [0, 99, -1]), "tensor 99 of 4"),
        (lambda m: setattr(m.subgraphs[0].operators[0], "outputs", [-2]), "tensor -2 of 4"),
        (lambda m: setattr(m.subgraphs[0], "outputs", [-1]), "tensor -1 of 4"),
        (lambda m: setattr(m.subgraphs[0].tensors[0], "buffer", 50), "buffer 50 of 3"),
        (lambda m: setattr(m.subgraphs[0].tensors[1], "shape", [3, 5]), "'w' needs 15 bytes and has 12"),
        (lambda m: setattr(m.subgraphs[0].tensors[0], "shape", [-1, 4]), "negative shape"),
        (
            lambda m: setattr(m.subgraphs[0].tensors[1].quantization, "quantizedDimension", 1),
            "3 scales along dimension 1",
        ),
        (lambda m: setattr(m.signatureDefs[0], "subgraphIndex", 3), "subgraph 3 of 1"),
        (lambda m: setattr(m.signatureDefs[0].inputs[0], "tensorIndex", 44), "tensor 44 of 4"),
    ],
)
def test_what_points_nowhere_is_refused(build, save, damage, sentence):
    model = build.dense("int8", [0.5, 1.0, 2.0])
    damage(model)
    with pytest.raises(ModelError, match=sentence):
        read_model(save(model))


def test_content_behind_the_flatbuffer_is_found_and_checked(build, save):
    model = build.dense()
    values = np.arange(12, dtype=np.float32)
    model.buffers[1].data, model.buffers[1].offset, model.buffers[1].size = None, 1000, 48
    path = save(model)
    # The first write tells the length; the offset has its final width by then.
    model.buffers[1].offset = path.stat().st_size
    path = save(model)
    with pytest.raises(ModelError, match="beyond the end of the file"):
        read_model(path)
    path.write_bytes(path.read_bytes() + values.tobytes())
    read = read_model(path)
    assert constant(read, read.subgraphs[0].tensors[1]).tolist() == values.reshape(3, 4).tolist()


def test_a_place_that_cannot_be_written(build, tmp_path):
    with pytest.raises(ConversionError, match="cannot be written"):
        write_model(build.dense(), tmp_path / "absent" / "m.tflite")
