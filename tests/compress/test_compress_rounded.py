import numpy as np
import pytest

ALL_OPERATORS = {
    "desktop-x86": {"op_types": ["*"], "float_outputs": [], "smoothing": 0.0},
    "android-arm64-litert": {"op_types": ["*"], "minimum_snr": 0.0, "mask_value": -20.0},
    "iphone-ios17": {"op_types": ["linear", "conv", "add"]},
}
TARGETS = list(ALL_OPERATORS)


def snr_db(exact, rounded):
    return 10 * np.log10((exact**2).sum() / ((exact - rounded) ** 2).sum())


def sentence_interface(target):
    return None if target == "desktop-x86" else {"lengths": [32]}


@pytest.mark.parametrize("target", TARGETS)
def test_the_exported_cnn_agrees_with_the_rounded_one(road, digits, target):
    made = road(digits, target, **ALL_OPERATORS[target])
    rehearsed, exported = made.rehearsal().outputs(made.encoded(made.evaluation)), made.exported()
    assert (rehearsed.argmax(1) == exported.argmax(1)).mean() >= 0.99
    assert snr_db(rehearsed, exported) > 30


@pytest.mark.parametrize("target", TARGETS)
def test_the_exported_transformer_agrees_with_the_rounded_one(road, tiny_bert, target):
    made = road(tiny_bert, target, interface=sentence_interface(target), **ALL_OPERATORS[target])
    rehearsed, exported = made.rehearsal().outputs(made.encoded(made.evaluation)), made.exported()
    assert (rehearsed.argmax(1) == exported.argmax(1)).mean() >= 0.98
    assert snr_db(rehearsed, exported) > 20
