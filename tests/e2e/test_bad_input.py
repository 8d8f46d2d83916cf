"""Every bad input, through the real command: a sentence, exit code 2 or 3, nothing half-written."""

import itertools
import json
import os
import pickle
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgeexport.artifact import load_bundle

TARGET = ("--target", "desktop-x86")


def leftovers(*folders):
    return [path for folder in folders if folder.exists() for path in folder.rglob("*.partial*")]


def listing(folder):
    return {str(path.relative_to(folder)): path.is_file() and path.read_bytes() for path in folder.rglob("*")}


@pytest.fixture
def refused(command, cache, tmp_path):
    """Run the command, which must refuse, and look at what it says and leaves."""

    def run(*arguments, says, status=2, **named):
        before = listing(command.folder)
        done = command(*arguments, EDGEEXPORT_CACHE=str(cache), **named)
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
        lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, done.stderr
        assert says in done.stderr
        assert done.stdout == ""
        assert listing(command.folder) == before
        assert leftovers(tmp_path) == []
        return done

    run.folder = command.folder
    return run


class Payload:
    """What a hostile pickle would do."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


# The model


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ("./nowhere", "no model at './nowhere'"),
        ("nowhere", "no model at 'nowhere'"),
        ("nobody/nothing", "could not be fetched as a hub id"),
        ("none.onnx", "no ONNX file at none.onnx"),
        ("none.pt2", "no exported program at none.pt2"),
        ("no_such_module:factory", "cannot be imported"),
        ("model.pth", "is a torch pickle, which may run code"),
    ],
)
def test_no_such_model(refused, model, says):
    refused("export", model, *TARGET, says=says)


def test_a_folder_without_config(refused):
    (refused.folder / "model").mkdir()
    refused("export", "model", *TARGET, says="it has no config.json")
    (refused.folder / "model" / "config.json").write_text("{")
    refused("export", "model", *TARGET, says="config.json is not valid JSON")


def test_files_that_are_no_models(refused, linear):
    (refused.folder / "empty.onnx").touch()
    refused("export", "empty.onnx", *TARGET, says="is not an ONNX model")
    (refused.folder / "cut.onnx").write_bytes(Path(linear.model).read_bytes()[:-100])
    refused("export", "cut.onnx", *TARGET, says="is not an ONNX model")


def test_a_checkpoint_that_would_execute(refused, tiny_bert, tmp_path):
    proof = tmp_path / "executed"
    folder = refused.folder / "model"
    folder.mkdir()
    shutil.copy(Path(tiny_bert.model) / "config.json", folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(Path(tiny_bert.model) / name, folder)
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Payload(proof)))
    refused("export", "model", *TARGET, says="pickle that would run code")
    import torch

    torch.save({"weight": Payload(proof)}, folder / "pytorch_model.bin")
    refused("export", "model", *TARGET, says="pickle that would run code")
    assert not proof.exists()


def test_samples_that_would_execute(refused, linear, tmp_path):
    proof = tmp_path / "executed"
    np.savez(tmp_path / "set.npz", x=np.array([Payload(proof)] * 120, object))
    for option in ("--calibration", "--evaluation"):
        refused("export", linear.model, *TARGET, option, tmp_path / "set.npz", says="could execute code when loaded")
    assert not proof.exists()


def test_a_model_that_brings_code_of_its_own(refused, tiny_bert, tmp_path):
    folder = shutil.copytree(tiny_bert.model, refused.folder / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "code.Model"}}))
    (folder / "code.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\nclass Model: pass\n")
    done = refused("export", "model", *TARGET, says="needs Python code of its own")
    assert "--trust-remote-code" in done.stderr
    assert not (tmp_path / "executed").exists()


# Targets and settings


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-t", "raspberry-pi-9"], "unknown target 'raspberry-pi-9'"),
        (["-t", "./none.toml"], "no target file at none.toml"),
        (["-t", "./typo.toml"], "unknown field `typo`"),
        (["-t", "./rule.toml"], "unknown field `typo`"),
        (["-t", "./broken.toml"], "is not valid TOML"),
        ([*TARGET, "--precision", "int8"], "unknown precision 'int8'"),
        ([*TARGET, "--set", "quantization.typo=1"], "unknown field `typo`"),
        ([*TARGET, "--set", "typo"], "is not key=value"),
        ([*TARGET, "--set", "when=1"], "'when' holds no tables"),
        ([*TARGET, "--set", "calibration.method=entropy"], "calibration.method"),
        ([*TARGET, "--recipe", "typo-recipe.toml"], "unknown field `typo`"),
        ([*TARGET, "--recipe", "none.toml"], "no recipe file at none.toml"),
        ([*TARGET, "--recipe", "broken.toml"], "is not valid TOML"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_targets_and_settings(refused, linear, arguments, says):
    for name, text in {
        "typo": 'extends = "desktop-x86"\ntypo = 1\n',
        "rule": 'extends = "desktop-x86"\n[settings.limits]\ntypo = 1\n',
        "broken": "[settings",
        "typo-recipe": "[calibration]\ntypo = 1\n",
    }.items():
        (refused.folder / f"{name}.toml").write_text(text)
    refused("export", linear.model, *arguments, says=says)


# Samples


def sets():
    values = np.random.default_rng(0).standard_normal((120, 16)).astype(np.float32)
    spoiled = values.copy()
    spoiled[-1, -1] = np.nan
    return {
        "no samples": ({"x": values[:0]}, "is empty"),
        "wrong names": ({"image": values}, "arrays are named ['image'], the model's inputs are ['x']"),
        "wrong dtype": ({"x": values.astype(np.int64)}, "has dtype int64, the model takes float32"),
        "wrong shape": ({"x": values[:, :3]}, "has shape [1, 3], the model takes [batch, 16]"),
        "NaN": ({"x": spoiled}, "set.npz[119]: 'x' holds NaN"),
        "all equal": ({"x": np.zeros_like(values)}, "the samples do not vary"),
        "too few": ({"x": values[:99]}, "needs at least 100 samples, and got 99"),
    }


@pytest.mark.parametrize("name", sets())
def test_calibration(refused, linear, tmp_path, name):
    arrays, says = sets()[name]
    np.savez(tmp_path / "set.npz", **arrays)
    common = ("export", linear.model, *TARGET, "--calibration", tmp_path / "set.npz")
    refused(*common, "--precision", "w8a8", says=says)


def test_too_few_can_be_allowed_knowingly(refused, command, linear, board, tmp_path):
    np.savez(tmp_path / "set.npz", x=np.load(linear.calibration)["x"][:9])
    common = ("export", linear.model, "-t", board, "--precision", "w8a8", "--calibration", tmp_path / "set.npz")
    done = refused(*common, says="--set calibration.minimum_samples=9")
    (hint,) = [line for line in done.stderr.splitlines() if "--set" in line]
    done = command(*common, *hint.split("`")[1].split(), "-o", "out")
    assert done.returncode == 0, done.stderr
    load_bundle(command.folder / "out").check_files()


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("set.npz", "", "not an .npz file"),
        ("set.jsonl", "", "holds no samples"),
        ("set.jsonl", '{"x": 1}\n{"x"\n', "line 2"),
        ("set.csv", "a,b\n1,2,3\n", "line 2"),
        ("set.txt", "text", "samples cannot be read from '.txt' files"),
    ],
)
def test_sets_that_cannot_be_read(refused, linear, tmp_path, name, text, says):
    (tmp_path / name).write_text(text)
    refused("export", linear.model, *TARGET, "--evaluation", tmp_path / name, says=says)


def test_static_precision_without_calibration(refused, linear):
    done = refused("export", linear.model, *TARGET, "--precision", "w8a8", says="needs calibration samples")
    assert "--calibration FILE" in done.stderr


def test_evaluation_without_labels_or_with_unknown_ones(refused, tiny_bert, tmp_path):
    path = tmp_path / "set.jsonl"
    common = ("export", tiny_bert.model, *TARGET, "--precision", "w8", "--evaluation", path)
    path.write_text('{"text": "a film", "label": "good"}\n{"text": "a plot"}\n')
    refused(*common, says="has samples without a label")
    path.write_text('{"text": "a film", "label": "good"}\n{"text": "a plot", "label": "meh"}\n')
    refused(*common, says="set.jsonl line 2: the model has no class 'meh'")


# The output


def test_outputs_that_are_somebodys(refused, linear):
    for name in ("folder", "file"):
        place = refused.folder / name
        if name == "file":
            place.write_text("mine")
        else:
            place.mkdir()
            (place / "thesis.tex").write_text("mine")
        says = "is a file" if name == "file" else "did not write (thesis.tex); it was left as it is"
        refused("export", linear.model, *TARGET, "--precision", "w8", "-o", name, says=says)


def test_a_bundle_with_something_of_the_users_in_it(refused, command, linear, board):
    common = ("export", linear.model, "-t", board, "--precision", "w8", "-o", "out")
    assert command(*common).returncode == 0
    assert command(*common).returncode == 0
    (command.folder / "out" / "notes.txt").write_text("mine")
    refused(*common, says="did not write (notes.txt)")


@pytest.mark.parametrize(
    ("model", "full"), [("linear", "output"), ("linear", "cache"), ("linear", "temporary"), ("digits", "cache")]
)
def test_a_full_disk(command, request, board, small_disk, tmp_path, full, model):
    trained = request.getfixturevalue(model)
    disk = small_disk(16 * 1024)
    places = {"output": command.folder / "out", "cache": tmp_path / "cache", "temporary": tmp_path / "tmp"}
    places[full] = disk / "place"
    if full == "temporary":
        places[full] = disk
    places["temporary"].mkdir(exist_ok=True)
    arguments = ["export", trained.model, "-t", board, "--precision", "w8a8", "-o", places["output"]]
    arguments += ["--calibration", trained.calibration, "--evaluation", trained.evaluation]
    done = command(*arguments, EDGEEXPORT_CACHE=str(places["cache"]), TMPDIR=str(places["temporary"]))
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    assert "error: the disk is full" in done.stderr
    assert leftovers(tmp_path, disk) == []
    if full == "temporary":  # the bundle was complete when its verification had no room
        load_bundle(places["output"]).check_files()
    else:
        assert not places["output"].exists()


def test_a_limit_on_file_sizes(command, cache, linear, board):
    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))

    code = "import sys; sys.dont_write_bytecode = True; from edgeexport.cli.main import main; main()"
    arguments = ["export", linear.model, "-t", board, "--precision", "w8", "-o", "out"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=command.folder,
        preexec_fn=limit,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    assert "a limit on file sizes was met" in done.stderr
    assert "Traceback" not in done.stderr
    assert leftovers(cache, command.folder) == []
    assert not (command.folder / "out").exists()


# Interruptions


class Running:
    """An export whose calibration is so long that there is time to interrupt it."""

    def __init__(self, process, lines):
        self.process, self.lines = process, lines

    def wait_for(self, text):
        for line in self.process.stderr:
            self.lines.append(line)
            if text in line:
                return
        raise AssertionError(f"never said {text!r}: {''.join(self.lines)}")

    def children(self):
        tasks = Path(f"/proc/{self.process.pid}/task")
        return [int(pid) for task in tasks.iterdir() for pid in (task / "children").read_text().split()]


@pytest.fixture
def start(command, cache, linear, board, tmp_path):
    """Start an export that verifies for long; the fixture's own cache and temporary folder."""
    model = slow_model(tmp_path / "slow.onnx")
    for seed, name in enumerate(("set", "other")):
        np.savez(tmp_path / f"{name}.npz", x=np.random.default_rng(seed).standard_normal((1200, 16)).astype(np.float32))
    (tmp_path / "tmp").mkdir()
    processes = []

    def run(*more):
        arguments = ["export", model, "-t", board, "--precision", "w8a8", "-o", "out", *more]
        arguments += ["--calibration", tmp_path / "set.npz", "--evaluation", tmp_path / "other.npz"]
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("edgeexport")), *map(str, arguments)],
            cwd=command.folder,
            env={**os.environ, "EDGEEXPORT_CACHE": str(cache), "TMPDIR": str(tmp_path / "tmp")},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        processes.append(process)
        return Running(process, [])

    yield run
    for process in processes:
        process.kill()
        process.wait()
        process.stderr.close()


def slow_model(path):
    """Twelve matrix products of 512: a millisecond a sample."""
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(0)
    widths = [16, *[512] * 12, 4]
    nodes, weights, name = [], [], "x"
    for number, shape in enumerate(itertools.pairwise(widths)):
        weights.append(numpy_helper.from_array((random.standard_normal(shape) / 20).astype(np.float32), f"w{number}"))
        nodes.append(helper.make_node("MatMul", [name, f"w{number}"], [f"h{number}"], name=f"product{number}"))
        name = f"h{number}"
    nodes[-1].output[0] = "y"
    graph = helper.make_graph(
        nodes,
        "slow",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


MOMENTS = ["exporting slow", "calibrating", "quantizing", "running float32", "running onnxruntime"]


@pytest.mark.parametrize(
    ("moment", "name"),
    [*((moment, "SIGINT") for moment in MOMENTS), ("calibrating", "SIGTERM"), ("running onnxruntime", "SIGTERM")],
)
def test_an_interruption(start, cache, command, tmp_path, name, moment):
    running = start()
    running.wait_for(moment)
    time.sleep(0.05)
    children = running.children()
    running.process.send_signal(getattr(signal, name))
    _, err = running.process.communicate(timeout=60)
    assert running.process.returncode == 2, err
    assert "error: Interrupted; nothing was left half-written." in err
    assert "Traceback" not in err
    assert not any(alive(child) for child in children)
    assert leftovers(cache, command.folder) == []
    assert list((tmp_path / "tmp").iterdir()) == []
    out = command.folder / "out"
    if moment == "running onnxruntime":
        load_bundle(out).check_files()
        assert not (out / "report.json").exists()
    else:
        assert listing(command.folder) == {}


@pytest.mark.parametrize("moment", ["calibrating", "running onnxruntime"])
def test_a_kill_leaves_no_half_bundle_and_the_next_export_sweeps(start, cache, command, tmp_path, moment):
    running = start()
    running.wait_for(moment)
    time.sleep(0.2)
    children = running.children()
    running.process.kill()
    running.process.wait()
    assert moment == "running onnxruntime" or not (command.folder / "out").exists()
    assert leftovers(cache, command.folder) or list((tmp_path / "tmp").glob("edgeexport-job-*"))
    again = start("--limit", "20")
    _, err = again.process.communicate(timeout=120)
    assert again.process.returncode == 0, err
    assert leftovers(cache, command.folder) == []
    assert not any(alive(child) for child in children)
    assert list((tmp_path / "tmp").iterdir()) == []
    load_bundle(command.folder / "out").check_files()


def alive(pid):
    """Whether a process still runs some seconds from now."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return False
        if state == "Z":
            return False
        time.sleep(0.05)
    return True


# Devices


@pytest.mark.parametrize(
    ("device", "status", "says"),
    [
        ("toaster", 2, "there is no device 'toaster'"),
        ("local:1", 2, "takes no argument"),
        ("emulated:nope", 2, "unknown target 'nope'"),
        ("emulated:desktop-x86", 2, "has no [emulation] table"),
        ("emulated:raspberry-pi-4", 3, "qemu-aarch64-static, which emulates aarch64, is missing"),
    ],
)
def test_devices(refused, linear, tmp_path, device, status, says):
    done = refused(
        *("export", linear.model, *TARGET, "--precision", "w8", "--on", device),
        status=status,
        says=says,
        PATH=str(tmp_path),
    )
    assert status == 2 or "apt-get install qemu-user-static" in done.stderr


def test_a_board_that_was_not_created(refused, linear, tmp_path):
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "qemu-aarch64-static"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    done = refused(
        *("export", linear.model, *TARGET, "--precision", "w8", "--on", "emulated:raspberry-pi-4"),
        status=3,
        says="has not been created",
        PATH=str(tmp_path / "bin"),
    )
    assert "edgeexport devices create" in done.stderr


def test_creating_a_board_without_qemu(refused, tmp_path):
    refused("devices", "create", "raspberry-pi-4", status=3, says="is missing", PATH=str(tmp_path))


# Bundles


@pytest.fixture(scope="module")
def packed(linear, board, tmp_path_factory):
    import edgeexport

    folder = tmp_path_factory.mktemp("packed") / "out"
    edgeexport.export(linear.model, target=board, precision="w8", evaluation=linear.evaluation, output=folder)
    return folder


@pytest.fixture
def bundle(packed, command):
    return shutil.copytree(packed, command.folder / "bundle")


def test_bundles(refused, bundle):
    manifest = bundle / "manifest.json"
    whole = manifest.read_bytes()
    data = json.loads(whole)
    spoiled = {
        "has no manifest.json": None,
        "is not a manifest": b"{",
        "names a file outside the bundle": {**data, "artifact": "../../etc/passwd"},
        "has no hash for model.onnx": {**data, "files": {}},
        "target or recipe": {**data, "target": {}},
        "model.onnx was altered": {**data, "files": {**data["files"], "model.onnx": "0" * 64}},
        "late.bin is missing": {**data, "files": {**data["files"], "late.bin": "0" * 64}},
    }
    for says, content in spoiled.items():
        if content is None:
            manifest.unlink()
        else:
            manifest.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        refused("verify", "bundle", says=says)
        manifest.write_bytes(whole)
    refused("verify", "nowhere", says="no bundle at nowhere")
    refused("verify", "bundle", "--float32", "nowhere.onnx", says="no float32 model at nowhere.onnx")
    refused("verify", "bundle", "--evaluation", "nowhere.npz", says="no such file or folder")


def test_a_model_that_crashes_the_runtime_is_a_failed_check_with_its_log(command, bundle):
    from edgeexport.artifact import Manifest, write_manifest

    (bundle / "model.onnx").write_bytes((bundle / "model.onnx").read_bytes()[:-200])
    import msgspec

    write_manifest(bundle, msgspec.json.decode((bundle / "manifest.json").read_bytes(), type=Manifest))
    done = command("verify", "bundle", "--json")
    assert done.returncode in {1, 2}, done.stderr
    if done.returncode == 1:
        (check,) = [check for check in json.loads(done.stdout)["checks"] if check["name"] == "run"]
        assert check["verdict"] == "fail"
        assert "protobuf" in check["note"].lower()
