"""The browser as a device: real models, good and bad, in Chromium; and what it serves, to whom."""

import contextlib
import http.client
import importlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from queue import Queue

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgeexport
from edgeexport.devices import _chromium, _npm, _page_server, browser, emulated, local
from edgeexport.errors import DeviceError, MissingRequirement, RunFailed
from edgeexport.job import Job
from edgeexport.results import Report
from edgeexport.runtime_names import needs_of

RANDOM = np.random.default_rng(0)
NEEDS = needs_of("ort_web")


@pytest.fixture
def packages(tmp_path):
    """A folder of npm's packages with a version and nothing that runs."""
    folder = tmp_path / "app" / "node_modules" / NEEDS.distribution
    folder.mkdir(parents=True)
    (folder / "package.json").write_text('{"version": "1.2.3"}')
    return tmp_path / "app"


@pytest.fixture
def program(tmp_path, monkeypatch):
    """A stand-in for Chromium: ``program(body)`` writes one in Python."""

    def write(body):
        path = tmp_path / "fake-chromium"
        path.write_text(f"#!{sys.executable}\nimport os, sys, time, json\n{body}\n")
        path.chmod(0o755)
        monkeypatch.setenv(_chromium.VARIABLE, str(path))
        return str(path)

    return write


def save(path, nodes, inputs, outputs, initializers=()):
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in inputs],
        [helper.make_tensor_value_info(name, kind, shape) for name, kind, shape in outputs],
        [numpy_helper.from_array(array, name) for name, array in initializers],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture
def layer(tmp_path):
    """``y = x @ w + 1``, and ``n = x > 0``, for any batch of 8 values."""
    return save(
        tmp_path / "layer.onnx",
        [
            helper.make_node("MatMul", ["x", "w"], ["xw"]),
            helper.make_node("Add", ["xw", "one"], ["y"]),
            helper.make_node("Greater", ["x", "zero"], ["n"]),
        ],
        [("x", TensorProto.FLOAT, ["batch", 8])],
        [("y", TensorProto.FLOAT, ["batch", 4]), ("n", TensorProto.BOOL, ["batch", 8])],
        [
            ("w", RANDOM.standard_normal((8, 4)).astype(np.float32)),
            ("one", np.float32([1])),
            ("zero", np.float32([0])),
        ],
    )


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "job"
    path.mkdir()
    return path


def samples(*batches):
    return [{"x": RANDOM.standard_normal((batch, 8)).astype(np.float32)} for batch in batches]


class TestWithoutABrowser:
    def test_a_missing_browser_is_named_with_what_installs_it(self, monkeypatch, tmp_path):
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.delenv(_chromium.VARIABLE, raising=False)
        monkeypatch.setattr(_chromium, "_MAC", str(tmp_path / "none"))
        with pytest.raises(MissingRequirement, match="Chromium, which runs models in a browser") as caught:
            browser.open_device("")
        assert "apt-get install chromium" in caught.value.hint
        assert browser.list_devices() == []
        assert "apt-get install chromium" in browser.state()["browser"]
        monkeypatch.setenv(_chromium.VARIABLE, str(tmp_path / "gone"))
        with pytest.raises(MissingRequirement, match=r"names .*gone, which is no program"):
            browser.open_device("")

    def test_a_missing_runtime_is_named_with_what_installs_it(self, program, cache):
        program("")
        with pytest.raises(MissingRequirement, match="onnxruntime-web for browsers has not been installed") as caught:
            browser.open_device("").check("ort_web")
        assert caught.value.hint == "edgeexport devices create browser"
        assert browser.state() == {"browser": "edgeexport devices create browser"}

    def test_the_users_folder_has_the_package_or_it_is_said(self, program, packages, tmp_path, cache):
        program("")
        device = browser.open_device(str(packages))
        device.check("ort_web")
        assert device.describe().name == f"browser:{packages}"
        found = _npm.packages_folder("ort_web", NEEDS, packages)
        assert found == packages / "node_modules"
        assert _npm.packages_folder("ort_web", NEEDS, found) == found
        (tmp_path / "empty").mkdir()
        with pytest.raises(DeviceError, match="empty holds no onnxruntime-web") as caught:
            browser.open_device(str(tmp_path / "empty")).check("ort_web")
        assert "npm install onnxruntime-web" in caught.value.hint
        with pytest.raises(DeviceError, match="names no folder"):
            browser.open_device(str(tmp_path / "nowhere"))

    def test_runtimes_of_machines_do_not_run_there_nor_its_own_elsewhere(self, program, packages):
        program("")
        with pytest.raises(DeviceError, match="tflite-micro does not run in a browser") as caught:
            browser.open_device(str(packages)).check("tflm")
        assert "onnxruntime-web" in caught.value.hint
        with pytest.raises(DeviceError, match="onnxruntime-web runs in a browser, not on the device 'local'") as caught:
            local.open_device("").check("ort_web")
        assert caught.value.hint == "Verify with --on browser."
        with pytest.raises(DeviceError, match="onnxruntime-web runs in a browser") as caught:
            local.create("onnxruntime-web", print)
        assert caught.value.hint == "edgeexport devices create browser"
        with pytest.raises(DeviceError, match="onnxruntime-web does not run on emulated arm64 boards"):
            emulated.wheels_folder("arm64", "ort_web")
        assert "onnxruntime-web" not in local.runtimes()

    def test_what_it_says_of_itself(self, program, packages):
        program("print('Chromium 140.0.1 built on somewhere') if '--version' in sys.argv else None")
        info = browser.open_device(str(packages)).describe()
        assert (info.machine, info.evidence, info.timed) == (platform.machine(), "measured", True)
        assert info.cpu.endswith("(Chromium 140.0.1)")
        assert info.instead["onnxruntime"] == "onnxruntime-web"

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            ("sys.exit(7)", r"Chromium ended \(status 7\) before it answered Target.createTarget"),
            (
                "os.read(3, 999); answer = json.dumps({'id': 1, 'error': {'message': 'no room'}})\n"
                "os.write(4, answer.encode() + b'\\0'); time.sleep(60)",
                "Chromium refused Target.createTarget: no room",
            ),
        ],
    )
    def test_a_browser_that_does_not_start(self, program, monkeypatch, body, said):
        monkeypatch.setattr(_chromium, "_END_S", 0.5)
        with pytest.raises(RunFailed, match=said):
            _chromium.Chromium(program(f"print('its log', flush=True); {body}"))

    def test_a_browser_that_does_not_end_is_killed_and_its_profile_removed(self, program, monkeypatch, tmp_path):
        monkeypatch.setattr(_chromium, "_ANSWER_S", 1.0)
        monkeypatch.setattr(_chromium, "_END_S", 0.5)
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        monkeypatch.setattr("tempfile.tempdir", None)
        path = program(f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(600)")
        with pytest.raises(RunFailed, match=r"did not answer Target\.createTarget within 1 s"):
            _chromium.Chromium(path)
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / "pid").read_text()), 0)
        assert not list(tmp_path.glob("edgeexport-chromium-*"))


class TestCreate:
    @pytest.fixture
    def npm(self, tmp_path, monkeypatch):
        """A stand-in for npm that notes its arguments and installs a version, or fails."""

        def write(status=0):
            programs = tmp_path / "programs"
            programs.mkdir()
            (programs / "npm").write_text(
                f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n[ {status} = 0 ] || {{ echo no network; exit {status}; }}\n'
                f'for last; do :; done\nname=${{last%@*}}\nmkdir -p "$3/node_modules/$name"\n'
                'echo \'{"version": "1"}\' > "$3/node_modules/$name/package.json"\n'
            )
            (programs / "npm").chmod(0o755)
            monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")

        return write

    def test_the_named_version_is_installed_once_and_nothing_of_it_is_run(self, npm, cache, tmp_path):
        npm()
        said = []
        browser.create("", said.append, "onnxruntime-web")
        browser.create("", said.append, "onnxruntime-web")
        (asked,) = (tmp_path / "asked").read_text().splitlines()
        assert asked.endswith(f"--ignore-scripts --no-audit --no-fund onnxruntime-web@{NEEDS.version}")
        assert said[-1].startswith("already there")
        found = _npm.packages_folder("ort_web", NEEDS, None)
        assert found.is_relative_to(cache)
        assert _npm.package_version(found, NEEDS) == "1"

    def test_a_failed_download_leaves_nothing(self, npm, cache):
        npm(status=5)
        with pytest.raises(MissingRequirement, match=r"could not be installed \(npm: status 5\)\nno network") as caught:
            browser.create("", print, "onnxruntime-web")
        assert "npm config get registry" in caught.value.hint
        assert [path.name for path in (cache / "devices" / "environments").iterdir()] == [".lock"]

    def test_without_npm_it_says_what_installs_it(self, monkeypatch, tmp_path, cache):
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(MissingRequirement, match="npm, which downloads onnxruntime-web, is missing") as caught:
            browser.create("", print, "onnxruntime-web")
        assert "apt-get install npm" in caught.value.hint
        assert not cache.exists()

    def test_what_cannot_be_created(self, cache):
        with pytest.raises(DeviceError, match="litert does not run in a browser"):
            browser.create("", print, "litert")
        with pytest.raises(DeviceError, match="'browser:app' is a folder of yours"):
            browser.create("app", print)


class TestServer:
    @pytest.fixture
    def server(self, packages, folder, layer):
        (folder / "inputs").mkdir()
        (folder / "inputs" / "index.json").write_text("[]")
        (folder / "secret").write_text("of the job")
        (packages / "secret").write_text("of the app")
        events = Queue()
        opened = _page_server.PageServer(folder, (layer,), packages / "node_modules", {"mode": "outputs"}, events)
        yield opened
        opened.close()

    def ask(self, server, path, method="GET", body=None, host=None, token=None):
        connection = http.client.HTTPConnection(server.host, timeout=10)
        name = f"/{server.token if token is None else token}/{path}"
        connection.request(method, name, body, {"Host": host} if host else {})
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers

    def test_it_serves_the_job_and_isolates_the_page(self, server, layer):
        status, body, headers = self.ask(server, "job.json")
        assert (status, json.loads(body)) == (200, {"mode": "outputs"})
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        assert self.ask(server, "models/0")[1] == layer.read_bytes()
        assert self.ask(server, "inputs/index.json")[1] == b"[]"
        assert self.ask(server, "packages/onnxruntime-web/package.json")[0] == 200
        assert self.ask(server, "runner.js")[2]["Content-Type"].startswith("text/javascript")

    @pytest.mark.parametrize(
        "path",
        [
            "models/1",
            "models/-1",
            "models/x",
            "packages/../secret",
            "packages/../../job/secret",
            "inputs/../secret",
            "inputs",
            "runner.py",
            "../runner.js",
            "",
        ],
    )
    def test_nothing_else_is_served(self, server, path):
        assert self.ask(server, path)[:2] == (404, b"")

    def test_nobody_else_is_served(self, server):
        assert self.ask(server, "job.json", token="guess")[0] == 404
        assert self.ask(server, "job.json", host="evil.example")[0] == 404
        assert self.ask(server, "result.json", "POST", b"{}", token="guess")[0] == 404
        assert not (server.folder / "page.json").exists()

    @pytest.mark.parametrize(
        "name", ["outputs/../x.bin", "outputs/1.exe", "outputs/12345.bin", "x", "../outputs/0.bin", "job.json"]
    )
    def test_a_page_writes_outputs_and_nothing_else(self, server, name):
        before = sorted(server.folder.rglob("*"))
        assert self.ask(server, name, "POST", b"data")[0] == 404
        assert sorted(server.folder.rglob("*")) == before

    def test_outputs_come_in_pieces(self, server):
        assert self.ask(server, "outputs/0.bin", "POST", b"ab")[0] == 204
        assert self.ask(server, "outputs/0.bin", "POST", b"cd")[0] == 204
        assert (server.folder / "outputs" / "0.bin").read_bytes() == b"abcd"
        self.ask(server, "progress", "POST", b"17")
        assert server.events.get_nowait() == ("progress", "17")

    def test_a_result_that_is_too_large_is_not_taken(self, server, monkeypatch):
        monkeypatch.setattr(_page_server, "_LARGEST_TEXT", 10)
        assert self.ask(server, "result.json", "POST", b"x" * 11)[0] == 404
        assert server.events.empty()

    @pytest.mark.parametrize("sent", [None, b"", b"[]", b"{}", b'{"runtime": 1}', b"\xff"])
    def test_a_malformed_result_is_a_failed_run(self, folder, sent):
        if sent is not None:
            (folder / "page.json").write_bytes(sent)
        with pytest.raises(RunFailed, match="the page's result is missing or malformed"):
            browser._result(folder, None)


@pytest.fixture(scope="module")
def chromium():
    """A browser with the runtime of this user; what asks for it is skipped where either is missing."""
    try:
        device = browser.open_device("")
        device.check("ort_web")
    except MissingRequirement as missing:
        pytest.skip(f"{missing.what}: {missing.hint}")
    return device


@pytest.fixture(scope="module")
def litert(chromium):
    try:
        chromium.check("litert_web")
    except MissingRequirement as missing:
        pytest.skip(f"{missing.what}: {missing.hint}")
    return chromium


@pytest.fixture
def left_over(tmp_path, monkeypatch):
    """The test's own browsers that are still there: their profiles are in its folder."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def find():
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                command = path.read_bytes().split(b"\0")
                if any(word.startswith(f"--user-data-dir={tmp_path}".encode()) for word in command):
                    found.append(command)
        return found

    yield find
    assert find() == []
    assert not list(tmp_path.glob("edgeexport-chromium-*"))


@pytest.mark.slow
class TestChromium:
    def test_outputs_are_those_of_the_runtime_on_this_machine(self, chromium, layer, folder):
        inputs = samples(1, 3, 2)
        result = chromium.run(Job("ort_web", (layer,), inputs), folder)
        assert (result.runtime, result.version) == ("onnxruntime-web", NEEDS.version)
        assert (result.machine, result.samples, result.latency_ns) == (platform.machine(), 3, ())
        assert result.peak_memory_bytes > 50_000_000
        session = onnxruntime.InferenceSession(layer, providers=["CPUExecutionProvider"])
        for outputs, sample in zip(result.outputs, inputs, strict=True):
            y, n = session.run(["y", "n"], sample)
            np.testing.assert_allclose(outputs["y"], y, rtol=1e-6, atol=1e-6)
            assert outputs["n"].dtype == np.bool_
            assert outputs["n"].tobytes() == n.tobytes()

    @pytest.mark.parametrize("dtype", ["float16", "float64", "int8", "int16", "int32", "int64", "uint8", "uint32"])
    def test_every_type_of_number_arrives_as_it_is(self, chromium, folder, tmp_path, dtype):
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        nodes = [helper.make_node("Identity", ["x"], ["y"])]
        model = save(tmp_path / "same.onnx", nodes, [("x", kind, ["a"])], [("y", kind, ["a"])])
        info = np.finfo(dtype) if dtype.startswith("float") else np.iinfo(dtype)
        given = np.array([info.min, 0, 1, info.max], dtype)
        result = chromium.run(Job("ort_web", (model,), [{"x": given}]), folder)
        (outputs,) = result.outputs
        assert outputs["y"].dtype == given.dtype
        assert outputs["y"].tobytes() == given.tobytes()

    def test_latency_of_two_models(self, chromium, layer, folder):
        job = Job("ort_web", (layer, layer), samples(1), "latency", warmup=2, pairs=7)
        result = chromium.run(job, folder)
        assert [len(times) for times in result.latency_ns] == [7, 7]
        assert min(time for times in result.latency_ns for time in times) > 0
        assert list(result.outputs) == []

    def test_two_threads_give_the_same(self, chromium, layer, folder):
        (sample,) = samples(64)
        result = chromium.run(Job("ort_web", (layer,), [sample], threads=2), folder)
        (outputs,) = result.outputs
        session = onnxruntime.InferenceSession(layer, providers=["CPUExecutionProvider"])
        np.testing.assert_allclose(outputs["y"], session.run(["y"], sample)[0], rtol=1e-6, atol=1e-6)

    def test_a_corrupt_model(self, chromium, layer, folder):
        data = layer.read_bytes()
        layer.write_bytes(data[: len(data) // 2])
        with pytest.raises(RunFailed, match="the runtime failed in the browser") as caught:
            chromium.run(Job("ort_web", (layer,), samples(1)), folder)
        assert "protobuf parsing failed" in caught.value.log.lower()

    def test_an_input_that_does_not_fit(self, chromium, layer, folder):
        with pytest.raises(RunFailed, match="the runtime failed in the browser") as caught:
            chromium.run(Job("ort_web", (layer,), [{"x": np.zeros((1, 9), np.float32)}]), folder)
        assert "invalid dimensions for input: x" in caught.value.log

    def test_a_model_that_needs_more_memory_than_a_page_has(self, chromium, folder, tmp_path):
        model = save(
            tmp_path / "huge.onnx",
            [helper.make_node("ConstantOfShape", ["shape"], ["y"])],
            [("shape", TensorProto.INT64, [2])],
            [("y", TensorProto.FLOAT, ["a", "b"])],
        )
        inputs = [{"shape": np.array([2**16, 2**16], np.int64)}]
        with pytest.raises(RunFailed, match=r"failed in the browser|crashed"):
            chromium.run(Job("ort_web", (model,), inputs, timeout_s=60), folder)

    def test_a_run_that_takes_too_long_is_stopped_and_leaves_no_browser(self, chromium, folder, tmp_path, left_over):
        trips = save_endless(tmp_path / "endless.onnx")
        began = time.monotonic()
        with pytest.raises(RunFailed, match="did not finish within 4 s"):
            chromium.run(Job("ort_web", (trips,), [{"x": np.zeros(1, np.float32)}], timeout_s=4), folder)
        assert time.monotonic() - began < 20

    def test_a_browser_that_is_killed_is_a_failed_run(self, chromium, folder, tmp_path, monkeypatch, left_over):
        started = []
        original = _chromium.Chromium._start
        monkeypatch.setattr(
            _chromium.Chromium, "_start", lambda self, program: (original(self, program), started.append(self))
        )

        endless = save_endless(tmp_path / "endless.onnx")
        job = Job("ort_web", (endless,), [{"x": np.zeros(1, np.float32)}], timeout_s=60)
        seen = []

        def kill():
            seen.extend(left_over())
            os.kill(started[0].pid, signal.SIGKILL)

        timer = threading.Timer(4, kill)
        timer.start()
        with pytest.raises(RunFailed, match="the browser ended before the runtime finished"):
            chromium.run(job, folder)
        timer.join()
        assert seen

    def test_no_browser_outlives_a_killed_program(self, chromium):
        place = tempfile.mkdtemp(prefix="ee-")  # short: Chromium has a socket in its profile
        program = (
            "import sys, time; from edgeexport.devices import _chromium\n"
            "page = _chromium.Chromium(_chromium.find()); print(page.pid, flush=True); time.sleep(600)"
        )
        variables = {**os.environ, "TMPDIR": place}  # for the profile, which nobody is left to remove
        started = subprocess.Popen([sys.executable, "-c", program], env=variables, stdout=subprocess.PIPE, text=True)
        pid = int(started.stdout.readline())
        started.kill()
        started.wait()
        deadline = time.monotonic() + 30
        while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        shutil.rmtree(place, ignore_errors=True)
        assert not Path(f"/proc/{pid}").exists()

    def test_when_it_is_closed_all_its_helpers_have_ended(self, chromium):
        with _chromium.Chromium(_chromium.find()) as page:
            found = {pid: _chromium._started(pid) for pid in (page.pid, *_chromium._descendants(page.pid))}
        processes = {pid: started for pid, started in found.items() if started}  # others had ended while it started
        assert len(processes) >= 3
        assert [pid for pid, started in processes.items() if _chromium._started(pid) == started] == []

    def test_a_helper_that_stays_is_killed(self, monkeypatch):
        monkeypatch.setattr(_chromium, "_END_S", 0.2)
        helper = subprocess.Popen(["sleep", "600"])
        other = subprocess.Popen(["sleep", "600"])
        _chromium._end({helper.pid: _chromium._started(helper.pid), other.pid: "1"})
        assert helper.wait(10) == -signal.SIGKILL
        assert other.poll() is None  # its number is that of an earlier process
        other.kill()
        other.wait()

    def test_a_page_reaches_nothing_but_this_machine(self, chromium):
        with _chromium.Chromium(_chromium.find()) as page, pytest.raises(RunFailed) as caught:
            page.evaluate("fetch('https://example.com/')")
            assert "Failed to fetch" in caught.value.log


@pytest.mark.slow
class TestLiteRT:
    @pytest.fixture(autouse=True)
    def files(self):
        pytest.importorskip("ai_edge_litert", reason="pip install 'edgeexport[litert]'")
        return importlib.import_module("tflite_files")

    def floats(self, length):
        return {"x": RANDOM.standard_normal((length, 8)).astype(np.float32)}

    def test_the_signature_with_the_sample_s_length_runs(self, litert, files, folder, tmp_path):
        model = files.write(tmp_path / "m.tflite", files.float_layer(2, "two"), files.float_layer(5, "five"))
        inputs = [self.floats(length) for length in (5, 2, 5)]
        result = litert.run(Job("litert_web", (model,), inputs), folder)
        assert (result.runtime, result.version) == ("litert-web", needs_of("litert_web").version)
        weights, bias = files.weights()
        for outputs, sample in zip(result.outputs, inputs, strict=True):
            assert list(outputs) == ["y"]
            np.testing.assert_allclose(outputs["y"], sample["x"] @ weights.T + bias, rtol=0, atol=1e-5)

    def test_dynamic_int8_rounds_as_it_does_on_this_machine(self, litert, files, folder, tmp_path):
        model = files.write(tmp_path / "m.tflite", files.dynamic_layer())
        inputs = [self.floats(1) for _ in range(4)]
        there = list(litert.run(Job("litert_web", (model,), inputs), folder).outputs)
        (tmp_path / "here").mkdir()
        here = list(local.open_device("").run(Job("litert", (model,), inputs), tmp_path / "here").outputs)
        for a, b in zip(there, here, strict=True):
            np.testing.assert_allclose(a["y"], b["y"], rtol=0, atol=1e-5)

    @pytest.mark.parametrize(
        ("shape", "dtype", "said"),
        [
            ((3, 8), np.float32, "no signature takes x [3, 8]; the model has x [2, 8]; x [5, 8]"),
            ((2, 8), np.int32, "the model takes float32 as 'x', not <i4"),
        ],
    )
    def test_an_input_that_does_not_fit(self, litert, files, folder, tmp_path, shape, dtype, said):
        model = files.write(tmp_path / "m.tflite", files.float_layer(2, "two"), files.float_layer(5, "five"))
        with pytest.raises(RunFailed, match="the runtime failed in the browser") as caught:
            litert.run(Job("litert_web", (model,), [{"x": np.zeros(shape, dtype)}]), folder)
        assert said in caught.value.log

    def test_integers_that_it_does_not_know_are_an_error(self, litert, files, folder, tmp_path):
        model = files.write(tmp_path / "m.tflite", files.integer_layer())
        with pytest.raises(RunFailed, match="the runtime failed in the browser") as caught:
            litert.run(Job("litert_web", (model,), [{"x": np.zeros((1, 8, 8, 3), np.int8)}]), folder)
        assert "int8" in caught.value.log.lower()

    def test_latency_of_two_models(self, litert, files, folder, tmp_path):
        models = tuple(files.write(tmp_path / f"{n}.tflite", files.float_layer()) for n in "ab")
        job = Job("litert_web", models, [self.floats(1)], "latency", warmup=1, pairs=4)
        assert [len(times) for times in litert.run(job, folder).latency_ns] == [4, 4]


@pytest.mark.slow
@pytest.mark.shared
def test_sst2_in_the_browser_is_sst2_on_this_machine(chromium, shared, tmp_path):
    bundle = edgeexport.export(
        shared / "models" / "sst2-minilm",
        target="desktop-x86",
        calibration=shared / "data" / "sst2" / "calibration.jsonl",
        evaluation=shared / "data" / "sst2" / "validation.jsonl",
        settings={"limits": {"latency_ratio": 100.0}},
        on=["local", "browser"],
        output=tmp_path / "out",
    )
    here, there = Report.read(bundle.report_path).runs
    assert (there.runtime, there.device, there.evidence) == ("onnxruntime-web", "browser", "measured")
    assert (there.accuracy.samples, there.parity.samples) == (872, 872)
    assert there.accuracy.value >= 0.8906
    assert abs(here.accuracy.value - there.accuracy.value) <= 2 / 872
    assert there.latency_ms.count == here.latency_ms.count
    (check,) = [one for one in Report.read(bundle.report_path).checks if one.name == "agreement_between_devices"]
    assert check.measured >= 1 - 4 / 872


def test_a_browser_s_own_build_stands_for_the_runtime_that_a_target_names(linear_bundle, monkeypatch):
    """Without a browser: what is asked of it, and what becomes of the answer."""
    asked = []

    class Page:
        def __init__(self):
            self._local = local.open_device("")

        def check(self, runtime):
            asked.append(runtime)

        def run(self, job, folder, progress=None):
            asked.append(job.runtime)
            result = self._local.run(replace(job, runtime="ort"), folder, progress)
            return replace(result, runtime="onnxruntime-web", version="1.2.3")

        def describe(self):
            return replace(self._local.describe(), name="browser", instead={"onnxruntime": "onnxruntime-web"})

        def close(self):
            pass

    monkeypatch.setattr("edgeexport.pipeline.verifying.open_device", lambda name: Page())
    report = edgeexport.verify(linear_bundle, on=["browser"])
    (run,) = report.runs
    assert set(asked) == {"ort_web"}
    assert (run.runtime, run.runtime_version, run.device, run.evidence) == (
        "onnxruntime-web",
        "1.2.3",
        "browser",
        "measured",
    )
    assert {check.where for check in report.checks if check.name == "cosine_min"} == {"onnxruntime-web on browser"}
    (old,) = [check for check in report.checks if check.name == "run"]
    assert old.verdict == "fail" and "has onnxruntime-web 1.2.3; the target needs" in old.note


@pytest.fixture
def linear_bundle(linear, board, tmp_path):
    bundle = edgeexport.export(
        linear.model,
        target=board,
        precision="w8a8",
        calibration=linear.calibration,
        evaluation=linear.evaluation,
        output=tmp_path / "bundle",
    )
    return bundle.path


def save_endless(path):
    """A loop that nothing ends."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["still"]),
            helper.make_node("Sin", ["value"], ["next"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value", TensorProto.FLOAT, [1]),
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, [1]),
        ],
    )
    return save(
        path,
        [helper.make_node("Loop", ["trips", "go", "x"], ["y"], body=body)],
        [("x", TensorProto.FLOAT, [1])],
        [("y", TensorProto.FLOAT, [1])],
        [("trips", np.array(2**62, np.int64)), ("go", np.array(True))],
    )
