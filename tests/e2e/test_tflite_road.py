"""The road to TFLite: figures against a recomputation by LiteRT itself, one conversion for many targets, same bytes."""

import json
import shutil

import msgspec
import numpy as np
import pytest

pytest.importorskip("litert_torch", reason="converts to TFLite: pip install 'edgeexport[litert]'")
pytest.importorskip("tflite_micro", reason="runs microcontroller models: pip install 'edgeexport[micro]'")

import edgeexport
from edgeexport.artifact import file_digest, load_bundle
from edgeexport.errors import MissingRequirement
from edgeexport.job import Job
from edgeexport.preprocess import from_dict
from edgeexport.results import Report
from edgeexport.runtimes import tensors

pytest_plugins = ["tflite_road"]  # not imported: its asserts are to be rewritten
pytestmark = pytest.mark.usefixtures("tflite_cache")
ANDROID, PI, CORTEX, ETHOS = "android-arm64-litert", "raspberry-pi-4-litert", "cortex-m7", "ethos-u55-128"
FREE = {"limits": {"size_ratio": 1000.0, "latency_ratio": 1000.0}}
"""Small models on a busy machine keep no ratio."""


def litert(path):
    """The file's signatures by LiteRT alone: a function from inputs to outputs, by the shape of each input."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    runners = {}
    for name in interpreter.get_signature_list():
        runner = interpreter.get_signature_runner(name)
        runners[tuple(int(n) for n in next(iter(runner.get_input_details().values()))["shape"])] = runner
    run = {shape: (lambda feed, runner=runner: runner(**feed)) for shape, runner in runners.items()}
    run["details"] = {
        **next(iter(runners.values())).get_input_details(),
        **next(iter(runners.values())).get_output_details(),
    }
    return run


def stream(bundle, place):
    return list(tensors.Reader(str(bundle.path / "golden" / place)))


def check_parity(parity, expected, found):
    """Parity as a report has it, against outputs that were computed here; rows are samples."""
    a, b = expected.astype(np.float64), found.astype(np.float64)
    cosines = (a * b).sum(1) / np.sqrt((a**2).sum(1) * (b**2).sum(1))
    assert parity.samples == len(a)
    assert parity.unlike == int((a.argmax(1) != b.argmax(1)).sum())
    assert parity.cosine_mean == pytest.approx(cosines.mean(), abs=1e-9)
    assert parity.cosine_min == pytest.approx(cosines.min(), abs=1e-9)
    assert parity.max_abs == pytest.approx(np.abs(a - b).max(), abs=1e-9)


def digits_scores(trained):
    import digits as module
    import torch

    data = np.load(trained.evaluation)
    with torch.inference_mode():
        return data["image"], data["label"], module.factory().eval()(torch.from_numpy(data["image"])).numpy()


def content(folder):
    """Bytes of the files of a bundle by path, without the reports, which hold timings."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith("report.")
    }


# One CNN, several targets


def test_every_figure_is_that_of_litert_itself(road, digits):
    bundle, report = road.bundle(ANDROID), road.report(ANDROID)
    images, labels, expected = digits_scores(digits)
    run_alone = litert(bundle.model_path)[1, 1, 8, 8]
    found = np.concatenate([run_alone({"image": image[None]})["logits"] for image in images])

    (run,) = report.runs
    assert run.error is None
    assert (run.runtime, run.evidence, run.delegate) == ("litert", "measured", "xnnpack")
    assert run.parity.over == "evaluation"
    check_parity(run.parity, np.concatenate([item["logits"] for item in stream(bundle, "evaluation")]), found)
    check_parity(run.parity, np.concatenate([item["logits"] for item in stream(bundle, "evaluation")]), found)
    assert run.accuracy.value == (found.argmax(1) == labels).mean()
    assert run.accuracy.reference == (expected.argmax(1) == labels).mean() > 0.9
    assert run.parity.agreement >= 0.97
    assert run.parity.cosine_mean >= 0.999
    assert run.latency_ms.count > 0
    assert 20e6 < run.peak_memory_bytes < 1e9
    assert (run.arena_bytes, run.estimate) == (None, None)
    assert report.size.artifact_bytes == bundle.model_path.stat().st_size < 0.35 * report.size.source_float32_bytes
    assert sum(part.bytes for part in report.size.components) == report.size.artifact_bytes
    checks = {check.name: check for check in report.checks}
    compatible = checks["compatibility"]
    assert (compatible.verdict, compatible.measured, compatible.where) == ("pass", 0, "litert 2.3")
    assert checks["accuracy_drop"].measured == pytest.approx(run.accuracy.reference - run.accuracy.value)
    assert report.verdict == "pass"


def test_golden_data_is_the_float32_sources(road, digits):
    for target in (ANDROID, PI):
        bundle = road.bundle(target)
        images, _, expected = digits_scores(digits)
        inputs, outputs = stream(bundle, "inputs"), stream(bundle, "outputs")
        assert len(inputs) == len(outputs) == bundle.manifest.golden.samples == 8
        for number, (feed, answer) in enumerate(zip(inputs, outputs, strict=True)):
            assert np.array_equal(feed["image"], images[number][None])
            np.testing.assert_allclose(answer["logits"][0], expected[number], atol=2e-5)


def test_parity_over_golden_samples(road, tmp_path):
    bundle = load_bundle(shutil.copytree(road.bundle(ANDROID).path, tmp_path / "copy"))
    (run,) = edgeexport.verify(bundle.path).runs
    run_alone = litert(bundle.model_path)[1, 1, 8, 8]
    found = np.concatenate([run_alone(feed)["logits"] for feed in stream(bundle, "inputs")])
    assert run.parity.over == "golden"
    check_parity(run.parity, np.concatenate([item["logits"] for item in stream(bundle, "outputs")]), found)


def test_targets_share_conversion_calibration_and_references(road):
    """Two interfaces, so two conversions for four targets; the float32 source ran once over the evaluation set."""
    here = ["running litert on local (400)", "timing against float32 on local"]
    both = ["packing for microcontroller", "running tflite-micro on local (400)", "running litert on local (400)"]
    assert road.stages == [
        *("exporting factory to float32 tflite", "quantizing to w8a8"),
        *("calibrating: activation ranges (300)", "calibrating: activation histograms (300)"),
        *("running float32 factory on evaluation.npz (400)", *here),
        *here,
        *("exporting factory to float32 tflite", "quantizing to w8a8", "calibrating: activation ranges (300)", *both),
        *both,
    ]
    assert len(road.conversions) == 2
    assert road.bundle(PI).model_path.read_bytes() == road.bundle(ANDROID).model_path.read_bytes()
    assert road.bundle(ETHOS).model_path.read_bytes() == road.bundle(CORTEX).model_path.read_bytes()
    assert road.code == 0


def test_the_same_bytes_again_without_the_cache(road, digits, tmp_path):
    _, stages = road.export_by_command(tmp_path, digits, (ANDROID,), "--no-cache")
    assert stages[0] == "exporting factory to float32 tflite"
    name = road.bundle(ANDROID).path.name
    assert content(tmp_path / name) == content(road.folder / name)


# Microcontrollers


def test_a_microcontroller_takes_and_gives_integers(road, digits):
    bundle = road.bundle(CORTEX)
    (image,), (scores,) = bundle.signature.inputs, bundle.signature.outputs
    run_alone = litert(bundle.model_path)
    for spec in (image, scores):
        detail = run_alone["details"][spec.name]
        assert (spec.dtype, np.dtype(detail["dtype"])) == ("int8", np.int8)
        assert (spec.scale, spec.zero_point) == detail["quantization"]
    images, _, _ = digits_scores(digits)
    inputs = stream(bundle, "inputs")
    assert len(inputs) == 4
    for number, feed in enumerate(inputs):
        assert feed["image"].dtype == np.int8
        real = (feed["image"].astype(np.float64) - image.zero_point) * image.scale
        assert np.abs(real[0] - images[number]).max() <= image.scale / 2 + 1e-6
    for answer in stream(bundle, "outputs"):
        assert answer["logits"].dtype == np.float32


def test_both_interpreters_agree_on_a_microcontrollers_model(road, digits):
    bundle, report = road.bundle(CORTEX), road.report(CORTEX)
    images, labels, _ = digits_scores(digits)
    (image,), (scores,) = bundle.signature.inputs, bundle.signature.outputs
    run_alone = litert(bundle.model_path)[1, 1, 8, 8]
    integers = np.clip(np.rint(images / np.float32(image.scale)) + image.zero_point, -128, 127).astype(np.int8)
    answers = np.concatenate([run_alone({"image": one[None]})["logits"] for one in integers])
    found = ((answers.astype(np.int32) - scores.zero_point) * np.float32(scores.scale)).astype(np.float32)

    micro, litert_run = report.runs
    assert (micro.runtime, litert_run.runtime) == ("tflite-micro", "litert")
    check_parity(litert_run.parity, np.concatenate([item["logits"] for item in stream(bundle, "evaluation")]), found)
    assert litert_run.accuracy.value == (found.argmax(1) == labels).mean()
    assert micro.parity.agreement >= 0.99
    assert micro.accuracy.value == pytest.approx(litert_run.accuracy.value, abs=0.0051)
    checks = {check.name: check for check in report.checks}
    assert checks["agreement_between_devices"].measured >= 0.995
    assert (micro.latency_ms, litert_run.latency_ms) == (None, None)
    assert "latency_ratio" not in checks
    assert 1_000 < micro.arena_bytes < 262_144
    assert checks["peak_memory_arena"].measured == micro.arena_bytes
    assert litert_run.arena_bytes is None
    assert report.verdict == "pass"


def test_a_microcontrollers_sources_are_in_the_bundle(road):
    bundle = road.bundle(CORTEX)
    sources = sorted(name for name in bundle.manifest.files if name.startswith("microcontroller/"))
    folder = bundle.path / "microcontroller"
    assert sources == sorted(f"microcontroller/{path.name}" for path in folder.iterdir())
    assert {"microcontroller/model.cc", "microcontroller/ops.h", "microcontroller/golden.cc"} <= set(sources)
    for name in sources:
        assert bundle.manifest.files[name] == file_digest(bundle.path / name)
    assert any("microcontroller/arena.h" in note for note in road.report(CORTEX).notes)
    assert not (road.bundle(ANDROID).path / "microcontroller").exists()


def test_an_accelerator_is_estimated_and_never_timed(road):
    report = road.report(ETHOS)
    *measured, estimated = report.runs
    assert [run.evidence for run in measured] == ["measured", "measured"]
    assert all(run.estimate is None for run in measured)
    assert (estimated.evidence, estimated.runtime, estimated.device) == ("estimated", "vela", "ethos-u55-128")
    assert (estimated.parity, estimated.accuracy, estimated.latency_ms, estimated.error) == (None,) * 4
    assert estimated.peak_memory_bytes is None
    said = estimated.estimate
    assert said.milliseconds == pytest.approx(1e3 * said.cycles / said.clock_hz, rel=0.01)
    assert 1_000 < said.cycles < 10_000_000
    assert 0 < said.sram_bytes < 262_144
    (check,) = [check for check in report.checks if check.name == "peak_memory_sram"]
    assert (check.measured, check.verdict) == (said.sram_bytes, "pass")
    assert all(check.name != "latency_ratio" for check in report.checks)


def test_what_no_cost_model_can_say_is_not_missing(road):
    """A cost model has no accuracy, so nothing of it is left undone."""
    report = road.report(ETHOS)
    assert [check.name for check in report.checks if check.where.startswith("vela")] == ["peak_memory_sram"]
    assert report.verdict == "pass"


# Text


@pytest.fixture(scope="module")
def texts(once, tiny_bert):
    """BERT for two lengths; an evaluation set of which some texts are too long for either."""

    def fill(folder):
        edgeexport.export(
            tiny_bert.model,
            target=ANDROID,
            calibration=tiny_bert.calibration,
            evaluation=tiny_bert.evaluation,
            settings={**FREE, "interface": {"lengths": [8, 16]}},
            output=folder / "out",
        )

    return load_bundle(once("tflite-texts", fill) / "out")


@pytest.fixture(scope="module")
def encoded(tiny_bert):
    """For each evaluation text: ids as long as it is, cut at 16 and whole; label; float32 scores of the cut ids."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_bert.model)
    model = AutoModelForSequenceClassification.from_pretrained(tiny_bert.model).eval()
    found = []
    for record in map(json.loads, tiny_bert.evaluation.read_text().splitlines()):
        cut = tokenizer(record["text"], return_tensors="pt", truncation=True, max_length=16)
        whole = tokenizer(record["text"])["input_ids"]
        ids = cut["input_ids"]
        with torch.inference_mode():
            scores = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0].numpy()
        found.append((ids[0].numpy(), whole, ("bad", "good").index(record["label"]), scores))
    return found


def padded(ids):
    length = 8 if len(ids) <= 8 else 16
    array = np.zeros((1, length), np.int32)
    array[0, : len(ids)] = ids
    mask = (np.arange(length) < len(ids)).astype(np.int32)[None]
    return {"input_ids": array, "attention_mask": mask, "token_type_ids": np.zeros((1, length), np.int32)}


def test_texts_are_padded_to_the_next_length_and_cut_to_the_last(texts, encoded):
    assert texts.signature.lengths == {"sequence_length": (8, 16)}
    assert set(litert(texts.model_path)) == {(1, 8), (1, 16), "details"}
    preprocess = from_dict(texts.manifest.preprocess)
    assert (preprocess.lengths, preprocess.max_length, preprocess.dtype) == ((8, 16), 16, "int32")
    for feed, (ids, *_) in zip(stream(texts, "inputs"), encoded, strict=False):
        expected = padded(ids)
        assert set(feed) == set(expected)
        for name, array in expected.items():
            assert feed[name].dtype == np.int32
            assert np.array_equal(feed[name], array)


def test_the_reference_is_cut_alike(texts, encoded):
    """A reference that read the whole text would be compared with a model that cannot."""
    references = [item["logits"][0] for item in stream(texts, "evaluation")]
    assert sum(len(whole) > 16 for _, whole, _, _ in encoded) >= 3
    assert {len(ids) <= 8 for ids, *_ in encoded} == {True, False}
    for reference, (_, _, _, scores) in zip(references, encoded, strict=True):
        np.testing.assert_allclose(reference, scores, atol=5e-5)


def test_both_signatures_predict_what_float32_does(texts, encoded):
    run_alone = litert(texts.model_path)
    feeds = [padded(ids) for ids, *_ in encoded]
    found = np.concatenate([run_alone[feed["input_ids"].shape](feed)["logits"] for feed in feeds])
    expected = np.stack([scores for *_, scores in encoded])
    assert np.array_equal(found.argmax(1), expected.argmax(1))
    (run,) = Report.read(texts.report_path).runs
    assert (run.parity.unlike, run.parity.samples) == (0, len(encoded))
    check_parity(run.parity, np.concatenate([item["logits"] for item in stream(texts, "evaluation")]), found)
    labels = np.array([label for *_, label, _ in encoded])
    assert run.accuracy.value == (found.argmax(1) == labels).mean() > 0.9


def test_inspect_says_which_lengths(texts, command):
    lines = command("inspect", texts.path).stdout.splitlines()
    assert "lengths      sequence_length: 8, 16" in lines
    assert "input        input_ids: int32 [1, sequence_length]" in lines


def test_inspect_says_which_scales(road, command):
    (image,) = road.bundle(CORTEX).signature.inputs
    lines = command("inspect", road.bundle(CORTEX).path).stdout.splitlines()
    assert f"input        image: int8 [1, 1, 8, 8], scale {image.scale:.6g}, zero point {image.zero_point}" in lines


# Pictures


@pytest.fixture(scope="module")
def stripes(once):
    """A CNN on pictures, and its sets."""
    import stripes as module

    folder = once("stripes", module.train)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEEXPORT_STRIPES", str(folder))
        yield folder


@pytest.fixture(scope="module")
def pictures(once, stripes):
    def fill(folder):
        edgeexport.export(
            "stripes:factory",
            target=ANDROID,
            calibration=stripes / "calibration",
            evaluation=stripes / "evaluation",
            settings=FREE,
            output=folder / "out",
        )

    return load_bundle(once("tflite-pictures", fill) / "out")


def test_pictures_go_in_with_channels_last(pictures, stripes):
    import stripes as module
    import torch
    from PIL import Image

    (image,) = pictures.signature.inputs
    assert (image.dtype, image.shape) == ("float32", (1, 16, 24, 3))
    assert from_dict(pictures.manifest.preprocess).layout == "NHWC"
    files = sorted((stripes / "evaluation").rglob("*.png"))
    mean, std = np.float32(module.PREPROCESS.mean), np.float32(module.PREPROCESS.std)
    values = [(np.asarray(Image.open(file), np.float32) / 255 - mean) / std for file in files]
    labels = np.array([module.LABELS.index(file.parent.name) for file in files])
    with torch.inference_mode():
        batch = torch.from_numpy(np.stack(values).astype(np.float32).transpose(0, 3, 1, 2).copy())
        expected = module.factory().eval()(batch).numpy()

    golden = stream(pictures, "inputs")
    for number, feed in enumerate(golden):
        assert feed["image"].shape == (1, 16, 24, 3)
        np.testing.assert_allclose(feed["image"][0], values[number], atol=1e-5)
    references = np.concatenate([item["scores"] for item in stream(pictures, "evaluation")])
    np.testing.assert_allclose(references, expected, atol=1e-4)

    run_alone = litert(pictures.model_path)[1, 16, 24, 3]
    found = np.concatenate([run_alone({"image": value[None].astype(np.float32)})["scores"] for value in values])
    (run,) = Report.read(pictures.report_path).runs
    assert run.parity.unlike == int((found.argmax(1) != references.argmax(1)).sum()) <= 2
    assert run.parity.cosine_mean > 0.99
    assert run.accuracy.value == (found.argmax(1) == labels).mean() > 0.9
    assert run.accuracy.reference == (expected.argmax(1) == labels).mean() > 0.9


# What a runtime lacks or computes wrong


def classic():
    """Skip where the old runtime has no environment here."""
    from edgeexport.devices.local import open_device

    try:
        open_device("").check("tflite_classic")
    except MissingRequirement as missing:
        pytest.skip(f"{missing.what}: {missing.hint}")


def gate(tmp_path, command, digits, profile, precision):
    """Export for a profile of the test's own, which must fail; its checks."""
    (tmp_path / "own.toml").write_text(profile)
    arguments = ["export", digits.model, "-t", tmp_path / "own.toml", "--precision", precision, "-o", "out", "--json"]
    done = command(*arguments, "--calibration", digits.calibration, "--evaluation", digits.evaluation)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    report = msgspec.json.decode((command.folder / "out" / "report.json").read_bytes(), type=Report)
    assert report.verdict == json.loads(done.stdout)["verdict"] == "fail"
    return report, {check.where: check for check in report.checks if check.name == "compatibility"}


def test_a_profile_that_wrongly_allows_scales_by_channel(tmp_path, command, digits, road):
    classic()
    profile = """
extends = "raspberry-pi-3-32bit"
name = "own"
[settings.quantization]
hybrid_per_channel = true
"""
    report, checks = gate(tmp_path, command, digits, profile, "w8a8-dynamic")
    check = checks["tflite-runtime 2.14"]
    assert (check.verdict, check.measured, check.limit) == ("fail", 1, 0)
    assert check.note.startswith("FULLY_CONNECTED at head")
    assert "version 12" in check.note
    (run,) = report.runs
    assert run.error is None
    assert run.parity.agreement < 0.9, "what the check warns of did not happen"


def test_a_profile_that_wrongly_allows_float_activations(tmp_path, command, digits, road):
    profile = """
extends = "cortex-m7"
name = "own"
precisions = ["w8a8", "w8"]
packaging = []
[settings.quantization]
io_type = "float32"
hybrid_per_channel = true
block_size = 0
"""
    report, checks = gate(tmp_path, command, digits, profile, "w8")
    check = checks["tflite-micro 0"]
    assert check.verdict == "fail"
    assert "DEQUANTIZE at features.0" in check.note
    assert "wrong" in check.note
    assert checks["litert 2.3"].verdict == "pass"
    micro, litert_run = report.runs
    assert micro.parity.cosine_mean < litert_run.parity.cosine_mean


@pytest.mark.parametrize("precision", ["w8a8", "w8a8-dynamic", "w8", "fp16"])
def test_the_shipped_profile_chooses_what_the_old_runtime_computes_right(tmp_path, digits, road, precision):
    """By the conversion that the newer targets made."""
    classic()
    bundle = edgeexport.export(
        digits.model,
        target="raspberry-pi-3-32bit",
        precision=precision,
        calibration=digits.calibration,
        evaluation=digits.evaluation,
        settings=FREE,
        output=tmp_path / "out",
    )
    report = Report.read(bundle.report_path)
    (run,) = report.runs
    assert (run.runtime, run.runtime_version) == ("tflite-runtime", "2.14.0")
    assert run.parity.agreement >= 0.99
    assert run.parity.cosine_mean >= 0.999
    (check,) = [check for check in report.checks if check.name == "compatibility"]
    assert (check.verdict, check.note) == ("pass", "")
    assert report.verdict == "pass"


# Emulated boards


def outputs_on(device_name, module, bundle, folder):
    """The golden outputs of a bundle's model on a device, and what the runner said; skips where it is not there."""
    from edgeexport.pipeline import open_device

    folder.mkdir()
    try:
        device = open_device(device_name)
        device.check(module)
        result = device.run(Job(module, (bundle.model_path,), stream(bundle, "inputs")), folder)
    except MissingRequirement as missing:
        pytest.skip(f"{missing.what}: {missing.hint}")
    found = [dict(item) for item in result.outputs]
    device.close()
    return result, found


@pytest.mark.slow
@pytest.mark.parametrize("target", [PI, ANDROID, "raspberry-pi-zero-2w"])
def test_an_emulated_boards_integers_are_this_machines(road, tmp_path, target):
    bundle = road.bundle(PI)
    there, theirs = outputs_on(f"emulated:{target}", "litert", bundle, tmp_path / "there")
    here, ours = outputs_on("local", "litert", bundle, tmp_path / "here")
    assert (there.machine, there.delegate, here.delegate) == ("aarch64", "xnnpack", "xnnpack")
    assert len(theirs) == len(ours) == 8
    for one, other in zip(theirs, ours, strict=True):
        assert np.array_equal(one["logits"], other["logits"])


@pytest.mark.slow
def test_an_emulated_board_in_the_report(road, digits, tmp_path):
    copy = shutil.copytree(road.bundle(PI).path, tmp_path / "copy")
    try:
        report = edgeexport.verify(copy, on=["local", f"emulated:{PI}"], evaluation=digits.evaluation, limit=100)
    except MissingRequirement as missing:
        pytest.skip(f"{missing.what}: {missing.hint}")
    here, there = report.runs
    assert (here.evidence, here.delegate) == ("measured", "xnnpack")
    assert (there.evidence, there.delegate, there.machine) == ("emulated", "xnnpack", "aarch64")
    assert (there.latency_ms, there.peak_memory_bytes) == (None, None)
    assert there.parity == here.parity
    assert there.accuracy == here.accuracy
    (check,) = [check for check in report.checks if check.name == "agreement_between_devices"]
    assert check.measured == 1


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["w8a8", "w8a8-dynamic"])
def test_an_emulated_32_bit_board(digits, road, tmp_path, precision):
    classic()
    bundle = edgeexport.export(
        digits.model,
        target="raspberry-pi-3-32bit",
        precision=precision,
        calibration=digits.calibration,
        evaluation=digits.evaluation,
        settings=FREE,
        output=tmp_path / "out",
        verify=False,
    )
    try:
        on = ["local", "emulated:raspberry-pi-3-32bit"]
        report = edgeexport.verify(bundle.path, on=on, evaluation=digits.evaluation, limit=100)
    except MissingRequirement as missing:
        pytest.skip(f"{missing.what}: {missing.hint}")
    here, there = report.runs
    assert (there.evidence, there.machine, there.runtime_version) == ("emulated", "armv7l", "2.14.0")
    assert there.error is None
    assert there.parity.agreement >= 0.99
    assert there.parity.cosine_mean == pytest.approx(here.parity.cosine_mean, abs=1e-3)
    (check,) = [check for check in report.checks if check.name == "agreement_between_devices"]
    assert check.measured >= 0.99
