"""The processors that qemu stands in for, and the files by which runtimes recognise them."""

from __future__ import annotations

from dataclasses import dataclass

_CORES = 4


@dataclass(frozen=True)
class Cpu:
    """What ``/proc/cpuinfo`` prints of a core: ARM's part number, and the kernel's names of its features."""

    part: str
    features: str


@dataclass(frozen=True)
class Architecture:
    """One architecture.

    Attributes:
        machine: what ``uname -m`` prints there, as in wheel tags.
        level: the "CPU architecture" of ``/proc/cpuinfo``.
        qemu: programs that emulate it, the first found counts.
        packages: the distribution's, beyond the interpreter: what has no wheel.
        cpus: by qemu's name.
    """

    machine: str
    level: int
    qemu: tuple[str, ...]
    packages: tuple[str, ...]
    cpus: dict[str, Cpu]


_ARMV7 = "half thumb fastmult vfp edsp neon vfpv3 tls vfpv4 idiva idivt vfpd32 lpae evtstrm"
_ARMV8 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"
_ARMV8_2 = f"{_ARMV8} atomics fphp asimdhp asimdrdm lrcpc dcpop asimddp"
# qemu's `max` is left out: in 7.2 it announces matrix instructions and computes garbage with them.
ARCHITECTURES = {
    "arm64": Architecture(
        "aarch64",
        8,
        ("qemu-aarch64-static", "qemu-aarch64"),
        (),
        {
            "cortex-a53": Cpu("0xd03", _ARMV8),
            "cortex-a72": Cpu("0xd08", _ARMV8),
            "cortex-a76": Cpu("0xd0b", _ARMV8_2),
            "neoverse-n1": Cpu("0xd0c", _ARMV8_2),
        },
    ),
    # qemu has no 64-bit core in 32-bit mode here; a Cortex-A53 in 32-bit Linux runs what these do.
    "armhf": Architecture(
        "armv7l",
        7,
        ("qemu-arm-static", "qemu-arm"),
        ("python3-numpy",),
        {"cortex-a7": Cpu("0xc07", _ARMV7), "cortex-a15": Cpu("0xc0f", _ARMV7)},
    ),
}


def cpu_files(architecture: str, cpu: str) -> dict[str, str]:
    """The files by which runtimes recognise a processor, as text by path in the root.

    Without them they read this machine's: ONNX Runtime then crashes and LiteRT loses its fast kernels.
    """
    about = ARCHITECTURES[architecture]
    description = about.cpus[cpu]
    core = (
        f"processor\t: {{}}\nBogoMIPS\t: 108.00\nFeatures\t: {description.features}\nCPU implementer\t: 0x41\n"
        f"CPU architecture: {about.level}\nCPU variant\t: 0x0\nCPU part\t: {description.part}\nCPU revision\t: 3\n\n"
    )
    cores = f"0-{_CORES - 1}\n"
    return {
        "proc/cpuinfo": "".join(core.format(number) for number in range(_CORES)),
        **{f"sys/devices/system/cpu/{name}": cores for name in ("possible", "present", "online")},
    }
