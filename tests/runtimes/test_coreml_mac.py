"""The calls to Core ML on a Mac, checked against coremltools' own signatures: nothing here can run a model."""

import platform
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import create_autospec

import numpy as np
import pytest

coremltools = pytest.importorskip("coremltools", reason="pip install 'edgeexport[coreml]'")

from coremltools.models import compute_device  # noqa: E402
from coremltools.models.compute_plan import (  # noqa: E402
    MLComputePlan,
    MLModelStructureProgram,
    MLModelStructureProgramBlock,
    MLModelStructureProgramFunction,
    MLModelStructureProgramOperation,
)

from edgeexport.runtimes import coreml_mac  # noqa: E402


def description(outputs, states=(), images=(), label=False):
    spec = coremltools.proto.Model_pb2.Model()
    for name in outputs:
        output = spec.description.output.add()
        output.name = name
        output.type.multiArrayType.SetInParent()
    for name, order in images:
        declared = spec.description.input.add()
        declared.name = name
        declared.type.imageType.colorSpace = order
    if label:
        spec.description.output.add(name="classLabel").type.stringType.SetInParent()
        spec.description.output.add(name="probabilities").type.dictionaryType.SetInParent()
    for name in states:
        spec.description.state.add().name = name
    return spec


@pytest.fixture
def model(monkeypatch, tmp_path):
    """``model(outputs, states, images, label)``: the model, and what stands for coremltools' ``MLModel``."""

    def make(outputs=("b", "a"), **described):
        framework = create_autospec(coremltools.models.MLModel, instance=True)
        framework.get_spec.return_value = description(outputs, **described)
        framework.get_compiled_model_path.return_value = "/tmp/model.mlmodelc"
        opened = create_autospec(coremltools.models.MLModel, return_value=framework)
        monkeypatch.setattr(coremltools.models, "MLModel", opened)
        package = tmp_path / "model.mlpackage"
        (package / "Data").mkdir(parents=True)
        (package / "Data" / "weight.bin").write_bytes(b"weights")
        loaded = coreml_mac.Model(str(package))
        (path,), named = opened.call_args
        assert named == {"compute_units": coremltools.ComputeUnit.ALL}
        assert Path(path) != package  # coremltools writes into what it opens
        assert (Path(path) / "Data" / "weight.bin").read_bytes() == b"weights"
        return loaded, framework

    return make


def test_outputs_come_in_the_order_of_the_description(model):
    loaded, framework = model()
    framework.predict.return_value = {"a": [[1.0, 2.0]], "b": np.float32([[3]])}
    inputs = {"x": np.ones((1, 2), np.float32)}
    found = loaded.run(inputs)
    assert list(found) == ["b", "a"]
    assert found["a"].tolist() == [[1, 2]]
    (given, state), _ = framework.predict.call_args
    assert given == inputs
    assert given is not inputs  # coremltools converts the dict that it is given in place
    assert state is None


def test_a_label_and_the_probabilities_by_label_are_no_arrays(model):
    loaded, framework = model(label=True)
    framework.predict.return_value = {"a": [1.0], "b": [2.0], "classLabel": "cat", "probabilities": {"cat": 1.0}}
    assert list(loaded.run({})) == ["b", "a"]


@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_pixels_are_given_as_the_picture_that_they_are(model, order):
    types = coremltools.proto.FeatureTypes_pb2.ImageFeatureType
    loaded, framework = model(images=[("image", types.ColorSpace.Value(order))])
    framework.predict.return_value = {"a": 1, "b": 2}
    red = np.zeros((1, 3, 4, 5), np.float32)
    red[0, order.index("R"), 2, 3] = 200
    loaded.run({"image": red, "other": red})
    (given, _), _ = framework.predict.call_args
    assert (given["image"].mode, given["image"].size) == ("RGB", (5, 4))
    assert given["image"].getpixel((3, 2)) == (200, 0, 0)
    assert given["image"].getpixel((0, 0)) == (0, 0, 0)
    assert given["other"] is red


def test_each_sample_has_a_state_of_its_own(model):
    loaded, framework = model(states=("cache",))
    framework.make_state.side_effect = ["first", "second"]
    framework.predict.return_value = {"a": 1, "b": 2}
    for _ in range(2):
        loaded.run({})
    assert [call.args[1] for call in framework.predict.call_args_list] == ["first", "second"]


def test_a_state_is_kept_from_reset_to_reset(model):
    loaded, framework = model(states=("cache",))
    framework.make_state.side_effect = ["first", "second"]
    framework.predict.return_value = {"a": 1, "b": 2}
    for calls in (3, 2):
        loaded.reset()
        for _ in range(calls):
            loaded.run({})
    states = [call.args[1] for call in framework.predict.call_args_list]
    assert states == ["first"] * 3 + ["second"] * 2


def operation(kind, *blocks):
    return MLModelStructureProgramOperation(
        inputs={}, operator_name=kind, outputs=[], blocks=list(blocks), __proxy__=None
    )


def block(*operations):
    return MLModelStructureProgramBlock(inputs=[], operations=list(operations), output_names=[])


def on(kind):
    device = object.__new__(kind)  # the class refuses to be made off a Mac
    return SimpleNamespace(preferred_compute_device=device)


def test_the_plan_says_which_processor_has_how_many_operators(model, monkeypatch):
    monkeypatch.setattr(platform, "mac_ver", lambda: ("15.1", (), ""))
    usages = {
        "linear": on(compute_device.MLNeuralEngineComputeDevice),
        "gather": on(compute_device.MLCPUComputeDevice),
        "const": None,
        "while_loop": on(compute_device.MLCPUComputeDevice),
    }
    inner = block(operation("linear"), operation("const"))
    body = block(operation("const"), operation("gather"), operation("linear"), operation("while_loop", inner))
    plan = create_autospec(MLComputePlan, instance=True)
    plan.model_structure = SimpleNamespace(
        program=MLModelStructureProgram(functions={"main": MLModelStructureProgramFunction(inputs=[], block=body)})
    )
    plan.get_compute_device_usage_for_mlprogram_operation.side_effect = lambda found: usages[found.operator_name]
    load = create_autospec(MLComputePlan.load_from_path, return_value=plan)
    monkeypatch.setattr(MLComputePlan, "load_from_path", load)
    loaded, _ = model()
    assert loaded.facts() == {"delegate": "2 on Neural Engine, 2 on CPU"}
    load.assert_called_once_with(path="/tmp/model.mlmodelc", compute_units=coremltools.ComputeUnit.ALL)


def test_before_the_first_macos_with_plans_there_is_none(model, monkeypatch):
    monkeypatch.setattr(platform, "mac_ver", lambda: ("14.3.1", (), ""))
    loaded, _ = model()
    assert loaded.facts() == {}


@pytest.mark.parametrize(
    ("mac", "ios"), [("13.6", "16"), ("14.0", "17"), ("14.5.1", "17"), ("15.1", "18"), ("26.0", "26")]
)
def test_the_version_is_that_of_the_ios_with_the_same_framework(monkeypatch, mac, ios):
    monkeypatch.setattr(platform, "mac_ver", lambda: (mac, (), ""))
    assert coreml_mac.version() == f"{ios} (macOS {mac}, coremltools {coremltools.__version__})"
