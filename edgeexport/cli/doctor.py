"""Say what this machine has, what it lacks, and the command that provides it."""

from __future__ import annotations

from pathlib import Path

import typer

_X86_INT8 = {"avx512_vnni": "AVX-512 VNNI", "avx_vnni": "AVX VNNI"}
_ARM_INT8 = {"asimddp": "dot product"}


def doctor() -> int:
    """Look and print; exit 3 where an export would not run at all."""
    import platform

    from edgeexport.cache import cache_root, folder_bytes, tool_versions
    from edgeexport.cli.guard import MACHINE_LACKS

    missing = []
    typer.echo(f"machine        {platform.machine()}, {platform.system()}")
    typer.echo(f"int8           {_integer_instructions(Path('/proc/cpuinfo'))}")
    versions = tool_versions()
    for package in ("torch", "transformers", "optimum", "optimum-onnx", "onnx", "onnxruntime", "numpy"):
        if package not in versions:
            missing.append(package)
        typer.echo(f"{package:14} {versions.get(package, f'missing: pip install {package}')}")
    for runtime, state in _runtimes().items():
        typer.echo(f"{runtime:14} {state}")
    typer.echo(f"emulation      {_emulation()}")
    root = cache_root()
    used = folder_bytes(root) if root.is_dir() else 0
    typer.echo(f"cache          {root} ({used / 1e6:,.0f} MB; EDGEEXPORT_CACHE moves it)")
    if missing:
        typer.echo(f"\nMissing: {', '.join(missing)}. pip install edgeexport")
        return MACHINE_LACKS
    return 0


def _integer_instructions(cpuinfo: Path) -> str:
    try:
        flags = set(cpuinfo.read_text().split())
    except OSError:
        return "unknown"
    found = [name for flag, name in {**_X86_INT8, **_ARM_INT8}.items() if flag in flags]
    if found:
        return ", ".join(found)
    return "none: int8 may be slower here, and U8S8 may saturate (--set quantization.reduce_range=true)"


def _runtimes() -> dict[str, str]:
    """Runtimes on this machine. Each serves some targets only, so a missing one is not missed by an export."""
    import importlib.util

    if importlib.util.find_spec("numpy") is None:
        return {}
    from edgeexport.devices import local

    return {name: state for name, state in local.runtimes().items() if name != "onnxruntime"}  # said above


def _emulation() -> str:
    import shutil

    if shutil.which("qemu-aarch64-static") is None and shutil.which("qemu-aarch64") is None:
        return "no qemu: apt-get install qemu-user-static"
    import importlib.util

    if importlib.util.find_spec("numpy") is None:
        return "qemu is there; numpy is not"
    from edgeexport.devices.emulated import boards

    found = boards()
    ready = [name for name, hint in found.items() if not hint]
    lacking = [name.removeprefix("emulated:") for name, hint in found.items() if hint]
    lines = [", ".join(ready)] if ready else []
    if lacking:
        lines.append(f"missing: edgeexport devices create TARGET, one of {', '.join(lacking)}")
    return "\n               ".join(lines)
