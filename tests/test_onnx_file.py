"""Reading ONNX files: what is there, and what is refused."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeexport.errors import ModelError
from edgeexport.onnx_file import load_onnx, read_signature

WEIGHT = np.random.default_rng(0).standard_normal((4, 300)).astype(np.float32)


def model(inputs=None, outputs=None):
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "test",
        inputs or [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        outputs or [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 300])],
        [numpy_helper.from_array(WEIGHT, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


@pytest.fixture
def external(tmp_path):
    path = tmp_path / "folder" / "model.onnx"
    path.parent.mkdir()
    onnx.save_model(model(), str(path), save_as_external_data=True, location="weights.bin", size_threshold=100)
    assert path.stat().st_size < WEIGHT.nbytes <= (path.parent / "weights.bin").stat().st_size
    return path


def stored(loaded):
    return numpy_helper.to_array(loaded.graph.initializer[0])


def relocated(path, location):
    changed = onnx.load(str(path), load_external_data=False)
    for entry in changed.graph.initializer[0].external_data:
        if entry.key == "location":
            entry.value = location
    onnx.save(changed, str(path))
    return path


def test_a_model_is_read(tmp_path):
    onnx.save(model(), str(tmp_path / "model.onnx"))
    assert np.array_equal(stored(load_onnx(tmp_path / "model.onnx")), WEIGHT)


def test_external_data_is_drawn_in_or_left(external):
    assert np.array_equal(stored(load_onnx(external)), WEIGHT)
    left = load_onnx(external, weights=False).graph.initializer[0]
    assert not left.raw_data
    assert list(left.dims) == [4, 300]


@pytest.mark.parametrize("location", ["../secret.bin", "absolute", "link.bin", "sub/../../secret.bin"])
def test_external_data_outside_the_folder_is_refused(external, tmp_path, location):
    secret = tmp_path / "secret.bin"
    secret.write_bytes((external.parent / "weights.bin").read_bytes())
    (external.parent / "sub").mkdir()
    (external.parent / "link.bin").symlink_to(secret)
    relocated(external, str(secret) if location == "absolute" else location)
    with pytest.raises(ModelError):
        load_onnx(external)


@pytest.mark.parametrize("how", ["missing", "short"])
def test_damaged_external_data_is_refused(external, how):
    data = external.parent / "weights.bin"
    if how == "missing":
        data.unlink()
    else:
        data.write_bytes(data.read_bytes()[:100])
    with pytest.raises(ModelError):
        stored(load_onnx(external))


@pytest.mark.parametrize("content", [b"", b"\x00" * 64, b"not a model", b"\x08\x07", "truncated"])
def test_what_is_no_model_is_refused(tmp_path, content):
    path = tmp_path / "model.onnx"
    path.write_bytes(model().SerializeToString()[:-200] if content == "truncated" else content)
    with pytest.raises(ModelError, match="is not an ONNX model"):
        load_onnx(path)


def test_no_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(ModelError, match="no ONNX file at"):
        load_onnx(tmp_path / "none.onnx")
    with pytest.raises(ModelError, match="is not an ONNX model"):
        load_onnx(tmp_path)


def test_a_signature_names_every_dynamic_axis():
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", None, 4]),
        helper.make_tensor_value_info("flag", TensorProto.BOOL, []),
        helper.make_tensor_value_info("ids", TensorProto.INT64, [2, "sequence"]),
        helper.make_tensor_value_info("half", TensorProto.FLOAT16, [0]),
    ]
    signature = read_signature(model(inputs))
    assert [(spec.name, spec.dtype, spec.shape) for spec in signature.inputs] == [
        ("x", "float32", ("batch", "x_1", 4)),
        ("flag", "bool", ()),
        ("ids", "int64", (2, "sequence")),
        ("half", "float16", (0,)),
    ]
    assert [(spec.name, spec.shape) for spec in signature.outputs] == [("y", ("batch", 300))]


def test_initializers_that_are_listed_as_inputs_are_not_inputs():
    both = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4, 4]) for name in ("x", "w")]
    assert [spec.name for spec in read_signature(model(both)).inputs] == ["x"]


@pytest.mark.parametrize("kind", ["sequence", "map"])
def test_an_output_that_is_no_tensor_is_refused(kind):
    element = helper.make_tensor_type_proto(TensorProto.FLOAT, [2])
    if kind == "sequence":
        type_ = helper.make_sequence_type_proto(element)
    else:
        type_ = helper.make_map_type_proto(TensorProto.INT64, element)
    with pytest.raises(ModelError, match=f"'y' of the ONNX model is {kind}, not a tensor"):
        read_signature(model(outputs=[helper.make_value_info("y", type_)]))
