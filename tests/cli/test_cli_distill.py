"""The command line of distillation: options, output and exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_bert as sentences
from typer.testing import CliRunner

from edgeexport.cli.distill import parse_layers, stage_table
from edgeexport.cli.main import app
from edgeexport.errors import RecipeError

pytestmark = pytest.mark.usefixtures("one_thread")
QUICK = ("--set", "training.epochs=1", "--set", "training.learning_rate=1e-3", "--set", "training.held_out=0.1")


@pytest.fixture
def run(tmp_path, monkeypatch, cache):
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        return CliRunner().invoke(app, ["distill", *map(str, arguments)])

    return call


@pytest.fixture
def given(tiny_bert, tmp_path):
    path = tmp_path / "train.jsonl"
    sentences.write_lines(path, sentences.sentences(96, seed=31))
    return (tiny_bert.model, "--train", path, "-o", tmp_path / "out")


def test_help_names_every_option(run):
    result = run("--help")
    assert result.exit_code == 0
    options = ("--train", "--evaluation", "--layers", "--width", "--student", "--set", "--recipe", "--output", "-o")
    for name in (*options, "--label-pattern", "--no-cache", "--trust-remote-code", "--json", "accelerate launch"):
        assert name in result.output


def test_what_is_printed(run, given, tiny_bert, tmp_path):
    result = run(*given, "--evaluation", tiny_bert.evaluation, "--layers", "1", *QUICK)
    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].startswith("model of 0.07 M parameters taught one of ") or lines[0].startswith("model of 0.08 M")
    assert "(layers 0) on 87 samples; accuracy " in lines[0]
    assert lines[0].endswith(" on 96 others")
    assert lines[1] == f"model: {tmp_path / 'out'}"
    assert lines[3] == f"Next: edgeexport export {tmp_path / 'out'} --target NAME --calibration FILE --evaluation FILE"
    assert "training, epoch 1 of 1 (3)" in result.stderr


def test_as_json(run, given, tmp_path):
    result = run(*given, "--layers", "1", "--set", "alpha=0.25", *QUICK, "--json")
    values = json.loads(result.stdout)
    assert (values["model"], values["method"]) == (str(tmp_path / "out"), "distill")
    assert values["settings"]["layers"] == 1
    assert values["settings"]["alpha"] == 0.25
    assert values["settings"]["training"]["epochs"] == 1
    assert values["facts"]["trained_on"] == 87
    assert json.loads((tmp_path / "out" / "compression.json").read_text())["stages"][0]["facts"] == values["facts"]


def test_settings_come_from_the_recipe_then_set_then_options(run, given, tmp_path):
    (tmp_path / "recipe.toml").write_text(
        'precision = "w8"\n[[compress]]\nmethod = "distill"\nlayers = [0, 1]\nalpha = 0.1\ntemperature = 3.0\n'
        "[compress.training]\nepochs = 9\nbatch = 16\nlearning_rate = 1e-3\n"
        '[[compress]]\nmethod = "vocabulary"\n'
    )
    result = run(*given, "--recipe", "recipe.toml", "--set", "alpha=0.2", *QUICK, "--layers", "0", "--json")
    assert result.exit_code == 2  # no layer at all
    result = run(*given, "--recipe", "recipe.toml", "--set", "alpha=0.2", *QUICK, "--layers", "1,", "--json")
    assert result.exit_code == 2
    result = run(*given, "--recipe", "recipe.toml", "--set", "alpha=0.2", *QUICK, "--width", "0.5", "--json")
    assert result.exit_code == 0, result.stderr
    settings = json.loads(result.stdout)["settings"]
    assert (settings["layers"], settings["width"], settings["alpha"]) == ([0, 1], 0.5, 0.2)
    assert (settings["temperature"], settings["training"]["epochs"], settings["training"]["batch"]) == (3.0, 1, 16)


@pytest.mark.parametrize(
    ("text", "layers"), [("3", 3), ("0,2,5", [0, 2, 5]), (" 1 , 4", [1, 4]), ("2,2", [2, 2]), ("0", 0)]
)
def test_layers(text, layers):
    assert parse_layers(text) == layers


@pytest.mark.parametrize("text", ["", "all", "1-3", "-1", "1.5", "1,", ",1", "1,,2", "²", "1;2", "[0,1]"])
def test_layers_that_are_none(text):
    with pytest.raises(RecipeError, match="is neither a number nor numbers"):
        parse_layers(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has no"),
        ('[[compress]]\nmethod = "qat"\n', "has no"),
        ('[[compress]]\nmethod = "distill"\n[[compress]]\nmethod = "distill"\n', "has 2"),
    ],
)
def test_recipes_without_one_such_stage(tmp_path, text, said):
    (tmp_path / "recipe.toml").write_text(text)
    with pytest.raises(RecipeError, match=rf"{said} \[\[compress\]\] tables of the method distill"):
        stage_table("distill", tmp_path / "recipe.toml", None, {})


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ((), "what the student is to be was not said"),
        (("--layers", "some"), "--layers 'some' is neither a number nor numbers"),
        (("--layers", "0"), "distill: Expected"),
        (("--layers", "5"), "model has 2 layers, and 5 are asked for"),
        (("--layers", "1,0"), "layers [1, 0] are not some of model's 2"),
        (("--width", "2"), "distill: Expected"),
        (("--width", "half"), "Invalid value for '--width'"),
        (("--student", "./nowhere"), "no model at './nowhere'"),
        (("--layers", "1", "--set", "training.epoch=2"), "unknown field `epoch`"),
        (("--layers", "1", "--set", "alpha=1.5"), "alpha"),
        (("--layers", "1", "--set", "alpha"), "alpha"),
        (("--layers", "1", "--recipe", "nowhere.toml"), "nowhere.toml"),
        (("--layers", "1", "--evaluation", "nowhere.jsonl"), "nowhere.jsonl: no such file"),
        (("--layers", "1", "--label-pattern", "x"), "a label pattern is for folders of files"),
        (("--layers", "1", "--frobnicate"), "No such option: --frobnicate"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_bad_usage(run, given, tmp_path, more, said):
    result = run(*given, *more)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("empty.jsonl", "", "empty.jsonl"),
        ("broken.jsonl", "{", "broken.jsonl line 1"),
        ("unlabelled.jsonl", '{"text": "the film was good"}\n' * 4, "has samples without a label"),
        ("single.jsonl", '{"text": "the film was good", "label": "good"}\n' * 4, "samples of one class only, 'good'"),
        ("half.jsonl", '{"text": "good", "label": "good"}\n{"text": "bad"}\n', "half.jsonl"),
        ("unknown.jsonl", '{"text": "good", "label": "ugly"}\n', "the model has no class 'ugly'"),
        ("data.parquet", "", "samples cannot be read from '.parquet' files"),
    ],
)
def test_training_sets_that_are_refused(run, tiny_bert, tmp_path, name, text, said, cache):
    (tmp_path / name).write_text(text)
    result = run(tiny_bert.model, "--train", name, "-o", "out", "--layers", "1")
    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists()
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_a_loss_that_is_not_finite(run, given, cache):
    more = ("--set", "training.learning_rate=1e30", "--set", "training.warmup=0", "--set", "training.clip=0")
    result = run(*given, "--layers", "1", *more)
    assert result.exit_code == 2
    assert "training: the loss is not finite by step 3" in result.stderr
    assert "No checkpoint was made yet." in result.stderr
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_where_nothing_can_be_written_is_said_before_the_training(run, given, tmp_path):
    for place in ("/proc/out", "/proc/above/out"):
        result = run(*given[:3], "-o", place, "--layers", "1", *QUICK)
        assert result.exit_code == 2
        assert result.stderr.startswith(f"error: {place} cannot be written: ")
        assert len(result.stderr.splitlines()) == 1
    run(*given[:3], "-o", tmp_path / "above" / "out", "--layers", "9")
    assert not (tmp_path / "above").exists()


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom edgeexport.cli.main import main\nsys.argv = ['edgeexport', 'distill', *sys.argv[1:]]\n"
        "try:\n    main()\nexcept SystemExit as end:\n"
        "    print(end.code or 0, *sorted(set(sys.modules) & {'torch', 'numpy', 'transformers', 'accelerate'}))\n"
    )
    for arguments, status in ((["--help"], 0), ([], 2), (["m", "--train", "x", "-o", "y", "--layers", "all"], 2)):
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
        assert done.stdout.splitlines()[-1] == str(status), done.stderr


def test_the_command_prints_nothing_but_its_own(command, given, tiny_bert, cache):
    """No library's progress bars or warnings, on either stream; twice, once from the cache."""
    model, *rest = given
    arguments = ("distill", model, *rest, "--evaluation", tiny_bert.evaluation, "--layers", "1", *QUICK)
    done = command(*arguments, EDGEEXPORT_CACHE=str(cache), OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    expected = [
        *("encoding train.jsonl (96)", "  done in", "encoding evaluation.jsonl (96)", "  done in"),
        *("asking model (1)", "  done in", "training, epoch 1 of 1 (3)", "  done in", "  epoch 1: loss", "distill: "),
    ]
    lines = done.stderr.splitlines()
    assert len(lines) == len(expected), done.stderr
    assert all(line.startswith(start) for line, start in zip(lines, expected, strict=True)), done.stderr
    again = command(*arguments, EDGEEXPORT_CACHE=str(cache))
    assert again.stdout == done.stdout
    assert [line.split(":")[0] for line in again.stderr.splitlines()] == ["distill"]
    assert Path(rest[-1]).is_dir()
