"""A phone or board over the system's adb: ``adb:SERIAL``. It needs Python there, such as Termux's."""

from __future__ import annotations

import re
import shutil
import subprocess

from edgeexport.devices._remote import RemoteDevice
from edgeexport.devices._transport import Transport
from edgeexport.errors import DeviceError, MissingRequirement

ROOT = "/data/local/tmp/edgeexport"
_LOST = re.compile(r"^(adb: |error: |- waiting).*(device|offline|connection|daemon|protocol)", re.MULTILINE)


def open_device(argument: str) -> RemoteDevice:
    """Open the device with this serial number.

    Raises:
        DeviceError: it is no serial number.
        MissingRequirement: this machine has no adb.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.:\-]*", argument):
        raise DeviceError(f"'adb:{argument}' names no device", "Write adb:SERIAL; `adb devices` lists them.")
    if shutil.which("adb") is None:
        raise MissingRequirement("this machine has no adb", "apt install adb")
    # -T: no terminal, so that bytes come through as they are.
    return RemoteDevice(f"adb:{argument}", Transport(("adb", "-s", argument, "shell", "-T"), _lost), ROOT)


def list_devices() -> list[str]:
    """Those that adb knows and may use."""
    if shutil.which("adb") is None:
        return []
    try:
        told = subprocess.run(["adb", "devices"], capture_output=True, text=True, check=False, timeout=30).stdout
    except subprocess.TimeoutExpired:
        return []
    return [
        f"adb:{serial}"
        for serial, _, state in (line.partition("\t") for line in told.splitlines())
        if state == "device"
    ]


def _lost(status: int, log: str) -> bool:
    return status < 0 or (status != 0 and _LOST.search(log) is not None)
