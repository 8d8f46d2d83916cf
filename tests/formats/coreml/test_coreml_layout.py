"""Every byte of a package, and the modules of its operations through all conversions."""

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("coremltools", reason="pip install 'edgeexport[coreml]'")

from edgeexport import tree
from edgeexport.errors import ModelError
from edgeexport.formats.coreml import CoremlFormat, modules
from edgeexport.formats.coreml.layout import Contents
from edgeexport.mil.proto import messages
from edgeexport.recipe import resolve
from edgeexport.settings import Interface
from edgeexport.sources.torch import TorchSource
from edgeexport.target import load_target


class Net(nn.Module):
    """Convolutions with folded normalisation in a list, a table that two modules share, and a head."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.ModuleList(
            [nn.Sequential(nn.Conv2d(width, 16, 3), nn.BatchNorm2d(16), nn.ReLU()) for width in (8, 16)]
        )
        self.head = nn.Linear(16, 40)
        self.example_inputs = {"x": torch.zeros(1, 8, 12, 12)}
        self.output_names = ["scores"]

    def forward(self, x):
        for layer in self.layer:
            x = layer(x)
        return self.head(x.mean((2, 3)))


PATHS = {"layer.0.0": 16 * 8 * 9, "layer.1.0": 16 * 16 * 9, "head": 40 * 16}


@pytest.fixture(scope="module")
def baseline(tmp_path_factory):
    path = tmp_path_factory.mktemp("layout") / "float.mlpackage"
    return CoremlFormat().baseline(TorchSource(Net().eval(), "net", "digest"), Interface(), path)


@pytest.fixture
def convert(baseline, tmp_path):
    def run(precision):
        settings = resolve(load_target("iphone-ios18"), None, "", {"precision": precision}).settings
        feeds = lambda _: ({"x": np.random.default_rng(n).normal(size=(1, 8, 12, 12))} for n in range(9))  # noqa: E731
        return CoremlFormat().convert(baseline, settings, feeds, tmp_path / f"{precision}.mlpackage").path

    return run


def shares(path):
    found = Counter()
    for item in Contents(path).shares():
        assert item.bytes >= 0
        found[item.path, item.what, item.dtype] += item.bytes
    assert sum(found.values()) == tree.size(path)
    return found


@pytest.mark.parametrize(
    ("precision", "dtype", "width"), [("fp32", "float32", 4), ("fp16", "float16", 2), ("w8", "int8", 1)]
)
def test_weights_belong_to_the_sources_modules(baseline, convert, precision, dtype, width):
    found = shares(baseline.path if precision == "fp32" else convert(precision))
    for path, values in PATHS.items():
        assert found[path, "weight", dtype] >= width * values
        assert found[path, "structure", ""] > 0
    assert found["", "weight", dtype] == 0


def test_scales_belong_to_their_layers(convert):
    found = shares(convert("w8"))
    assert {path: count for (path, what, _), count in found.items() if what == "scale"} == {
        "layer.0.0": 2 * 16,
        "layer.1.0": 2 * 16,
        "head": 2 * 40,
    }


def test_a_package_that_tells_no_modules_is_attributed_to_none(baseline, tmp_path):
    copy = tmp_path / "copy.mlpackage"
    tree.copy(baseline.path, copy)
    file = copy / "Data" / "com.apple.CoreML" / "model.mlmodel"
    spec = messages("Model_pb2").Model.FromString(file.read_bytes())
    del spec.description.metadata.userDefined[modules.KEY]
    file.write_bytes(spec.SerializeToString(deterministic=True))
    assert {path for path, _, _ in shares(copy)} == {""}


@pytest.mark.parametrize("content", ["", "no base64!", "AAAA", "eJwDAAAAAAE="])
def test_lines_that_cannot_be_read_tell_nothing(content):
    assert modules.read({modules.KEY: content}) == {}


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("linear_0", "head"),
        ("linear_0_cast_fp16", "head"),
        ("linear_0_cast_fp16_to_fp32", "head"),
        ("linear_0_cast_uint16", "head"),
        ("linear_0_cast_fp16_cast_int16", "head"),
        ("linear_0_cast_fp16_quantized_1", "head"),
        ("linear_1", "body"),
        ("other", ""),
    ],
)
def test_an_operation_keeps_its_module_through_passes(name, path):
    assert modules.module_of(name, {"linear_0": "head", "linear_1": "body"}) == path


def test_a_weight_that_lies_elsewhere_is_refused(baseline, tmp_path):
    copy = tmp_path / "copy.mlpackage"
    tree.copy(baseline.path, copy)
    weights = copy / "Data" / "com.apple.CoreML" / "weights" / "weight.bin"
    weights.write_bytes(weights.read_bytes()[:300])
    with pytest.raises(ModelError, match=r"outside its file|at byte"):
        list(Contents(copy).shares())


def test_metadata_are_the_same_each_time(baseline, tmp_path):
    again = CoremlFormat().baseline(TorchSource(Net().eval(), "net", "digest"), Interface(), tmp_path / "b.mlpackage")
    files = [[(entry.name, entry.read_bytes()) for entry in tree.entries(path)] for path in (baseline.path, again.path)]
    assert files[0] == files[1]


def test_reading_loads_no_torch(baseline):
    code = (
        "import sys\nfrom pathlib import Path\nfrom edgeexport.formats.coreml import CoremlFormat\n"
        "signature, shares = CoremlFormat().inspect(Path(sys.argv[1]))\n"
        "print(sum(share.bytes for share in shares), sorted({'torch', 'coremltools'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(baseline.path)], capture_output=True, text=True, check=True)
    assert done.stdout == f"{tree.size(baseline.path)} []\n"
