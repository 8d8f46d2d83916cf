"""What the shared models must come to; latencies are for the benchmarks."""

import shutil

import numpy as np
import pytest

import edgeexport
from edgeexport.results import Report

pytestmark = [pytest.mark.slow, pytest.mark.shared]


@pytest.fixture(scope="module")
def shared_cache(once, session_cache):
    """A cache for the large models, apart from what tests of the cache do; the boards are those of all tests."""
    folder = once("shared-cache", lambda folder: (folder / "devices").symlink_to(session_cache / "devices"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEEXPORT_CACHE", str(folder))
        yield folder


@pytest.fixture
def sst2(shared, shared_cache, tmp_path):
    def export(precision=None):
        bundle = edgeexport.export(
            shared / "models" / "sst2-minilm",
            target="raspberry-pi-4",
            precision=precision,
            calibration=shared / "data" / "sst2" / "calibration.jsonl",
            evaluation=shared / "data" / "sst2" / "validation.jsonl",
            settings={"limits": {"latency_ratio": 100.0}},
            output=tmp_path / "out",
        )
        return bundle, Report.read(bundle.report_path)

    return export


def test_sst2_by_default(sst2, shared):
    bundle, report = sst2()
    (run,) = report.runs
    assert bundle.manifest.precision == "w8a8-dynamic"
    assert (run.accuracy.samples, run.parity.samples) == (872, 872)
    assert run.accuracy.reference == 781 / 872
    assert run.accuracy.value >= 0.8906
    assert run.parity.unlike <= 11
    assert report.size.ratio <= 0.2550
    assert report.verdict == "pass"


def test_sst2_static(sst2):
    _, report = sst2("w8a8")
    (run,) = report.runs
    assert round(run.accuracy.value * 872) >= 777


@pytest.mark.parametrize("board", ["raspberry-pi-4", "raspberry-pi-5"])
def test_sst2_on_emulated_boards(sst2, shared, shared_cache, tmp_path, board):
    from edgeexport.errors import MissingRequirement

    bundle, _ = sst2()
    copy = shutil.copytree(bundle.path, tmp_path / "copy")
    evaluation = shared / "data" / "sst2" / "validation.jsonl"
    try:
        report = edgeexport.verify(copy, on=["local", f"emulated:{board}"], evaluation=evaluation, limit=64)
    except MissingRequirement as missing:
        pytest.skip(f"{missing.what}: {missing.hint}")
    here, there = report.runs
    assert (there.evidence, there.parity.samples) == ("emulated", 64)
    (check,) = [check for check in report.checks if check.name == "agreement_between_devices"]
    assert check.measured >= 1 - 1 / 64
    assert abs(here.accuracy.value - there.accuracy.value) <= 1 / 64


def test_cifar_static(shared, shared_cache, tmp_path):
    bundle = edgeexport.export(
        shared / "models" / "cifar-mobilenet-v2",
        target="raspberry-pi-4",
        precision="w8a8",
        calibration=shared / "data" / "cifar10" / "calibration",
        evaluation=shared / "data" / "cifar10" / "validation",
        settings={"limits": {"latency_ratio": 100.0}},
        output=tmp_path / "out",
    )
    report = Report.read(bundle.report_path)
    (run,) = report.runs
    assert run.accuracy.samples == 2000
    assert run.accuracy.reference == 1743 / 2000
    assert run.parity.unlike <= 11
    assert run.parity.snr_db >= 30.5
    assert report.size.ratio <= 0.31
    assert report.verdict == "pass"
    assert np.isfinite(run.parity.max_abs)


def test_every_operator_in_int8_parts_where_the_outliers_are(shared, shared_cache, tmp_path):
    """The second layer of the first feed-forward block, a few of whose channels reach 190."""
    bundle = edgeexport.export(
        shared / "models" / "sst2-minilm",
        target="desktop-x86",
        calibration=shared / "data" / "sst2" / "calibration.jsonl",
        evaluation=shared / "data" / "sst2" / "validation.jsonl",
        settings={
            "precision": "w8a8",
            "quantization": {"op_types": ["*"], "float_outputs": [], "smoothing": 0.0},
            "timing": {"pairs": 0},
        },
        output=tmp_path / "out",
    )
    report = Report.read(bundle.report_path)
    (divergence,) = report.divergences
    assert divergence.worst[0] == "bert.encoder.layer.0.output.dense"
    error = next(layer for layer in divergence.layers if layer.path == divergence.worst[0])
    assert error.snr_db > 15 > 5 > error.channel_snr_db
    assert error.high > 150
    assert any("left the outputs the same to the bit" in note for note in report.notes)
