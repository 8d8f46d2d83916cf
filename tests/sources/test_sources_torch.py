"""Torch factories and exported programs."""

import importlib
import io
import os
import sys
import zipfile
from contextlib import suppress

import numpy as np
import pytest
import torch

from edgeexport.errors import ConversionError, ModelError
from edgeexport.onnx_file import load_onnx, read_signature
from edgeexport.preprocess import ArraysPreprocess
from edgeexport.sources.torch import accepts, open_source


@pytest.fixture
def opened(monkeypatch, options):
    """Open ``name`` from modules in ``folder``, imported anew."""

    def opened(folder, name):
        monkeypatch.syspath_prepend(str(folder))
        for path in folder.rglob("*.py"):
            sys.modules.pop(path.stem, None)
            sys.modules.pop(path.parent.name, None)
            sys.modules.pop(f"{path.parent.name}.{path.stem}", None)
        importlib.invalidate_caches()
        return open_source(name, options)

    return opened


@pytest.fixture
def digits(opened, digits_module):
    return opened(digits_module, "digits_net:make")


def written(folder, **files):
    for name, text in files.items():
        path = folder / (name.replace("__in__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


LINEAR = """
import torch
{imports}

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed({seed})
        self.layer = torch.nn.Linear(4, 3)

    def forward(self, x):
        return {forward}

def make():
    net = Net()
    net.example_inputs = {{"x": torch.zeros(1, 4)}}
    {more}
    return net
"""


def linear(forward="self.layer(x)", seed=0, imports="", more=""):
    return LINEAR.format(forward=forward, seed=seed, imports=imports, more=more)


@pytest.mark.parametrize(
    ("model", "taken"),
    [
        ("package.module:factory", True),
        ("module:make_it", True),
        ("model.pt2", True),
        ("folder/model.pt", True),
        ("model.onnx", False),
        ("organisation/name", False),
        ("module:two words", False),
    ],
)
def test_accepts(model, taken):
    assert accepts(model) is taken


# factories


def test_a_factory_says_what_it_is(digits):
    assert (digits.name, digits.task, digits.labels) == ("make", "classification", tuple("0123456789"))
    assert digits.preprocess == ArraysPreprocess()
    signature = digits.signature.to_dict()
    assert signature["inputs"] == [{"name": "pixels", "dtype": "float32", "shape": ["batch", 1, 8, 8]}]
    assert signature["outputs"] == [{"name": "output", "dtype": "float32", "shape": ["batch", 10]}]


def test_the_reference_equals_the_module(digits):
    module = sys.modules["digits_net"].make().eval()
    pixels, target = sys.modules["digits_net"].data()
    with torch.inference_mode():
        expected = module(pixels[1200:]).numpy()
    outputs = digits.reference({"pixels": pixels[1200:].numpy()})
    assert list(outputs) == ["output"]
    assert np.array_equal(outputs["output"], expected)
    assert (expected.argmax(1) == target[1200:].numpy()).mean() > 0.75  # it learned: the numbers mean something


def test_dropout_and_batch_norm_are_in_evaluation_mode(opened, tmp_path):
    forward = "torch.nn.functional.dropout(self.layer(x), 0.5, self.training)"
    source = opened(written(tmp_path, dropping=linear(forward)), "dropping:make")
    x = np.ones((2, 4), np.float32)
    assert np.array_equal(source.reference({"x": x})["output"], source.reference({"x": x})["output"])
    assert np.count_nonzero(source.reference({"x": x})["output"]) == 6


@pytest.mark.parametrize("batch", [1, 3])
def test_the_export_equals_torch(digits, tmp_path, run_file, batch):
    digits.write_onnx(tmp_path / "model.onnx")
    assert read_signature(load_onnx(tmp_path / "model.onnx")) == digits.signature
    pixels = sys.modules["digits_net"].data()[0][:batch].numpy()
    exported = run_file(tmp_path / "model.onnx", {"pixels": pixels})["output"]
    assert exported.shape == (batch, 10)
    assert np.abs(exported - digits.reference({"pixels": pixels})["output"]).max() < 1e-4


SEQUENCE = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table = torch.nn.Embedding(20, 8)
        self.layer = torch.nn.Linear(8, 5)

    def forward(self, ids, mask):
        hidden = self.table(ids) * mask[..., None]
        return self.layer(hidden), hidden.sum(1)

def make():
    net = Net()
    net.example_inputs = {"ids": torch.ones(1, 7, dtype=torch.long), "mask": torch.ones(1, 7)}
    net.dynamic_axes = {name: {0: "batch", 1: "sequence"} for name in ("ids", "mask")}
    net.output_names = ["tokens", "sum"]
    net.task = "embedding"
    return net
"""


def test_dynamic_sequence_and_two_outputs(opened, tmp_path, run_file):
    source = opened(written(tmp_path, sequence_net=SEQUENCE), "sequence_net:make")
    signature = source.signature
    assert [spec.shape for spec in signature.inputs] == [("batch", "sequence")] * 2
    assert [(spec.name, spec.shape) for spec in signature.outputs] == [
        ("tokens", ("batch", "sequence", 5)),
        ("sum", ("batch", 8)),
    ]
    assert source.task == "embedding"
    source.write_onnx(tmp_path / "model.onnx")
    assert read_signature(load_onnx(tmp_path / "model.onnx")) == signature
    for shape in ((1, 7), (3, 2), (2, 11)):
        generator = np.random.default_rng(0)
        feeds = {"ids": generator.integers(0, 20, shape), "mask": generator.random(shape).astype(np.float32)}
        expected, exported = source.reference(feeds), run_file(tmp_path / "model.onnx", feeds)
        for name in ("tokens", "sum"):
            assert np.abs(expected[name] - exported[name]).max() < 1e-4


def test_an_axis_that_is_not_dynamic_after_all_is_refused(opened, tmp_path):
    source = opened(written(tmp_path, fixed_net=linear("self.layer(x.view(1, 4))")), "fixed_net:make")
    with pytest.raises(ModelError, match="does not take another length of its dynamic axis 'batch'"):
        _ = source.signature


def test_float32_bytes_count_tied_weights_once(opened, tmp_path):
    tied = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(10, 6)
        self.head = torch.nn.Linear(6, 10, bias=False)
        self.head.weight = self.table.weight
        self.register_buffer("scale", torch.ones(3))
        self.register_buffer("steps", torch.arange(5))
        self.short = torch.nn.Parameter(torch.zeros(2, dtype=torch.float16))

    def forward(self, ids):
        return self.head(self.table(ids))

def make():
    net = Net()
    net.example_inputs = {"ids": torch.ones(1, 4, dtype=torch.long)}
    return net
"""
    source = opened(written(tmp_path, tied_net=tied), "tied_net:make")
    assert source.float32_bytes == 4 * (10 * 6 + 3 + 2)


# fingerprints


def fingerprint(opened, folder, name="net:make", **files):
    return opened(written(folder, **files), name).fingerprint()


def test_a_fingerprint_follows_weights_and_code_alone(opened, tmp_path):
    first = fingerprint(opened, tmp_path / "a", net=linear())
    assert fingerprint(opened, tmp_path / "b", net=linear()) == first
    assert fingerprint(opened, tmp_path / "c", net=linear(seed=1)) != first
    assert fingerprint(opened, tmp_path / "d", net=linear("self.layer(x) * 2")) != first


def test_weights_alone_change_a_fingerprint(opened, tmp_path):
    text = linear(imports="import pathlib", more="net.layer.weight.data += float(pathlib.Path(__file__).parent.name)")
    fingerprints = [fingerprint(opened, tmp_path / name, net=text) for name in ("0", "1")]
    assert fingerprints[0] != fingerprints[1]


@pytest.mark.parametrize(
    "imports",
    ["import shared", "from shared import factor", "from pack import inner", "from pack.inner import factor"],
)
def test_a_fingerprint_follows_what_the_factory_imports(opened, tmp_path, imports):
    def of(name, factor):
        text = linear(imports=imports)
        helper = f"factor = {factor}\n"
        files = {"net": text, "shared": helper, "pack__in____init__": "", "pack__in__inner": helper}
        return fingerprint(opened, tmp_path / name, **files)

    first = of("a", 1)
    assert of("b", 1) == first
    assert of("c", 2) != first


def test_imports_inside_functions_and_relative_ones_count(opened, tmp_path):
    def of(name, factor):
        text = linear("self.layer(x)", more="from .inner import factor")
        files = {"pack__in____init__": "", "pack__in__net": text, "pack__in__inner": f"factor = {factor}\n"}
        return fingerprint(opened, tmp_path / name, "pack.net:make", **files)

    assert of("a", 1) == of("b", 1)
    assert of("a", 1) != of("c", 2)


def test_an_unrelated_file_does_not_change_a_fingerprint(opened, tmp_path):
    first = fingerprint(opened, tmp_path / "a", net=linear(), other="x = 1\n")
    assert fingerprint(opened, tmp_path / "b", net=linear(), other="x = 2\n") == first


def test_opening_twice_gives_one_fingerprint(opened, tmp_path, options):
    """The second time, the modules that the factory imports are imported already."""
    source = opened(written(tmp_path, net=linear(imports="import shared"), shared="factor = 1\n"), "net:make")
    assert open_source("net:make", options).fingerprint() == source.fingerprint()


# what is refused


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "cannot be imported"),
        ("import no_such_module_anywhere\n", "cannot be imported"),
        ("def make():\n    return 3\n", "returned int, not a torch.nn.Module"),
        ("import torch\n\ndef make():\n    return torch.nn.Linear(2, 2)\n", "has no 'example_inputs'"),
    ],
)
def test_a_factory_that_does_not_fit_is_refused(opened, tmp_path, text, match):
    with pytest.raises(ModelError, match=match):
        opened(written(tmp_path, unfit=text), "unfit:make")


def test_a_module_that_cannot_be_exported_is_a_conversion_error(opened, tmp_path):
    source = opened(written(tmp_path, branching=linear("x if x.sum() > 0 else self.layer(x)")), "branching:make")
    with pytest.raises(ConversionError, match="exporting make to ONNX failed"):
        source.write_onnx(tmp_path / "model.onnx")


@pytest.mark.parametrize("suffix", ["pt", "pth", "bin", "ckpt", "pkl"])
def test_a_pickle_is_refused_and_not_run(tmp_path, options, payload, suffix):
    malicious, trace = payload
    path = tmp_path / f"model.{suffix}"
    torch.save({"weight": malicious}, path)
    with pytest.raises(ModelError, match="is a torch pickle, which may run code"):
        open_source(str(path), options)
    assert not trace.exists()


# exported programs


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        self.layer = torch.nn.Linear(4, 3)
        self.norm = torch.nn.BatchNorm1d(3)

    def forward(self, x):
        return torch.relu(self.norm(self.layer(x)))


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """An exported program with dynamic batch, and the module it is of."""
    path = tmp_path_factory.mktemp("programs") / "tiny.pt2"
    net = Net().eval()
    batch = torch.export.Dim("batch", min=1, max=64)
    torch.export.save(torch.export.export(net, (torch.zeros(2, 4),), dynamic_shapes=({0: batch},)), path)
    return path, net


def test_a_program_equals_its_module(program, options, tmp_path, run_file):
    path, net = program
    source = open_source(str(path), options)
    assert (source.name, source.task, source.labels) == ("tiny", "generic", None)
    assert [(spec.name, spec.shape) for spec in source.signature.inputs] == [("x", ("batch", 4))]
    assert [(spec.name, spec.shape) for spec in source.signature.outputs] == [("output", ("batch", 3))]
    assert source.float32_bytes == 4 * (12 + 3 + 3 + 3 + 3 + 3)
    source.write_onnx(tmp_path / "model.onnx")
    for count in (1, 5):
        x = np.random.default_rng(count).standard_normal((count, 4)).astype(np.float32)
        with torch.inference_mode():
            expected = net(torch.from_numpy(x)).numpy()
        assert np.abs(source.reference({"x": x})["output"] - expected).max() < 1e-6
        assert np.abs(run_file(tmp_path / "model.onnx", {"x": x})["output"] - expected).max() < 1e-4


def test_a_program_has_the_fingerprint_of_its_file(program, options, tmp_path):
    path, _ = program
    first = open_source(str(path), options).fingerprint()
    assert open_source(str(path), options).fingerprint() == first
    with torch.no_grad():
        changed = Net().eval()
        changed.layer.bias += 1
    other = tmp_path / "tiny.pt2"
    torch.export.save(torch.export.export(changed, (torch.zeros(2, 4),)), other)
    assert open_source(str(other), options).fingerprint() != first


@pytest.mark.parametrize("content", [None, b"", b"not a zip", "zip"])
def test_what_is_no_program_is_refused(tmp_path, options, content, capfd):
    path = tmp_path / "model.pt2"
    if content == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("version", "1")
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match="no exported program at" if content is None else "is not an exported program"):
        open_source(str(path), options)
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("place", ["sample_inputs", "constants"])
def test_a_program_with_a_payload_is_refused_and_it_is_not_run(program, options, tmp_path, payload, place):
    malicious, trace = payload
    buffer = io.BytesIO()
    torch.save(((malicious,), {}), buffer)
    path = tmp_path / "bad.pt2"
    with zipfile.ZipFile(program[0]) as good, zipfile.ZipFile(path, "w") as bad:
        for name in good.namelist():
            data = good.read(name)
            if place == "sample_inputs" and name.endswith("sample_inputs/model.pt"):
                data = buffer.getvalue()
            if place == "constants" and name.endswith("model_weights_config.json"):
                assert b'"use_pickle":false' in data.replace(b" ", b"")
                data = data.replace(b"false", b"true")
            if place == "constants" and name.endswith("weights/weight_0"):
                data = buffer.getvalue()
            bad.writestr(name, data)
    with pytest.raises(ModelError, match="is not an exported program"):
        open_source(str(path), options)
    assert not trace.exists()
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ
    if place == "sample_inputs":  # unguarded, the payload does run: the test can fail
        with suppress(Exception):
            torch.export.load(path)
        assert trace.exists()
