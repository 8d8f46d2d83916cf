"""What verification over SSH takes besides the model's own time, by a real server and client on this machine.

A job of 256 sentences of SST-2 through MiniLM in int8 is run by the runner here and over SSH in turn: the overhead is
the difference, over the time here. Then the same bundle again, by a new connection: of the model nothing is sent. With
``--emulated``, a login whose Python is that of the emulated Raspberry Pi 4 verifies sentences of the validation set,
and the emulated board itself as well. It starts OpenSSH's server on a port of its own, for the user who runs it.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import CHECKOUT, Figure, arguments, export, finish, note, workspace

sys.path.insert(0, str(CHECKOUT / "tests" / "models"))

TARGET = "raspberry-pi-4"
SENTENCES = 256
ROUNDS = 9


def main() -> None:
    options = arguments(
        __doc__,
        (
            "--emulated",
            {"type": int, "default": 0, "metavar": "N", "help": "sentences for the emulated board, 872 at most"},
        ),
    )
    data = options.shared / "data" / "sst2"
    figures: list[Figure] = []
    with workspace() as folder:
        note("exporting")
        bundle = folder / "bundle"
        sets = ("--calibration", data / "calibration.jsonl", "--evaluation", data / "validation.jsonl")
        model = options.shared / "models" / "sst2-minilm"
        export(model, TARGET, bundle, folder / "cache", *sets, "--set", "timing.pairs=0")
        figures += overhead(bundle, data / "validation.jsonl", folder)
        if options.emulated:
            figures += emulated(bundle, data / "validation.jsonl", options.emulated, folder)
    finish(figures, options.json)


def overhead(bundle: Path, evaluation: Path, folder: Path) -> Iterator[Figure]:
    """Of a whole job, and of the model's bytes."""
    import boards

    from edgeexport.devices import local, ssh

    (folder / "login").mkdir()
    board = boards.Board(folder / "login")
    board.start()
    os.environ[ssh.CONFIGURATION] = str(board.configuration)
    try:
        job = sentences(bundle, evaluation)
        here, there = local.open_device(""), ssh.open_device("//board")
        timed(there, job)  # sends the model
        timed(here, job)
        taken = [paired(here, there, job, number) for number in range(ROUNDS)]
        empty = statistics.median(command(there) for _ in range(ROUNDS))
        there.close()
        again = ssh.open_device("//board")
        timed(again, job)
        again.close()
    finally:
        board.kill()
    yield Figure(f"seconds of {SENTENCES} sentences here, median", statistics.median(one for one, _ in taken))
    extra = statistics.median(other - one for one, other in taken)
    yield Figure("seconds more over SSH, median", extra, 2.0)
    share = statistics.median(other / one - 1 for one, other in taken)
    yield Figure("share more over SSH, median", share, 0.10)
    yield Figure("seconds of a command over it that does nothing, median", empty)
    yield Figure("bytes of the model sent at first", there.sent_bytes)
    yield Figure("bytes of the model sent to a board that has it", again.sent_bytes, 0)


def emulated(bundle: Path, evaluation: Path, count: int, folder: Path) -> Iterator[Figure]:
    """Sentences on the emulated board, and on a login that is one."""
    import boards

    import edgeexport
    from edgeexport.devices import emulated as boards_here
    from edgeexport.devices import ssh

    (folder / "pi").mkdir()
    device = boards_here.open_device(TARGET)
    board = boards.emulated(folder / "pi", device._emulator.command(boards_here.root_folder("arm64")))
    packages = board.place / ssh.ROOT / "packages"
    packages.mkdir(parents=True)
    (packages / "ort").symlink_to(boards_here.wheels_folder("arm64", "ort"))
    board.start()
    os.environ[ssh.CONFIGURATION] = str(board.configuration)
    note(f"{count} sentences on the emulated board, and on a login that is one")
    try:
        report = edgeexport.verify(bundle, on=[f"emulated:{TARGET}", "ssh://board"], evaluation=evaluation, limit=count)
    finally:
        board.kill()
    one, other = report.runs
    if one.error or other.error or one.accuracy is None or other.accuracy is None:
        sys.exit(f"{one.error}\n{other.error}")
    yield Figure(f"right of {count}, emulated", round(one.accuracy.value * count))
    yield Figure(f"right of {count}, over SSH on {other.machine}", round(other.accuracy.value * count))
    apart = abs(one.accuracy.value - other.accuracy.value)
    yield Figure("accuracies apart", apart, 0)


def sentences(bundle: Path, evaluation: Path) -> Any:
    """The first of the evaluation set as a job."""
    import itertools

    from edgeexport.artifact import load_bundle
    from edgeexport.job import Job
    from edgeexport.preprocess import from_dict
    from edgeexport.samples import feeds, open_samples

    opened = load_bundle(bundle)
    encoded = feeds(
        open_samples(evaluation, None), from_dict(opened.manifest.preprocess), opened.signature.real(), bundle
    )
    inputs = [arrays for _, arrays in itertools.islice(encoded, SENTENCES)]
    return Job(runtime="ort", models=(opened.model_path,), inputs=inputs)


def paired(here: Any, there: Any, job: Any, number: int) -> tuple[float, float]:
    """Seconds on both, one after the other, and every other time the other way round."""
    if number % 2:
        later = timed(there, job)
        return timed(here, job), later
    return timed(here, job), timed(there, job)


def command(device: Any) -> float:
    """Seconds of a command that does nothing: the start of a channel, of a login's shell, and of the client here."""
    start = time.perf_counter()
    device._transport.run("true", timeout_s=60)
    return time.perf_counter() - start


def timed(device: Any, job: Any) -> float:
    """Seconds of a job, from its inputs in memory to its outputs read."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        result = device.run(job, Path(folder))
        count = sum(1 for _ in result.outputs)
        taken = time.perf_counter() - start
    if count != SENTENCES:
        sys.exit(f"{count} of {SENTENCES} outputs")
    return taken


if __name__ == "__main__":
    main()
