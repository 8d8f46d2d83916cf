"""What a Linux board tells of itself while it is timed: temperature, clock, and the energy that it counts.

A figure that the board does not tell is None; most computers hide the energy counter from all but root.
"""

import glob
import os


def read(root="/"):
    """Now: ``temperature_c``, the hottest zone; ``frequency_mhz``, the mean over processors."""
    zones = _values(root, "sys/class/thermal/thermal_zone*/temp")
    clocks = _values(root, "sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq")
    return {
        "temperature_c": max(zones) / 1000 if zones else None,
        "frequency_mhz": sum(clocks) / len(clocks) / 1000 if clocks else None,
    }


def joules(root="/"):
    """What the processor packages have taken since some time, or None."""
    counters = _values(root, "sys/class/powercap/*-rapl:[0-9]/energy_uj")
    return sum(counters) / 1e6 if counters else None


def _values(root, pattern):
    found = []
    for path in sorted(glob.glob(os.path.join(root, pattern))):
        try:
            with open(path) as file:
                found.append(int(file.read()))
        except (OSError, ValueError):
            continue
    return found
