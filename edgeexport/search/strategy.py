"""In which order a search tries settings, and where it stops.

Precisions that the target executes are *families*. Each is screened as the target has it, on few samples: bytes,
latency, signal-to-noise. The cheapest comes first; the settings of its calibration and equalization are varied, the
best by signal-to-noise (by the metric itself where that is of real numbers) is evaluated on the whole choosing part,
and kept if no limit is broken. Else its layers' sensitivities tell an integer program which of them to leave out for
less noise, step by step, as long as that is cheaper than the next family. Nothing is chosen by the scoring part.
"""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from edgeexport.analysis import Sensitivity, Trial
from edgeexport.conversion import Layer
from edgeexport.merge import merge
from edgeexport.search.allocate import Allocation, Choice, allocate
from edgeexport.search.measures import Bounds, excess, power, quality, together
from edgeexport.search.space import Unit, bytes_of, computes_in_float, group

_STEPS = (0.5, 0.25, 0.12, 0.06, 0.03, 0.01, 0.003)
"""Shares of a family's noise that its allocations may have, one after another."""
_ALIKE = 1.1
"""Costs that differ by less than this count as equal, as latencies do not repeat exactly."""
_UNSURE = 1.1
"""A latency on few repetitions that is beyond its limit by less may be within it after all."""
_SWITCH = 0.002
"""Share of latency that a unit costs at least that leaves its family: values change type before and after it."""
_SILENT = 1e-9
"""Noise over signal that is float32's own."""
_TELLING = 0.95
"""Alternatives are measured for the units that make this share of the noise."""


class Laboratory(Protocol):
    """Tries settings on the real runtime. Settings are flags beside the target's, the recipe's and the user's."""

    def variations(self, flags: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        """Single changes worth trying, with titles."""

    def bounds(self, flags: Mapping[str, Any]) -> Bounds:
        """Limits that hold for these settings."""

    def layers(self, flags: Mapping[str, Any]) -> Iterable[Layer]:
        """What these settings bring to integers."""

    def screened(self, flags: Mapping[str, Any], timed: bool) -> Trial:
        """The settings on few samples."""

    def evaluated(self, flags: Mapping[str, Any], screened: Trial) -> Trial:
        """The settings on the whole choosing part, judged."""

    def hopeless(self, screened: Trial) -> str:
        """Why few samples show already that a limit will be broken; empty where they do not."""

    def alone(self, flags: Mapping[str, Any], unit: Unit, precision: str) -> Trial:
        """The settings with that precision for one unit and float32 for all others, on few samples."""

    def overrides(self, flags: Mapping[str, Any], precisions: Mapping[str, str], units: list[Unit]) -> dict[str, Any]:
        """The settings with precisions for some units, by their paths."""


@dataclass
class Outcome:
    """What a search found.

    Attributes:
        trials: in the order of trying.
        sensitivities: of layers.
        chosen: the number of the trial to take: one that keeps the limits, or the closest.
        kept: whether it keeps them.
        evaluations: on the whole choosing part.
        stopped: why it ended.
    """

    trials: list[Trial] = field(default_factory=list)
    sensitivities: list[Sensitivity] = field(default_factory=list)
    chosen: int = 0
    kept: bool = False
    evaluations: int = 0
    stopped: str = ""


@dataclass
class _Family:
    """A precision under search."""

    precision: str
    best: Trial
    units: list[Unit] = field(default_factory=list)
    choices: dict[str, dict[str, Choice]] = field(default_factory=dict)
    seen: list[Mapping[str, str]] = field(default_factory=list)
    step: int = 0


class SearchRun:
    """One search.

    Args:
        laboratory: where settings are tried.
        evaluations: on the choosing part, at most.
        seconds: after which nothing new is begun; None is no bound.
        sensitivity: measure every unit's even where nothing has to be left out.
        clock: seconds, rising.
    """

    def __init__(
        self,
        laboratory: Laboratory,
        evaluations: int,
        seconds: float | None = None,
        sensitivity: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lab = laboratory
        self._most = evaluations
        self._sensitivity = sensitivity
        self._clock = clock
        self._end = None if seconds is None else clock() + seconds
        self.outcome = Outcome()
        self._queue: list[tuple[float, float, int, _Family, Allocation | None]] = []
        self._pushed = 0
        self._ratios: dict[str, float] = {}

    def run(self, precisions: Iterable[str]) -> Outcome:
        """Try until one keeps the limits, or nothing is left to try."""
        for precision in precisions:
            if self.outcome.trials and self._late():
                break
            trial = self._screen(precision, {"precision": precision})
            if trial.artifact_bytes is not None:
                if trial.latency_ratio is not None:
                    self._ratios[precision] = trial.latency_ratio
                self._push(_cost(trial), _Family(precision, trial), None)
        while self._queue and not self._over():
            *_, family, allocation = heapq.heappop(self._queue)
            kept = self._try_family(family) if allocation is None else self._try_allocation(family, allocation)
            if kept:
                if self._sensitivity and not family.choices:
                    self._weigh(family)
                self.outcome.stopped = "the first that keeps every limit, and the cheapest by its size and latency"
                return self.outcome
        if not self.outcome.stopped:
            self.outcome.stopped = "nothing is left to try"
        self._take_closest()
        self._weigh_closest()
        return self.outcome

    def _over(self) -> bool:
        if self.outcome.evaluations >= self._most:
            self.outcome.stopped = f"{self._most} evaluations were made, as many as were allowed"
        return bool(self.outcome.stopped) or self._late()

    def _late(self) -> bool:
        late = self._end is not None and self._clock() > self._end
        if late:
            self.outcome.stopped = "the time is up"
        return late

    def _push(self, cost: float, family: _Family, allocation: Allocation | None) -> None:
        self._pushed += 1
        heapq.heappush(self._queue, (_rounded(cost), -quality(family.best)[0], self._pushed, family, allocation))

    def _screen(self, title: str, flags: Mapping[str, Any]) -> Trial:
        trial = self._lab.screened(flags, timed=True)
        trial = msgspec.structs.replace(trial, number=len(self.outcome.trials) + 1, title=title, settings=dict(flags))
        self.outcome.trials.append(trial)
        return trial

    def _evaluate(self, trial: Trial) -> bool:
        """Run a screened trial on the choosing part, unless that is hopeless; whether it keeps the limits."""
        why = self._lab.hopeless(trial)
        if why:
            self._note(trial, msgspec.structs.replace(trial, note=why))
            return False
        self.outcome.evaluations += 1
        full = self._lab.evaluated(trial.settings, trial)
        full = msgspec.structs.replace(full, number=trial.number, title=trial.title, settings=trial.settings)
        self._note(trial, full)
        if full.kept:
            self.outcome.chosen, self.outcome.kept = full.number, True
        return bool(full.kept)

    def _note(self, before: Trial, after: Trial) -> None:
        self.outcome.trials[before.number - 1] = after

    def _try_family(self, family: _Family) -> bool:
        why = self._beyond(family.best)
        if why:
            self._note(family.best, msgspec.structs.replace(family.best, note=why))
            return False
        family.best = self._vary(family.best)
        if self._late():
            return False
        if self._evaluate(family.best):
            return True
        if not self._over():
            self._weigh(family)
            if not self._late():
                self._propose(family)
        return False

    def _beyond(self, trial: Trial) -> str:
        """Why leaving layers out of it cannot help: it is too large or too slow as it is."""
        bounds = self._lab.bounds(trial.settings)
        if bounds.bytes is not None and (trial.artifact_bytes or 0) > bounds.bytes:
            limit = f"the {bounds.bytes:,.0f} bytes that {bounds.bytes_by} allows"
            return f"more than {limit}, and with layers in float it is no smaller"
        if bounds.latency_ratio is not None and (trial.latency_ratio or 0) > bounds.latency_ratio * _UNSURE:
            limit = f"the {bounds.latency_ratio:g} of float32 that {bounds.latency_by} allows"
            return f"slower than {limit}, and with layers in float it is no faster"
        return ""

    def _vary(self, base: Trial) -> Trial:
        """The best of one family by signal-to-noise, its settings changed one at a time and the good ones together."""
        gains: dict[str, tuple[Trial, dict[str, Any]]] = {}
        for title, change in self._lab.variations(base.settings):
            if self._late():
                break
            trial = self._screen(f"{base.title}, {title}", merge(base.settings, change))
            key = title.rpartition(" ")[0]
            if quality(trial) > max(quality(base), quality(gains[key][0] if key in gains else base)):
                gains[key] = trial, change
        candidates = [base, *(trial for trial, _ in gains.values())]
        if len(gains) > 1 and not self._late():
            together: dict[str, Any] = dict(base.settings)
            for _, change in gains.values():
                together = merge(together, change)
            titles = (trial.title.removeprefix(f"{base.title}, ") for trial, _ in gains.values())
            candidates.append(self._screen(f"{base.title}, {' and '.join(titles)}", together))
        return max(candidates, key=quality)

    def _weigh(self, family: _Family) -> None:
        """Measure each unit's noise in the family's precision, and in its alternatives where it matters."""
        flags = family.best.settings
        family.units = self._units(flags, family.precision)
        whole = sum(unit.macs for unit in family.units) or 1
        noises = {}
        for unit in family.units:
            if self._late():
                return
            noises[unit.path] = self._noise(flags, unit, family.precision, whole)
        total = together(noises.values())
        ranked = sorted(family.units, key=lambda unit: -noises[unit.path])
        covered = 0.0
        telling = set()
        for unit in ranked:
            if covered < _TELLING * total:
                telling.add(unit.path)
            covered += together([noises[unit.path]])
        for unit in family.units:
            options = {family.precision: noises[unit.path]}
            for precision in unit.alternatives:
                if precision == "fp32":
                    options[precision] = 0.0
                elif unit.path in telling and not self._late():
                    options[precision] = self._noise(flags, unit, precision, whole)
            family.choices[unit.path] = {
                precision: Choice(noise, bytes_of(unit.weights, precision), self._time(unit, precision, family, whole))
                for precision, noise in options.items()
            }
        family.seen.append(dict.fromkeys(family.choices, family.precision))

    def _units(self, flags: Mapping[str, Any], precision: str) -> list[Unit]:
        """What can be left out; an operator that is quantized only behind integers goes with the unit before it.

        Alone it stays float and shows no noise, though the integers that it passes on may lose much.
        """
        units: list[Unit] = []
        for unit in group(self._lab.layers(flags)):
            if not unit.alternatives:
                continue
            carried = bool(units) and not unit.weights and not self._late()
            if carried and power(self._lab.alone(flags, unit, precision)) < _SILENT:
                units[-1] = Unit(units[-1].path, (*units[-1].layers, *unit.layers))
            else:
                units.append(unit)
        return units

    def _noise(self, flags: Mapping[str, Any], unit: Unit, precision: str, whole: int) -> float:
        trial = self._lab.alone(flags, unit, precision)
        if trial.artifact_bytes is None:  # without a ratio, it would read as a unit that changes nothing
            return power(trial)
        self.outcome.sensitivities.append(
            Sensitivity(
                layer=unit.layers[0].name if len(unit.layers) == 1 else f"{len(unit.layers)} operators",
                path=unit.path,
                precision=precision,
                snr_db=trial.snr_db,
                unlike=trial.unlike,
                samples=trial.samples,
                bytes=bytes_of(unit.weights, precision),
                macs=unit.macs / whole,
            )
        )
        return power(trial)

    def _time(self, unit: Unit, precision: str, family: _Family, whole: int) -> float:
        share, own = unit.macs / whole, family.best.latency_ratio or 1.0
        if precision == family.precision:
            return share * own
        if computes_in_float(precision):
            return share + _SWITCH
        return share * self._ratios.get(precision, 1.15 * own) + _SWITCH

    def _propose(self, family: _Family) -> None:
        """Queue the family's next allocation, if there is one that was not tried."""
        base = {path: choices[family.precision] for path, choices in family.choices.items()}
        noise = together(choice.noise for choice in base.values())
        size, latency = family.best.artifact_bytes or 0, family.best.latency_ratio or 1.0
        sizes, times = (sum(getattr(choice, key) for choice in base.values()) for key in ("bytes", "time"))
        bounds = self._lab.bounds(family.best.settings)
        float32 = size / family.best.size_ratio if family.best.size_ratio else 1.0
        size_bound = None if bounds.bytes is None else bounds.bytes - size + sizes
        timed = family.best.latency_ratio is not None
        time_bound = bounds.latency_ratio - latency + times if timed and bounds.latency_ratio is not None else None
        while family.step <= len(_STEPS):
            # What no allocation can reach under the bounds ends in the one of least noise.
            share = _STEPS[family.step] if family.step < len(_STEPS) else None
            family.step += 1
            found = allocate(
                family.choices,
                None if share is None else noise * share,
                weight_of_bytes=1 / float32,
                most_bytes=size_bound,
                most_time=time_bound,
            )
            if found is not None and found.precisions not in family.seen:
                family.seen.append(found.precisions)
                cost = (size + found.bytes - sizes) / float32 * (latency + found.time - times)
                self._push(cost, family, found)
                return

    def _try_allocation(self, family: _Family, allocation: Allocation) -> bool:
        changed = {path: kind for path, kind in allocation.precisions.items() if kind != family.precision}
        flags = self._lab.overrides(family.best.settings, changed, family.units)
        trial = self._screen(f"{family.best.title}, {_counted(changed)}", flags)
        if trial.artifact_bytes is not None and self._evaluate(trial):
            return True
        self._propose(family)
        return False

    def _take_closest(self) -> None:
        """Choose what breaks limits least of what was evaluated, or screened where nothing was."""
        ran = [trial for trial in self.outcome.trials if trial.artifact_bytes is not None]
        known = [trial for trial in ran if trial.evaluated] or ran
        if known:
            closest = min(
                known, key=lambda trial: (excess(trial, self._lab.bounds(trial.settings)), -quality(trial)[1])
            )
            self.outcome.chosen = closest.number

    def _weigh_closest(self) -> None:
        """Measure the layers of a search that ended before any were: what failed must tell which of them cost what."""
        if not self.outcome.chosen or self.outcome.sensitivities:
            return
        closest, stopped = self.outcome.trials[self.outcome.chosen - 1], self.outcome.stopped
        if not self._late():
            self._weigh(_Family(str(closest.settings["precision"]), closest))
        self.outcome.stopped = stopped


def _counted(precisions: Mapping[str, str]) -> str:
    counts: dict[str, int] = {}
    for precision in precisions.values():
        counts[precision] = counts.get(precision, 0) + 1
    return ", ".join(
        f"{count} unit{'s' if count > 1 else ''} {precision}" for precision, count in sorted(counts.items())
    )


def _cost(trial: Trial) -> float:
    return (trial.size_ratio or 1.0) * (trial.latency_ratio or 1.0)


def _rounded(cost: float) -> float:
    """The cost's step on a scale on which neighbours count as equal."""
    return round(math.log(max(cost, 1e-9)) / math.log(_ALIKE))
