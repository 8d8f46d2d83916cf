"""The options of an accuracy budget: sizes, what goes with what, and what help says. Nothing is exported."""

import pytest
from typer.testing import CliRunner

from edgeexport.cli.export import parse_bytes
from edgeexport.cli.main import app
from edgeexport.errors import RecipeError


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        return CliRunner().invoke(app, ["export", *(str(argument) for argument in arguments)])

    return call


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("25MB", 25_000_000),
        ("25 MB", 25_000_000),
        (" 25MB ", 25_000_000),
        ("25M", 25_000_000),
        ("25MiB", 25 * 1024**2),
        ("25Mi", 25 * 1024**2),
        ("1.5MiB", 1_572_864),
        ("300kB", 300_000),
        ("300KB", 300_000),
        ("300 KiB", 307_200),
        ("300kiB", 307_200),
        ("0.5GB", 500_000_000),
        ("2GiB", 2 * 1024**3),
        ("1000", 1000),
        ("1000B", 1000),
        ("1.1MB", 1_100_000),
        ("2.3MB", 2_300_000),
        ("0.29kB", 290),
    ],
)
def test_a_size(text, count):
    assert parse_bytes(text) == count


@pytest.mark.parametrize(
    "text",
    [
        "",
        "MB",
        "25iB",
        "25 TB",
        "-1MB",
        "1e6",
        "25MBs",
        "25,5MB",
        "1_000",
        "25 M B",
        "nan",
        "25mb",
        "0x10",
        ".5MB",
        "0",
        "0MB",
        "0.1B",
    ],
)
def test_no_size(text):
    with pytest.raises(RecipeError) as error:
        parse_bytes(text)
    assert repr(text) in str(error.value)
    assert "25MB" in str(error.value)


@pytest.mark.parametrize(
    "options",
    [("--max-size", "25MB"), ("--max-latency-ratio", "0.5"), ("--max-size", "1kB", "--max-latency-ratio", "1")],
)
def test_bounds_without_a_drop(run, options):
    result = run("model", "-t", "desktop-x86", *options)
    assert result.exit_code == 2
    assert "Add --max-drop" in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--max-drop", "1", "--max-size", "large"), "'large' is no size"),
        (("--max-drop", "1", "--max-size", "0MB"), "'0MB' is no size"),
        (("--max-drop", "nan"), "nan is no number of points to lose"),
        (("--max-drop", "inf"), "inf is no number of points to lose"),
        (("--max-drop", "1", "--max-latency-ratio", "nan"), "nan is no number of latency ratio"),
        (("--max-drop", "1", "--max-latency-ratio", "0"), "0.0 is no latency ratio"),
        (("--max-drop", "101"), "101.0 points to lose"),
        (("--max-drop", "1", "--no-verify"), "--no-verify"),
    ],
)
def test_what_is_no_budget(run, options, told):
    result = run("model", "-t", "desktop-x86", *options)
    assert result.exit_code == 2
    assert told in " ".join(result.output.split())


@pytest.mark.parametrize(
    "options",
    [
        ("--max-drop", "-1"),
        ("--max-drop", "1", "--trials", "1"),
        ("--max-drop", "1", "--time", "-1"),
        ("--max-drop", "x"),
    ],
)
def test_numbers_out_of_range(run, options):
    result = run("model", "-t", "desktop-x86", *options)
    assert result.exit_code == 2
    assert options[-2] in result.output


def test_help_mentions_every_option(run):
    shown = " ".join(run("--help").output.split())
    for name in ("--max-drop", "--max-size", "--max-latency-ratio", "--trials", "--time", "--sensitivity"):
        assert name in shown
    assert "half a point" in shown


@pytest.mark.parametrize("options", [("--time", "1"), ("--sensitivity",)])
def test_what_bounds_a_search_needs_one(run, options):
    result = run("model.onnx", "--target", "desktop-x86", *options)
    assert result.exit_code == 2
    assert f"{options[0]} is of a search for settings, which --max-drop begins" in " ".join(result.output.split())
