"""Calibration sets made bad by a named corruption, each with the rule that must find it, and good ones as they are.

Real data: sentences of SST-2, photographs of CIFAR-10, token ids of Python source, spoken digits, scikit-learn's images
of digits. Each set is judged in this process as `edgeexport lint` does, with an empty cache; the last figures are of
that command on sst2's calibration set. `lint_sets.py` makes the sets, and has factories for the last two models, whose
weights are random: no rule looks at them but the one of activations.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench import CHECKOUT, EDGEEXPORT, Figure, arguments, finish, note, run, workspace


def main() -> None:
    options = arguments(
        __doc__,
        ("--only", {"default": "", "metavar": "TEXT", "help": "sets whose name has this in it"}),
        ("--times", {"type": int, "default": 3, "help": "runs of the command that is timed"}),
    )
    sys.path.insert(0, str(CHECKOUT / "benchmarks"))
    os.environ["OMP_NUM_THREADS"] = "1"
    with workspace() as folder:
        os.environ["EDGEEXPORT_CACHE"] = str(folder / "cache")
        figures = list(judged(options.shared, folder, options.only))
        if not options.only:
            figures += timed(options.shared, folder, options.times)
    finish(figures, options.json)


def judged(shared: Path, folder: Path, only: str) -> Iterator[Figure]:
    """One figure a set: whether just its rule found something."""
    import lint_sets

    from edgeexport.pipeline import LintRequest, run_lint
    from edgeexport.progress import Progress

    for case in lint_sets.cases(shared, folder / "sets"):
        if only not in case.name:
            continue
        start = time.perf_counter()
        request = LintRequest(case.model, case.calibration, case.evaluation)
        found = run_lint(request, {}, Progress())
        seconds = time.perf_counter() - start
        for one in found:
            note(f"{case.name}: {one.level}: {one.evidence} [{one.rule}] {seconds:.1f} s")
        rules = [one.rule for one in found]
        levels = f", {found[0].level}" if found else ""
        expected = case.rule or "nothing"
        yield Figure(f"{case.name}: {expected} alone{levels}", rules == [case.rule] * bool(case.rule), True, True)


def timed(shared: Path, folder: Path, times: int) -> Iterator[Figure]:
    """The whole command, cold and from the cache."""
    data = shared / "data" / "sst2"
    command = [EDGEEXPORT, "lint", str(shared / "models" / "sst2-minilm")]
    command += ["--calibration", str(data / "calibration.jsonl"), "--evaluation", str(data / "validation.jsonl")]
    cold, warm = [], []
    for number in range(times):
        cold.append(run(command, folder / f"cache-{number}").seconds)
        warm.append(run(command, folder / f"cache-{number}").seconds)
    yield Figure(f"sst2, the command, s, median of {times}", statistics.median(cold))
    yield Figure("the same from the cache, s", statistics.median(warm))


if __name__ == "__main__":
    main()
