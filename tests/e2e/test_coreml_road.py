"""The road to an iPhone, off a Mac: what the bundle holds, what is said of the evidence, and what is refused."""

import json
import platform
import shutil

import numpy as np
import pytest

import edgeexport
from edgeexport import tree
from edgeexport.artifact import file_digest, load_bundle
from edgeexport.results import Report
from edgeexport.runtimes import tensors

pytest.importorskip("coremltools", reason="pip install 'edgeexport[coreml]'")
pytestmark = pytest.mark.skipif(platform.system() == "Darwin", reason="a Mac has Core ML itself")

# In a BERT of two thin layers the graph outweighs the weights.
FREE = {"limits": {"size_ratio": 1000.0}, "interface": {"lengths": [16]}}
COMMAND = ("--set", "limits.size_ratio=1000.0", "--set", "interface.lengths=[16]")


@pytest.fixture(scope="module")
def road(once, tiny_bert):
    """BERT for an iPhone with int8 weights, verified on its evaluation set."""

    def fill(folder):
        edgeexport.export(
            tiny_bert.model,
            target="iphone-ios17",
            calibration=tiny_bert.calibration,
            evaluation=tiny_bert.evaluation,
            settings=FREE,
            output=folder / "out",
        )

    return load_bundle(once("coreml-road", fill) / "out")


@pytest.fixture
def bundle(road, tmp_path):
    return shutil.copytree(road.path, tmp_path / "bundle")


@pytest.fixture(scope="module")
def report(road):
    return Report.read(road.report_path)


def golden(bundle, part):
    return list(tensors.Reader(str(bundle.path / "golden" / part)))


def checks(report):
    return {check.name: check for check in report.checks}


def test_the_bundle_holds_the_package_and_a_hash_of_each_of_its_files(road):
    assert road.manifest.artifact == "model.mlpackage"
    assert (road.manifest.format, road.manifest.precision) == ("coreml", "w8")
    files = tree.entries(road.model_path)
    assert {"Manifest.json", "model.mlmodel", "weight.bin"} <= {path.name for path in files}
    for path in files:
        assert road.manifest.files[path.relative_to(road.path).as_posix()] == file_digest(path)
    assert road.manifest.versions["coremltools"]


def test_the_size_is_that_of_all_its_files(road, report):
    whole = sum(path.stat().st_size for path in tree.entries(road.model_path))
    assert report.size.artifact_bytes == whole == sum(part.bytes for part in report.size.components)
    assert report.size.ratio == whole / road.manifest.source["float32_bytes"]
    assert any(part.dtype == "int8" and part.bytes > 10_000 for part in report.size.components)


def test_the_figures_are_those_of_a_recomputation(road, report):
    from edgeexport import mil

    program = mil.load(road.model_path, mode="device")
    for inputs, expected in zip(golden(road, "inputs"), golden(road, "outputs"), strict=True):
        assert {name: array.shape for name, array in inputs.items()} == dict.fromkeys(inputs, (1, 16))
        (name,) = expected
        np.testing.assert_allclose(program(inputs)[name], expected[name], atol=0.2)
    (run,) = report.runs
    assert (run.parity.samples, run.accuracy.samples) == (96, 96)
    assert run.parity.agreement >= 0.97
    assert run.parity.cosine_mean > 0.999
    assert run.accuracy.reference - run.accuracy.value <= 0.01
    assert run.accuracy.value > 0.9


def test_the_evidence_is_emulated_and_nothing_is_timed(report):
    (run,) = report.runs
    assert (run.runtime, run.device, run.evidence, run.runtime_version) == ("coreml", "local", "emulated", "")
    assert run.stand_in.startswith("evaluator of edgeexport")
    assert (run.latency_ms, run.peak_memory_bytes) == (None, None)
    assert "latency_ratio" not in checks(report)
    assert checks(report)["numerics"].verdict == "pass"
    assert report.verdict == "pass"
    assert any("coreml itself does not run on this system" in note for note in report.notes)


def test_json_table_and_page_say_so(bundle, command):
    shown = command("report", bundle)
    assert shown.returncode == 0, shown.stderr
    assert "coreml (evaluator of" in " ".join(shown.stdout.split())
    assert "emulated" in shown.stdout
    assert "measured" not in shown.stdout.replace("Measured", "")
    plain = json.loads(command("report", bundle, "--json").stdout)
    assert [run["evidence"] for run in plain["runs"]] == ["emulated"]
    assert plain["runs"][0]["stand_in"].startswith("evaluator of edgeexport")
    page = (bundle / "report.html").read_text()
    assert ">emulated</span>" in page
    assert ">measured</span>" not in page
    assert "coreml (evaluator of edgeexport" in page


def test_a_wish_for_latency_is_not_run_with_its_reason(tiny_bert, command):
    arguments = ["export", tiny_bert.model, "-t", "iphone-ios17", "-o", "out", *COMMAND, "--json"]
    arguments += ["--set", "limits.latency_ratio=0.5", "--evaluation", tiny_bert.evaluation, "--limit", "4"]
    done = command(*arguments)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["verdict"] == "incomplete"
    (check,) = [check for check in report["checks"] if check["name"] == "latency_ratio"]
    assert (check["verdict"], check["measured"], check["limit"]) == ("not run", None, 0.5)
    assert check["note"].endswith("say nothing about a device")


def test_it_is_verified_again_by_command(bundle, command, tiny_bert):
    done = command("verify", bundle, "--evaluation", tiny_bert.evaluation, "--limit", "8")
    assert done.returncode == 0, done.stderr
    assert "PASS" in done.stdout
    assert Report.read(bundle / "report.json").runs[0].parity.samples == 8


def test_nothing_that_reads_a_bundle_writes_in_its_package(bundle, command, tiny_bert):
    """coremltools writes a package's list of files anew whenever it opens one."""
    about = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tree.entries(bundle / "model.mlpackage")}
    for arguments in (("inspect",), ("verify", "--evaluation", tiny_bert.evaluation, "--limit", "2")):
        assert command(arguments[0], bundle, *arguments[1:]).returncode == 0
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in about} == about
    assert tree.entries(bundle / "model.mlpackage") == list(about)


def smuggle(package):
    (package / "Data" / "extra.bin").write_bytes(b"x")
    return "model.mlpackage/Data/extra.bin was added to the model"


def alter(package):
    (weights,) = package.rglob("weight.bin")
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    return "weight.bin was altered since it was packed"


def link(package):
    (weights,) = package.rglob("weight.bin")
    moved = weights.rename(package.parent / "moved.bin")
    weights.symlink_to(moved)
    return "weight.bin is a link"


def remove(package):
    (package / "Manifest.json").unlink()
    return "model.mlpackage/Manifest.json is missing"


@pytest.mark.parametrize("tamper", [smuggle, alter, link, remove])
def test_a_package_that_was_tampered_with_is_refused(bundle, command, tamper):
    before = (bundle / "report.json").read_bytes()
    said = tamper(bundle / "model.mlpackage")
    for arguments in (("verify", bundle), ("inspect", bundle), ("report", bundle)):
        done = command(*arguments)
        assert done.returncode == 2
        assert said in done.stderr
        assert "Traceback" not in done.stderr
    assert (bundle / "report.json").read_bytes() == before


def test_inspect(bundle, command):
    done = command("inspect", bundle, "--json")
    assert done.returncode == 0, done.stderr
    about = json.loads(done.stdout)
    assert (about["target"], about["precision"]) == ("iphone-ios17", "w8")
    assert sum(part["bytes"] for part in about["components"]) == tree.size(bundle / "model.mlpackage")
    done = command("inspect", bundle / "model.mlpackage")
    assert done.returncode == 2
    assert "model.mlpackage is a converted model" in done.stderr


def test_bytes_are_the_same_without_the_cache(road, tiny_bert, tmp_path):
    again = edgeexport.export(
        tiny_bert.model,
        target="iphone-ios17",
        calibration=tiny_bert.calibration,
        evaluation=tiny_bert.evaluation,
        settings=FREE,
        output=tmp_path / "again",
        verify=False,
        cache=False,
    )
    assert again.manifest.files == road.manifest.files


def test_no_emulated_board_runs_it(bundle, command):
    done = command("verify", bundle, "--on", "emulated:iphone-ios17")
    assert done.returncode == 2
    assert "cannot be emulated" in done.stderr


# Pictures


def test_a_classifier_of_pictures_is_verified_through_the_interface_that_vision_uses(once, tmp_path, monkeypatch):
    import stripes

    folder = once("stripes", stripes.train)
    monkeypatch.setenv("EDGEEXPORT_STRIPES", str(folder))
    edgeexport.export(
        "stripes:factory",
        target="iphone-ios17",
        calibration=folder / "calibration",
        evaluation=folder / "evaluation",
        settings={
            "precision": "w8a8",
            "limits": {"size_ratio": 1000.0},
            "interface": {"images": True, "classifier": True},
        },
        output=tmp_path / "out",
    )
    bundle = load_bundle(tmp_path / "out")
    (run,) = Report.read(bundle.report_path).runs
    assert (run.parity.samples, run.accuracy.samples) == (90, 90)
    assert run.parity.agreement >= 0.97
    assert run.accuracy.value > 0.9
    pixels = golden(bundle, "inputs")[0]["image"]
    assert 0 <= pixels.min() < 100 < pixels.max() <= 255
    assert np.array_equal(pixels, np.round(pixels))
    assert bundle.signature.outputs[0].name == "scores"
