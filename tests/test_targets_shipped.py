"""The profiles that ship: each complete, and each rule of it documented."""

import msgspec
import pytest

from edgeexport.merge import flatten
from edgeexport.recipe import resolve
from edgeexport.runtime_names import module_of
from edgeexport.settings import PRECISIONS, Settings
from edgeexport.target import load_target, shipped_targets, targets_folder

NAMES = sorted(path.stem for path in targets_folder().glob("*.toml"))


def test_the_list():
    assert {"android-arm64", "desktop-x86", "raspberry-pi-4", "raspberry-pi-5"} <= set(NAMES)
    assert {"android-arm64-litert", "raspberry-pi-4-litert", "raspberry-pi-zero-2w", "raspberry-pi-3-32bit"} <= set(
        NAMES
    )
    assert {"cortex-m7", "ethos-u55-128"} <= set(NAMES)
    assert {"iphone-ios17", "iphone-ios18", "ipad"} <= set(NAMES)
    assert list(shipped_targets()) == NAMES
    assert all(shipped_targets().values())


@pytest.mark.parametrize("name", NAMES)
def test_it_is_complete_for_every_precision(name):
    target = load_target(name)
    assert target.name == name
    assert set(target.precisions) <= set(PRECISIONS)
    assert "w8a8" in target.precisions
    for need in target.runtimes:
        assert module_of(need.name)
    for precision in target.precisions:
        settings = resolve(target, flags={"precision": precision}).settings
        assert settings.precision == precision
        # In a model of a few hundred parameters the graph outweighs them: on a microcontroller bytes of flash count.
        assert (settings.limits.size_ratio or settings.limits.artifact_bytes) is not None
        assert settings.limits.agreement is not None
        assert settings.calibration.minimum_samples >= 50


@pytest.mark.parametrize("name", NAMES)
def test_every_rule_is_documented(name):
    rules = load_target(name).rules()
    silent = [key for key, (_, note) in rules.items() if not note and not key.startswith("when.")]
    assert silent == []
    assert {"precision", "quantization.activation_type", "limits.agreement"} <= set(rules)
    assert any(rule.startswith("runtimes.") for rule in rules)


@pytest.mark.parametrize("name", NAMES)
def test_rules_that_hold_for_one_precision_are_documented_as_the_same_for_all(name):
    target = load_target(name)
    for key in flatten(target.settings.get("when", {})):
        rule = key.split(".", 1)[1]
        while rule and rule not in target.documentation:
            rule = rule.rpartition(".")[0]
        assert rule, f"{key} is not documented"


@pytest.mark.parametrize("name", NAMES)
def test_every_note_is_about_something(name):
    target = load_target(name)
    known = {"precisions", "runtimes", "emulation", *target.rules(), *schema_keys(target)}
    for key in target.documentation:
        assert any(rule == key or rule.startswith(f"{key}.") for rule in known), key


def schema_keys(target):
    return flatten(msgspec.to_builtins(resolve(target).settings))


@pytest.mark.parametrize("name", NAMES)
def test_the_scheme_is_what_the_processor_multiplies(name):
    target = load_target(name)
    settings: Settings = resolve(target, flags={"precision": "w8a8"}).settings
    assert settings.quantization.per_channel
    assert settings.quantization.weight_type == "int8"
    assert settings.quantization.activation_type == ("uint8" if target.format == "onnx" else "int8")
    processors = {"aarch64": {"cortex-a53", "cortex-a72", "cortex-a76"}, "armv7l": {"cortex-a7"}}
    if target.machine in processors:
        assert target.emulation.cpu in processors[target.machine]
    else:
        assert target.emulation is None


@pytest.mark.parametrize("name", NAMES)
def test_no_target_of_convolutions_defaults_to_ranges_found_while_running(name):
    target = load_target(name)
    takes_convolutions = any(op.startswith(("CONV", "*")) for op in resolve(target).settings.quantization.op_types)
    assert not (takes_convolutions and target.settings["precision"] == "w8a8-dynamic")


@pytest.mark.parametrize("name", ["cortex-m7", "ethos-u55-128"])
def test_microcontrollers_get_integers_only(name):
    target = load_target(name)
    settings = resolve(target).settings
    assert (settings.quantization.op_types, settings.quantization.io_type) == (("*",), "int8")
    assert (settings.limits.arena_bytes, settings.limits.artifact_bytes) == (256 << 10, 1 << 20)
    assert target.precisions == ("w8a8",)
    assert target.packaging == ("microcontroller",)


def test_old_kernels_get_one_scale_a_tensor_beside_float_activations():
    assert not resolve(load_target("raspberry-pi-3-32bit")).settings.quantization.hybrid_per_channel
    assert resolve(load_target("raspberry-pi-4-litert")).settings.quantization.hybrid_per_channel


@pytest.mark.parametrize("name", ["iphone-ios17", "iphone-ios18", "ipad"])
def test_apples_devices_get_core_ml_and_weights_in_a_quarter_of_the_bytes(name):
    target = load_target(name)
    settings = resolve(target).settings
    assert (target.format, [need.name for need in target.runtimes]) == ("coreml", ["coreml"])
    assert (settings.precision, settings.limits.size_ratio) == ("w8", 0.27)
    assert settings.limits.latency_ratio is None  # nobody could take it off a Mac
    assert settings.quantization.block_size == 0
    assert settings.interface.lengths


def test_blocks_of_four_bits_came_with_ios_18():
    assert "w4" not in load_target("iphone-ios17").precisions
    eighteen = load_target("iphone-ios18")
    assert [need.minimum for need in eighteen.runtimes] == ["18"]
    settings = resolve(eighteen, flags={"precision": "w4"}).settings
    assert (settings.quantization.block_size, settings.limits.size_ratio) == (32, 0.16)
