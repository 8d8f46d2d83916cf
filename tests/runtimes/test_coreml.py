"""Core ML off a Mac: the evaluator in the runner, and what it says of itself."""

import platform
import shutil

import numpy as np
import pytest

from edgeexport.devices import emulated, local
from edgeexport.errors import DeviceError, RunFailed
from edgeexport.results import Finding

coremltools = pytest.importorskip("coremltools", reason="pip install 'edgeexport[coreml]'")
pytest.importorskip("edgeexport.mil", reason="the evaluator is not in this build")
pytestmark = pytest.mark.skipif(platform.system() == "Darwin", reason="a Mac has Core ML itself")

WEIGHT = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """``linear`` gives ``x @ w.T`` as ``y``, ``exponential`` gives ``exp(x)`` as ``z``; both compute in float16."""
    from coremltools.converters.mil import Builder

    folder = tmp_path_factory.mktemp("packages")
    target = coremltools.target.iOS17
    specs = {"input_specs": [Builder.TensorSpec(shape=(1, 8))], "opset_version": target}

    @Builder.program(**specs)
    def linear(x):
        return Builder.linear(x=x, weight=WEIGHT, name="y")

    @Builder.program(**specs)
    def exponential(x):
        return Builder.exp(x=x, name="z")

    found = {}
    for name, program in (("linear", linear), ("exponential", exponential)):
        model = coremltools.convert(program, convert_to="mlprogram", minimum_deployment_target=target)
        found[name] = folder / f"{name}.mlpackage"
        model.save(str(found[name]))
    return found


def samples(*values):
    random = np.random.default_rng(1)
    return [
        {"x": random.standard_normal((1, 8)).astype(np.float32) if v is None else np.full((1, 8), v, np.float32)}
        for v in values
    ]


def test_outputs_are_the_evaluators_with_float16_after_each_operator(job, packages):
    from edgeexport import mil

    inputs = samples(None, None, None)
    result, outputs = job("coreml", packages["linear"], inputs)
    program = mil.load(packages["linear"], mode="device")
    exact = mil.load(packages["linear"], mode="exact")
    assert (result.samples, len(outputs)) == (3, 3)
    for sample, output in zip(inputs, outputs, strict=True):
        assert list(output) == ["y"]
        assert output["y"].tobytes() == program(sample)["y"].tobytes()
        expected = sample["x"].astype(np.float64) @ WEIGHT.T.astype(np.float64)
        np.testing.assert_allclose(output["y"], expected, atol=2e-2)
        half = output["y"].astype(np.float16).astype(output["y"].dtype)
        assert np.array_equal(output["y"], half), "no rounding to float16"
    assert any(program(one)["y"].tobytes() != exact(one)["y"].tobytes() for one in inputs)


def test_it_says_that_it_is_not_core_ml(job, packages):
    result, _ = job("coreml", packages["linear"], samples(None))
    assert (result.runtime, result.version, result.delegate) == ("coreml", "", None)
    assert result.stand_in.startswith("evaluator of edgeexport ")
    assert result.findings == ()


def test_values_beyond_float16_are_findings_over_all_samples(job, packages):
    result, outputs = job("coreml", packages["exponential"], samples(1.0, 20.0, 30.0))
    assert np.isfinite(outputs[0]["z"]).all()
    (found,) = [one for one in result.findings if one.operator == "exp"]
    assert isinstance(found, Finding)
    assert (found.kind, found.count) == ("overflow", 16)
    assert found.where


def test_threads_are_torchs(packages):
    import torch

    from edgeexport.runtimes import coreml

    before = torch.get_num_threads()
    try:
        coreml.load(str(packages["linear"]), 3)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_a_package_that_is_cut_off_is_a_failed_run_with_a_sentence(job, packages, tmp_path):
    broken = shutil.copytree(packages["linear"], tmp_path / "broken.mlpackage")
    (weights,) = broken.rglob("weight.bin")
    weights.write_bytes(weights.read_bytes()[:40])
    with pytest.raises(RunFailed) as caught:
        job("coreml", broken, samples(None))
    assert "weight.bin" in caught.value.log.splitlines()[-1] or "weight.bin" in caught.value.log


def test_an_input_that_does_not_fit_is_a_failed_run(job, packages):
    with pytest.raises(RunFailed) as caught:
        job("coreml", packages["linear"], [{"x": np.zeros((1, 9), np.float32)}])
    assert "x" in caught.value.log.splitlines()[-1]


def test_a_mac_gets_the_framework_itself(monkeypatch):
    import sys
    from types import SimpleNamespace

    from edgeexport.runtimes import coreml

    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    mac = SimpleNamespace(Model=lambda path: f"Core ML with {path}", version=lambda: "18 (macOS 15.1)")
    monkeypatch.setitem(sys.modules, "coreml_mac", mac)
    assert coreml.load("m.mlpackage", 1) == "Core ML with m.mlpackage"
    assert coreml.info() == {"runtime": "coreml", "version": "18 (macOS 15.1)"}


def test_only_this_machine_runs_it(cache):
    with pytest.raises(DeviceError, match="coreml does not run on emulated arm64 boards"):
        emulated.wheels_folder("arm64", "coreml")
    local.open_device("").check("coreml")
