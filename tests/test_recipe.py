"""Precedence, origins, and what is refused."""

from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from edgeexport.errors import RecipeError
from edgeexport.recipe import parse_assignments, read_recipe, resolve


@dataclass
class Profile:
    name: str = "board"
    precisions: tuple = ("fp32", "w8", "w8a8")
    settings: dict[str, Any] = field(
        default_factory=lambda: {
            "precision": "w8a8",
            "quantization": {"activation_type": "uint8", "per_channel": True, "op_types": ["MatMul"]},
            "calibration": {"method": "minmax", "minimum_samples": 100},
            "limits": {"size_ratio": 0.5},
            "when": {"w8": {"limits": {"size_ratio": 0.7}}},
        }
    )


def test_the_command_line_wins_over_the_recipe_and_that_over_the_target():
    recipe = {"calibration": {"minimum_samples": 50, "method": "mse"}, "golden_samples": 3}
    flags = {"calibration": {"minimum_samples": 10}}
    found = resolve(Profile(), recipe, "mine.toml", flags)
    assert found.settings.calibration.minimum_samples == 10
    assert found.settings.calibration.method == "mse"
    assert found.settings.golden_samples == 3
    assert found.settings.limits.size_ratio == 0.5
    origins = found.origins
    assert origins["calibration.minimum_samples"] == "command line"
    assert origins["calibration.method"] == "recipe mine.toml"
    assert origins["limits.size_ratio"] == "target board"
    assert origins["timing.pairs"] == "default"


def test_every_setting_has_an_origin():
    found = resolve(Profile())
    keys = {key for key in found.origins if not key.startswith("when")}
    flat = msgspec.to_builtins(found.settings)
    assert {"limits.agreement", "quantization.smoothing", "precision"} <= keys
    assert set(flat) == {key.split(".")[0] for key in keys}


def test_what_a_layer_says_for_a_precision_counts_only_for_it():
    assert resolve(Profile()).settings.limits.size_ratio == 0.5
    assert resolve(Profile(), flags={"precision": "w8"}).settings.limits.size_ratio == 0.7
    recipe = {"limits": {"size_ratio": 0.9}}
    assert resolve(Profile(), recipe, flags={"precision": "w8"}).settings.limits.size_ratio == 0.9
    recipe = {"when": {"w8": {"limits": {"size_ratio": 0.8}}}, "limits": {"size_ratio": 0.9}}
    assert resolve(Profile(), recipe, flags={"precision": "w8"}).settings.limits.size_ratio == 0.8


def test_precision_has_the_same_precedence():
    assert resolve(Profile()).settings.precision == "w8a8"
    assert resolve(Profile(), {"precision": "w8"}).settings.precision == "w8"
    assert resolve(Profile(), {"precision": "w8"}, "", {"precision": "fp32"}).settings.precision == "fp32"


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"precision": "int8"}, r"unknown precision 'int8' \(command line\)"),
        ({"precision": ["w8"]}, "unknown precision"),
        ({"precision": "w4"}, "'board' does not execute precision 'w4'"),
        ({"typo": 1}, "unknown field `typo`"),
        ({"limits": {"typo": 1}}, r"unknown field `typo` - at `\$\.limits`"),
        ({"limits": {"size_ratio": "small"}}, r"\$\.limits\.size_ratio` \(set by command line\)"),
        ({"limits": 3}, r"\$\.limits` \(set by command line\)"),
        ({"when": {"w9": {}}}, r"command line: \[when\.w9\] names no precision"),
        ({"when": 3}, "'when' holds no tables"),
        ({"when": {"w8a8": 3}}, "'when' holds no tables"),
        ({"when": {"w8": {"typo": 1}}, "precision": "w8"}, "unknown field `typo`"),
    ],
)
def test_refused(flags, said):
    with pytest.raises(RecipeError, match=said):
        resolve(Profile(), flags=flags)


def test_the_digest_covers_what_decides_bytes_and_nothing_else():
    digest = resolve(Profile()).digest()
    for same in (
        {"limits": {"size_ratio": 0.1}},
        {"timing": {"pairs": 9}},
        {"golden_samples": 9},
        {"calibration": {"lint": "off"}},
    ):
        assert resolve(Profile(), flags=same).digest() == digest
    for other in (
        {"precision": "w8"},
        {"calibration": {"method": "mse"}},
        {"quantization": {"smoothing": 0.5}},
        {"overrides": [{"precision": "fp32", "name": "x"}]},
    ):
        assert resolve(Profile(), flags=other).digest() != digest


@pytest.mark.parametrize(
    ("assignments", "table"),
    [
        (["calibration.minimum_samples=32"], {"calibration": {"minimum_samples": 32}}),
        (["a.b=true", "a.c=1.5"], {"a": {"b": True, "c": 1.5}}),
        (["a=1", "a=2"], {"a": 2}),
        (["precision=w8a8"], {"precision": "w8a8"}),
        (["precision = w8 "], {"precision": "w8"}),
        (['ops=["Add", "Mul"]'], {"ops": ["Add", "Mul"]}),
        (["a=x=y"], {"a": "x=y"}),
        (["a="], {"a": ""}),
        (["a.b= none"], {"a": {"b": None}}),
        (['a="none"'], {"a": "none"}),
        (["a=None"], {"a": "None"}),
        (["a=1\nb=2"], {"a": "1\nb=2"}),
    ],
    ids=str,
)
def test_assignments(assignments, table):
    assert parse_assignments(assignments) == table


@pytest.mark.parametrize("text", ["", "a", "=1", ".a=1", "a.=1", "a..b=1", " =1"])
def test_what_is_no_assignment(text):
    with pytest.raises(RecipeError, match="is not key=value"):
        parse_assignments([text])


def test_recipe_files(tmp_path):
    path = tmp_path / "recipe.toml"
    with pytest.raises(RecipeError, match="no recipe file at"):
        read_recipe(path)
    with pytest.raises(RecipeError, match="cannot be read: Is a directory"):
        read_recipe(tmp_path)
    path.write_text("[limits\n")
    with pytest.raises(RecipeError, match=r"recipe\.toml is not valid TOML"):
        read_recipe(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(RecipeError, match="is not valid TOML"):
        read_recipe(path)
    path.write_text('[limits]\nsize_ratio = 0.25\n[when.w8]\ngolden_samples = 2\n[[overrides]]\nprecision="fp32"\n')
    assert read_recipe(path) == {
        "limits": {"size_ratio": 0.25},
        "when": {"w8": {"golden_samples": 2}},
        "overrides": [{"precision": "fp32"}],
    }
