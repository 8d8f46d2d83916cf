"""Packages that are damaged or hostile: a clear error, nothing read outside, bounded memory."""

import contextlib
import json
import struct

import numpy as np
import pytest

from edgeexport import mil
from edgeexport.errors import ModelError
from edgeexport.mil.proto import messages

WEIGHTS = np.linspace(-1, 1, 6 * 5, dtype=np.float32).reshape(6, 5)


def _type(named, dtype, shape):
    kinds = messages("MIL_pb2").DataType
    named.type.tensorType.dataType = kinds.Value(dtype)
    named.type.tensorType.rank = len(shape)
    for size in shape:
        dimension = named.type.tensorType.dimensions.add()
        if size is None:
            dimension.unknown.variadic = False
        else:
            dimension.constant.size = size


class Writer:
    """Writes x + w, with anything changed."""

    def __init__(self, path):
        self.path = path
        self.model = messages("Model_pb2").Model()
        program = self.model.mlProgram
        self.function = program.functions["main"]
        self.function.opset = "CoreML7"
        _type(self.function.inputs.add(name="x"), "FLOAT32", (6, 5))
        self.block = self.function.block_specializations["CoreML7"]
        self.block.outputs.append("y")
        constant = self.block.operations.add(type="const")
        _type(constant.outputs.add(name="w"), "FLOAT32", (6, 5))
        self.value = constant.attributes["val"]
        _type(self.value, "FLOAT32", (6, 5))
        self.value.blobFileValue.fileName = "@model_path/weights/weight.bin"
        self.value.blobFileValue.offset = 64
        self.add = self.block.operations.add(type="add")
        self.add.inputs["x"].arguments.add(name="x")
        self.add.inputs["y"].arguments.add(name="w")
        _type(self.add.outputs.add(name="y"), "FLOAT32", (6, 5))
        self.blob = bytearray(
            struct.pack("<II", 1, 2).ljust(64, b"\0")
            + struct.pack("<IIQQQ", 0xDEADBEEF, 2, WEIGHTS.nbytes, 128, 0).ljust(64, b"\0")
            + WEIGHTS.tobytes()
        )
        self.manifest = {
            "fileFormatVersion": "1.0.0",
            "itemInfoEntries": {"a": {"path": "com.apple.CoreML/model.mlmodel", "name": "model.mlmodel"}},
            "rootModelIdentifier": "a",
        }

    def write(self):
        data = self.path / "Data" / "com.apple.CoreML"
        (data / "weights").mkdir(parents=True)
        (data / "model.mlmodel").write_bytes(self.model.SerializeToString())
        (data / "weights" / "weight.bin").write_bytes(self.blob)
        (self.path / "Manifest.json").write_text(json.dumps(self.manifest))
        return self.path


@pytest.fixture
def writer(tmp_path):
    return Writer(tmp_path / "model.mlpackage")


def refused(path, what):
    with pytest.raises(ModelError, match=what):
        mil.load(path, largest=1 << 20)


def test_it_runs(writer):
    x = np.arange(30, dtype=np.float32).reshape(6, 5)
    model = mil.load(writer.write())
    np.testing.assert_array_equal(model({"x": x})["y"], x + WEIGHTS)
    assert set(model.intermediates({"x": x})) == {"y"}


def test_nothing_there(tmp_path):
    refused(tmp_path / "none.mlpackage", "nothing is there")


def test_a_file(tmp_path):
    (tmp_path / "a.mlpackage").write_text("x")
    refused(tmp_path / "a.mlpackage", "a file")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"itemInfoEntries": {}}', "[" * 100_000])
def test_manifest_damaged(writer, text):
    writer.write()
    (writer.path / "Manifest.json").write_text(text)
    refused(writer.path, "manifest")


@pytest.mark.parametrize("name", ["../../outside.mlmodel", "/etc/passwd", "com.apple.CoreML/../../../outside.mlmodel"])
def test_manifest_leads_outside(writer, name):
    (writer.path.parent / "outside.mlmodel").write_bytes(b"secret")
    writer.manifest["itemInfoEntries"]["a"]["path"] = name
    refused(writer.write(), "outside itself")


def test_link_leads_outside(writer):
    writer.write()
    secret = writer.path.parent / "secret.bin"
    secret.write_bytes(bytes(writer.blob))
    weights = writer.path / "Data" / "com.apple.CoreML" / "weights" / "weight.bin"
    weights.unlink()
    weights.symlink_to(secret)
    refused(writer.path, "outside itself")


@pytest.mark.parametrize(
    "name", ["@model_path/../../../outside.bin", "/etc/passwd", "weights/weight.bin", "@model_path/x\0"]
)
def test_weights_lead_outside(writer, name):
    (writer.path.parent / "outside.bin").write_bytes(bytes(writer.blob))
    writer.value.blobFileValue.fileName = name
    refused(writer.write(), "outside itself|not beside|cannot be opened")


def test_root_not_listed(writer):
    writer.manifest["rootModelIdentifier"] = "b"
    refused(writer.write(), "does not list")


@pytest.mark.parametrize("keep", [0, 1, 40, 100])
def test_specification_cut_off(writer, keep):
    writer.write()
    path = writer.path / "Data" / "com.apple.CoreML" / "model.mlmodel"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelError):
        mil.load(writer.path)


def test_specification_is_noise(writer):
    writer.write()
    noise = np.random.default_rng(0)
    path = writer.path / "Data" / "com.apple.CoreML" / "model.mlmodel"
    whole = bytearray(path.read_bytes())
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(4):
            damaged[noise.integers(len(whole))] = noise.integers(256)
        path.write_bytes(bytes(damaged))
        with contextlib.suppress(ModelError):
            mil.load(writer.path, largest=1 << 20)({"x": np.zeros((6, 5), np.float32)})


@pytest.mark.parametrize("offset", [0, 1, 128, 10**9, 2**63, 2**64 - 1])
def test_offset_leads_nowhere(writer, offset):
    writer.value.blobFileValue.offset = offset
    refused(writer.write(), "weight")


@pytest.mark.parametrize(("size", "start"), [(2**62, 128), (WEIGHTS.nbytes, 2**63), (WEIGHTS.nbytes, 132), (4, 128)])
def test_blob_leads_outside(writer, size, start):
    struct.pack_into("<QQ", writer.blob, 72, size, start)
    refused(writer.write(), "the weight at byte 64")


def test_blob_of_another_type(writer):
    struct.pack_into("<I", writer.blob, 68, 3)
    refused(writer.write(), "uint8; the program says fp32")


def test_weights_of_another_version(writer):
    struct.pack_into("<I", writer.blob, 4, 1)
    refused(writer.write(), "version 1")


@pytest.mark.parametrize("size", [0, 20])
def test_weights_cut_off(writer, size):
    del writer.blob[size:]
    refused(writer.write(), "cut off|cannot be read")


def test_a_program_that_uses_what_it_makes_later(writer):
    writer.add.inputs["y"].arguments[0].name = "y"
    refused(writer.write(), "before any operation gives it")


def test_a_program_that_gives_a_value_twice(writer):
    writer.block.operations.append(writer.add)
    refused(writer.write(), "twice")


def test_an_output_that_nothing_gives(writer):
    writer.block.outputs[0] = "z"
    refused(writer.write(), "'z' is given by no operation")


def test_shapes_of_terabytes(writer):
    writer.function.inputs[0].type.tensorType.dimensions[0].constant.size = 10**12
    refused(writer.write(), "allowed")


def test_broadcasting_to_terabytes(writer):
    def free(shape):
        named = messages("MIL_pb2").NamedValueType()
        _type(named, "FLOAT32", shape)
        return named.type

    writer.function.inputs[0].type.CopyFrom(free((None, None)))
    writer.add.outputs[0].type.CopyFrom(free((None, None)))
    writer.add.inputs["y"].arguments[0].name = "x2"
    extra = writer.function.inputs.add(name="x2")
    extra.type.CopyFrom(free((None, None)))
    model = mil.load(writer.write(), largest=1 << 20)
    with pytest.raises(ModelError, match=r"add 'y'.*allowed"):
        model({"x": np.zeros((2000, 1), np.float32), "x2": np.zeros((1, 2000), np.float32)})


def test_an_operator_that_nobody_knows(writer):
    writer.add.type = "launch_missiles"
    refused(writer.write(), "launch_missiles")


def test_an_operator_that_is_refused(writer):
    writer.add.type = "conv_quantized"
    refused(writer.write(), "conv_quantized.*rounds")


def test_a_parameter_that_nobody_knows(writer):
    writer.add.inputs["z"].arguments.add(name="x")
    refused(writer.write(), "'z'")


def test_a_parameter_that_is_missing(writer):
    del writer.add.inputs["y"]
    refused(writer.write(), "lacks the parameter 'y'")


def test_a_declared_shape_that_is_wrong(writer):
    writer.add.outputs[0].type.tensorType.dimensions[1].constant.size = 4
    with pytest.raises(ModelError, match=r"add 'y'.*came out with the shape \[6, 5\]"):
        mil.load(writer.write())({"x": np.zeros((6, 5), np.float32)})


@pytest.mark.parametrize(
    ("inputs", "what"),
    [
        ({}, "'x' is missing"),
        ({"x": np.zeros((6, 5), np.float32), "q": np.zeros(1)}, "no input 'q'"),
        ({"x": np.zeros((5, 6), np.float32)}, r"\[5, 6\]"),
        ({"x": np.zeros((6, 5), np.int32)}, "int32"),
        ({"x": np.zeros((6, 5), np.complex64)}, "complex64"),
        ({"x": np.full((6, 5), "1.0")}, "<U3"),
    ],
)
def test_wrong_inputs(writer, inputs, what):
    model = mil.load(writer.write())
    with pytest.raises(ModelError, match=what):
        model(inputs)


def test_numbers_in_another_byte_order(writer):
    x = np.linspace(0, 1, 30).reshape(6, 5)
    np.testing.assert_array_equal(mil.load(writer.write())({"x": x.astype(">f8")})["y"], x.astype(np.float32) + WEIGHTS)


@pytest.mark.parametrize(
    ("array", "what"),
    [
        (np.full((6, 5), 2**32 + 5), "4294967301 was given"),
        (np.full((6, 5), -(2**31) - 1), "-2147483649 was given"),
        (np.full((6, 5), 2**31, np.uint32), "2147483648 was given"),
        (np.full((6, 5), "1"), "<U1 was given"),
        (np.full((6, 5), 1, object), "object was given"),
        (np.full((6, 5), 1j), "complex128 was given"),
        (np.full((6, 5), True), "bool was given"),
    ],
)
def test_what_is_no_integer_of_the_declared_type(writer, array, what):
    writer.function.inputs[0].type.tensorType.dataType = messages("MIL_pb2").DataType.Value("INT32")
    writer.block.outputs[0] = "x"
    del writer.block.operations[:]
    model = mil.load(writer.write())
    for kind in (np.int8, np.uint16, np.int64, np.uint64, ">i4"):
        found = model({"x": np.full((6, 5), 100, kind)})["x"]
        assert found.dtype == np.int32
        assert (found == 100).all()
    with pytest.raises(ModelError, match=what):
        model({"x": array})


def test_a_specification_too_large_to_be_one(writer):
    for number in range(1000):
        writer.block.operations.add(type=f"operation {number}")
    refused(writer.write(), "larger than the specification")


def test_no_such_function(writer):
    with pytest.raises(ModelError, match=r"no function 'other'.*main"):
        mil.load(writer.write(), function="other")


def test_overflow_is_located(writer):
    for named in (writer.function.inputs[0], writer.add.outputs[0]):
        named.type.tensorType.dataType = messages("MIL_pb2").DataType.Value("FLOAT16")
    model = mil.load(writer.write(), mode="device")
    x = np.zeros((6, 5), np.float32)
    assert np.abs(model({"x": x})["y"] - WEIGHTS.astype(np.float16)).max() == 0
    assert model.findings == []
    x[0, 0] = x[1, 1] = 65504
    x[2, 2] = -65504
    struct.pack_into("<f", writer.blob, 128, 100.0)
    struct.pack_into("<f", writer.blob, 128 + 6 * 4, 100.0)
    weights = writer.path / "Data" / "com.apple.CoreML" / "weights" / "weight.bin"
    weights.write_bytes(writer.blob)
    model = mil.load(writer.path, mode="device")
    assert np.isinf(model({"x": x})["y"]).sum() == 2
    [finding] = model.findings
    assert (finding.op, finding.output, finding.kind, finding.count) == ("add", "y", "overflow", 2)
    assert finding.largest == 65604.0
    assert mil.load(writer.path)({"x": x})["y"].max() == 65604.0


def _half(writer):
    for named in (writer.function.inputs[0], writer.add.outputs[0]):
        named.type.tensorType.dataType = messages("MIL_pb2").DataType.Value("FLOAT16")


def test_an_input_that_overflows_is_located(writer):
    _half(writer)
    model = mil.load(writer.write(), mode="device")
    x = np.zeros((6, 5), np.float32)
    x[0, 0], x[1, 1] = 1e6, -np.inf  # infinite before it is rounded
    assert np.isinf(model({"x": x})["y"]).sum() == 2
    assert model.findings == []
    x[1, 1] = 0
    model({"x": x})
    [finding] = model.findings
    assert (finding.where, finding.kind, finding.count, finding.largest) == ("input 'x'", "overflow", 1, 1e6)


def test_what_infinities_turn_into_is_located(writer):
    _half(writer)
    softmax = writer.block.operations.add(type="softmax")
    softmax.inputs["x"].arguments.add(name="y")
    softmax.outputs.add(name="s").type.CopyFrom(writer.add.outputs[0].type)
    writer.block.outputs[0] = "s"
    model = mil.load(writer.write(), mode="device")
    x = np.zeros((6, 5), np.float32)
    x[2, :3] = -np.inf
    assert np.isfinite(model({"x": x})["s"]).all()
    assert model.findings == []
    x[2] = -np.inf  # a mask that leaves nothing
    assert np.isnan(model({"x": x})["s"]).sum() == 5
    [finding] = model.findings
    assert (finding.where, finding.kind, finding.count) == ("softmax 's'", "nan", 5)
