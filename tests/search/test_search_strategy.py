"""The order of a search and where it stops, in a laboratory whose models are a few numbers a unit."""

import math

import pytest

from edgeexport.analysis import Trial
from edgeexport.conversion import Layer
from edgeexport.search.measures import Bounds
from edgeexport.search.space import Unit, bytes_of, computes_in_float
from edgeexport.search.strategy import SearchRun

FAMILIES = {"w8a8": 0.4, "w8a8-dynamic": 0.6, "w8": 1.0, "fp16": 1.0, "fp32": 1.0}
"""Latency ratios."""
NEVER = -1.0
"""A drop that no model keeps, not even one left in float."""
ISLANDS = ("w8a8", "w8", "fp16")
"""Families of which the first with a layer left out costs less than the second."""
SHARE = {"w8a8": 1.0, "w8a8-dynamic": 0.1, "w8": 0.02, "fp16": 1e-4, "fp32": 0.0}
"""Of a unit's noise."""


class Lab:
    """Units ``name: (weights, macs, noise in w8a8)``; noise adds up, and a model drops by as much as it has noise.

    Every call takes a second of its clock.
    """

    def __init__(
        self,
        units,
        drop,
        size=None,
        latency=None,
        changes=(),
        fails=lambda _flags: "",
        alternatives=("w8a8-dynamic", "fp32"),
        hopeless=lambda _trial: "",
    ):
        self.units, self.limits, self.changes, self.fails = units, (drop, size, latency), dict(changes), fails
        self.alternatives, self._hopeless = alternatives, hopeless
        self.calls, self.time = [], 0.0
        self.whole = sum(macs for _, macs, _ in units.values())

    def clock(self):
        return self.time

    def _begin(self, what):
        self.calls.append((what, self.time))
        self.time += 1

    def count(self, what):
        return sum(name == what for name, _ in self.calls)

    def _trial(self, flags, kinds, evaluated=False):
        reason = self.fails({**flags, "kinds": kinds})
        if reason:
            return Trial(number=0, title="", settings={}, evaluated=False, samples=64, note=reason)
        factor = math.prod(self.changes[key][value] for key, value in flags.items() if key in self.changes)
        noise = factor * sum(self.units[name][2] * SHARE[kind] for name, kind in kinds.items())
        count = sum(bytes_of(self.units[name][0], kind) for name, kind in kinds.items())
        whole = sum(4 * weights for weights, _, _ in self.units.values())
        shares = {name: macs / self.whole for name, (_, macs, _) in self.units.items()}
        latency = sum(
            shares[name] * (1.0 if computes_in_float(kind) else FAMILIES[kind]) for name, kind in kinds.items()
        )
        kept = None
        if evaluated:
            drop, size, slow = self.limits
            kept = noise <= drop and (size is None or count <= size) and (slow is None or latency <= slow)
        return Trial(
            number=0,
            title="",
            settings={},
            evaluated=evaluated,
            samples=1000 if evaluated else 64,
            artifact_bytes=count,
            size_ratio=count / whole,
            latency_ratio=latency,
            drop=noise,
            snr_db=None if noise == 0 else -10 * math.log10(noise),
            kept=kept,
        )

    def _kinds(self, flags):
        return {**dict.fromkeys(self.units, flags["precision"]), **flags.get("overrides", {})}

    def variations(self, flags):
        return [(f"{key} {value}", {key: value}) for key, values in self.changes.items() for value in values]

    def bounds(self, flags):
        return Bounds(*self.limits[1:])

    def layers(self, flags):
        return [
            Layer(name, name, "Conv", weights, macs, self.alternatives)
            for name, (weights, macs, _) in self.units.items()
        ]

    def screened(self, flags, timed):
        self._begin("screened")
        assert timed
        return self._trial(flags, self._kinds(flags))

    def evaluated(self, flags, screened):
        self._begin("evaluated")
        assert screened.settings == flags
        return self._trial(flags, self._kinds(flags), evaluated=True)

    def hopeless(self, screened):
        return self._hopeless(screened)

    def alone(self, flags, unit, precision):
        self._begin("alone")
        return self._trial(flags, {**dict.fromkeys(self.units, "fp32"), unit.path: precision})

    def overrides(self, flags, precisions, units):
        assert all(isinstance(unit, Unit) for unit in units)
        assert set(precisions) <= {unit.path for unit in units}
        return {**flags, "overrides": dict(precisions)}


def even(**noisy):
    """Ten units of equal size; those named are noisier than 0.001."""
    return {f"u{number}": (1000, 100, noisy.get(f"u{number}", 0.001)) for number in range(10)}


def chosen(outcome):
    return outcome.trials[outcome.chosen - 1]


def consistent(lab, run_evaluations, outcome):
    """What holds of every outcome."""
    assert [trial.number for trial in outcome.trials] == list(range(1, len(outcome.trials) + 1))
    assert outcome.evaluations == lab.count("evaluated") <= run_evaluations
    assert sum(trial.evaluated for trial in outcome.trials) == outcome.evaluations
    assert lab.count("screened") == len(outcome.trials)
    assert outcome.kept == bool(chosen(outcome).kept)
    assert outcome.stopped
    settings = [repr(trial.settings) for trial in outcome.trials if trial.evaluated]
    assert len(set(settings)) == len(settings)  # nothing is evaluated twice


def search(lab, precisions=("w8a8", "w8a8-dynamic", "w8", "fp16"), evaluations=20, **more):
    outcome = SearchRun(lab, evaluations, clock=lab.clock, **more).run(precisions)
    consistent(lab, evaluations, outcome)
    return outcome


def test_the_cheapest_family_is_taken_where_it_keeps_the_limits():
    lab = Lab(even(), drop=0.02)
    outcome = search(lab)
    assert chosen(outcome).settings == {"precision": "w8a8"}
    assert outcome.kept
    assert (outcome.evaluations, len(outcome.trials), lab.count("alone")) == (1, 4, 0)
    assert "cheapest" in outcome.stopped


def test_the_order_of_the_families_does_not_matter():
    for order in (("fp16", "w8", "w8a8-dynamic", "w8a8"), ("w8", "w8a8", "fp16", "w8a8-dynamic")):
        assert chosen(search(Lab(even(), drop=0.02), order)).settings == {"precision": "w8a8"}


def test_the_one_noisy_unit_is_left_out_and_no_other():
    outcome = search(Lab(even(u3=1.0), drop=0.1, alternatives=("fp32",)), ISLANDS)
    assert outcome.kept
    assert chosen(outcome).settings == {"precision": "w8a8", "overrides": {"u3": "fp32"}}
    assert chosen(outcome).title == "w8a8, 1 unit fp32"
    assert outcome.evaluations == 2


def test_two_noisy_units_take_another_step():
    outcome = search(Lab(even(u3=1.0, u7=0.3), drop=0.1, alternatives=("fp32",)), ISLANDS)
    assert chosen(outcome).settings == {"precision": "w8a8", "overrides": {"u3": "fp32", "u7": "fp32"}}


def test_a_cheaper_alternative_is_taken_where_its_noise_will_do():
    outcome = search(Lab(even(u3=1.0), drop=0.2))
    assert chosen(outcome).settings == {"precision": "w8a8", "overrides": {"u3": "w8a8-dynamic"}}


def test_alternatives_are_measured_for_the_units_that_make_the_noise_alone():
    lab = Lab(even(u3=1.0), drop=0.2)
    outcome = search(lab)
    measured = [(each.path, each.precision) for each in outcome.sensitivities]
    assert measured == [*((name, "w8a8") for name in lab.units), ("u3", "w8a8-dynamic")]


def test_sensitivities_are_the_units_own():
    lab = Lab({"a": (1000, 300, 0.5), "b": (500, 100, 0.01)}, drop=0.1, alternatives=("fp32",))
    first, second = search(lab).sensitivities
    assert (first.path, first.layer, first.precision, first.bytes, first.macs) == ("a", "a", "w8a8", 1000, 0.75)
    assert first.snr_db == pytest.approx(-10 * math.log10(0.5))
    assert second.snr_db == pytest.approx(20)
    assert second.macs == 0.25


def test_another_family_is_taken_where_it_is_cheaper_than_islands():
    """Every unit is as noisy as the others, so that islands would have to be nearly all of them."""
    outcome = search(Lab(dict.fromkeys("abcdefghij", (1000, 100, 0.5)), drop=0.6))
    assert outcome.kept
    assert chosen(outcome).settings["precision"] == "w8a8-dynamic"
    costs = {t.title: t.size_ratio * t.latency_ratio for t in outcome.trials}
    best = costs[chosen(outcome).title]
    kept = [trial for trial in outcome.trials if trial.drop <= 0.6]
    assert best <= 1.1 * min(t.size_ratio * t.latency_ratio for t in kept)


@pytest.mark.parametrize("seed", range(20))
def test_nothing_tried_that_keeps_the_limits_is_much_cheaper_than_the_choice(seed):
    import random

    source = random.Random(seed)
    units = {
        f"u{number}": (source.randint(100, 5000), source.randint(100, 5000), 10 ** source.uniform(-4, 0))
        for number in range(8)
    }
    outcome = search(Lab(units, drop=10 ** source.uniform(-3, -1)))
    assert outcome.kept
    kept = [t for t in outcome.trials if t.drop <= chosen(outcome).drop and t.kept is not False]
    best = min(t.size_ratio * t.latency_ratio for t in kept)
    assert chosen(outcome).size_ratio * chosen(outcome).latency_ratio <= 1.2 * best


def test_a_size_is_respected():
    """The float island of the noisy unit is too large; the family with less noise is not."""
    units = even(u3=1.0)
    free = chosen(search(Lab(units, drop=0.05, alternatives=("fp32",))))
    assert free.artifact_bytes == 13_000
    held = search(Lab(units, drop=0.05, size=12_000, alternatives=("fp32",)))
    assert held.kept
    assert chosen(held).settings == {"precision": "w8"}
    assert all(trial.artifact_bytes <= 12_000 for trial in held.trials if trial.evaluated)


def test_a_latency_is_respected():
    """The float island of the noisy unit keeps the drop and takes too long; another precision of it does not."""
    units = {**even(), "u3": (1000, 1000, 1.0)}
    free = search(Lab(units, drop=0.05, alternatives=("fp32",)), ("w8a8",))
    assert chosen(free).settings == {"precision": "w8a8", "overrides": {"u3": "fp32"}}
    assert chosen(free).latency_ratio == pytest.approx((900 * 0.4 + 1000) / 1900)
    held = search(Lab(units, drop=0.15, latency=0.7), ("w8a8",))
    assert held.kept
    assert chosen(held).settings == {"precision": "w8a8", "overrides": {"u3": "w8a8-dynamic"}}
    assert chosen(held).latency_ratio <= 0.7
    none = search(Lab(units, drop=0.05, latency=0.65, alternatives=("fp32",)), ("w8a8",))
    assert not none.kept
    assert all(trial.latency_ratio <= 0.65 for trial in none.trials)  # that island is not even tried


def test_families_beyond_a_limit_are_screened_and_not_evaluated():
    outcome = search(Lab(even(u3=1.0), drop=1e-6, size=9_999))
    assert not outcome.kept
    assert outcome.evaluations == 0
    assert all("more than the 9,999 bytes that a limit allows" in trial.note for trial in outcome.trials)
    slow = search(Lab(even(u3=1.0), drop=1e-6, latency=0.3))
    assert slow.evaluations == 0
    assert all("slower than the 0.3 of float32 that a limit allows" in trial.note for trial in slow.trials)


@pytest.mark.parametrize("bound", [{"size": 9_999}, {"latency": 0.3}])
def test_a_search_that_fails_before_it_measured_layers_measures_those_of_the_closest(bound):
    lab = Lab(even(u3=1.0, u7=0.2), drop=1e-6, **bound)
    outcome = search(lab)
    assert not outcome.kept and outcome.stopped == "nothing is left to try"
    own = {
        one.path: one.snr_db for one in outcome.sensitivities if one.precision == chosen(outcome).settings["precision"]
    }
    assert set(own) == set(lab.units)
    assert sorted(own, key=own.get)[:2] == ["u3", "u7"]


def test_hopeless_trials_cost_no_evaluation():
    lab = Lab(even(u3=1.0), drop=0.1, alternatives=("fp32",), hopeless=lambda t: "no" if t.drop > 0.5 else "")
    outcome = search(lab, ISLANDS)
    assert outcome.kept
    assert chosen(outcome).settings == {"precision": "w8a8", "overrides": {"u3": "fp32"}}
    assert outcome.evaluations == 1
    assert outcome.trials[0].note == "no"
    assert not outcome.trials[0].evaluated


@pytest.mark.parametrize("most", [1, 2, 3])
def test_no_more_evaluations_than_allowed_and_the_closest_is_taken(most):
    lab = Lab(even(u3=1.0, u5=0.5, u7=0.2), drop=NEVER)
    outcome = search(lab, evaluations=most)
    assert not outcome.kept
    assert outcome.evaluations == most
    assert outcome.stopped == f"{most} evaluations were made, as many as were allowed"
    assert chosen(outcome).drop == min(trial.drop for trial in outcome.trials if trial.evaluated)


def test_where_nothing_keeps_the_limits_everything_is_tried_and_the_closest_taken():
    outcome = search(Lab(even(u3=1.0), drop=NEVER), evaluations=100)
    assert not outcome.kept
    assert outcome.stopped == "nothing is left to try"
    assert chosen(outcome).drop == min(trial.drop for trial in outcome.trials if trial.evaluated)
    assert {trial.settings["precision"] for trial in outcome.trials} == {"w8a8", "w8a8-dynamic", "w8", "fp16"}


@pytest.mark.parametrize("seconds", [0, 1, 3.5, 5, 7, 9, 20])
def test_nothing_new_begins_when_the_time_is_up(seconds):
    lab = Lab(even(u3=1.0, u5=0.5), drop=NEVER, changes={"method": {"mse": 0.9, "minmax": 0.8}})
    outcome = search(lab, evaluations=100, seconds=seconds)
    assert not outcome.kept
    assert outcome.stopped == "the time is up"
    assert all(begun <= seconds for _, begun in lab.calls[1:])  # one is always tried, or there would be none to take
    assert chosen(outcome).artifact_bytes is not None


def test_time_that_is_enough_changes_nothing():
    free, bound = (search(Lab(even(u3=1.0), drop=0.1), seconds=seconds) for seconds in (None, 1000))
    assert free == bound


def test_the_best_change_is_kept_and_good_ones_are_tried_together():
    changes = {"method": {"mse": 0.5, "minmax": 2.0}, "smoothing": {"0.5": 0.25, "0.85": 0.125}}
    outcome = search(Lab(even(u3=1.0), drop=0.07, changes=changes))
    assert outcome.kept
    assert chosen(outcome).settings == {"precision": "w8a8", "method": "mse", "smoothing": "0.85"}
    assert chosen(outcome).title == "w8a8, method mse and smoothing 0.85"
    assert outcome.evaluations == 1


def test_changes_that_do_not_help_are_not_taken():
    changes = {"method": {"mse": 1.0, "minmax": 1.5}}
    outcome = search(Lab(even(), drop=0.1, changes=changes))
    assert chosen(outcome).settings == {"precision": "w8a8"}


def test_a_family_that_fails_is_a_trial_with_a_note():
    lab = Lab(even(), drop=0.1, fails=lambda flags: "cannot" if flags["precision"] == "w8a8" else "")
    outcome = search(lab)
    assert outcome.kept
    assert outcome.trials[0].note == "cannot"
    assert outcome.trials[0].settings == {"precision": "w8a8"}
    assert chosen(outcome).settings == {"precision": "w8a8-dynamic"}


def test_where_every_family_fails_nothing_is_chosen():
    lab = Lab(even(), drop=0.1, fails=lambda _flags: "cannot")
    outcome = SearchRun(lab, 5, clock=lab.clock).run(FAMILIES)
    assert (outcome.chosen, outcome.kept, outcome.evaluations) == (0, False, 0)
    assert [trial.note for trial in outcome.trials] == ["cannot"] * 5


def test_allocations_that_fail_do_not_end_the_search():
    lab = Lab(
        even(u3=1.0, u5=0.2),
        drop=0.05,
        alternatives=("fp32",),
        fails=lambda flags: "cannot" if flags.get("overrides") == {"u3": "fp32"} else "",
    )
    outcome = search(lab, ("w8a8",))
    assert outcome.kept
    assert chosen(outcome).settings["overrides"] == {"u3": "fp32", "u5": "fp32"}
    assert [trial.note for trial in outcome.trials if trial.artifact_bytes is None] == ["cannot"]


def test_a_unit_that_fails_alone_is_left_out_and_does_not_hide_the_noisy_one():
    def fails(flags):
        alone = [name for name, kind in flags["kinds"].items() if kind != "fp32"]
        return "cannot" if alone == ["u9"] else ""

    outcome = search(Lab(even(u3=1.0), drop=0.1, alternatives=("fp32",), fails=fails), ("w8a8",))
    assert {each.path for each in outcome.sensitivities} == {f"u{number}" for number in range(9)}
    assert outcome.kept
    assert chosen(outcome).settings["overrides"] == {"u3": "fp32", "u9": "fp32"}


def test_alternatives_are_measured_beside_a_unit_that_fails_alone():
    def fails(flags):
        alone = [name for name, kind in flags["kinds"].items() if kind == "w8a8"]
        return "cannot" if alone == ["u9"] else ""

    outcome = search(Lab(even(u3=1.0), drop=0.2, fails=fails), ("w8a8",))
    measured = {each.path for each in outcome.sensitivities if each.precision == "w8a8-dynamic"}
    assert measured == {"u3", "u9"}
    assert chosen(outcome).settings["overrides"] == {"u3": "w8a8-dynamic", "u9": "w8a8-dynamic"}


def test_an_operator_that_is_silent_alone_goes_with_the_unit_before_it():
    """``mul`` is quantized only behind ``a``, and loses much then."""

    class Carrying(Lab):
        def _trial(self, flags, kinds, evaluated=False):
            behind = {**kinds, "mul": kinds["mul"] if kinds["a"] == "w8a8" else "fp32"}
            return super()._trial(flags, behind, evaluated)

        def alone(self, flags, unit, precision):
            self._begin("alone")
            names = dict.fromkeys((layer.name for layer in unit.layers), precision)
            return self._trial(flags, {**dict.fromkeys(self.units, "fp32"), **names})

        def overrides(self, flags, precisions, units):
            named = {layer.name: precisions[u.path] for u in units if u.path in precisions for layer in u.layers}
            return {**flags, "overrides": named}

    units = {"a": (1000, 100, 0.001), "mul": (0, 0, 0.5), "b": (1000, 100, 0.001), "add": (0, 0, 0.002)}
    outcome = search(Carrying(units, drop=0.01, alternatives=("fp32",)), ("w8a8",))
    assert outcome.kept
    assert chosen(outcome).settings["overrides"] == dict.fromkeys(("a", "mul"), "fp32")
    assert [(each.path, each.layer) for each in outcome.sensitivities] == [
        ("a", "2 operators"),
        ("b", "b"),
        ("add", "add"),  # not silent: it is measured by itself
    ]


def test_what_failed_on_the_whole_part_is_not_the_closest():
    class Crashing(Lab):
        def evaluated(self, flags, screened):
            found = super().evaluated(flags, screened)
            if "overrides" in flags:
                return found
            return Trial(number=0, title="", settings={}, evaluated=True, samples=1000, kept=False, note="crashed")

    outcome = search(Crashing(even(u3=1.0), drop=NEVER), ("w8a8",))
    assert not outcome.kept
    assert outcome.trials[0].note == "crashed"
    assert chosen(outcome).artifact_bytes is not None
    every = search(Crashing(even(u3=1.0), drop=NEVER), ("w8a8",), evaluations=1)
    assert every.trials[every.chosen - 1].note == "crashed"  # there is nothing else


@pytest.mark.parametrize("units", [{}, {"a": (1000, 100, 0.0), "b": (1000, 100, 0.0)}], ids=["none", "noiseless"])
def test_a_family_that_no_layer_can_better_is_evaluated_once(units):
    class Missing(Lab):
        def evaluated(self, flags, screened):
            import msgspec

            return msgspec.structs.replace(super().evaluated(flags, screened), kept=False, drop=0.2)

        def layers(self, flags):
            return super().layers(flags) if units else []

    lab = Missing(units or even(), drop=0.1)
    outcome = search(lab, ("w8a8",))
    assert (outcome.evaluations, len(outcome.trials), outcome.stopped) == (1, 1, "nothing is left to try")


def test_sensitivities_are_measured_on_request_where_everything_may_be_quantized():
    lab = Lab(even(), drop=0.1)
    outcome = search(lab, sensitivity=True, evaluations=1)
    assert outcome.kept
    assert {each.path for each in outcome.sensitivities} == set(lab.units)


def test_the_same_again_gives_the_same_trials():
    changes = {"method": {"mse": 0.9, "minmax": 0.8}}
    first, second = (search(Lab(even(u3=1.0, u5=0.4), drop=0.03, changes=changes)) for _ in range(2))
    assert first == second


def test_a_trial_without_a_signal_to_noise_ratio_had_no_noise():
    """Equal outputs: nothing beats them, and nothing has to be left out."""
    units = {f"u{number}": (1000, 100, 0.0) for number in range(3)}
    outcome = search(Lab(units, drop=0.0, changes={"method": {"mse": 0.5}}))
    assert chosen(outcome).settings == {"precision": "w8a8"}
    assert chosen(outcome).snr_db is None
