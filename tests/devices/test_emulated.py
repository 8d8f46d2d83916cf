"""Emulated boards: what is said where something is missing, and that results are an ARM processor's."""

import json
import stat
import subprocess
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeexport.devices import _root, emulated, local
from edgeexport.errors import DeviceError, MissingRequirement, RunFailed, TargetError
from edgeexport.job import Job

PROFILE = """
schema_version = 1
name = "board"
title = "A board"
format = "onnx"
machine = "aarch64"
precisions = ["w8a8"]
runtimes = [RUNTIMES]
[settings]
precision = "w8a8"
"""
EMULATION = '[emulation]\narchitecture = "{}"\ncpu = "{}"\n'


def profile_text(*runtimes):
    return PROFILE.replace("RUNTIMES", ", ".join(f'{{ name = "{name}", minimum = "1" }}' for name in runtimes))


@pytest.fixture
def profile(tmp_path):
    """Write a target profile and give its path, as the device's argument."""

    def write(cpu="cortex-a72", architecture="arm64", emulation=EMULATION, runtimes=("onnxruntime",)):
        path = tmp_path / f"{cpu}.toml"
        path.write_text(profile_text(*runtimes) + emulation.format(architecture, cpu))
        return str(path)

    return write


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Make the programs on PATH those named here, each a shell script."""

    def put(**scripts):
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        for name, script in scripts.items():
            path = folder / name.replace("_", "-")
            path.write_text(f"#!/bin/sh\n{script}\n")
            path.chmod(path.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(folder))

    return put


def pretend(architecture="arm64", *modules):
    """Make folders as if a root had been built."""
    emulated.root_folder(architecture).mkdir(parents=True, exist_ok=True)
    for module in modules:
        emulated.wheels_folder(architecture, module).mkdir(parents=True)
    return emulated.root_folder(architecture)


def test_an_unknown_target():
    with pytest.raises(TargetError, match="unknown target 'no-such-board'"):
        emulated.open_device("no-such-board")


def test_a_target_without_emulation(profile):
    with pytest.raises(DeviceError, match=r"no \[emulation\] table"):
        emulated.open_device(profile(emulation=""))


@pytest.mark.parametrize(("cpu", "architecture"), [("max", "arm64"), ("cortex-a53", "armhf")])
def test_a_processor_that_cannot_be_emulated(profile, cpu, architecture):
    with pytest.raises(DeviceError, match=cpu) as caught:
        emulated.open_device(profile(cpu, architecture))
    assert "Known: " in caught.value.hint


def test_qemu_is_missing(profile, programs):
    programs()
    for function in (emulated.open_device, lambda name: emulated.create(name, print)):
        with pytest.raises(MissingRequirement, match=r"qemu-aarch64-static.* is missing") as caught:
            function(profile())
        assert caught.value.hint == "apt-get install qemu-user-static"
        assert caught.value.exit_code == 3


def test_the_root_is_missing(profile, programs, cache):
    programs(qemu_aarch64_static="exit 1")
    with pytest.raises(MissingRequirement, match="has not been created") as caught:
        emulated.open_device(profile())
    assert caught.value.hint == f"edgeexport devices create emulated:{profile()}"
    assert emulated.list_devices() == []
    assert not cache.exists()


def test_listed_are_the_shipped_targets_that_can_be_opened(tmp_path, programs, cache, monkeypatch):
    programs(qemu_aarch64_static="exit 1")
    targets = {"one": "cortex-a72", "two": "cortex-a76", "other": "max"}
    for name, cpu in targets.items():
        (tmp_path / f"{name}.toml").write_text(profile_text("onnxruntime") + EMULATION.format("arm64", cpu))
    (tmp_path / "plain.toml").write_text(profile_text("onnxruntime"))
    (tmp_path / "micro.toml").write_text(profile_text("tflite-micro") + EMULATION.format("arm64", "cortex-a72"))
    monkeypatch.setattr("edgeexport.target.targets_folder", lambda: tmp_path)
    assert emulated.list_devices() == []
    pretend("arm64")
    assert emulated.list_devices() == []
    assert emulated.boards() == {
        f"emulated:{name}": f"edgeexport devices create emulated:{name}" for name in ("one", "two")
    }
    pretend("arm64", "ort")
    assert emulated.boards() == {"emulated:one": "", "emulated:two": ""}
    assert emulated.list_devices() == ["emulated:one", "emulated:two"]


def test_the_device_says_that_it_is_emulated(profile, programs, cache):
    programs(qemu_aarch64_static="echo 'qemu-aarch64 version 8.1.4 (Debian 1:8.1)'")
    pretend("arm64", "ort")
    info = emulated.open_device(profile("cortex-a76")).describe()
    assert info.name == f"emulated:{profile('cortex-a76')}"
    assert (info.machine, info.cpu) == ("aarch64", "cortex-a76 (qemu 8.1)")
    assert (info.evidence, info.timed) == ("emulated", False)


def test_the_folder_changes_with_what_is_inside(cache, monkeypatch):
    before = emulated.root_folder("arm64")
    assert before.parent == cache / "devices"
    assert before.name.startswith("arm64-")
    assert emulated.root_folder("arm64") == before
    monkeypatch.setattr(_root, "PACKAGES", (*_root.PACKAGES, "another"))
    assert emulated.root_folder("arm64") != before
    assert emulated.root_folder("armhf").name.startswith("armhf-")


def test_wheels_are_apart_by_runtime_and_version(cache, monkeypatch):
    monkeypatch.setattr(emulated, "version", lambda package: "99.0")
    root = emulated.root_folder("arm64")
    assert emulated.wheels_folder("arm64", "ort") == root / "python" / "onnxruntime-99.0"
    assert emulated.wheels_folder("arm64", "litert") == root / "python" / "litert-99.0"
    assert emulated.wheels_folder("arm64", "tflite_classic") == root / "python" / "tflite-runtime-2.14.0"
    assert emulated.wheels_folder("armhf", "tflite_classic").parent.parent == emulated.root_folder("armhf")


@pytest.mark.parametrize(
    ("runtime", "architecture", "there"),
    [
        ("tflite-micro", "arm64", "There: litert, onnxruntime, tflite-runtime."),
        ("litert", "armhf", "There: tflite-runtime."),
        ("onnxruntime", "armhf", "There: tflite-runtime."),
    ],
)
def test_a_runtime_without_builds_for_the_board(profile, programs, cache, runtime, architecture, there):
    programs(qemu_aarch64_static="exit 1", qemu_arm_static="exit 1")
    path = profile("cortex-a72" if architecture == "arm64" else "cortex-a7", architecture, runtimes=(runtime,))
    said = f"{runtime} does not run on emulated {architecture} boards"
    for function in (emulated.open_device, lambda name: emulated.create(name, print)):
        with pytest.raises(DeviceError, match=said) as caught:
            function(path)
        assert caught.value.hint == there
    assert not cache.exists()


def test_a_runtime_that_is_not_installed_here_has_no_version_there(profile, programs, cache, monkeypatch):
    def version(distribution):
        raise PackageNotFoundError(distribution)

    programs(qemu_aarch64_static="exit 1")
    pretend()
    monkeypatch.setattr(emulated, "version", version)
    for function in (emulated.open_device, lambda name: emulated.create(name, print)):
        with pytest.raises(MissingRequirement, match="litert is not installed here") as caught:
            function(profile(runtimes=("litert",)))
        assert caught.value.hint == "pip install 'edgeexport[litert]'"


def test_a_runtime_that_has_not_been_added(profile, programs, cache, tmp_path):
    programs(qemu_aarch64_static="exit 1")
    pretend("arm64", "ort")
    both = profile("cortex-a76", runtimes=("onnxruntime", "litert"))
    with pytest.raises(MissingRequirement, match="has no litert yet") as caught:
        emulated.open_device(both)
    assert caught.value.hint == f"edgeexport devices create emulated:{both}"
    device = emulated.open_device(profile())
    device.check("ort")
    for ask in (lambda: device.check("litert"), lambda: device.run(Job("litert", (), []), tmp_path)):
        with pytest.raises(MissingRequirement, match="has no litert yet") as caught:
            ask()
        assert caught.value.hint == f"edgeexport devices create emulated:{profile()} --runtime litert"
    with pytest.raises(DeviceError, match="tflite-micro does not run"):
        device.check("tflm")


def test_processors_describe_themselves():
    files = {cpu: emulated.cpu_files("arm64", cpu) for cpu in ("cortex-a72", "cortex-a76")}
    old = read_cpuinfo(emulated.cpu_files("armhf", "cortex-a7")["proc/cpuinfo"])
    assert {(core["CPU architecture"], core["CPU part"]) for core in old} == {("7", "0xc07")}
    assert "neon" in old[0]["Features"].split()
    cores = {cpu: read_cpuinfo(text["proc/cpuinfo"]) for cpu, text in files.items()}
    for cpu, part in (("cortex-a72", "0xd08"), ("cortex-a76", "0xd0b")):
        assert [core["processor"] for core in cores[cpu]] == ["0", "1", "2", "3"]
        assert {core["CPU part"] for core in cores[cpu]} == {part}
        assert {core["CPU implementer"] for core in cores[cpu]} == {"0x41"}
        assert {core["CPU architecture"] for core in cores[cpu]} == {"8"}
        for name in ("possible", "present"):
            assert files[cpu][f"sys/devices/system/cpu/{name}"] == "0-3\n"
    assert "asimddp" not in cores["cortex-a72"][0]["Features"].split()
    assert "asimddp" in cores["cortex-a76"][0]["Features"].split()


def read_cpuinfo(text):
    return [
        {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in core.splitlines())}
        for core in text.strip().split("\n\n")
    ]


def test_a_failed_build_shows_the_log_and_leaves_nothing(profile, programs, cache):
    programs(
        qemu_aarch64_static="exit 1",
        dpkg_deb="exit 1",
        apt_get='case "$*" in *update) echo "W: no route" >&2;; *) echo "E: not found" >&2; exit 100;; esac',
    )
    steps = []
    with pytest.raises(MissingRequirement) as caught:
        emulated.create(profile(), steps.append)
    message = caught.value.what.splitlines()
    assert message == [
        "the arm64 system packages could not be downloaded (apt-get: status 100)",
        "W: no route",
        "E: not found",
    ]
    assert "network" in caught.value.hint
    assert steps == ["reading the package lists for arm64", "downloading system packages"]
    assert [path.name for path in (cache / "devices").iterdir()] == [".lock"]


def test_leftovers_of_a_killed_build_are_cleared_and_do_not_count(profile, programs, cache):
    programs(qemu_aarch64_static="exit 1", dpkg_deb="exit 1", apt_get="exit 100")
    leftover = cache / "devices" / ".building-x" / "done" / "root"
    leftover.mkdir(parents=True)
    with pytest.raises(MissingRequirement, match="has not been created"):
        emulated.open_device(profile())
    with pytest.raises(MissingRequirement, match="could not be downloaded"):
        emulated.create(profile(), lambda line: None)
    assert not leftover.exists()


def test_apt_is_missing(profile, programs, cache):
    programs(qemu_aarch64_static="exit 1")
    with pytest.raises(MissingRequirement, match="needs apt-get"):
        emulated.create(profile(), lambda line: None)
    assert not cache.exists()


def test_a_second_create_returns_at_once(profile, programs, cache):
    programs(qemu_aarch64_static="exit 1")
    folder = pretend("arm64", "ort")
    steps = []
    assert emulated.create(profile(), steps.append) == folder
    assert steps == [f"already there: {folder}"]


# On the emulated processor itself


@pytest.fixture(params=["cortex-a72", "cortex-a76"])
def device(request, profile):
    return open_or_skip(profile(request.param))


def open_or_skip(argument):
    try:
        return emulated.open_device(argument)
    except MissingRequirement as missing:
        pytest.skip(f"{missing.what}: {missing.hint}")


def save(path, nodes, shape, initializers):
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in initializers.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def float_model(path):
    """A convolution, a layer norm and a matrix product: the float kernels of most networks."""
    random = np.random.default_rng(1)
    return save(
        path,
        [
            helper.make_node("Conv", ["x", "kernel", "bias"], ["c"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", ["c"], ["r"]),
            helper.make_node("LayerNormalization", ["r", "scale", "shift"], ["n"]),
            helper.make_node("Erf", ["n"], ["e"]),
            helper.make_node("MatMul", ["e", "w"], ["m"]),
            helper.make_node("Softmax", ["m"], ["y"]),
        ],
        ["batch", 3, 8, 16],
        {
            "kernel": random.standard_normal((8, 3, 3, 3)).astype(np.float32) / 5,
            "bias": random.standard_normal(8).astype(np.float32),
            "scale": np.ones(16, np.float32),
            "shift": np.zeros(16, np.float32),
            "w": random.standard_normal((16, 10)).astype(np.float32) / 4,
        },
    )


def integer_model(path, activation, rows=384, columns=384):
    """A static int8 matrix product as quantizers write it; scales are powers of two, so all is exact."""
    random = np.random.default_rng(2)
    point = np.array(128 if activation is np.uint8 else 0, activation)
    return save(
        path,
        [
            helper.make_node("QuantizeLinear", ["x", "x_scale", "point"], ["xq"]),
            helper.make_node("DequantizeLinear", ["xq", "x_scale", "point"], ["xd"]),
            helper.make_node("DequantizeLinear", ["w", "w_scale", "w_point"], ["wd"]),
            helper.make_node("MatMul", ["xd", "wd"], ["m"]),
            helper.make_node("QuantizeLinear", ["m", "y_scale", "point"], ["yq"]),
            helper.make_node("DequantizeLinear", ["yq", "y_scale", "point"], ["y"]),
        ],
        ["batch", rows],
        {
            "w": random.integers(-127, 128, (rows, columns)).astype(np.int8),
            "x_scale": np.float32(2**-5),
            "w_scale": np.float32(2**-10),
            "y_scale": np.float32(2**-5),
            "point": point,
            "w_point": np.int8(0),
        },
    )


def outputs(device, model, samples, folder):
    folder.mkdir()
    result = device.run(Job("ort", (model,), samples), folder)
    return result, [sample["y"] for sample in result.outputs]


@pytest.mark.slow
def test_float_results_are_those_of_this_machine(device, tmp_path):
    model = float_model(tmp_path / "float.onnx")
    random = np.random.default_rng(3)
    samples = [{"x": random.standard_normal((batch, 3, 8, 16)).astype(np.float32)} for batch in (1, 2)]
    result, there = outputs(device, model, samples, tmp_path / "there")
    here_result, here = outputs(local.open_device(""), model, samples, tmp_path / "here")
    assert (result.machine, result.samples, result.peak_memory_bytes) == ("aarch64", 2, None)
    assert (result.runtime, result.version) == (here_result.runtime, here_result.version)
    for one, other in zip(there, here, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("activation", [np.int8, np.uint8])
def test_int8_results_are_exact(device, tmp_path, activation):
    model = integer_model(tmp_path / "int8.onnx", activation)
    random = np.random.default_rng(4)
    samples = [{"x": random.uniform(-3.9, 3.9, (batch, 384)).astype(np.float32)} for batch in (1, 5)]
    _, there = outputs(device, model, samples, tmp_path / "there")
    _, here = outputs(local.open_device(""), model, samples, tmp_path / "here")
    for one, other, sample in zip(there, here, samples, strict=True):
        assert one.tobytes() == other.tobytes()
        exact = exact_product(model, sample["x"], activation)
        assert np.array_equal(one, exact)
        assert len(np.unique(exact)) > 100


def exact_product(path, x, activation):
    """The integer model in exact arithmetic, with rounding half to even as ONNX says."""
    weights = numpy_helper.to_array(next(t for t in onnx.load(path).graph.initializer if t.name == "w"))
    bounds = np.iinfo(activation)
    point = 128 if activation is np.uint8 else 0
    quantized = np.clip(np.rint(x.astype(np.float64) * 2**5) + point, bounds.min, bounds.max) - point
    product = quantized @ weights.astype(np.float64) * 2.0**-15
    return (np.clip(np.rint(product * 2**5) + point, bounds.min, bounds.max) - point).astype(np.float32) * 2**-5


@pytest.mark.slow
def test_a_crash_there_is_a_failed_run(device, tmp_path):
    model = integer_model(tmp_path / "int8.onnx", np.int8)
    model.write_bytes(model.read_bytes()[:-500])
    with pytest.raises(RunFailed, match="exit status 1") as caught:
        outputs(device, model, [{"x": np.zeros((1, 384), np.float32)}], tmp_path / "there")
    assert "protobuf parsing failed" in caught.value.log.lower()


@pytest.mark.slow
def test_the_runtime_sees_the_processor_that_was_asked_for(profile):
    """AT_HWCAP, by which runtimes choose kernels, agrees with the cpuinfo in the root."""
    code = (
        "import ctypes, json; get = ctypes.CDLL(None).getauxval; get.restype = ctypes.c_ulong;"
        "get.argtypes = [ctypes.c_ulong]; print(json.dumps([get(16), open('/proc/cpuinfo').read()]))"
    )
    for cpu, dot_product in (
        ("cortex-a53", False),
        ("cortex-a72", False),
        ("cortex-a76", True),
        ("neoverse-n1", True),
    ):
        open_or_skip(profile(cpu))
        folder = emulated.root_folder("arm64")
        qemu = _root.Emulator(emulated._qemu(emulated.ARCHITECTURES["arm64"]), cpu)
        command = [*qemu.command(folder), "-c", code]
        printed = subprocess.run(command, env=_root.environment(), capture_output=True, text=True, check=True).stdout
        capabilities, cpuinfo = json.loads(printed)
        assert bool(capabilities >> 20 & 1) == dot_product
        assert cpuinfo == emulated.cpu_files("arm64", cpu)["proc/cpuinfo"]


@pytest.mark.slow
def test_dot_product_instructions_are_used(profile, tmp_path):
    """Against a float product, timed in turn, int8 takes far less emulation where there are such."""
    integer = integer_model(tmp_path / "int8.onnx", np.int8, 768, 768)
    weights = np.random.default_rng(5).standard_normal((768, 768)).astype(np.float32)
    floating = save(
        tmp_path / "float.onnx",
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        ["batch", 768],
        {"w": weights},
    )
    sample = {"x": np.ones((32, 768), np.float32)}
    ratio = {}
    for cpu in ("cortex-a72", "cortex-a76"):
        folder = tmp_path / cpu
        folder.mkdir()
        job = Job("ort", (integer, floating), [sample], "latency", warmup=1, pairs=5)
        times = open_or_skip(profile(cpu)).run(job, folder).latency_ns
        ratio[cpu] = np.median([one / other for one, other in zip(*times, strict=True)])
    assert ratio["cortex-a76"] < 0.7 * ratio["cortex-a72"]


@pytest.mark.slow
def test_the_root_holds_nothing_of_its_building(profile):
    open_or_skip(profile())
    folder = emulated.root_folder("arm64")
    assert sorted(path.name for path in folder.iterdir()) == ["cpus", "python", "root"]
    assert emulated.wheels_folder("arm64", "ort").is_dir()
    assert not list(folder.rglob("*.deb")) + list(folder.rglob("*.whl"))


def test_what_is_lacking_is_added_and_the_rest_left(profile, programs, cache, monkeypatch):
    """With a root there, only the wheels of the runtime that is not are downloaded, proved and put in place."""
    programs(qemu_aarch64_static='echo "3 11 17"')
    folder = pretend("arm64", "ort")
    kept = emulated.wheels_folder("arm64", "ort") / "kept"
    kept.touch()
    asked = []

    def run(command, failure, variables, **keywords):
        asked.append((command, variables))
        if "download" in command:
            wheels = Path(next(word for word in command if word.startswith("--dest=")).removeprefix("--dest="))
            wheels.mkdir()
            with zipfile.ZipFile(wheels / "a.whl", "w") as wheel:
                wheel.writestr("ai_edge_litert/interpreter.py", "text")
        return "3 11 17"

    monkeypatch.setattr(_root, "run", run)
    steps = []
    assert emulated.create(profile(runtimes=("onnxruntime", "litert")), steps.append) == folder
    wanted = f"ai-edge-litert=={version('ai-edge-litert')} and numpy for Python 3.11 on aarch64"
    assert steps == [f"downloading {wanted}", "trying it", f"ready: {folder}"]
    place = emulated.wheels_folder("arm64", "litert")
    assert (place / "ai_edge_litert" / "interpreter.py").read_text() == "text"
    assert kept.exists()
    (_, download, proof), (_, _, variables) = zip(*asked, strict=True)
    assert "--platform=manylinux_2_17_aarch64" in download
    assert proof[-1] == "import numpy, ai_edge_litert.interpreter"
    assert variables["PYTHONPATH"].startswith(str(cache / "devices" / ".building-"))
    assert sorted(path.name for path in (cache / "devices").iterdir()) == [".lock", folder.name]


def test_a_failed_addition_leaves_the_root_as_it_was(profile, programs, cache):
    programs(qemu_aarch64_static='echo "the reason" >&2; exit 5')
    folder = pretend("arm64", "ort")
    with pytest.raises(MissingRequirement) as caught:
        emulated.create(profile(), lambda line: None, runtime="tflite-runtime")
    assert caught.value.what == "the root cannot run (qemu-aarch64-static: status 5)\nthe reason"
    assert [path.name for path in (folder / "python").iterdir()] == [emulated.wheels_folder("arm64", "ort").name]
    assert sorted(path.name for path in (cache / "devices").iterdir()) == [".lock", folder.name]
