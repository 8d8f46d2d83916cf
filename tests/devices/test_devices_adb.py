"""Phones over adb, with a program of that name that hands commands to a shell here."""

import os
import stat
import sys
from pathlib import Path

import numpy as np
import pytest
import remote

from edgeexport.devices import adb, local
from edgeexport.errors import DeviceError, MissingRequirement, RunFailed

PROGRAM = """#!/bin/sh
# As adb does: devices; -s SERIAL shell -T COMMAND.
if [ "$1" = devices ]; then printf 'List of devices\\nPHONE1\\tdevice\\nPHONE2\\tunauthorized\\n\\n'; exit 0; fi
[ "$1" = -s ] && [ "$3" = shell ] && [ "$4" = -T ] || exit 9
if [ "$2" != PHONE1 ]; then echo "adb: device '$2' not found" >&2; exit 1; fi
exec sh -c "$5"
"""


@pytest.fixture
def phone(tmp_path, monkeypatch):
    program = tmp_path / "bin" / "adb"
    program.parent.mkdir()
    program.write_text(PROGRAM)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setattr(adb, "ROOT", str(tmp_path / "phone"))
    return tmp_path / "phone"


def test_outputs_are_those_of_this_machine(phone, tmp_path):
    job = remote.job(remote.save_model(tmp_path / "model.onnx"))
    results = []
    for name, device in (("there", adb.open_device("PHONE1")), ("here", local.open_device(""))):
        (tmp_path / name).mkdir()
        results.append(remote.values(device.run(job, tmp_path / name)))
    np.testing.assert_array_equal(*results)
    assert len(list((phone / "files").iterdir())) == 1
    assert list((phone / "jobs").iterdir()) == []


def test_a_phone_that_is_not_there(phone, tmp_path, monkeypatch):
    monkeypatch.setattr("edgeexport.devices._remote._PAUSES_S", (0.0, 0.0, 0.0))
    (tmp_path / "run").mkdir()
    with pytest.raises((DeviceError, RunFailed), match="adb:PHONE3") as failure:
        adb.open_device("PHONE3").run(remote.job(remote.save_model(tmp_path / "model.onnx")), tmp_path / "run")
    assert "not found" in str(failure.value)


def test_devices_that_may_be_used_are_listed(phone):
    assert adb.list_devices() == ["adb:PHONE1"]


def test_without_adb(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert adb.list_devices() == []
    with pytest.raises(MissingRequirement, match="this machine has no adb"):
        adb.open_device("PHONE1")


@pytest.mark.parametrize("serial", ["", "-s", "a b", "a;b"])
def test_what_is_no_serial_number_is_refused(serial):
    with pytest.raises(DeviceError, match="names no device"):
        adb.open_device(serial)
