"""What a search may try: units of layers and the expressions that match them, families, single changes."""

import re

import pytest

from edgeexport.conversion import Layer
from edgeexport.search.space import Unit, bytes_of, computes_in_float, families, group, variations

TARGET, LINE, FILE = "target board", "command line", "recipe mine.toml"


def layer(name, path=None, weights=8, macs=16, alternatives=("fp32",)):
    return Layer(name, name if path is None else path, "Conv", weights, macs, alternatives)


def test_layers_of_one_module_are_one_unit_in_the_order_of_execution():
    known = [layer("c", "b.two"), layer("a", "a.one"), layer("d", "b.two"), layer("b", "a.one.x")]
    assert [(unit.path, [each.name for each in unit.layers]) for unit in group(known)] == [
        ("b.two", ["c", "d"]),
        ("a.one", ["a"]),
        ("a.one.x", ["b"]),
    ]


def test_no_layers_are_no_units():
    assert group([]) == []


def test_up_to_48_units_stay_as_they_are_and_one_more_goes_up_a_module():
    known = [layer(f"n{block}.{part}", f"net.block{block}.part{part}") for block in range(24) for part in range(2)]
    assert len(group(known)) == 48
    coarse = group([*known, layer("last", "net.head.out")])
    assert [unit.path for unit in coarse] == [*(f"net.block{block}" for block in range(24)), "net.head"]
    assert [len(unit.layers) for unit in coarse] == [2] * 24 + [1]


def test_it_goes_up_as_often_as_needed_and_no_further():
    deep = [layer(f"n{a}{b}{c}", f"m.{a}.{b}.{c}") for a in range(4) for b in range(4) for c in range(4)]
    assert {unit.path for unit in group(deep)} == {f"m.{a}.{b}" for a in range(4) for b in range(4)}
    wide = [layer(f"n{a}.{b}", f"m.a{a}.{b}") for a in range(60) for b in range(2)]
    assert [unit.path for unit in group(wide)] == ["m"]


def test_names_without_modules_stay_apart_however_many():
    assert len(group([layer(f"node_{number}") for number in range(60)])) == 60


def test_a_unit_sums_its_layers_and_has_the_alternatives_of_all_with_weights():
    unit = Unit(
        "m",
        (
            layer("a", weights=10, macs=100, alternatives=("w8", "w8a8-dynamic", "fp32")),
            layer("b", weights=5, macs=7, alternatives=("w8a8-dynamic", "fp32")),
            layer("c", weights=0, macs=0, alternatives=("fp32",)),
        ),
    )
    assert (unit.weights, unit.macs, unit.alternatives) == (15, 107, ("w8a8-dynamic", "fp32"))
    assert Unit("m", (layer("a", alternatives=("w8",)), layer("b"))).alternatives == ()
    assert Unit("m", (layer("a", weights=0, alternatives=("w8", "fp32")), layer("b", weights=0))).alternatives == (
        "fp32",
    )


@pytest.mark.parametrize(
    "names",
    [
        ["conv", "conv_1", "conv_10", "conv_1.0", "xconv"],
        ["/net/a.b/MatMul", "/net/aXb/MatMul", "/net/a.b/MatMul_1"],
        ["net;Conv2d_a[0]", "net;Conv2d_a0", "(x|y)", "x", "y", "a+b", "aab", "$", "^", "back\\slash", "dot.", "dotX"],
        ["model.Net/torch.nn.Linear_head;", "model.Net/torch.nn.Linear_head;1"],
    ],
    ids=["suffixes", "dots", "signs", "tflite"],
)
def test_patterns_match_these_layers_and_no_other(names):
    for count in (1, 2):
        for start in range(len(names) - count + 1):
            members = names[start : start + count]
            unit = Unit("m", tuple(map(layer, members)))
            (override,) = unit.overrides("fp32", "w8a8")
            assert override["precision"] == "fp32"
            assert [name for name in names if re.search(override["name"], name)] == members
            assert [name for name in names if re.search(unit.others(), name)] == [n for n in names if n not in members]


def test_patterns_of_units_are_joined_by_a_bar():
    first, second = Unit("a", (layer("a.1"), layer("a|2"))), Unit("b", (layer("b"),))
    joined = "|".join(unit.overrides("fp32", "w8a8")[0]["name"] for unit in (first, second))
    assert [name for name in ("a.1", "a|2", "b", "a", "2", "bb", "ab") if re.search(joined, name)] == [
        "a.1",
        "a|2",
        "b",
    ]


def test_what_of_a_unit_has_no_such_form_is_left_in_float():
    known = (
        layer("conv", alternatives=("w8", "fp32")),
        layer("add", weights=0),
        layer("fc", alternatives=("w8", "fp32")),
    )
    unit = Unit("m", known)
    assert unit.overrides("w8", "w8a8") == [
        {"precision": "w8", "name": "^(conv|fc)$"},
        {"precision": "fp32", "name": "^(add)$"},
    ]
    assert unit.overrides("fp32", "w8a8") == [{"precision": "fp32", "name": "^(conv|add|fc)$"}]
    assert unit.overrides("w8a8", "w8a8") == [{"precision": "w8a8", "name": "^(conv|add|fc)$"}]


@pytest.mark.parametrize(
    ("precision", "expected"),
    [("w4", 50), ("w8", 100), ("w8a8-dynamic", 100), ("w8a8", 100), ("w8a16", 100), ("fp16", 200), ("fp32", 400)],
)
def test_bytes_of_a_hundred_weights(precision, expected):
    assert bytes_of(100, precision) == expected


def test_what_computes_in_float():
    every = ("fp32", "fp16", "w8", "w4", "w8a8-dynamic", "w8a8", "w8a16")
    assert [name for name in every if computes_in_float(name)] == ["fp32", "fp16", "w8", "w4"]


def test_the_targets_default_means_all_that_it_executes_but_float32():
    known = ("fp32", "fp16", "w8", "w8a8")
    assert families(known, "w8a8", TARGET) == ["fp16", "w8", "w8a8"]
    for origin in (LINE, FILE):
        assert families(known, "w8a8", origin) == ["w8a8"]
        assert families(known, "fp32", origin) == ["fp32"]


KNOBS = {
    "calibration.method": ("mse", "minmax"),
    "quantization.smoothing": (0.0, 0.5),
    "quantization.minimum_snr": (22.0, 30.0),
    "compress": ([{"method": "equalize"}],),
}


def settings(precision, **changes):
    values = {
        "precision": precision,
        "calibration": {"method": "minmax", "bins": 2048},
        "quantization": {"smoothing": 0.0, "minimum_snr": 0.0},
        "compress": [],
    }
    return {**values, **changes}


def test_each_variation_changes_one_setting_to_another_value():
    assert variations(KNOBS, settings("w8a8"), {}) == [
        ("method mse", {"calibration": {"method": "mse"}}),
        ("smoothing 0.5", {"quantization": {"smoothing": 0.5}}),
        ("minimum_snr 22.0", {"quantization": {"minimum_snr": 22.0}}),
        ("minimum_snr 30.0", {"quantization": {"minimum_snr": 30.0}}),
        ("compress equalize", {"compress": [{"method": "equalize"}]}),
    ]


def test_what_somebody_chose_is_left_alone():
    origins = {
        "calibration.method": LINE,
        "quantization.smoothing": "default",
        "quantization.minimum_snr": FILE,
        "compress": TARGET,
    }
    assert [title for title, _ in variations(KNOBS, settings("w8a8"), origins)] == [
        "smoothing 0.5",
        "compress equalize",
    ]
    assert variations(KNOBS, settings("w8a8"), dict.fromkeys(KNOBS, "search")) == []


def test_without_static_activations_what_only_they_have_is_not_varied():
    assert [title for title, _ in variations(KNOBS, settings("w8a8-dynamic"), {})] == ["smoothing 0.5"]


@pytest.mark.parametrize("precision", ["w8", "w4", "fp16", "fp32"])
def test_with_float_activations_none_of_these_changes_anything(precision):
    assert variations(KNOBS, settings(precision), {}) == []


@pytest.mark.parametrize("precision", ["w8a8", "w8a16"])
def test_static_precisions_vary_everything(precision):
    assert len(variations(KNOBS, settings(precision), {})) == 5
