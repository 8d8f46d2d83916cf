"""Plans on devices: those that compute on this machine one after another, boards at the same time as each other.

What computes here shares one processor, and is timed. Boards come after it, as what this side does for them would be
felt in its times.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager

import numpy as np

from edgeexport.errors import DeviceError
from edgeexport.job import Device
from edgeexport.progress import Progress, Stage
from edgeexport.results import Run
from edgeexport.verify.harness import Plan, verify_on

Outcome = tuple[Run, list[np.ndarray]]


def run_all(places: Sequence[tuple[Device, str]], plan: Callable[[], Plan], progress: Progress) -> list[Outcome]:
    """Run a plan of its own on each device and runtime; what came of them is in the order of ``places``.

    Args:
        places: devices with a runtime. One board's runtimes run one after another.
        plan: makes one.
        progress: gets one stage for all boards, where there are several.

    Raises:
        EdgeExportError: what is no failed run. All devices that ran are closed then, as on an interruption.
    """
    boards: dict[str, list[int]] = defaultdict(list)
    for number, (device, _) in enumerate(places):
        about = device.describe()
        if about.elsewhere:
            boards[about.name].append(number)
    together = [number for numbers in boards.values() for number in numbers] if len(boards) > 1 else []
    found = {number: _verify(*place, plan(), progress) for number, place in enumerate(places) if number not in together}
    if together:
        found |= _at_once(places, boards, {number: plan() for number in together}, progress)
    return [found[number] for number in range(len(places))]


def _verify(device: Device, runtime: str, plan: Plan, progress: Progress) -> Outcome:
    """As :func:`verify_on`; a board that cannot be reached any more has failed, and its fellows go on."""
    try:
        return verify_on(device, runtime, plan, progress)
    except DeviceError as lost:
        about = device.describe()
        if not about.elsewhere:
            raise
        run = Run(
            runtime=runtime,
            runtime_version="",
            device=about.name,
            machine=about.machine,
            cpu=about.cpu,
            evidence=about.evidence,
            error=str(lost),
        )
        return run, []


def _at_once(
    places: Sequence[tuple[Device, str]], boards: dict[str, list[int]], plans: dict[int, Plan], progress: Progress
) -> dict[int, Outcome]:
    def work(numbers: list[int]) -> dict[int, Outcome]:
        found = {}
        for number in numbers:
            device, runtime = places[number]
            found[number] = _verify(device, runtime, plans[number], shared.part(number))
            run = found[number][0]
            shared.say(f"{run.place}: {'done' if run.error is None else 'failed'}")
        return found

    title = f"running on {', '.join(boards)} at the same time"
    with progress.stage(title, sum(plan.count for plan in plans.values())) as stage:
        shared = _Shared(stage, progress)
        with ThreadPoolExecutor(len(boards)) as pool:
            futures = [pool.submit(work, numbers) for numbers in boards.values()]
            try:
                done, _ = wait(futures, return_when=FIRST_EXCEPTION)
                for future in done:
                    future.result()
            except BaseException:
                for number in plans:
                    places[number][0].close()  # which ends what they run, and with it the threads
                raise
    return {number: outcome for future in futures for number, outcome in future.result().items()}


class _Shared:
    """One stage that several threads move."""

    def __init__(self, stage: Stage, progress: Progress) -> None:
        self._stage, self._progress = stage, progress
        self._steps: dict[int, int] = {}
        self._lock = threading.Lock()

    def part(self, number: int) -> Progress:
        return _Part(self, number)

    def say(self, text: str) -> None:
        with self._lock:
            self._progress.say(text)

    def at(self, number: int, step: int) -> None:
        with self._lock:
            self._steps[number] = step
            self._stage.at(sum(self._steps.values()))


class _Part(Progress):
    """What one thread tells: only stages that count say anything."""

    def __init__(self, shared: _Shared, number: int) -> None:
        self._shared, self._number = shared, number

    @contextmanager
    def stage(self, title: str, total: int | None = None) -> Iterator[Stage]:
        del title
        yield Stage() if total is None else _PartStage(self._shared, self._number)

    def say(self, text: str) -> None:
        self._shared.say(text)


class _PartStage(Stage):
    def __init__(self, shared: _Shared, number: int) -> None:
        self._shared, self._number = shared, number

    def at(self, step: int) -> None:
        self._shared.at(self._number, step)
