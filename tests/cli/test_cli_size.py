"""The size gate and the table of bytes, as commands: exit codes, JSON, JUnit; and that no torch is loaded."""

import json
import os
import subprocess
import sys
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

import edgeexport
from edgeexport.cli.main import app
from edgeexport.cli.size import parse_share
from edgeexport.errors import RecipeError


@pytest.fixture(scope="module")
def packed(linear, board, tmp_path_factory):
    """Bundles of one model, small and float32."""
    folder = tmp_path_factory.mktemp("sizes")
    for precision in ("w8", "fp32"):
        edgeexport.export(linear.model, target=board, precision=precision, output=folder / precision)
    return folder


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def bytes_of(folder):
    return (folder / "model.onnx").stat().st_size


def test_within_its_own_limits(packed):
    result = run("size", packed / "w8")
    assert result.exit_code == 0, result.output
    assert "artifact_bytes" in result.output
    assert "PASS" in result.output


@pytest.mark.parametrize(("option", "fails"), [("--max-bytes", 1), ("--max-ratio", 0.01)])
def test_over_a_limit_is_exit_code_1_and_says_why(packed, option, fails):
    result = run("size", packed / "w8", option, fails)
    assert result.exit_code == 1
    assert "Why not a quarter" in result.output
    assert "FAIL" in result.output


def test_the_limit_itself_is_kept(packed):
    count = bytes_of(packed / "w8")
    assert run("size", packed / "w8", "--max-bytes", count).exit_code == 0
    assert run("size", packed / "w8", "--max-bytes", count - 1).exit_code == 1


def test_growth_names_modules_and_shrinking_passes(packed):
    assert run("size", packed / "w8", "--against", packed / "fp32").exit_code == 0
    grown = run("size", packed / "fp32", "--against", packed / "w8", "--json")
    assert grown.exit_code == 1
    check = json.loads(grown.output)["checks"][-1]
    small, large = bytes_of(packed / "w8"), bytes_of(packed / "fp32")
    assert check["name"] == "artifact_bytes_growth"
    assert check["measured"] == pytest.approx((large - small) / small)
    assert check["note"].startswith(f"{large - small:+,} bytes; ")
    allowed = f"{100 * (large - small) / small + 1:.0f}%"
    assert run("size", packed / "fp32", "--against", packed / "w8", "--max-growth", allowed).exit_code == 0


def test_json_has_every_byte_by_module(packed):
    plain = json.loads(run("size", packed / "w8", "--json").output)
    modules = plain["size"]["modules"]
    assert sum(module["bytes"] for module in modules) == plain["size"]["artifact_bytes"] == bytes_of(packed / "w8")
    assert plain["runs"] == []


def test_junit(packed, tmp_path):
    assert run("size", packed / "w8", "--max-ratio", ".01", "--junit", tmp_path / "size.xml").exit_code == 1
    suite = ElementTree.parse(tmp_path / "size.xml").getroot().find("testsuite")
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    names = {case.get("name"): case.find("failure") is not None for case in suite.findall("testcase")}
    assert names == {"artifact_bytes": False, "size_ratio": True}


def test_a_model_without_its_bundle(packed):
    model = packed / "w8" / "model.onnx"
    assert run("size", model, "--max-bytes", "1MB").exit_code == 0
    assert run("size", model, "--max-bytes", "10B").exit_code == 1
    refused = run("size", model, "--max-ratio", ".3")
    assert refused.exit_code == 2
    assert "does not tell how large its float32 source is" in refused.output
    assert run("size", model, "--against", packed / "fp32" / "model.onnx").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["size", "nowhere"], "no bundle and no converted model at nowhere"),
        (["size", "nowhere.onnx"], "no bundle and no converted model at nowhere.onnx"),
        (["size", "{w8}", "--max-growth", "1%"], "--max-growth needs something to compare with"),
        (["size", "{w8}", "--max-bytes", "much"], "is no size"),
        (["size", "{w8}", "--max-ratio", "small"], "is no share"),
        (["inspect", "nowhere", "--bytes"], "no bundle and no converted model"),
    ],
)
def test_bad_input_is_exit_code_2(packed, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    result = run(*(argument.replace("{w8}", str(packed / "w8")) for argument in arguments))
    assert result.exit_code == 2
    assert said in " ".join(result.output.replace("│", " ").split())


def test_inspect_shows_bytes_to_a_depth(packed):
    result = run("inspect", packed / "w8", "--bytes")
    assert result.exit_code == 0
    assert f"{bytes_of(packed / 'w8'):,}" in result.output
    plain = json.loads(run("inspect", packed / "w8", "--bytes", "--json", "--depth", 1).output)
    assert sum(branch["bytes"] for branch in plain["branches"]) == bytes_of(packed / "w8")
    assert sum(part["bytes"] for part in plain["excess"]["parts"]) == plain["excess"]["bytes"]
    assert json.loads(run("inspect", packed / "w8" / "model.onnx", "--bytes", "--json").output)["excess"] is None


def test_no_torch_is_loaded(packed):
    code = (
        "import sys; sys.argv = ['edgeexport', 'size', sys.argv[1]]\n"
        "from edgeexport.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n"
        "    print(end.code, *sorted(set(sys.modules) & {'torch', 'transformers', 'onnxruntime'}), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(packed / "w8")], env=os.environ, capture_output=True, text=True, check=False
    )
    assert done.stderr.splitlines()[-1] == "0"


@pytest.mark.parametrize(("text", "share"), [("1%", 0.01), (".27", 0.27), ("0.27", 0.27), ("27 %", 0.27), ("0", 0.0)])
def test_shares_as_people_write_them(text, share):
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["", "%", "-1%", "1MB", "a", "1%%"])
def test_what_is_no_share(text):
    with pytest.raises(RecipeError):
        parse_share(text)
