"""The browser app: its own tests in Node, and the built app in Chromium against Python."""

import contextlib
import hashlib
import http.client
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import onnxruntime
import pytest

import edgeexport
from edgeexport.artifact import load_bundle
from edgeexport.devices import _chromium
from edgeexport.errors import MissingRequirement
from edgeexport.preprocess import from_dict
from edgeexport.runtimes import tensors
from edgeexport.samples import Sample

APP = Path(__file__).parent.parent.parent / "sample_apps" / "browser"
SENTENCES = 100
OFFLINE = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "ENETUNREACH", "ENOTCACHED")


def script(path):
    """Import a script of the app."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


make_vectors = script(APP / "test" / "make_vectors.py")
screenshot = script(APP / "scripts" / "screenshot.py")


def test_the_vectors_are_what_python_makes_of_the_texts():
    kept = json.loads((APP / "test" / "vectors.json").read_text())
    now = make_vectors.main_vectors(kept["tokenizers"])
    assert len(kept["groups"]) == 36
    assert now == kept


def npm(folder, *arguments, **variables):
    command = [shutil.which("npm"), *arguments]
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "NO_COLOR": "1", **variables},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def app(once):
    """The app, its packages installed as the lock file says, and built; in a copy."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are not installed: apt-get install npm")
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if tuple(int(part) for part in version.removeprefix("v").split(".")[:2]) < (20, 19):
        pytest.skip(f"the app is built by Node.js 20.19 or later, and this is {version}")

    def fill(folder):
        shutil.copytree(APP, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules", "dist"))
        status, said = npm(folder, "ci", "--prefer-offline", "--no-audit", "--no-fund")
        if status and any(word in said for word in OFFLINE):
            pytest.skip(f"npm reaches no registry: {said[-300:]}")
        assert status == 0, said
        status, said = npm(folder, "run", "build")
        assert status == 0, said

    return once("browser-app", fill)


@pytest.fixture(scope="module")
def chromium():
    try:
        return _chromium.find()
    except MissingRequirement as missing:
        pytest.skip(f"{missing.what}: {missing.hint}")


@pytest.fixture(scope="module")
def sst2(shared, common):
    """A bundle of the shared sentiment model, int8."""
    return edgeexport.export(
        shared / "models" / "sst2-minilm",
        target="desktop-x86",
        calibration=shared / "data" / "sst2" / "calibration.jsonl",
        evaluation=shared / "data" / "sst2" / "validation.jsonl",
        settings={"limits": {"latency_ratio": 100.0}},
        output=common / f"browser-sst2-{os.environ.get('PYTEST_XDIST_WORKER', '')}",
    )


def sentences(shared):
    lines = (shared / "data" / "sst2" / "validation.jsonl").read_text().splitlines()
    return [json.loads(line)["sentence"] for line in lines]


@contextlib.contextmanager
def opened(app, chromium, bundle):
    """The app in a page, loaded; gives the page, its address and the addresses that it asked for."""
    asked = []

    def note(method, about):
        if method == "Network.requestWillBeSent":
            asked.append(about["request"]["url"])

    screenshot.APP = app
    with screenshot.served(bundle) as address, _chromium.Chromium(chromium, note) as page:
        page.ask("Network.enable")
        page.ask("Page.navigate", url=address)
        screenshot.wait(page, "['ready', 'failed'].includes(document.body?.dataset.state)")
        yield page, address, asked


def classify(page, text):
    """Type a text and press the button; gives the label, the shares by label, and the problem that is shown."""
    page.evaluate(f"document.getElementById('first').value = {json.dumps(text)}")
    page.evaluate("delete document.body.dataset.answered; document.getElementById('form').requestSubmit()")
    screenshot.wait(page, "document.body.dataset.answered || !document.getElementById('problem').hidden")
    return page.evaluate(
        "({label: document.getElementById('label').textContent,"
        " shares: Object.fromEntries([...document.querySelectorAll('#classes li')].map("
        "   row => [row.firstChild.textContent, row.querySelector('progress').value])),"
        " hidden: document.getElementById('result').hidden,"
        " problem: document.getElementById('problem').textContent})"
    )


def run_self_test(page):
    """Press the button; gives the verdict, the sentence, the figures and the rows."""
    page.evaluate("document.getElementById('run').click()")
    screenshot.wait(
        page, "document.getElementById('verdict').dataset.verdict || !document.getElementById('problem').hidden"
    )
    return page.evaluate(
        "({verdict: document.getElementById('verdict').dataset.verdict,"
        " said: document.getElementById('verdict').textContent,"
        " largest: document.querySelector('#figures dd')?.textContent,"
        " rows: document.querySelectorAll('#samples tr').length,"
        " problem: document.getElementById('problem').textContent})"
    )


def by_python(bundle):
    """A function from a text to the outputs of the bundle's model, by the runtime on this machine."""
    encode = from_dict(bundle.manifest.preprocess).prepare(bundle.path)
    session = onnxruntime.InferenceSession(bundle.model_path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda text: session.run(names, encode(Sample("a text", {"sentence": text})))[0][0]


def altered(bundle, tmp_path, name, change, seal):
    """A copy of a bundle with one file changed, and with its new hash in the manifest where ``seal``."""
    copy = Path(shutil.copytree(bundle.path, tmp_path / "altered"))
    data = change((copy / name).read_bytes())
    (copy / name).write_bytes(data)
    if seal:
        manifest = json.loads((copy / "manifest.json").read_text())
        manifest["files"][name] = hashlib.sha256(data).hexdigest()
        (copy / "manifest.json").write_text(json.dumps(manifest))
    return copy


@pytest.mark.slow
def test_its_own_tests_pass_in_node(app):
    status, said = npm(app, "test")
    assert status == 0, said
    assert "49 passed" in said


@pytest.mark.slow
@pytest.mark.shared
def test_in_node_all_sentences_have_the_same_ids_as_in_python(app, sst2, shared, tmp_path):
    rule = from_dict(sst2.manifest.preprocess)
    texts = [(text,) for text in (*sentences(shared), *make_vectors.ODD)]
    group = make_vectors.vectors("validation.jsonl", sst2.path, rule, texts)
    assert len(group["cases"]) == 872 + len(make_vectors.ODD)
    file = json.loads((sst2.path / "tokenizer.json").read_text())
    vectors = {"tokenizers": {"sst2": file}, "groups": [{"tokenizer": "sst2", **group}]}
    (tmp_path / "vectors.json").write_text(json.dumps(vectors))
    status, said = npm(app, "test", EDGEEXPORT_VECTORS=str(tmp_path / "vectors.json"))
    assert status == 0, said
    assert "50 passed" in said
    group["cases"][871]["arrays"]["input_ids"][1] += 1
    (tmp_path / "vectors.json").write_text(json.dumps(vectors))
    status, said = npm(app, "test", EDGEEXPORT_VECTORS=str(tmp_path / "vectors.json"))
    assert status != 0
    assert "1 failed" in said


@pytest.mark.slow
@pytest.mark.shared
def test_a_hundred_sentences_have_the_same_labels_as_in_python(app, chromium, sst2, shared):
    scores = by_python(sst2)
    with opened(app, chromium, sst2.path) as (page, address, asked):
        assert page.evaluate("document.getElementById('title').textContent") == "sst2-minilm"
        labels = []
        for text in sentences(shared)[:SENTENCES]:
            expected = scores(text)
            shares = np.exp(expected - expected.max())
            shares /= shares.sum()
            found = classify(page, text)
            labels.append((found["label"], sst2.manifest.labels[int(expected.argmax())]))
            for label, share in zip(sst2.manifest.labels, shares, strict=True):
                assert abs(found["shares"][label] - share) < 0.03, text
    assert [label for label, _ in labels] == [label for _, label in labels]
    assert {label for label, _ in labels} == {"NEGATIVE", "POSITIVE"}
    hosts = {urlsplit(url).netloc for url in asked if not url.startswith(("data:", "blob:"))}
    assert hosts == {urlsplit(address).netloc}
    assert any(url.endswith("bundle/model.onnx") for url in asked)


@pytest.mark.slow
@pytest.mark.shared
def test_the_self_test_says_what_python_says(app, chromium, sst2):
    session = onnxruntime.InferenceSession(sst2.model_path, providers=["CPUExecutionProvider"])
    golden = tensors.Reader(str(sst2.path / "golden" / "outputs"))
    inputs = tensors.Reader(str(sst2.path / "golden" / "inputs"))
    apart = [
        np.abs(session.run(None, given)[0] - expected["logits"]).max()
        for given, expected in zip(inputs, golden, strict=True)
    ]
    with opened(app, chromium, sst2.path) as (page, _, _):
        found = run_self_test(page)
    assert found["verdict"] == "pass"
    assert "8 of 8 labels are those of the float32 model; 97\u00a0% must be" in found["said"]
    assert found["rows"] == 8
    assert float(found["largest"]) == pytest.approx(max(apart), abs=0.1)


@pytest.mark.slow
@pytest.mark.shared
def test_golden_data_of_another_model_fail_the_self_test(app, chromium, sst2, tmp_path):
    def turn(data):
        return (-np.frombuffer(data, "<f4")).tobytes()

    copy = altered(sst2, tmp_path, "golden/outputs/0.bin", turn, seal=True)
    with opened(app, chromium, copy) as (page, _, _):
        found = run_self_test(page)
    assert found["verdict"] == "fail"
    assert "0 of 8 labels" in found["said"]


@pytest.mark.slow
@pytest.mark.shared
def test_an_altered_file_is_refused(app, chromium, sst2, tmp_path):
    copy = altered(sst2, tmp_path, "tokenizer.json", lambda data: data + b" ", seal=False)
    with opened(app, chromium, copy) as (page, _, _):
        assert page.evaluate("document.body.dataset.state") == "failed"
        said = page.evaluate("document.getElementById('problem').textContent")
        assert said == "tokenizer.json was altered since the bundle was packed. Export it again."
        assert page.evaluate("document.getElementById('problem').hidden") is False


@pytest.mark.slow
@pytest.mark.shared
def test_it_is_used_from_the_keyboard_and_says_what_is_wrong(app, chromium, sst2):
    def press(page, key, code, modifiers=0):
        for kind in ("rawKeyDown", "keyUp"):
            page.ask("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, modifiers=modifiers)

    with opened(app, chromium, sst2.path) as (page, _, _):
        controls = [
            (node["role"]["value"], node.get("name", {}).get("value", ""))
            for node in page.ask("Accessibility.getFullAXTree")["nodes"]
            if not node["ignored"] and node["role"]["value"] in {"button", "textbox"}
        ]
        assert sorted(controls) == [("button", "Classify"), ("button", "Run self-test"), ("textbox", "Text")]
        press(page, "Tab", 9)
        assert page.evaluate("document.activeElement.id") == "first"
        press(page, "Enter", 13)
        nothing = "There is nothing to classify yet. Type a text."
        assert page.evaluate("document.getElementById('problem').textContent") == nothing
        page.ask("Input.insertText", text="A dull, lifeless and tedious film.")
        press(page, "Enter", 13)
        screenshot.wait(page, "!document.getElementById('result').hidden")
        assert page.evaluate("document.getElementById('label').textContent") == "NEGATIVE"
        assert page.evaluate("document.getElementById('problem').hidden") is True
        visited = []
        for _ in range(3):
            press(page, "Tab", 9)
            visited.append(page.evaluate("document.activeElement.id"))
        assert visited[:2] == ["submit", "run"]
        long = classify(page, "good " * 500)
        assert (long["label"], long["hidden"]) == ("POSITIVE", False)
        note = page.evaluate("document.getElementById('note').textContent")
        assert note.startswith("The first 128 tokens of a longer text")


@pytest.mark.slow
def test_a_model_without_text_still_has_its_self_test(app, chromium, digits, board, tmp_path):
    bundle = edgeexport.export(
        digits.model,
        target=board,
        precision="w8a8",
        calibration=digits.calibration,
        evaluation=digits.evaluation,
        output=tmp_path / "digits",
    )
    with opened(app, chromium, bundle.path) as (page, _, _):
        assert page.evaluate("document.body.dataset.state") == "ready"
        assert "this app classifies text" in page.evaluate("document.getElementById('problem').textContent").lower()
        assert page.evaluate("document.getElementById('classify').hidden") is True
        page.evaluate("document.getElementById('problem').hidden = true")
        found = run_self_test(page)
    assert found["verdict"] == "pass"
    assert found["rows"] == load_bundle(bundle.path).manifest.golden.samples


@pytest.mark.slow
def test_only_the_app_and_the_bundle_are_served(app, tmp_path):
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "manifest.json").write_text("{}")
    (tmp_path / "secret").write_text("secret")
    screenshot.APP = app
    with screenshot.served(bundle) as address:
        host = urlsplit(address).netloc
        assert host.startswith("127.0.0.1:")

        def ask(path):
            connection = http.client.HTTPConnection(host, timeout=10)
            connection.request("GET", path)
            return connection.getresponse().status

        assert ask("/") == ask("/bundle/manifest.json") == 200
        for path in ("/bundle/../secret", "/bundle/%2e%2e/secret", "/bundle/%00", "/%", "/../package.json", "/bundle/"):
            assert ask(path) == 404, path
    done = subprocess.run(
        ["node", str(app / "scripts" / "serve.mjs"), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "is no bundle: it has no manifest.json" in done.stderr


@pytest.fixture(scope="module")
def codelm(shared, common):
    """A bundle of the shared code model. In integers, WebAssembly rounds otherwise, and near ties turn."""
    return edgeexport.export(
        shared / "models" / "codelm",
        target="desktop-x86",
        evaluation=shared / "data" / "code" / "calibration_ids.npy",
        limit=2,
        precision="fp32",
        settings={"golden_samples": 2, "interface": {"context": 128}},
        output=common / f"browser-codelm-{os.environ.get('PYTEST_XDIST_WORKER', '')}",
        verify=False,
    )


@pytest.mark.slow
@pytest.mark.shared
def test_a_language_model_goes_on_as_in_python(app, chromium, codelm):
    prompts = ("def main(", "import numpy as np\n\nclass Größe:")
    expected = edgeexport.generate(codelm.path, prompts, max_tokens=64)
    with opened(app, chromium, codelm.path) as (page, _, _):
        assert page.evaluate("document.getElementById('classify').hidden")
        for prompt, one in zip(prompts, expected, strict=True):
            page.evaluate(f"document.getElementById('prompt').value = {json.dumps(prompt)}")
            page.evaluate("document.getElementById('generate-form').requestSubmit()")
            screenshot.wait(page, "document.body.dataset.continued")
            assert page.evaluate("document.getElementById('problem').hidden")
            assert page.evaluate("document.getElementById('continued').textContent") == prompt + one.text
            assert f"{len(one.tokens)} tokens, " in page.evaluate(
                "document.getElementById('generate-note').textContent"
            )
        found = run_self_test(page)
        page.evaluate("document.getElementById('prompt').value = ''")
        page.evaluate("document.getElementById('generate-form').requestSubmit()")
        screenshot.wait(page, "!document.getElementById('problem').hidden")
        assert "nothing to go on from" in page.evaluate("document.getElementById('problem').textContent")
    assert found["verdict"] == "pass" and found["rows"] == 2
    assert "cosine at least 1.0000" in found["said"]
