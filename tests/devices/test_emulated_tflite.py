"""TFLite runtimes on emulated ARM processors: static int8 is bit-identical to this machine's."""

import itertools

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert", reason="builds the models: pip install 'edgeexport[litert]'")

import tflite_files as files

from edgeexport.devices import _root, emulated, local
from edgeexport.errors import MissingRequirement, RunFailed
from edgeexport.job import Job

pytestmark = pytest.mark.slow

RANDOM = np.random.default_rng(0)
PROFILE = """
extends = "raspberry-pi-4"
name = "board"
machine = "{machine}"
runtimes = [{{ name = "{runtime}", minimum = "1" }}]
emulation = {{ architecture = "{architecture}", cpu = "{cpu}" }}
"""
MODULES = {"litert": "litert", "tflite-runtime": "tflite_classic"}
BOARDS = {
    "cortex-a53": "arm64",
    "cortex-a72": "arm64",
    "cortex-a76": "arm64",
    "cortex-a7": "armhf",
    "cortex-a15": "armhf",
}
ODD = 0.0613
MACHINES = {"arm64": "aarch64", "armhf": "armv7l"}


@pytest.fixture
def both(tmp_path):
    """``both(cpu, runtime, model, samples)``: result and outputs on the emulated processor and here."""
    folders = (tmp_path / f"job-{number}" for number in itertools.count())

    def run(cpu, runtime, model, samples):
        architecture = BOARDS[cpu]
        profile = tmp_path / f"{cpu}.toml"
        machine = MACHINES[architecture]
        profile.write_text(PROFILE.format(machine=machine, runtime=runtime, architecture=architecture, cpu=cpu))
        answers = []
        try:
            for device in (emulated.open_device(str(profile)), local.open_device("")):
                device.check(MODULES[runtime])
                folder = next(folders)
                folder.mkdir()
                result = device.run(Job(MODULES[runtime], (model,), samples), folder)
                answers.append((result, list(result.outputs)))
        except MissingRequirement as missing:
            pytest.skip(f"{missing.what}: {missing.hint}")
        return answers

    return run


def integers(count=5):
    return [{"x": RANDOM.integers(-128, 128, (1, 8, 8, 3)).astype(np.int8)} for _ in range(count)]


@pytest.mark.parametrize("scale", [2**-4, ODD], ids=["halves", "odd"])
@pytest.mark.parametrize("cpu", ["cortex-a53", "cortex-a72", "cortex-a76"])
def test_static_int8_on_litert_is_this_machine_s_to_the_bit(both, tmp_path, cpu, scale):
    model = files.write(tmp_path / "m.tflite", files.integer_layer(output_scale=scale))
    (there, outputs), (here, expected) = both(cpu, "litert", model, integers())
    assert (there.machine, there.runtime, there.version) == ("aarch64", "litert", here.version)
    assert (there.delegate, here.delegate) == ("xnnpack", "xnnpack")
    assert there.peak_memory_bytes is None
    for one, other in zip(outputs, expected, strict=True):
        assert one["y"].tobytes() == other["y"].tobytes()
        assert len(np.unique(one["y"])) > 50


@pytest.mark.parametrize("cpu", ["cortex-a72", "cortex-a7", "cortex-a15"])
def test_static_int8_on_tflite_runtime_is_this_machine_s_but_near_halves(both, tmp_path, cpu):
    """TensorFlow Lite's own kernels round twice, and on ARM once with another instruction than on x86."""
    model = files.write(tmp_path / "m.tflite", files.integer_layer(output_scale=ODD))
    samples = integers(20)
    (there, outputs), (here, expected) = both(cpu, "tflite-runtime", model, samples)
    assert (there.machine, there.version) == (MACHINES[BOARDS[cpu]], "2.14.0")
    assert (there.delegate, here.delegate) == ("none", "none")
    unlike = 0
    for sample, one, other in zip(samples, outputs, expected, strict=True):
        difference = one["y"].astype(int) - other["y"]
        exact = files.unrounded_integer_layer(sample["x"]) * 2**-4 / ODD
        assert np.abs(difference).max() <= 1
        assert np.abs(np.abs(exact) % 1 - 0.5)[difference != 0].max(initial=0) < 0.003
        unlike += np.count_nonzero(difference)
    assert unlike < 0.003 * len(samples) * 512


@pytest.mark.parametrize(
    ("cpu", "runtime", "delegate"),
    [
        ("cortex-a72", "litert", "xnnpack"),
        ("cortex-a72", "tflite-runtime", "xnnpack"),
        ("cortex-a7", "tflite-runtime", "none"),  # the wheel for 32-bit ARM is built without
    ],
)
def test_float_in_several_lengths(both, tmp_path, cpu, runtime, delegate):
    model = files.write(tmp_path / "m.tflite", files.float_layer(2, "two"), files.float_layer(5, "five"))
    samples = [{"x": RANDOM.standard_normal((length, 8)).astype(np.float32)} for length in (5, 2)]
    (there, outputs), (_, expected) = both(cpu, runtime, model, samples)
    assert there.delegate == delegate
    for one, other in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(one["y"], other["y"], rtol=0, atol=2e-6)


def test_dynamic_int8_on_litert(both, tmp_path):
    model = files.write(tmp_path / "m.tflite", files.dynamic_layer())
    samples = [{"x": RANDOM.standard_normal((1, 8)).astype(np.float32)}]
    (there, (output,)), (_, (expected,)) = both("cortex-a76", "litert", model, samples)
    assert there.delegate == "xnnpack"
    np.testing.assert_allclose(output["y"], expected["y"], rtol=0, atol=1e-6)


def test_a_board_whose_processor_is_not_recognised_fails_loudly(both, tmp_path, monkeypatch):
    """Files that say nothing are what a root lacks at its worst; LiteRT itself goes on without XNNPACK there."""
    model = files.write(tmp_path / "m.tflite", files.float_layer())
    samples = [{"x": np.ones((1, 8), np.float32)}]
    both("cortex-a72", "litert", model, samples)  # or skipped
    real, wheels = emulated.root_folder("arm64"), emulated.wheels_folder("arm64", "litert")
    broken = tmp_path / "broken"
    described = {name: "" for name in emulated.cpu_files("arm64", "cortex-a72") if name.startswith("sys")}
    (broken / "root").parent.mkdir()
    (broken / "root").symlink_to(real / "root")
    _root._link_cpus(broken, {"cortex-a72": described})
    monkeypatch.setattr(emulated, "root_folder", lambda architecture: broken)
    monkeypatch.setattr(emulated, "wheels_folder", lambda architecture, module: wheels)
    with pytest.raises(RunFailed, match="exit status 1") as caught:
        both("cortex-a72", "litert", model, samples)
    assert caught.value.log.splitlines()[-1].startswith("RuntimeError: XNNPACK is not active: ")
