"""Profiles: found, extended, validated."""

import pytest

from edgeexport import target
from edgeexport.errors import TargetError

PROFILE = """
schema_version = 1
name = "mine"
title = "My board"
format = "onnx"
machine = "aarch64"
precisions = ["fp32", "w8"]
runtimes = [{ name = "onnxruntime", minimum = "1.20" }]
[settings]
precision = "w8"
[settings.limits]
size_ratio = 0.3
cosine_min = 0.9
[documentation]
"limits" = "of my own"
"limits.cosine_min" = "by measurement"
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def put(text=PROFILE, name="mine"):
        (tmp_path / f"{name}.toml").write_text(text)
        return f"./{name}.toml"

    return put


def test_a_profile_of_ones_own(write):
    found = target.load_target(write())
    assert (found.name, found.precisions, found.emulation) == ("mine", ("fp32", "w8"), None)
    assert found.settings["limits"] == {"size_ratio": 0.3, "cosine_min": 0.9}
    assert found.runtimes == (target.RuntimeNeed("onnxruntime", "1.20"),)


def test_rules_take_the_nearest_note(write):
    rules = target.load_target(write()).rules()
    assert rules["limits.size_ratio"] == ("0.3", "of my own")
    assert rules["limits.cosine_min"] == ("0.9", "by measurement")
    assert rules["precisions"] == ("fp32, w8", "")
    assert rules["runtimes.onnxruntime"] == (">= 1.20", "")


def test_extends_a_shipped_profile(write):
    path = write('extends = "raspberry-pi-4"\nname = "mine"\n[settings.calibration]\nminimum_samples = 7\n')
    mine, shipped = target.load_target(path), target.load_target("raspberry-pi-4")
    assert mine.name == "mine"
    assert mine.settings["calibration"] == {**shipped.settings["calibration"], "minimum_samples": 7}
    assert mine.settings["quantization"] == shipped.settings["quantization"]
    assert mine.emulation == shipped.emulation


def test_extends_a_file_that_extends(write):
    write()
    write('extends = "./mine.toml"\ntitle = "Second"\n', "second")
    third = target.load_target(write('extends = "./second.toml"\n[settings.limits]\nsize_ratio = 0.1\n', "third"))
    assert (third.title, third.settings["limits"]["size_ratio"]) == ("Second", 0.1)


def test_a_circle_is_refused(write):
    write('extends = "./two.toml"\n', "one")
    write('extends = "./one.toml"\n', "two")
    with pytest.raises(TargetError, match=r"extends itself: \./one\.toml → \./two\.toml → \./one\.toml"):
        target.load_target("./one.toml")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("schema_version = 1", "schema_version = 2", "schema_version"),
        ('title = "My board"', "", "missing required field `title`"),
        ('title = "My board"', 'title = "My board"\ntypo = 1', "unknown field `typo`"),
        ('minimum = "1.20" }', 'minimum = "1.20", typo = 1 }', r"unknown field `typo` - at `\$\.runtimes"),
        ('precisions = ["fp32", "w8"]', 'precisions = ["int8"]', r"\$\.precisions"),
        ('precision = "w8"', 'precision = "w4"', "settings.precision is 'w4', not one of its precisions"),
        ('[settings]\nprecision = "w8"', "[settings]", "settings.precision is None"),
        ('name = "mine"', 'name = "../mine"', r"\$\.name"),
        ('name = "mine"', 'name = ""', r"\$\.name"),
        ('name = "mine"', 'name = "mine\\n"', r"\$\.name"),
        ("[settings]", '[emulation]\narchitecture = "mips"\ncpu = "x"\n[settings]', "architecture"),
        ("[settings]", "[settings", "is not valid TOML"),
        ("[settings]", '[estimation]\noptions = { a = "b" }\n[settings]', "missing required field `tool`"),
        ("[settings]", '[estimation]\ntool = "vela"\noptions = { a = 1 }\n[settings]', r"\$\.estimation\.options"),
        ("[settings]", '[estimation]\ntool = "vela"\ntypo = 1\n[settings]', "unknown field `typo`"),
        ('machine = "aarch64"', 'machine = "aarch64"\npackaging = "microcontroller"', r"\$\.packaging"),
        ("[settings]", '[emulation]\narchitecture = "mips64"\ncpu = "x"\n[settings]', "architecture"),
    ],
)
def test_refused(write, old, new, said):
    assert PROFILE.count(old) == 1
    with pytest.raises(TargetError, match=said):
        target.load_target(write(PROFILE.replace(old, new)))


@pytest.mark.parametrize("name", ["nope", "", "..", "desktop-x86.tom", "DESKTOP-X86"])
def test_unknown_names_list_the_known(name):
    with pytest.raises(TargetError, match=f"unknown target '{name}'") as caught:
        target.load_target(name)
    assert all(known in caught.value.hint for known in ("desktop-x86, ", "raspberry-pi-4, "))


def test_paths_that_hold_no_profile(write, tmp_path):
    with pytest.raises(TargetError, match=r"no target file at not-there\.toml"):
        target.load_target("./not-there.toml")
    with pytest.raises(TargetError, match="no target file at"):
        target.load_target(f"{tmp_path}/")
    (tmp_path / "binary.toml").write_bytes(b"\xff\x00")
    with pytest.raises(TargetError, match="is not valid TOML"):
        target.load_target("./binary.toml")


def test_packaging_and_estimation(write):
    extra = 'packaging = ["microcontroller", "other"]\n'
    estimation = '[estimation]\ntool = "vela"\n[estimation.options]\naccelerator = "ethos-u55-128"\nsystem = "High"\n'
    text = PROFILE.replace("[settings]\n", f"{extra}{estimation}[settings]\n")
    found = target.load_target(write(text + '"estimation" = "by its compiler"\n'))
    assert found.packaging == ("microcontroller", "other")
    assert found.estimation == target.Estimation("vela", {"accelerator": "ethos-u55-128", "system": "High"})
    rules = found.rules()
    assert rules["packaging"] == ("microcontroller, other", "")
    assert rules["estimation"] == ("vela (accelerator ethos-u55-128, system High)", "by its compiler")


def test_neither_is_asked_for_unless_it_is_named(write):
    found = target.load_target(write())
    assert (found.packaging, found.estimation) == ((), None)
    assert not {"packaging", "estimation"} & set(found.rules())


def test_emulated_boards_of_32_bits(write):
    text = PROFILE.replace("[settings]\n", '[emulation]\narchitecture = "armhf"\ncpu = "cortex-a7"\n[settings]\n')
    found = target.load_target(write(text))
    assert found.emulation == target.Emulation("armhf", "cortex-a7")
    assert found.rules()["emulation.cpu"] == ("cortex-a7 (armhf)", "")
