"""ONNX files as sources."""

import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeexport.errors import ModelError
from edgeexport.preprocess import ArraysPreprocess
from edgeexport.sources.onnx import accepts, open_source

WEIGHT = np.random.default_rng(0).standard_normal((8, 300)).astype(np.float32)


def model(nodes=None, weight=WEIGHT, domain=None):
    nodes = nodes or [helper.make_node("MatMul", ["x", "w"], ["y"])]
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 300])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.arange(3), "steps")],
    )
    imports = [helper.make_opsetid("", 18)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    return helper.make_model(graph, opset_imports=imports, ir_version=10)


@pytest.fixture
def plain(tmp_path):
    path = tmp_path / "plain.onnx"
    onnx.save(model(), str(path))
    return path


def external(folder, name="weights.bin", weight=WEIGHT):
    folder.mkdir(exist_ok=True)
    path = folder / "big.onnx"
    (folder / name).unlink(missing_ok=True)
    onnx.save_model(model(weight=weight), str(path), save_as_external_data=True, location=name, size_threshold=100)
    return path


@pytest.mark.parametrize(("name", "taken"), [("a.onnx", True), ("b/c.onnx", True), ("a.ort", False), ("a.pt2", False)])
def test_accepts(name, taken):
    assert accepts(name) is taken


def test_what_it_says_of_itself(plain, options):
    source = open_source(str(plain), options)
    assert (source.name, source.task, source.labels, source.assets) == ("plain", "generic", None, None)
    assert source.preprocess == ArraysPreprocess()
    assert source.signature.to_dict() == {
        "inputs": [{"name": "x", "dtype": "float32", "shape": ["batch", 8]}],
        "outputs": [{"name": "y", "dtype": "float32", "shape": ["batch", 300]}],
    }
    assert source.float32_bytes == 4 * 8 * 300


@pytest.mark.parametrize("kind", ["inline", "external"])
def test_reference_and_copy_equal_numpy(plain, tmp_path, options, run_file, kind):
    path = plain if kind == "inline" else external(tmp_path / "ext")
    source = open_source(str(path), options)
    x = np.random.default_rng(1).standard_normal((3, 8)).astype(np.float32)
    assert np.allclose(source.reference({"x": x})["y"], x @ WEIGHT, rtol=0, atol=1e-5)
    assert source.float32_bytes == 4 * 8 * 300
    alone = tmp_path / "alone"
    alone.mkdir()
    source.write_onnx(alone / "model.onnx")
    assert [path.name for path in alone.iterdir()] == ["model.onnx"]
    assert np.array_equal(run_file(alone / "model.onnx", {"x": x})["y"], source.reference({"x": x})["y"])


def test_half_weights_count_as_float32(tmp_path, options):
    path = tmp_path / "half.onnx"
    onnx.save(model(weight=WEIGHT.astype(np.float16)), str(path))
    assert open_source(str(path), options).float32_bytes == 4 * 8 * 300


def test_a_fingerprint_follows_the_file_and_its_external_data(tmp_path, options, plain):
    first = open_source(str(plain), options).fingerprint()
    renamed = plain.rename(tmp_path / "renamed.onnx")
    assert open_source(str(renamed), options).fingerprint() == first
    onnx.save(model(weight=WEIGHT * 2), str(renamed))
    assert open_source(str(renamed), options).fingerprint() != first
    one = open_source(str(external(tmp_path / "one")), options).fingerprint()
    two = open_source(str(external(tmp_path / "two")), options).fingerprint()
    other = open_source(str(external(tmp_path / "three", weight=WEIGHT * 2)), options).fingerprint()
    assert one == two != other  # the .onnx files are the same in all three
    files = [(tmp_path / name / "big.onnx").read_bytes() for name in ("one", "three")]
    assert files[0] == files[1]


def escaping(folder, location):
    """A model whose external data is outside its folder, where a file of that name does exist."""
    path = external(folder)
    (folder.parent / "secret.bin").write_bytes((folder / "weights.bin").read_bytes())
    changed = onnx.load(str(path), load_external_data=False)
    for tensor in changed.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    onnx.save(changed, str(path))
    return path


@pytest.mark.parametrize("where", ["../secret.bin", "absolute"])
@pytest.mark.parametrize("use", ["fingerprint", "write_onnx", "reference"])
def test_external_data_outside_the_folder_is_refused(tmp_path, options, where, use):
    location = str(tmp_path / "secret.bin") if where == "absolute" else where
    source = open_source(str(escaping(tmp_path / "model", location)), options)
    with pytest.raises(ModelError):
        if use == "fingerprint":
            source.fingerprint()
        elif use == "write_onnx":
            source.write_onnx(tmp_path / "copy.onnx")
        else:
            source.reference({"x": np.zeros((1, 8), np.float32)})
    assert not (tmp_path / "copy.onnx").exists()


def test_a_link_out_of_the_folder_is_refused(tmp_path, options):
    path = external(tmp_path / "model")
    secret = tmp_path / "secret.bin"
    (tmp_path / "model" / "weights.bin").rename(secret)
    (tmp_path / "model" / "weights.bin").symlink_to(secret)
    with pytest.raises(ModelError):
        open_source(str(path), options).fingerprint()


def test_missing_external_data_is_refused(tmp_path, options):
    path = external(tmp_path / "model")
    (tmp_path / "model" / "weights.bin").unlink()
    source = open_source(str(path), options)
    for use in (source.fingerprint, lambda: source.write_onnx(tmp_path / "copy.onnx")):
        with pytest.raises(ModelError, match=r"external data|weights\.bin"):
            use()


QUANTIZED = {
    "DynamicQuantizeLinear": (1, 3, ""),
    "QuantizeLinear": (2, 1, ""),
    "DequantizeLinear": (2, 1, ""),
    "MatMulInteger": (2, 1, ""),
    "ConvInteger": (2, 1, ""),
    "QLinearMatMul": (8, 1, ""),
    "QLinearConv": (8, 1, ""),
    "QGemm": (6, 1, "com.microsoft"),
    "MatMulNBits": (3, 1, "com.microsoft"),
    "GatherBlockQuantized": (3, 1, "com.microsoft"),
    "MatMulIntegerToFloat": (4, 1, "com.microsoft"),
}


@pytest.mark.parametrize("op_type", QUANTIZED)
def test_a_quantized_model_is_refused(tmp_path, options, op_type):
    inputs, outputs, domain = QUANTIZED[op_type]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"]),
        helper.make_node(op_type, [f"i{n}" for n in range(inputs)], [f"o{n}" for n in range(outputs)], domain=domain),
    ]
    path = tmp_path / "quantized.onnx"
    onnx.save(model(nodes, domain=domain or None), str(path))
    for use in ("signature", "fingerprint", "write_onnx"):
        source = open_source(str(path), options)
        with pytest.raises(ModelError, match=f"is quantized already \\(it has {op_type}\\)"):
            if use == "signature":
                _ = source.signature
            elif use == "fingerprint":
                source.fingerprint()
            else:
                source.write_onnx(tmp_path / "copy.onnx")


@pytest.mark.parametrize(
    ("content", "match"), [(None, "no ONNX file at"), (b"words", "is not an ONNX model"), (b"", "is not")]
)
def test_what_is_no_model_is_refused(tmp_path, options, content, match):
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=match):
        _ = open_source(str(path), options).signature


def test_it_has_no_torch_module(plain, options):
    with pytest.raises(ModelError, match="cannot be had as a torch module"):
        open_source(str(plain), options).module()


def test_no_torch_is_loaded(plain, tmp_path):
    code = (
        "import sys; from pathlib import Path; from edgeexport.sources.onnx import open_source;"
        f"s = open_source({str(plain)!r}, None); s.signature; s.fingerprint();"
        f"s.write_onnx(Path({str(tmp_path / 'copy.onnx')!r}));"
        "print([m for m in ('torch', 'transformers', 'optimum') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_reference_is_the_runtime_on_the_file(plain, options):
    x = {"x": np.ones((2, 8), np.float32)}
    session = onnxruntime.InferenceSession(str(plain), providers=["CPUExecutionProvider"])
    assert np.array_equal(open_source(str(plain), options).reference(x)["y"], session.run(None, x)[0])
