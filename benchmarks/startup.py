"""How fast commands that compute nothing answer, against ``python -c "import typer, rich"``, run in turn."""

from __future__ import annotations

import re
import sys
from statistics import median

from bench import EDGEEXPORT, Figure, arguments, finish, run

COMMANDS = {
    "edgeexport --help": (("--help",), 0),
    "edgeexport export --help": (("export", "--help"), 0),
    "edgeexport targets": (("targets",), 0),
    "edgeexport targets raspberry-pi-4": (("targets", "raspberry-pi-4"), 0),
    "edgeexport targets no-such-board": (("targets", "no-such-board"), 2),
    "edgeexport export, no model": (("export",), 2),
    "edgeexport export, unknown option": (("export", "model", "--no-such-option"), 2),
    "edgeexport export, --limit 0": (("export", "model", "--target", "raspberry-pi-4", "--limit", "0"), 2),
}
BARE = [sys.executable, "-c", "import typer, rich"]
LIMIT = 2.0
HEAVY = ("torch", "numpy")


def main() -> None:
    options = arguments(__doc__, ("--rounds", {"type": int, "default": 21, "help": "timed runs of each command"}))
    bare: list[float] = []
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for turn in range(options.rounds + 1):
        found = {"": run(BARE).seconds}
        for name, (command, status) in COMMANDS.items():
            found[name] = run([EDGEEXPORT, *command], allowed=(status,)).seconds
        if turn:
            bare.append(found.pop(""))
            for name, seconds in found.items():
                times[name].append(seconds)
    figures = [Figure('python -c "import typer, rich", ms', 1000 * median(bare))]
    for name, (command, status) in COMMANDS.items():
        figures.append(Figure(f"{name}: over that", median(times[name]) / median(bare), LIMIT))
        figures.append(Figure(f"{name}: heavy packages loaded", len(heavy(command, status)), 0))
    finish(figures, options.json)


def heavy(command: tuple[str, ...], status: int) -> set[str]:
    """Which of the heavy packages a command imports."""
    log = run([sys.executable, "-X", "importtime", "-m", "edgeexport", *command], allowed=(status,)).log
    imported = set(re.findall(r"^import time:.*\| +([\w.]+)$", log, re.MULTILINE))
    if "typer" not in imported:
        sys.exit("no imports were found in Python's log")
    return {name for name in HEAVY if name in imported}


if __name__ == "__main__":
    main()
