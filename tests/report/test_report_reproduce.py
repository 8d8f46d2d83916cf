"""How to make a bundle again."""

import itertools
import shlex

import msgspec
import report_samples as samples

from edgeexport.cli.main import app
from edgeexport.recipe import parse_assignments
from edgeexport.report.reproduce import reproduction


def words(report=None, **changes):
    manifest = msgspec.structs.replace(samples.MANIFEST, **changes)
    return shlex.split(reproduction(report or samples.rich(), manifest).command.replace("\\\n", " "))


def test_the_command_names_what_was_asked_for_and_nothing_else():
    assert words() == [
        *("edgeexport", "export", "sst2-minilm", "--target", "raspberry-pi-4", "--recipe", "my recipe.toml"),
        *("--precision", "w8a8", "--set", 'quantization.op_types=["MatMul", "Conv"]'),
        *("--max-drop", "1", "--max-size", "32MB", "--max-latency-ratio", "0.6"),
        *("--calibration", "CALIBRATION", "--evaluation", "EVALUATION"),
    ]
    plain = samples.rich(search=None, lint=(), evaluation=None)
    recipe = {"settings": {"precision": "w8"}, "origins": {"precision": "target raspberry-pi-4"}}
    assert words(plain, precision="w8", recipe=recipe) == [
        *("edgeexport", "export", "sst2-minilm", "--target", "raspberry-pi-4")
    ]


def test_after_a_search_what_it_found_is_a_command_too():
    settings = {
        "precision": "w8a8",
        "calibration": {"method": "minmax"},
        "limits": {"accuracy_drop": 0.01, "perplexity_ratio": 1.01, "artifact_bytes": 32_000_000, "latency_ratio": 0.5},
    }
    origins = dict.fromkeys((f"limits.{key}" for key in settings["limits"]), "command line")
    settings["limits"]["size_ratio"] = None  # the target's own, which the budget took the place of
    origins |= dict.fromkeys(("precision", "calibration.method", "limits.size_ratio"), "search")
    manifest = msgspec.structs.replace(samples.MANIFEST, recipe={"settings": settings, "origins": origins})
    found = reproduction(samples.rich(), manifest)
    searched, direct = (shlex.split(one.replace("\\\n", " ")) for one in (found.command, found.direct))
    assert "--precision" not in searched and "--max-drop" in searched
    assert [word for word in searched if word.startswith("limits")] == ["limits.latency_ratio=0.5"]  # not the budget's
    assert "--max-drop" not in direct and "--max-size" not in direct
    assert direct[direct.index("--precision") + 1] == "w8a8"
    given = [value for flag, value in itertools.pairwise(direct) if flag == "--set"]
    assert parse_assignments(given) == {key: settings[key] for key in ("calibration", "limits")}
    assert reproduction(samples.rich(search=None), manifest).direct == ""


def test_a_size_that_is_no_round_number_is_given_in_bytes():
    search = samples.search()
    odd = msgspec.structs.replace(search, budget=msgspec.structs.replace(search.budget, bytes=23_130_003))
    found = words(samples.rich(search=odd))
    assert found[found.index("--max-size") + 1] == "23130003"


def test_an_assignment_gives_the_setting_back():
    settings = {"a": {"flag": True, "text": "w8", "ratio": 0.25, "list": ["x", 'y"'], "empty": [], "none-like": "true"}}
    origins = {f"a.{key}": "command line" for key in settings["a"]}
    found = words(recipe={"settings": settings, "origins": origins})
    given = [value for flag, value in itertools.pairwise(found) if flag == "--set"]
    assert parse_assignments(given) == settings


def test_overrides_are_given_back_without_what_they_do_not_say():
    overrides = [{"precision": "fp32", "name": "layer\\\\.5", "op_type": None}]
    found = words(recipe={"settings": {"overrides": overrides}, "origins": {"overrides": "command line"}})
    (given,) = [value for flag, value in itertools.pairwise(found) if flag == "--set"]
    assert parse_assignments([given]) == {"overrides": [{"precision": "fp32", "name": "layer\\\\.5"}]}


def test_hostile_names_stay_one_word():
    found = words(samples.rich(model="a b; rm -rf $HOME", target="it's"))
    assert found[2] == "a b; rm -rf $HOME"
    assert found[4] == "it's"


def test_tables_have_origins_versions_and_hashes():
    found = reproduction(samples.rich(), samples.MANIFEST)
    assert ("quantization.smoothing", "0.85", "recipe my recipe.toml") in found.chosen.rows
    assert ("calibration.minimum_samples", "100", "default") in found.profile.rows
    assert ("onnxruntime", "1.32.0") in found.versions.rows
    assert ("SHA-256 of model.onnx", "05de188e85977217") in found.facts.rows
    assert not [row for row in found.facts.rows if "tokenizer" in row[0]]


def test_flags_of_the_command_exist():
    import typer.main

    export = typer.main.get_command(app).commands["export"]
    known = {flag for parameter in export.params for flag in parameter.opts}
    assert {word for word in words() if word.startswith("--")} <= known
