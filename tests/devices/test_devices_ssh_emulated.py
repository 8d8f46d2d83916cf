"""A login whose Python is that of an emulated ARM board: a Raspberry Pi to the real SSH client."""

import boards
import pytest

import edgeexport
from edgeexport.devices import emulated, ssh
from edgeexport.errors import MissingRequirement

pytestmark = [pytest.mark.slow, pytest.mark.skipif(boards.SSHD is None, reason="apt install openssh-server")]
TARGET = "raspberry-pi-4"


@pytest.fixture
def pi(tmp_path, monkeypatch):
    try:
        device = emulated.open_device(TARGET)
    except MissingRequirement as missing:
        pytest.skip(f"{missing.what}: {missing.hint}")
    made = boards.emulated(tmp_path, device._emulator.command(emulated.root_folder("arm64")))
    packages = made.place / ssh.ROOT / "packages"
    packages.mkdir(parents=True)
    (packages / "ort").symlink_to(emulated.wheels_folder("arm64", "ort"))
    made.start()
    monkeypatch.setenv(ssh.CONFIGURATION, str(made.configuration))
    yield "ssh://board"
    made.kill()


def test_it_computes_what_the_emulated_board_computes(pi, tiny_bert, tmp_path):
    bundle = edgeexport.export(
        tiny_bert.model,
        target=TARGET,
        calibration=tiny_bert.calibration,
        evaluation=tiny_bert.evaluation,
        output=tmp_path / "bundle",
        verify=False,
        settings={"timing": {"pairs": 2, "warmup": 1}},
    )
    report = edgeexport.verify(bundle.path, on=[f"emulated:{TARGET}", pi], evaluation=tiny_bert.evaluation)
    local, there = report.runs
    assert (local.error, there.error) == (None, None)
    assert (local.machine, there.machine) == ("aarch64", "aarch64")
    assert there.runtime_version == local.runtime_version
    assert there.parity == local.parity and there.accuracy == local.accuracy
    assert there.parity.samples >= 96
