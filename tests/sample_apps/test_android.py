"""The Android app: its module of pure Kotlin on the JVM against Python, and the app itself through compilers."""

import json
import os
import re
import shutil
import subprocess
import unicodedata
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, normalizers, pre_tokenizers

from edgeexport.interface import quantize
from edgeexport.preprocess import TokenizerPreprocess, to_dict
from edgeexport.runtimes import tensors
from edgeexport.sample_files import Sample

JVM = Path(__file__).parent / "jvm"
JARS = [Path("/usr/share/java") / name for name in ("junit4.jar", "hamcrest.jar")]
FRAMEWORK = Path("/usr/share/android-framework-res/framework-res.apk")
ANDROID = "{http://schemas.android.com/apk/res/android}"


def run(*command, timeout=300, **options):
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=timeout, check=False, **options
    )


@pytest.fixture(scope="session")
def android(apps):
    return apps / "android"


@pytest.fixture(scope="session")
def kotlinc():
    """A Kotlin compiler of version 2, as the Gradle project takes one."""
    hint = "npm install kotlin-compiler@2.4.20, and EDGEEXPORT_KOTLINC=…/node_modules/kotlin-compiler/bin/kotlinc"
    found = os.environ.get("EDGEEXPORT_KOTLINC") or shutil.which("kotlinc")
    if found is None or shutil.which("java") is None:
        pytest.skip(f"there is no kotlinc or no java: {hint}")
    version = re.search(r"kotlinc-jvm (\d+)", run("bash", found, "-version").stderr)
    if version is None or int(version[1]) < 2:
        pytest.skip(f"{found} is no Kotlin compiler of version 2: {hint}")
    return ["bash", found, "-Werror"]


@pytest.fixture(scope="session")
def module(once, android, kotlinc):
    """The module with its own tests, where JUnit is there, and a program that answers questions about it."""

    def fill(folder):
        sources = [*(android / "core/src/main").rglob("*.kt"), *JVM.glob("*.kt")]
        classpath = [jar for jar in JARS if jar.is_file()]
        if classpath:
            sources += (android / "core/src/test").rglob("*.kt")
        options = ["-cp", os.pathsep.join(map(str, classpath))] if classpath else []
        done = run(*kotlinc, *sources, *options, "-include-runtime", "-d", folder / "module.jar")
        (folder / "log.txt").write_text(done.stdout + done.stderr)

    folder = once("app-android-module", fill)
    assert (folder / "module.jar").is_file(), (folder / "log.txt").read_text()
    return folder / "module.jar"


@pytest.fixture(scope="session")
def ask(module):
    """Lines that the program answers."""

    def run_harness(*arguments):
        return run("java", "-Dfile.encoding=UTF-8", "-Dstdout.encoding=UTF-8", "-cp", module, "HarnessKt", *arguments)

    return run_harness


def answers(done):
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_the_modules_own_tests_pass(module, apps):
    missing = [jar.name for jar in JARS if not jar.is_file()]
    if missing:
        pytest.skip(f"{', '.join(missing)} missing: apt-get install junit4")
    classpath = os.pathsep.join(map(str, [module, *JARS]))
    tests = [f"dev.edgeexport.sample.{name}Test" for name in ("Vectors", "Json")]
    done = run("java", f"-Dvectors={apps / 'vectors'}", "-cp", classpath, "org.junit.runner.JUnitCore", *tests)
    assert done.returncode == 0, done.stdout
    assert "OK (6 tests)" in done.stdout


def sst2_samples(shared):
    lines = (shared / "data/sst2/validation.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["sentence"] for line in lines]


@pytest.mark.shared
@pytest.mark.parametrize(
    "preprocess",
    [
        TokenizerPreprocess(max_length=128, fields=("sentence",)),
        TokenizerPreprocess(max_length=12, fields=("sentence",), truncation_side="left", lengths=(8, 12)),
        TokenizerPreprocess(max_length=33, fields=("a", "b"), dtype="int32", lengths=(16, 33)),
    ],
    ids=["whole", "cut", "pairs"],
)
def test_every_sentence_of_sst2_gets_the_same_tokens(ask, shared, tmp_path, preprocess):
    folder = shared / "models" / "sst2-minilm"
    sentences = sst2_samples(shared)
    assert len(sentences) == 872
    shifted = sentences[1:] + sentences[:1]
    samples = list(zip(sentences, shifted, strict=True)) if len(preprocess.fields) == 2 else [(s,) for s in sentences]
    (tmp_path / "preprocess.json").write_text(json.dumps(to_dict(preprocess)))
    (tmp_path / "lines.txt").write_text("".join("\t".join(sample) + "\n" for sample in samples), encoding="utf-8")
    found = answers(ask("encode", folder, tmp_path / "preprocess.json", tmp_path / "lines.txt"))
    encode = preprocess.prepare(folder)
    for sample, line in zip(samples, found, strict=True):
        wanted = encode(Sample("line", dict(zip(preprocess.fields, sample, strict=True))))
        assert json.loads(line) == {name: array[0].tolist() for name, array in wanted.items()}, sample


@pytest.mark.parametrize("lowercase", [True, False], ids=["uncased", "cased"])
def test_every_character_is_normalized_alike(ask, tmp_path, lowercase):
    """All of Unicode but surrogates.

    What decomposes and which letters are small comes from the JVM. Characters that are newer than its version of
    Unicode may stay as they are; so they do on a phone.
    """
    points = [*range(0xD800), *range(0xE000, 0x110000)]
    np.array(points, "<i4").tofile(tmp_path / "points.bin")
    found = answers(ask("normalize", tmp_path / "points.bin", "lowercase" if lowercase else "cased"))
    normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    split = pre_tokenizers.BertPreTokenizer()
    unlike = []
    for point, line in zip(points, found, strict=True):
        words = [word for word, _ in split.pre_tokenize_str(normalizer.normalize_str(f"a{chr(point)}b"))]
        if " ".join("-".join(str(ord(character)) for character in word) for word in words) != line:
            unlike.append(chr(point))
    newer = [character for character in unlike if unicodedata.ucd_3_2_0.category(character) == "Cn"]
    assert newer == unlike  # none that Unicode 3.2 of 2002 had
    assert len(unlike) <= 100


@pytest.mark.parametrize("name", ["text_bundle", "picture_bundle", "tones_bundle"])
def test_bundles_are_read(request, ask, name):
    bundle = request.getfixturevalue(name)
    inputs, outputs, verdict, about = answers(ask("open", bundle.path, "as they are"))
    for line, kind in ((inputs, "inputs"), (outputs, "outputs")):
        wanted = [
            {key: array.ravel().tolist() for key, array in one.items()}
            for one in tensors.Reader(str(bundle.path / "golden" / kind))
        ]
        assert json.loads(line) == wanted
    samples = bundle.manifest.golden.samples
    assert verdict == (
        f"PASS: {samples} golden samples, 0 predicted unlike float32, cosine 1.0000, greatest difference 0.000"
    )
    scores = next(iter(next(iter(tensors.Reader(str(bundle.path / "golden/outputs")))).values()))[0].astype(np.float64)
    shares = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
    form, task, label, share = about.split()
    assert (form, task) == (bundle.manifest.format, bundle.manifest.task)
    assert label == bundle.manifest.labels[int(shares.argmax())]
    assert float(share) == pytest.approx(shares.max(), abs=1e-12)


def test_a_self_test_fails_where_outputs_are_others(ask, text_bundle, tones_bundle):
    for bundle in (text_bundle, tones_bundle):
        assert answers(ask("open", bundle.path, "reversed"))[2].startswith("FAIL: ")


def test_numbers_of_a_model_without_classes_are_shown_as_they_are(ask):
    assert answers(ask("numbers", "31.25", "-0.5", "640", "0.0001234")) == ["31.25  -0.5000  640.0  0.0001234"]
    assert answers(ask("numbers", *map(str, range(9)))) == ["  ".join(f"{n:#.4g}" for n in range(8)) + " …"]


def test_what_was_altered_is_refused(ask, text_bundle, tmp_path):
    copy = shutil.copytree(text_bundle.path, tmp_path / "bundle")
    with (copy / "model.onnx").open("ab") as file:
        file.write(b"x")
    done = ask("open", copy, "as they are")
    assert (done.returncode, done.stdout) == (2, "refused: model.onnx was altered; copy the whole bundle again\n")
    (copy / "model.onnx").unlink()
    assert "model.onnx is missing from the bundle" in ask("open", copy, "as they are").stdout
    manifest = json.loads((copy / "manifest.json").read_text())
    for change, message in (
        ({"files": {"../outside": "0"}}, "names a file outside the bundle: ../outside"),
        ({"schema_version": 2}, "has schema 2, this app reads 1"),
        ({"files": []}, "manifest.json: 'files' is not what this app reads"),
    ):
        (copy / "manifest.json").write_text(json.dumps({**manifest, **change}))
        assert message in ask("open", copy, "as they are").stdout
    assert "there is no bundle" in ask("open", tmp_path, "as they are").stdout


def test_recordings_get_the_same_features(ask, tones_bundle, tones, expected, tmp_path):
    samples, inputs, _ = expected(tones_bundle, tones / "evaluation", 60)
    (tmp_path / "lines.txt").write_text("".join(f"{tmp_path / sample.record.stem}.raw\n" for sample in samples))
    for sample in samples:
        (tmp_path / f"{sample.record.stem}.raw").write_bytes(sample.record.read_bytes()[44:])
    real, given, wanted = [], [], []
    for line, arrays in zip(answers(ask("recordings", tones_bundle.path, tmp_path / "lines.txt")), inputs, strict=True):
        made = json.loads(line)
        np.testing.assert_allclose(made["real"]["features"], arrays["features"].ravel(), rtol=0, atol=1e-5)
        real.append(made["real"]["features"])
        given.append(made["given"]["features"])
        wanted.append(quantize(arrays, tones_bundle.signature)["features"].ravel())
    steps = np.abs(np.array(given) - np.array(wanted, np.int32))
    assert steps.max() <= 1
    assert (steps > 0).mean() < 1e-3  # a value on the edge of a step


@pytest.fixture(scope="session")
def resources(once, android):
    """The manifest and the resources as Android's own compiler takes them, with the ids it gives."""
    if shutil.which("aapt") is None or not FRAMEWORK.is_file():
        pytest.skip("there is no aapt: apt-get install aapt android-framework-res")

    def fill(folder):
        text = (android / "app/src/main/AndroidManifest.xml").read_text()
        # Gradle takes the package from the build file.
        package = re.search(r'namespace = "(.+)"', (android / "app/build.gradle.kts").read_text())[1]
        (folder / "AndroidManifest.xml").write_text(text.replace("<manifest ", f'<manifest package="{package}" '))
        command = ["aapt", "package", "-f", "-m", "-J", folder, "-M", folder / "AndroidManifest.xml"]
        done = run(*command, "-S", android / "app/src/main/res", "-I", FRAMEWORK, "-F", folder / "app.apk")
        (folder / "log.txt").write_text(done.stdout + done.stderr)

    folder = once("app-android-resources", fill)
    assert (folder / "app.apk").is_file(), (folder / "log.txt").read_text()
    return folder


def test_the_app_compiles(android, kotlinc, resources, tmp_path):
    """Against what looks like Android, ONNX Runtime and LiteRT; the ids of its views are the real ones."""
    if shutil.which("javac") is None:
        pytest.skip("there is no javac: apt-get install openjdk-17-jdk-headless")
    sources = [*(JVM / "standins").rglob("*.java"), *resources.rglob("R.java")]
    done = run("javac", "-d", tmp_path / "standins", *sources)
    assert done.returncode == 0, done.stderr
    kotlin = [path for name in ("core", "app") for path in (android / name / "src/main").rglob("*.kt")]
    done = run(*kotlinc, *kotlin, "-cp", tmp_path / "standins", "-d", tmp_path / "app.jar")
    assert done.returncode == 0, done.stderr
    names = run("unzip", "-l", tmp_path / "app.jar").stdout if shutil.which("unzip") else None
    activity = ElementTree.parse(android / "app/src/main/AndroidManifest.xml").find("application/activity")
    assert activity.get(f"{ANDROID}name") == ".MainActivity"
    assert names is None or "dev/edgeexport/sample/app/MainActivity.class" in names


def test_the_project_holds_together(android):
    settings = (android / "settings.gradle.kts").read_text()
    for name in re.search(r"include\((.+)\)", settings)[1].replace('"', "").split(", "):
        assert (android / name.removeprefix(":") / "build.gradle.kts").is_file()
    for path in android.rglob("*.kt"):
        package = re.search(r"^package (.+)$", path.read_text(), re.MULTILINE)[1]
        assert path.parent.as_posix().endswith("kotlin/" + package.replace(".", "/"))
    strings = {
        item.get("name") for item in ElementTree.parse(android / "app/src/main/res/values/strings.xml").getroot()
    }
    used = set(
        re.findall(r"@string/(\w+)", "".join(path.read_text() for path in android.rglob("app/src/main/**/*.xml")))
    )
    assert used == strings
    pinned = re.findall(
        r"com\.google\.ai\.edge\.litert:litert:(\d+\.\d+)", (android / "app/build.gradle.kts").read_text()
    )
    from edgeexport.target import load_target

    (need,) = [one for one in load_target("android-arm64-litert").runtimes if one.name == "litert"]
    assert [tuple(map(int, one.split("."))) for one in pinned] >= [tuple(map(int, need.minimum.split(".")))]


def test_the_tokenizer_of_the_vectors_is_read_by_its_own_library(apps):
    for name in ("uncased", "cased"):
        assert Tokenizer.from_file(str(apps / f"vectors/tokenizer-{name}.json")).get_vocab_size() > 200
