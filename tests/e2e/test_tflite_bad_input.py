"""Bad input on the road to TFLite, through the real command: a sentence, exit code 2 or 3, nothing half-written."""

import json
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

pytest.importorskip("litert_torch", reason="converts to TFLite: pip install 'edgeexport[litert]'")
pytest.importorskip("tflite_micro", reason="runs microcontroller models: pip install 'edgeexport[micro]'")

from edgeexport.artifact import Manifest, write_manifest

pytest_plugins = ["tflite_road"]  # not imported: its asserts are to be rewritten
ANDROID, CORTEX = "android-arm64-litert", "cortex-m7"
SETS = ("calibration", "evaluation")


def listing(folder):
    return {str(path.relative_to(folder)): path.is_file() and path.read_bytes() for path in folder.rglob("*")}


@pytest.fixture
def refused(command, cache, tmp_path):
    """Run the command, which must refuse, and look at what it says and leaves."""

    def run(*arguments, says, hint="", status=2, stages=None, **variables):
        before = listing(command.folder)
        done = command(*arguments, **{"EDGEEXPORT_CACHE": str(cache), **variables})
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr
        lines = done.stderr.splitlines()
        (number,) = [number for number, line in enumerate(lines) if line.startswith("error: ")]
        assert says in lines[number]
        assert hint in "\n".join(lines[number + 1 :])
        assert stages is None or lines[:number] == stages
        assert done.stdout == ""
        assert listing(command.folder) == before
        assert list(tmp_path.rglob("*.partial*")) == []
        return done

    run.folder = command.folder
    return run


def sets_of(trained):
    return [word for name in SETS for word in (f"--{name}", getattr(trained, name))]


# The model


def test_a_converted_model_as_the_source(refused, road):
    shutil.copy(road.bundle(ANDROID).model_path, refused.folder / "model.tflite")
    refused(
        *("export", "model.tflite", "-t", ANDROID, "--precision", "w8"),
        says="model.tflite is a converted model, and an export starts from the float32 one",
        hint="the torch factory",
        stages=[],
    )
    refused("export", "none.tflite", "-t", ANDROID, "--precision", "w8", says="no model at 'none.tflite'", stages=[])
    refused("inspect", "model.tflite", says="model.tflite is a converted model")


def test_there_is_no_route_from_onnx(refused, linear):
    for target in (ANDROID, CORTEX):
        refused(
            *("export", linear.model, "-t", target, *sets_of(linear), "-o", "out"),
            says="TFLite is converted from torch modules",
            hint="Export the torch or Transformers model that it came from",
        )


@pytest.mark.parametrize(
    ("factory", "says", "hint"),
    [
        ("complex_input", "TFLite has no inputs of dtype complex64 ('x')", ""),
        ("bfloat16_input", "takes inputs that samples cannot have", "Take float32 and cast inside the model"),
        (
            "two_axes",
            "the dimensions height, width are all dynamic",
            "Leave all but one out of the module's dynamic_axes",
        ),
        pytest.param(
            *(
                "unsupported",
                "no form of the operator aten._linalg_svd.default, which module 'body' uses",
                "other operators",
            ),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_models_that_tflite_cannot_have(refused, factory, says, hint):
    refused("export", f"misfits:{factory}", "-t", ANDROID, "--precision", "w8", "-o", "out", says=says, hint=hint)


def test_a_text_model_without_lengths(refused, tiny_bert):
    refused(
        *("export", tiny_bert.model, "-t", ANDROID, *sets_of(tiny_bert), "--set", "interface.lengths=[]", "-o", "out"),
        says="no length is given for 'sequence_length'",
        hint="--set interface.lengths=[64,128]",
    )
    refused(
        *("export", tiny_bert.model, "-t", ANDROID, *sets_of(tiny_bert), "--set", "interface.lengths=[0]", "-o", "out"),
        says="interface.lengths",
    )


@pytest.mark.slow
def test_inputs_larger_than_the_arena(refused, tmp_path):
    values = np.random.default_rng(0).standard_normal((4, 512, 513)).astype(np.float32)
    np.savez(tmp_path / "set.npz", x=values)
    refused(
        *("export", "misfits:large_input", "-t", CORTEX, "--calibration", tmp_path / "set.npz", "-o", "out"),
        *("--set", "calibration.minimum_samples=4"),
        says="its inputs take 262,656 bytes, and the target 'cortex-m7' has 262,144 for all tensors of an inference",
        hint="--set limits.arena_bytes=BYTES",
    )


# Settings


@pytest.mark.parametrize(
    ("target", "hint"),
    [
        (ANDROID, "Give --calibration FILE, or choose --precision w8a8-dynamic."),
        ("raspberry-pi-3-32bit", "Give --calibration FILE, or choose --precision w8a8-dynamic."),
        (CORTEX, "Give --calibration FILE."),
    ],
)
def test_static_precision_without_calibration(refused, digits, target, hint):
    done = refused(
        *("export", digits.model, "-t", target, "--precision", "w8a8", "-o", "out"),
        says="static precision w8a8 needs calibration samples, and none were given",
        stages=[],
    )
    assert done.stderr.splitlines()[-1] == hint


def test_what_a_static_precision_without_calibration_may_fall_back_to(refused, digits):
    """The hint names a precision that the target has."""
    text = f'extends = "{ANDROID}"\nname = "narrow"\nprecisions = ["w8a16", "w8a8", "fp32"]\n'
    (refused.folder / "narrow.toml").write_text(text)
    done = refused("export", digits.model, "-t", "./narrow.toml", "--precision", "w8a16", says="static precision w8a16")
    assert done.stderr.splitlines()[-1] == "Give --calibration FILE, or choose --precision fp32."


@pytest.mark.parametrize(
    ("target", "settings", "says"),
    [
        ("raspberry-pi-3-32bit", ["precision=w4"], "does not execute precision 'w4'"),
        (CORTEX, ["precision=w8a8-dynamic"], "does not execute precision 'w8a8-dynamic'"),
        (ANDROID, ["quantization.io_type=float16"], "quantization.io_type"),
        (ANDROID, ["interface.layout=NHWC"], "unknown field `layout`"),
        (ANDROID, ["limits.arena_bytes=0"], "limits.arena_bytes"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_settings(refused, digits, target, settings, says):
    words = [word for setting in settings for word in ("--set", setting)]
    refused("export", digits.model, "-t", target, *words, *sets_of(digits), "-o", "out", says=says, stages=[])


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["quantization.activation_type=uint8"], "TFLite's integer kernels take int8 activations and weights"),
        (["quantization.smoothing=0.5"], "the format tflite has no quantization.smoothing"),
        (["precision=w8", "quantization.io_type=int8"], "integer inputs and outputs need a static precision, not w8"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_rules_of_other_formats(refused, road, tflite_cache, digits, settings, says):
    """With the conversion at hand: whether they are refused before it is another matter."""
    words = [word for setting in settings for word in ("--set", setting)]
    refused(
        *("export", digits.model, "-t", ANDROID, *words, *sets_of(digits), "-o", "out"),
        says=says,
        EDGEEXPORT_CACHE=str(tflite_cache),
    )


@pytest.mark.parametrize(
    ("table", "says", "hint"),
    [
        ('packaging = ["satellite"]', "there is no packaging 'satellite'", "Known: microcontroller"),
        ('estimation = { tool = "crystal-ball" }', "there is no cost model 'crystal-ball'", "Known: vela"),
        ('estimation = { tool = "vela", typo = 1 }', "typo", ""),
        ('runtimes = [{ name = "tensorrt", minimum = "1" }]', "tensorrt", "litert"),
        ('format = "safetensors"', "there is no format 'safetensors'", "tflite"),
    ],
    ids=lambda value: value if "=" in value else "",
)
def test_profiles(refused, road, tflite_cache, digits, table, says, hint):
    """With the conversion at hand, so that a late refusal costs a test no minute."""
    (refused.folder / "own.toml").write_text(f'extends = "{CORTEX}"\nname = "own"\n{table}\n')
    refused(
        *("export", digits.model, "-t", "./own.toml", *sets_of(digits), "-o", "out"),
        says=says,
        hint=hint,
        EDGEEXPORT_CACHE=str(tflite_cache),
    )


# What the machine lacks


def test_a_runtime_that_is_not_here(refused, digits, cache):
    """Its environment is in the cache, and this one is empty. Nothing is converted first."""
    refused(
        *("export", digits.model, "-t", "raspberry-pi-3-32bit", "--precision", "w8", "-o", "out"),
        status=3,
        says="tflite-runtime 2.14.0 needs an environment of its own, which has not been created",
        hint="edgeexport devices create local:tflite-runtime",
        stages=[],
    )


def test_a_board_that_is_not_here(refused, digits, tmp_path):
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "qemu-aarch64-static"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    refused(
        *("export", digits.model, "-t", ANDROID, "--precision", "w8", "--on", f"emulated:{ANDROID}", "-o", "out"),
        status=3,
        says="has not been created",
        hint="edgeexport devices create",
        stages=[],
        PATH=str(tmp_path / "bin"),
    )


# Bundles


@pytest.fixture
def bundle(road, command):
    return shutil.copytree(road.bundle(CORTEX).path, command.folder / "bundle")


def rehash(bundle):
    """As somebody would who alters a bundle on purpose."""
    write_manifest(bundle, msgspec.json.decode((bundle / "manifest.json").read_bytes(), type=Manifest))


def altered(bundle, change):
    manifest = json.loads((bundle / "manifest.json").read_text())
    change(manifest["signature"])
    (bundle / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    "change",
    [
        lambda signature: signature["inputs"][0].update(scale=2 * signature["inputs"][0]["scale"]),
        lambda signature: signature["inputs"][0].update(zero_point=0),
        lambda signature: signature["outputs"][0].update(scale=2 * signature["outputs"][0]["scale"]),
        lambda signature: signature["outputs"][0].update(dtype="float32", scale=None),
        lambda signature: signature["inputs"][0].update(name="picture"),
    ],
    ids=["input scale", "input zero point", "output scale", "output type", "input name"],
)
def test_a_manifest_with_other_scales_than_the_model(refused, bundle, change):
    altered(bundle, change)
    refused("verify", "bundle", says="is stated as", hint="Integers would be read as other numbers", stages=[])


def test_a_manifest_with_impossible_scales(refused, bundle):
    whole = (bundle / "manifest.json").read_bytes()
    for scale in ("small", [1], {}):
        altered(bundle, lambda signature, scale=scale: signature["inputs"][0].update(scale=scale))
        refused("verify", "bundle", says="is not a manifest that this version reads")
        (bundle / "manifest.json").write_bytes(whole)


def test_float32_models_that_are_none(refused, bundle, road):
    model = road.bundle(CORTEX).model_path.read_bytes()
    (refused.folder / "cut.tflite").write_bytes(model[: len(model) // 2])
    (refused.folder / "text.tflite").write_text("no model\n" * 100)
    (refused.folder / "empty.tflite").touch()
    (refused.folder / "folder.tflite").mkdir()
    for name in ("cut", "text", "empty"):
        done = refused("verify", "bundle", "--float32", f"{name}.tflite", says=f"{name}.tflite", stages=[])
        assert "TFLite" in done.stderr
    refused("verify", "bundle", "--float32", "folder.tflite", says="no float32 model at folder.tflite")
    refused("verify", "bundle", "--float32", "none.tflite", says="no float32 model at none.tflite")


@pytest.mark.parametrize("kept", [0, 4, 100, 0.5, 0.99])
def test_a_model_that_was_cut(refused, bundle, kept):
    model = (bundle / "model.tflite").read_bytes()
    (bundle / "model.tflite").write_bytes(model[: int(kept * len(model)) if isinstance(kept, float) else kept])
    refused("verify", "bundle", says="model.tflite was altered since it was packed", stages=[])
    rehash(bundle)
    refused("verify", "bundle", says="model.tflite", stages=[])
    refused("inspect", "bundle", says="model.tflite", stages=[])


def test_sources_that_were_altered(refused, bundle):
    source = bundle / "microcontroller" / "model.cc"
    source.write_text(source.read_text() + "\n")
    refused("verify", "bundle", says="microcontroller/model.cc was altered since it was packed", stages=[])
    source.unlink()
    refused("verify", "bundle", says="microcontroller/model.cc is missing", stages=[])


def test_a_model_of_other_operators_is_a_failed_run_with_its_log(command, bundle, road):
    """TFLite Micro cannot run the phone's model: a failed check that names the runtime, and no crash."""
    shutil.copy(road.bundle(ANDROID).model_path, bundle / "model.tflite")
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["signature"] = road.bundle(ANDROID).manifest.signature
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    rehash(bundle)
    done = command("verify", "bundle", "--json")
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    report = json.loads(done.stdout)
    failed = [check for check in report["checks"] if check["verdict"] == "fail" and "tflite-micro" in check["where"]]
    assert failed
    assert Path(report["bundle"]).name == "bundle"
