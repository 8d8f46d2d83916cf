"""A board over SSH, by the system's own client, with its configuration, agent and jump hosts: ``ssh://user@host:port``."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import weakref
from pathlib import Path
from urllib.parse import urlsplit

from edgeexport.devices._remote import RemoteDevice
from edgeexport.devices._transport import Transport
from edgeexport.errors import DeviceError, MissingRequirement

ROOT = ".cache/edgeexport-runner"
CONFIGURATION = "EDGEEXPORT_SSH_CONFIG"
"""Environment variable: a configuration file in the place of the user's own, as after ``ssh -F``."""
_FAILED = 255
_OPTIONS = {
    "BatchMode": "yes",  # nobody is there to type a password
    "ConnectTimeout": "10",
    "ServerAliveInterval": "5",
    "ServerAliveCountMax": "3",
    "ControlMaster": "auto",
    "ControlPersist": "60",
}


class SshDevice(RemoteDevice):
    """A board over SSH, through one connection that its commands share.

    Args:
        address: ``ssh://[user@]host[:port]``.
    """

    def __init__(self, address: str) -> None:
        destination, port = _parsed(address)
        # Not the user's own folder: a socket's path is short, and nobody else's connection is reused.
        self._folder = Path(tempfile.mkdtemp(prefix="edgeexport-ssh-"))
        options = {**_OPTIONS, "ControlPath": str(self._folder / "%C")}
        given = os.environ.get(CONFIGURATION)
        command = ["ssh", *(("-F", given) if given else ()), *(("-p", str(port)) if port else ()), "-T"]
        command += [part for key, value in options.items() for part in ("-o", f"{key}={value}")]
        # Also where nobody closes it, as after an error before anything ran.
        self._release = weakref.finalize(self, _release, (*command, "-O", "exit", "--", destination), self._folder)
        super().__init__(address, Transport((*command, "--", destination), _lost), ROOT)

    def close(self) -> None:
        """Close the connection."""
        super().close()
        self._release()


def open_device(argument: str) -> SshDevice:
    """Open ``ssh:ARGUMENT``, where the argument is ``//[user@]host[:port]``.

    Raises:
        DeviceError: it is no address.
        MissingRequirement: this machine has no ssh.
    """
    if shutil.which("ssh") is None:
        raise MissingRequirement("this machine has no ssh", "apt install openssh-client")
    return SshDevice(f"ssh:{argument}")


def list_devices() -> list[str]:
    """None: a board is known by its address."""
    return []


def _release(control: tuple[str, ...], folder: Path) -> None:
    """End the connection that commands share, if there is one."""
    if any(folder.iterdir()):
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(control, capture_output=True, check=False, timeout=30)
    shutil.rmtree(folder, ignore_errors=True)


def _parsed(address: str) -> tuple[str, int | None]:
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
        parts = urlsplit("")
    name = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.:%-]*")
    user = parts.username
    plain = not (parts.path.strip("/") or parts.query or parts.fragment or parts.password)
    if not plain or not name.fullmatch(host) or (user is not None and not name.fullmatch(user)):
        raise DeviceError(f"'{address}' is no address of a board", "Write ssh://user@host or ssh://user@host:port.")
    return (f"{user}@{host}" if user else host), port


def _lost(status: int, _log: str) -> bool:
    return status == _FAILED or status < 0  # killed from outside: the connection went with it
