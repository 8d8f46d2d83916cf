"""What this machine is, for devices that are on it."""

from __future__ import annotations

import platform
from pathlib import Path


def cpu_name() -> str:
    """A name of its processor for people."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
