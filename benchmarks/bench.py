"""What the benchmarks share: running whole processes, and showing figures against limits. Standard library only.

A child's peak memory begins at its parent's size, so a driver stays small: heavy work is always another process.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
PROGRAMS = Path(sys.executable).parent
EDGEEXPORT = str(PROGRAMS / "edgeexport")


@dataclass(frozen=True)
class Usage:
    """What one process took.

    Attributes:
        seconds: wall time from start to exit.
        peak_bytes: resident memory at its highest, of the process or of the largest of its own children.
        status: exit status.
        output: standard output.
        log: standard error.
    """

    seconds: float
    peak_bytes: int
    status: int
    output: str
    log: str


@dataclass(frozen=True)
class Figure:
    """One measured value, and what it is held to.

    Attributes:
        name: what was measured.
        measured: the value; a bool is a condition that must hold.
        limit: None where the value is only shown.
        at_least: whether the limit is the least value and not the greatest.
    """

    name: str
    measured: float
    limit: float | None = None
    at_least: bool = False

    @property
    def kept(self) -> bool:
        """Whether the limit is kept."""
        if self.limit is None:
            return True
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit


def arguments(description: str | None, *options: tuple[str, Mapping[str, Any]]) -> argparse.Namespace:
    """Parse ``--shared``, ``--json`` and a benchmark's own ``options``."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "--shared",
        type=Path,
        default=CHECKOUT.parent / "shared",
        metavar="DIR",
        help="where the models and data are; default: 'shared' beside the checkout",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    for name, settings in options:
        parser.add_argument(name, **settings)
    return parser.parse_args()


def run(command: Sequence[str | Path], cache: Path | None = None, allowed: Sequence[int] = (0,)) -> Usage:
    """Run a command to its end.

    Args:
        command: program and arguments.
        cache: edgeexport's cache folder; None keeps the user's.
        allowed: exit statuses that are no error.
    """
    environment = dict(os.environ)
    if cache is not None:
        environment["EDGEEXPORT_CACHE"] = str(cache)
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as log:
        start = time.perf_counter()
        process = subprocess.Popen([str(part) for part in command], stdout=output, stderr=log, env=environment)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        texts = []
        for stream in (output, log):
            stream.seek(0)
            texts.append(stream.read().decode(errors="replace"))
    if process.returncode not in allowed:
        sys.exit(f"{' '.join(map(str, command))}\nended with {process.returncode}:\n{texts[1]}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Usage(seconds, usage.ru_maxrss * unit, process.returncode, *texts)


def export(model: Path, target: str, output: Path, cache: Path, *options: str | Path) -> dict[str, Any]:
    """Export and verify by the command line; gives the report. A failed check is for the caller to judge."""
    command = [EDGEEXPORT, "export", model, "--target", target, "--output", output, "--json", *options]
    report: dict[str, Any] = json.loads(run(command, cache, allowed=(0, 1)).output)
    return report


def latency_ratio(report: Mapping[str, Any]) -> float:
    """Median latency over float32's, of a report's first run."""
    latency = report["runs"][0]["latency_ms"]
    return float(latency["p50"]) / float(latency["float32_p50"])


def latency_ratios(report: Mapping[str, Any], bundle: Path, cache: Path, processes: int) -> list[float]:
    """The ratio of the export's own run and of further runs, each a process of its own, in ascending order.

    Where in memory a process happens to put its weights moves a small model's ratio by some hundredths.
    """
    again = [EDGEEXPORT, "verify", bundle, "--json"]
    reports = [json.loads(run(again, cache, allowed=(0, 1)).output) for _ in range(processes - 1)]
    return sorted(map(latency_ratio, [report, *reports]))


@contextmanager
def workspace() -> Iterator[Path]:
    """A temporary folder, removed at the end, also where this process is told to end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    with tempfile.TemporaryDirectory(prefix="edgeexport-bench-") as folder:
        yield Path(folder)


def note(text: str) -> None:
    """Say on standard error what is going on."""
    print(text, file=sys.stderr, flush=True)


def finish(figures: Sequence[Figure], as_json: bool) -> None:
    """Print the figures and exit: 0 where every limit is kept, else 1."""
    if as_json:
        print(json.dumps([{**asdict(figure), "kept": figure.kept} for figure in figures], indent=2))
    else:
        _print_table(figures)
    sys.exit(0 if all(figure.kept for figure in figures) else 1)


def _print_table(figures: Sequence[Figure]) -> None:
    width = max(len(figure.name) for figure in figures)
    print(f"{'':{width}}  {'measured':>12}  {'limit':>15}")
    for figure in figures:
        bound = ""
        if figure.limit is not None:
            bound = f"{'at least' if figure.at_least else 'at most'} {_number(figure.limit)}"
        missed = "" if figure.kept else "  MISSED"
        print(f"{figure.name:{width}}  {_number(figure.measured):>12}  {bound:>15}{missed}")


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
