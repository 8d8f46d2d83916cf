"""Every fault ends in a run with the right numbers or in a failure that says why; none in a hang or a stray process."""

import time

import numpy as np
import pytest
import remote

import edgeexport
from edgeexport.devices import fake, local
from edgeexport.errors import DeviceError, RunFailed


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return remote.save_model(tmp_path_factory.mktemp("model") / "model.onnx")


@pytest.fixture
def device():
    opened = []

    def make(argument):
        opened.append(fake.open_device(argument))
        return opened[-1]

    yield make
    for one in opened:
        place = one._place
        one.close()
        assert not place.exists()
        assert remote.processes_in(place) == []


def reference(job, folder):
    folder.mkdir()
    return remote.values(local.open_device("").run(job, folder))


@pytest.mark.parametrize("faults", ["", "drop=1", "drop=3", "reboot=1", "drop=1,reboot=1"])
def test_a_dropped_run_is_run_again_and_its_samples_count_once(model, device, tmp_path, faults):
    job = remote.job(model)
    (tmp_path / "run").mkdir()
    result = device(faults).run(job, tmp_path / "run")
    assert result.samples == 5
    np.testing.assert_array_equal(remote.values(result), reference(job, tmp_path / "local"))


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        ("drop", "the connection to fake:drop dropped 4 times"),
        ("disk", "its disk is full"),
        ("hostile", "sent something that is no result: '../../edgeexport-was-here'"),
    ],
)
def test_what_does_not_pass_is_a_failure(model, device, tmp_path, faults, message):
    with pytest.raises(RunFailed, match=message):
        device(faults).run(remote.job(model), tmp_path)
    assert not any(path.name == "edgeexport-was-here" for path in tmp_path.parent.parent.rglob("*"))


def test_a_hang_ends_at_the_limit(model, device, tmp_path):
    began = time.monotonic()
    with pytest.raises(RunFailed, match="did not finish within 2 s and was stopped"):
        device("hang").run(remote.job(model, timeout_s=2), tmp_path)
    assert time.monotonic() - began < 45


def test_a_model_is_sent_once(model, device, tmp_path):
    opened = device("")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        opened.run(remote.job(model), tmp_path / name)
    assert opened.sent_bytes == model.stat().st_size


def test_a_model_that_the_board_altered_is_sent_again(model, device, tmp_path):
    opened = device("")
    (tmp_path / "one").mkdir()
    expected = remote.values(opened.run(remote.job(model), tmp_path / "one"))
    (file,) = (opened._place / "files").iterdir()
    file.write_bytes(file.read_bytes()[:-9] + bytes(9))
    opened._there.clear()
    (tmp_path / "two").mkdir()
    np.testing.assert_array_equal(remote.values(opened.run(remote.job(model), tmp_path / "two")), expected)
    assert opened.sent_bytes == 2 * model.stat().st_size


def test_nothing_but_models_stays_on_the_board(model, device, tmp_path):
    opened = device("")
    opened.run(remote.job(model), tmp_path)
    assert list((opened._place / "jobs").iterdir()) == []
    assert len(list((opened._place / "files").iterdir())) == 1


def test_a_crash_is_told_with_its_log(device, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"no model")
    (tmp_path / "run").mkdir()
    with pytest.raises(RunFailed, match="the runtime failed on fake") as failure:
        device("").run(remote.job(tmp_path / "model.onnx"), tmp_path / "run")
    assert "INVALID_PROTOBUF" in failure.value.log or "InvalidProtobuf" in failure.value.log


def test_progress_is_passed_on(model, device, tmp_path):
    seen = []
    device("").run(remote.job(model, count=400, rows=64), tmp_path, seen.append)
    assert seen and seen == sorted(seen) and seen[-1] <= 400


def test_wrong_numbers_fail_a_check(linear, board, tmp_path):
    bundle = edgeexport.export(
        linear.model,
        target=board,
        precision="w8a8",
        calibration=linear.calibration,
        output=tmp_path / "out",
        verify=False,
        settings={"limits": {"cosine_min": 0.9}},
    )
    good = edgeexport.verify(bundle.path, on=["fake"])
    assert good.runs[0].evidence == "emulated" and good.runs[0].latency_ms is None
    assert good.verdict != "fail"
    bad = edgeexport.verify(bundle.path, on=["fake:wrong"])
    failed = [check.name for check in bad.checks if check.verdict == "fail"]
    assert failed == ["cosine_min"]
    assert bad.runs[0].parity.cosine_mean == pytest.approx(-good.runs[0].parity.cosine_mean)


def test_a_fault_that_is_none_is_refused():
    with pytest.raises(DeviceError, match="no fault 'fire=2'"):
        fake.open_device("drop=1,fire=2")


def test_it_is_not_listed():
    assert fake.list_devices() == []
