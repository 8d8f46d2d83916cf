"""Arm's Ethos-U NPUs, by the performance estimate of their compiler, Vela (https://pypi.org/project/ethos-u-vela/).

Vela compiles a ``.tflite`` model and sums, layer by layer, what the NPU's arithmetic and its memories would take. It
says nothing of the operators that it leaves to the CPU: where there are any, cycles and memory are those of the NPU's
part alone, and ``cpu_ops`` names them. Its own documentation calls the figures an estimate, to compare with.
"""

from __future__ import annotations

import csv
import importlib
import math
import re
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from edgeexport.errors import MissingRequirement, RunFailed, TargetError
from edgeexport.estimate import Estimate

_OPTIONS = {
    "accelerator": "--accelerator-config",
    "system_config": "--system-config",
    "memory_mode": "--memory-mode",
    "config": "--config",
}
_ACCELERATOR = "ethos-u55-128"
_CONFIG = "Arm/vela.ini"  # ships with Vela
_COUNTS = re.compile(r"^(CPU|NPU) operators = (\d+)", re.MULTILINE)
_KIBIBYTE = 1024
_TIME_LIMIT_S = 900
_LOG_END = 2000
_NPU_OPERATOR = "ethos-u"


class VelaEstimator:
    """Vela as a process of its own: it has crashed on models that it could not read.

    Args:
        options: ``accelerator``, such as ``ethos-u55-128``; ``system_config`` and ``memory_mode``, sections of the file
            that ``config`` names, by default the one that comes with Vela. Without the two, Vela has defaults for the
            accelerator, of which it warns that they may not be a board's.

    Raises:
        TargetError: an option that there is not, or one that needs another.
        MissingRequirement: Vela is not installed.
    """

    def __init__(self, options: Mapping[str, str]) -> None:
        unknown = sorted(set(options) - set(_OPTIONS))
        if unknown:
            raise TargetError(f"vela has no option '{unknown[0]}'", f"There is: {', '.join(_OPTIONS)}.")
        sections = {"system_config", "memory_mode"} & set(options)
        if len(sections) == 1 or ("config" in options and not sections):
            raise TargetError("vela takes system_config and memory_mode together, and config only with them")
        try:
            self._version = version("ethos-u-vela")
        except PackageNotFoundError as error:
            raise MissingRequirement(
                "estimating an Ethos-U NPU needs the package ethos-u-vela", "pip install 'edgeexport[micro]'"
            ) from error
        known = _accelerators()
        accelerator = options.get("accelerator", _ACCELERATOR)
        if accelerator not in known:
            raise TargetError(f"vela has no accelerator '{accelerator}'", f"There is: {', '.join(known)}.")
        self._options = {"accelerator": _ACCELERATOR, **({"config": _CONFIG} if sections else {}), **options}

    def estimate(self, model: Path, folder: Path) -> Estimate:
        """See :class:`edgeexport.estimators.Estimator`."""
        folder.mkdir(parents=True, exist_ok=True)
        summaries = f"{model.stem}_summary_*.csv"
        for old in folder.glob(summaries):
            old.unlink()
        log = self._run(model, folder)
        written = sorted(folder.glob(summaries))
        if len(written) != 1:
            raise RunFailed(f"vela wrote {len(written)} summaries of {model.name} and not one", log[-_LOG_END:])
        cpu_ops = _left_on_cpu(folder / f"{model.stem}_vela.tflite")
        return read_summary(written[0].read_text(), log, cpu_ops, self._version)

    def _run(self, model: Path, folder: Path) -> str:
        settings = [part for key, value in self._options.items() for part in (_OPTIONS[key], value)]
        command = [sys.executable, "-m", "ethosu.vela", str(model), "--output-dir", str(folder), *settings]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=_TIME_LIMIT_S, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise RunFailed(f"vela did not finish {model.name} in {_TIME_LIMIT_S} s") from error
        log = f"{done.stdout}\n{done.stderr}"
        if done.returncode:
            raise RunFailed(f"vela ended with {done.returncode} on {model.name}", log[-_LOG_END:])
        return log


def open_estimator(options: Mapping[str, str]) -> VelaEstimator:
    """Vela with these options; see :class:`VelaEstimator`."""
    return VelaEstimator(options)


def read_summary(summary: str, log: str, cpu_ops: tuple[str, ...], tool_version: str) -> Estimate:
    """An estimate from what Vela writes.

    Args:
        summary: its CSV file, one line of titles and one of figures, memory in KiB.
        log: what it prints, for the number of operators.
        cpu_ops: operators that are left to the CPU.
        tool_version: Vela's.

    Raises:
        RunFailed: a figure is missing or no number.
    """
    rows = list(csv.DictReader(summary.splitlines()))
    counts = {processor: int(count) for processor, count in _COUNTS.findall(log)}
    if len(rows) != 1 or set(counts) != {"CPU", "NPU"}:
        raise RunFailed("vela's summary is not one that this version reads", log[-_LOG_END:])
    row = rows[0]

    def figure(name: str) -> float:
        try:
            value = float(row[name])
        except (KeyError, TypeError, ValueError) as error:
            raise RunFailed(f"vela's summary has no figure '{name}'", summary) from error
        if not math.isfinite(value):
            raise RunFailed(f"vela's summary has {value} as '{name}'", summary)
        return value

    def memory(*areas: str) -> int:
        return sum(round(figure(f"{area}_memory_used") * _KIBIBYTE) for area in areas)

    total = sum(counts.values())
    return Estimate(
        tool="vela",
        tool_version=tool_version,
        accelerator=row.get("accelerator_configuration", "").replace("_", "-").lower(),
        cycles=round(figure("cycles_total")),
        milliseconds=1000 * figure("inference_time"),
        clock_hz=round(figure("core_clock")),
        sram_bytes=memory("sram"),
        flash_bytes=memory("on_chip_flash", "off_chip_flash", "dram"),
        npu_share=counts["NPU"] / total if total else 0.0,
        cpu_ops=cpu_ops,
    )


def _accelerators() -> list[str]:
    """Names that ``--accelerator-config`` takes."""
    features = importlib.import_module("ethosu.vela.architecture_features")
    return [str(name) for name in features.Accelerator.member_list()]


def _left_on_cpu(path: Path) -> tuple[str, ...]:
    """Operators of a compiled model other than the NPU's, each once, in the order of their first use.

    Raises:
        MissingRequirement: the reader is not installed.
        RunFailed: Vela wrote no model that can be read.
    """
    try:
        schema: Any = importlib.import_module("ai_edge_litert.schema_py_generated")
    except ImportError as error:
        raise MissingRequirement(
            "reading a compiled model needs the package ai-edge-litert", "pip install 'edgeexport[litert]'"
        ) from error
    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
    left: dict[str, None] = {}
    try:
        model = schema.Model.GetRootAs(path.read_bytes(), 0)
        for subgraph in map(model.Subgraphs, range(model.SubgraphsLength())):
            for operator in map(subgraph.Operators, range(subgraph.OperatorsLength())):
                code = model.OperatorCodes(operator.OpcodeIndex())
                number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
                custom = code.CustomCode().decode() if code.CustomCode() else ""
                if custom != _NPU_OPERATOR:
                    left[custom or names.get(number, f"BUILTIN_{number}")] = None
    except Exception as error:  # the generated reader raises whatever damaged offsets lead to
        raise RunFailed(f"vela's compiled model cannot be read: {type(error).__name__}: {error}") from error
    return tuple(left)
