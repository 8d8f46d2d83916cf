"""The microcontroller app: features against Python, the whole of it with TFLite Micro's kernels, and for ARM."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import wave
from pathlib import Path

import msgspec
import numpy as np
import pytest

from edgeexport.interface import quantize
from edgeexport.packers._micro_ops import METHODS
from edgeexport.preprocess import LogMelPreprocess, to_dict
from edgeexport.sample_files import Sample

HERE = Path(__file__).parent / "tflm"
GXX, ARM, QEMU = (shutil.which(name) for name in ("g++", "arm-none-eabi-g++", "qemu-system-arm"))
HEADERS = os.environ.get("EDGEEXPORT_TFLM")
"""Include folders of TensorFlow Lite Micro, apart by colons."""

STRICT = ["-std=c++17", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
BOARDS = {"cortex-m4": "v7E-M", "cortex-m55": "v8.1-M.mainline"}
TOLERANCE = 5e-4
"""Between features in single and in double precision, before mean and std: 0.002 dB of an energy."""

needs_gxx = pytest.mark.skipif(GXX is None, reason="there is no g++")
needs_arm = pytest.mark.skipif(ARM is None, reason="apt-get install gcc-arm-none-eabi libstdc++-arm-none-eabi-newlib")

COMMON = {"sample_rate": 8000, "n_fft": 256, "win_length": 256, "hop_length": 160, "n_mels": 20, "f_max": 4000.0}
SETTINGS = {
    "htk": LogMelPreprocess(**COMMON, mel_scale="htk", norm="none", frames=30, floor=1e-6),
    "slaney": LogMelPreprocess(
        **{**COMMON, "win_length": 200, "n_fft": 512, "f_max": 3500.0},
        f_min=60.0,
        mel_scale="slaney",
        norm="slaney",
        power=1.0,
        log="log10",
        floor=1e-5,
        frames=25,
        center=False,
        mean=-2.0,
        std=0.5,
        layout="frames-mels-channel",
    ),
}


def run(*command, **options):
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, **options)


def compiled(*command):
    done = run(*command)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture(scope="session")
def app(apps):
    return apps / "microcontroller"


def generate(app, bundle, folder):
    done = run(sys.executable, app / "generate.py", bundle, folder)
    assert done.returncode == 0, done.stderr
    return folder


def with_settings(bundle, preprocess, folder):
    """The headers of a bundle with another preprocessing."""
    shutil.copytree(bundle.path / "microcontroller", folder / "microcontroller")
    manifest = json.loads((bundle.path / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "preprocess": to_dict(preprocess)}))
    return folder


def sounds(folder, rate):
    """Recordings as .wav and as bare samples: silence, a click, loud and soft tones with noise, short and long."""
    source = np.random.default_rng(2)
    seconds = np.arange(rate) / rate
    tones = [a * np.sin(2 * np.pi * f * seconds) + source.normal(0, 30, rate) for a, f in ((30000, 440), (300, 1234))]
    arrays = [np.zeros(rate), np.r_[np.zeros(900), 32767, np.zeros(500)], *tones, source.normal(0, 3000, rate // 9)]
    found = []
    for number, array in enumerate(arrays):
        samples = np.clip(np.rint(array), -32768, 32767).astype("<i2")
        samples.tofile(folder / f"{number}.raw")
        with wave.open(str(folder / f"{number}.wav"), "wb") as file:
            file.setparams((1, 2, rate, len(samples), "NONE", ""))
            file.writeframes(samples.tobytes())
        found.append(folder / f"{number}.raw")
    return found


def check_features(preprocess, start, files):
    """What a program makes of the recordings, against Python, to the tolerance."""
    # Bare names: newlib's command line by semihosting ends after 255 characters.
    pairs = [name for file in files for name in (file.name, file.with_suffix(".out").name)]
    done = run(*start(pairs), timeout=120, cwd=files[0].parent)
    assert done.returncode == 0, done.stderr
    encode = preprocess.prepare()
    worst = 0.0
    for file in files:
        wanted = encode(Sample(file.name, file.with_suffix(".wav")))[preprocess.input].ravel()
        found = np.fromfile(file.with_suffix(".out"), np.float32)
        assert found.shape == wanted.shape
        worst = max(worst, float(np.abs(found - wanted).max()) * (preprocess.std or 1.0))
    assert worst < TOLERANCE


def feature_sources(app, made, bundle):
    includes = [f"-I{app / 'src'}", f"-I{made}", f"-I{bundle / 'microcontroller'}", f"-I{HERE}"]
    return [*includes, HERE / "features_main.cc", app / "src/log_mel.cc", made / "app_tables.cc"]


@pytest.fixture(scope="session")
def methods(once):
    """The methods of the resolver that the stand-in has: all that bundles may register."""

    def fill(folder):
        lines = (f"  TfLiteStatus {name}() {{ return kTfLiteOk; }}\n" for name in sorted(METHODS.values()))
        (folder / "methods.inc").write_text("".join(lines))

    return once("app-tflm-methods", fill)


@needs_gxx
@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_features_are_those_of_python(app, tones_bundle, methods, tmp_path, name):
    preprocess = SETTINGS[name]
    bundle = with_settings(tones_bundle, preprocess, tmp_path / "bundle")
    made = generate(app, bundle, tmp_path / "generated")
    program = tmp_path / "features"
    compiled(GXX, *STRICT, f"-I{methods}", *feature_sources(app, made, bundle), "-o", program)
    check_features(preprocess, lambda pairs: [program, *pairs], sounds(tmp_path, preprocess.sample_rate))


@needs_arm
@pytest.mark.skipif(QEMU is None, reason="apt-get install qemu-system-arm")
@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_features_on_an_emulated_cortex_m4_are_those_of_python(app, tones_bundle, methods, tmp_path, name):
    """On its floating point unit of single precision, with newlib's logarithm; files come by semihosting."""
    preprocess = SETTINGS[name]
    bundle = with_settings(tones_bundle, preprocess, tmp_path / "bundle")
    made = generate(app, bundle, tmp_path / "generated")
    flags = [*STRICT, "-mcpu=cortex-m4", "-mthumb", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard", "-fno-exceptions"]
    flags += ["-fno-rtti", "--specs=rdimon.specs", f"-I{methods}", "-Wl,--section-start=.vectors=0,-Tdata=0x20000000"]
    sources = [*feature_sources(app, made, bundle), HERE / "cortex_m_startup.cc"]
    compiled(ARM, *flags, *sources, "-o", tmp_path / "features.elf")
    machine = ["-M", "mps2-an386", "-nographic", "-monitor", "none", "-serial", "none"]

    def start(arguments):
        given = ",".join(f"arg={argument}" for argument in ("features", *arguments))
        options = ["-semihosting-config", f"enable=on,target=native,{given}", "-kernel", tmp_path / "features.elf"]
        return [QEMU, *machine, *options]

    check_features(preprocess, start, sounds(tmp_path, preprocess.sample_rate))


def build(app, bundle, methods, folder):
    """The whole app for this computer, but for TensorFlow Lite Micro."""
    if GXX is None:
        pytest.skip("there is no g++")
    made = generate(app, bundle, folder / "generated")
    sources = [app / "src" / f"{name}.cc" for name in ("main", "classifier", "log_mel")]
    sources += [made / "app_tables.cc", app / "host/board_host.cc"]
    sources += [bundle / "microcontroller" / name for name in ("model.cc", "golden.cc")]
    space = re.search(r"namespace model = (\w+);", (made / "app_config.h").read_text())[1]
    includes = [app / "src", made, bundle / "microcontroller", HERE, methods]
    flags = [*STRICT, f"-DMODEL={space}", *(f"-I{include}" for include in includes)]
    compiled(GXX, *flags, *sources, "-o", folder / "app")
    return folder / "app"


@pytest.fixture(scope="session")
def program(once, app, tones_bundle, methods):
    """The app with a model that tells classes."""
    return once("app-micro-program", lambda folder: build(app, tones_bundle.path, methods, folder)) / "app"


@pytest.fixture
def listen(program, tones_bundle):
    """Run the app on samples; a thread answers its inferences by TensorFlow Lite Micro. Lines, inputs, exit status."""
    runtime = pytest.importorskip("tflite_micro.python.tflite_micro").runtime

    def answer(inputs, outputs, change, seen):
        interpreter = runtime.Interpreter.from_file(str(tones_bundle.model_path))
        size = int(np.prod(tones_bundle.signature.inputs[0].shape))
        shape = tones_bundle.signature.inputs[0].shape
        with os.fdopen(inputs, "rb") as source, os.fdopen(outputs, "wb", buffering=0) as sink:
            while len(data := source.read(size)) == size:
                given = np.frombuffer(data, np.int8).reshape(shape)
                seen.append(given)
                interpreter.set_input(given, 0)
                interpreter.invoke()
                sink.write(change(interpreter.get_output(0)).tobytes())

    def go(samples, change=lambda array: array, program=program):
        seen = []
        ours, theirs = os.pipe(), os.pipe()
        thread = threading.Thread(target=answer, args=(ours[0], theirs[1], change, seen))
        # The shell gives the pipes the numbers that the stand-in uses.
        start = ["bash", "-c", f'exec "$0" 3>&{ours[1]} 4<&{theirs[0]}', str(program)]
        process = subprocess.Popen(
            start, stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=(ours[1], theirs[0]), close_fds=True
        )
        os.close(ours[1])
        os.close(theirs[0])
        thread.start()
        printed, _ = process.communicate(samples.astype("<i2").tobytes(), timeout=120)
        thread.join(timeout=60)
        return printed.decode().splitlines(), seen, process.returncode

    return go


def test_the_app_hears_what_edgeexport_hears(listen, tones_bundle, tones, expected):
    """The recordings one by one: the same integers but on the edge of a step, and the same classes."""
    samples, inputs, outputs = expected(tones_bundle, tones / "evaluation", 60)
    golden = tones_bundle.manifest.golden.samples
    labels, unlike, total = tones_bundle.manifest.labels, 0, 0
    used = msgspec.convert(tones_bundle.manifest.preprocess, LogMelPreprocess).samples
    for sample, arrays, answer in list(zip(samples, inputs, outputs, strict=True))[:20]:
        waveform = np.frombuffer(sample.record.read_bytes()[44:], "<i2")[:used]
        lines, seen, status = listen(waveform)
        assert status == 0
        assert lines[1] == (
            f"PASS: {golden} golden samples, 0 classes and 0 values unlike the reference kernels, by at most 0"
        )
        wanted = quantize(arrays, tones_bundle.signature)["features"]
        steps = np.abs(seen[golden].astype(int) - wanted.astype(int))
        assert steps.max() <= 1
        unlike, total = unlike + int(steps.sum()), total + steps.size
        index = int(answer["scores"].argmax())
        assert lines[2] == f"class {index} {labels[index]}"
    assert unlike / total < 2e-3


def test_numbers_of_a_model_without_classes_may_move_by_steps(listen, app, tones_bundle, methods, tmp_path):
    bundle = with_settings(
        tones_bundle, msgspec.convert(tones_bundle.manifest.preprocess, LogMelPreprocess), tmp_path / "b"
    )
    manifest = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").write_text(json.dumps({**manifest, "task": "regression", "labels": None}))
    (tmp_path / "built").mkdir()
    program = build(app, bundle, methods, tmp_path / "built")
    for step, verdict, status in ((0, "PASS", 0), (8, "PASS", 0), (9, "FAIL", 1)):
        moved = lambda array, step=step: (array.astype(int) + np.where(array > 0, -step, step)).astype(np.int8)  # noqa: E731
        lines, _, code = listen(np.zeros(0), moved, program)
        assert code == status
        assert lines[1].startswith(f"{verdict}: {tones_bundle.manifest.golden.samples} golden samples, ")
        assert "classes" not in lines[1] and lines[1].endswith(f"by at most {step}")
        assert lines[2:] == ["the model gives no classes: its outputs are for your own code"][: 1 - status]


def test_a_long_sound_is_heard_in_overlapping_windows(listen, tones_bundle, tones):
    import tones as module

    used = module.PREPROCESS.samples
    source = np.random.default_rng(9)
    waveform = np.concatenate([module.recording(kind, source) for kind in (0, 2, 1, 0)])
    lines, seen, status = listen(waveform)
    golden = tones_bundle.manifest.golden.samples
    encode, windows = module.PREPROCESS._spectrogram(), 0
    for number, given in enumerate(seen[golden:]):
        window = waveform[number * (used // 2) :][:used] / 32768
        features = encode(window).T[None, :, :, None]
        wanted = quantize({"features": features}, tones_bundle.signature)["features"]
        assert np.abs(given.astype(int) - wanted.astype(int)).max() <= 1
        windows += 1
    assert windows == len(lines) - 2 >= len(waveform) // (used // 2) - 1
    assert status == 0


def test_the_self_test_finds_another_answer(listen, tones_bundle):
    lines, _, status = listen(np.zeros(0), lambda array: array[..., ::-1].copy())
    assert status == 1
    assert lines[-1].startswith(f"FAIL: {tones_bundle.manifest.golden.samples} golden samples, ")
    lines, _, status = listen(np.zeros(0), lambda array: (array.astype(int) - 1).clip(-128).astype(np.int8))
    assert status == 0  # a step in every value, and no other class
    assert lines[-1].endswith("values unlike the reference kernels, by at most 1")
    assert " 0 classes and 0 values" not in lines[-1]


@needs_arm
@pytest.mark.parametrize("cpu", sorted(BOARDS))
@pytest.mark.parametrize("headers", ["looks alike", "real"])
def test_it_compiles_for_boards(app, tones_bundle, methods, tmp_path, cpu, headers):
    """By the Makefile, without a warning; the real headers are those that EDGEEXPORT_TFLM names."""
    if headers == "real" and HEADERS is None:
        pytest.skip("EDGEEXPORT_TFLM names no headers of TensorFlow Lite Micro")
    real = (HEADERS or "").split(":")
    space = re.search(r"namespace (\w+) {", (tones_bundle.path / "microcontroller/model.h").read_text())[1]
    extra = f"-DMODEL={space}"
    if headers == "real":
        text = next(Path(folder) for folder in real if (Path(folder) / "tensorflow").is_dir())
        schema = (text / "tensorflow/lite/schema/schema_generated.h").read_text(errors="replace")
        # A vendor's copy may have another namespace, and one layout of tensors for everything.
        extra = "-Dtflite=tflite_micro -UTF_LITE_STATIC_MEMORY" if "namespace tflite_micro" in schema else ""
    # The stand-in's interpreter reads descriptors as POSIX does, which a board has not: only its layout is wanted.
    folders = " ".join(map(str, real if headers == "real" else [HERE, methods]))
    arguments = [f"BUNDLE={tones_bundle.path}", f"TFLM={folders}", f"CPU={cpu}", f"BUILD={tmp_path}"]
    done = run("make", "-C", app, "objects", *arguments, f"EXTRA={extra}", f"PYTHON={sys.executable}")
    assert done.returncode == 0, done.stderr[-2000:]
    for name in ("main", "classifier", "log_mel", "app_tables", "model", "golden"):
        told = run("arm-none-eabi-readelf", "-h", "-A", tmp_path / cpu / f"{name}.o").stdout
        assert re.search(r"Machine:\s+ARM", told)
        assert re.search(r"Tag_CPU_arch: (\S+)", told)[1] == BOARDS[cpu]
    sizes = run("arm-none-eabi-size", tmp_path / cpu / "log_mel.o").stdout.splitlines()[1].split()
    assert int(sizes[2]) == 8 * 128  # the features' only memory: two parts of a transform of 128


def test_what_cannot_be_done_is_a_sentence(app, tones_bundle, text_bundle, tmp_path):
    bundle = with_settings(tones_bundle, SETTINGS["htk"], tmp_path / "odd")
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["preprocess"]["n_fft"] = 300
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    for path, message in ((bundle, "takes powers of two"), (text_bundle.path, "is no bundle for a microcontroller")):
        done = run(sys.executable, app / "generate.py", path, tmp_path / "made")
        assert done.returncode == 1
        assert message in done.stderr
        assert "Traceback" not in done.stderr


@needs_gxx
def test_labels_are_what_they_were(app, tones_bundle, methods, tmp_path):
    """Hostile names stay in their literals."""
    labels = ['a"b', "back\\slash", "caf\u00e9 \u4e2d", "??/", "1\n2", "\\u0041", "%s%n"]
    bundle = with_settings(tones_bundle, SETTINGS["htk"], tmp_path / "bundle")
    manifest = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").write_text(json.dumps({**manifest, "labels": labels}))
    made = generate(app, bundle, tmp_path / "generated")
    main = 'int main() { for (auto label : app::kLabels) std::printf("%s|", label); }'
    (tmp_path / "main.cc").write_text(f'#include <cstdio>\n#include "app_config.h"\n{main}\n')
    includes = [f"-I{folder}" for folder in (made, bundle / "microcontroller", HERE, methods)]
    compiled(GXX, *STRICT, *includes, tmp_path / "main.cc", "-o", tmp_path / "main")
    assert (
        subprocess.run([tmp_path / "main"], capture_output=True, check=True).stdout.decode() == "|".join(labels) + "|"
    )
