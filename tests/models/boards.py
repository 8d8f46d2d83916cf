"""An SSH server on this machine, of this user, that stands for a board."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


class Board:
    """The server; ``place`` is the folder that a login lands in, ``programs`` a folder of its own."""

    def __init__(self, folder, programs=""):
        self.place, self._folder, self._process = folder / "board", folder, None
        self.place.mkdir()
        for name in ("host", "user"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        (folder / "authorized").write_bytes((folder / "user.pub").read_bytes())
        path = f"{programs or Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
        (folder / "sshd").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\n"
            f"AuthorizedKeysFile {folder}/authorized\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
            f"PermitRootLogin yes\nPidFile none\n"
            f"SetEnv HOME={self.place}\n"  # what this user's shell starts up with is none of a board's
            f'ForceCommand export PATH={path}; cd {self.place} && sh -c "$SSH_ORIGINAL_COMMAND"\n'
        )
        self.configuration = folder / "ssh"
        self.configuration.write_text(
            f"Host board\n  HostName 127.0.0.1\n  Port {self.port}\n"
            f"Host *\n  IdentityFile {folder}/user\n  IdentitiesOnly yes\n  UserKnownHostsFile {folder}/known\n"
            f"  StrictHostKeyChecking accept-new\n  LogLevel ERROR\n"
        )

    def start(self):
        Path("/run/sshd").mkdir(exist_ok=True) if os.geteuid() == 0 else None
        command = [SSHD, "-D", "-e", "-f", self._folder / "sshd"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stderr=log, start_new_session=True)
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError((self._folder / "log").read_text())

    def kill(self):
        """The server and every connection that it has, at once."""
        if self._process is None:
            return
        for status in Path("/proc").glob("[0-9]*/status"):
            try:
                parent = next(line for line in status.read_text().splitlines() if line.startswith("PPid:")).split()[1]
                command = (status.parent / "cmdline").read_bytes()
            except (OSError, StopIteration):
                continue
            if b"sshd" in command and self._is_below(int(parent)):
                os.kill(int(status.parent.name), signal.SIGKILL)
        self._process.kill()
        self._process.wait()
        self._process = None

    def _is_below(self, process):
        while process > 1:
            if process == self._process.pid:
                return True
            try:
                text = Path(f"/proc/{process}/status").read_text()
            except OSError:
                return False
            process = int(text.partition("PPid:")[2].split()[0])
        return False


def emulated(folder, command):
    """A board whose Python is started by ``command``, and which says that it is an ARM one."""
    programs = folder / "programs"
    programs.mkdir()
    for name, text in (("python3", f'exec {" ".join(command)} "$@"'), ("uname", "echo aarch64")):
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    return Board(folder, programs)
