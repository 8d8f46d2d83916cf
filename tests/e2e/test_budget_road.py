"""A model with one bad layer, within a budget: the search leaves that layer out, and no other, on real runtimes."""

import re

import numpy as np
import planted
import pytest

import edgeexport
from edgeexport.results import Report

pytestmark = pytest.mark.slow
FREE = {
    "timing": {"pairs": 0},
    "limits": {"size_ratio": 1000.0, "latency_ratio": 1000.0, "agreement": 0.0},
    "calibration": {"method": "minmax"},
    "quantization": {"op_types": ["MatMul"], "smoothing": 0.0},
}
"""A tiny model keeps no ratio, and what would mend the layer otherwise is left out."""
DENSE = {"op_types": ["FULLY_CONNECTED"], "carried_op_types": [], "minimum_snr": 0.0}
LITERT = {**FREE, "quantization": DENSE, "compress": []}


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted")
    planted.save(folder)
    return folder


def search(sets, output, target, settings, **more):
    bundle = edgeexport.export(
        "planted:factory",
        target=target,
        precision="w8a8",
        calibration=sets / "calibration.npz",
        evaluation=sets / "evaluation.npz",
        settings=settings,
        output=output,
        max_drop=2.0,
        **more,
    )
    return bundle, Report.read(bundle.report_path)


@pytest.mark.parametrize(("target", "settings"), [("desktop-x86", FREE), ("android-arm64-litert", LITERT)])
def test_the_planted_layer_is_left_out_and_no_other(sets, tmp_path, target, settings):
    if target != "desktop-x86":
        pytest.importorskip("litert_torch", reason="converts to TFLite: pip install 'edgeexport[litert]'")
    bundle, report = search(sets, tmp_path / "out", target, settings)
    found = report.search
    first, chosen = found.trials[0], found.trials[found.chosen - 1]
    assert first.drop > 0.1
    assert first.kept is not True
    assert found.met
    assert found.score.drop <= 0.02
    worst = min(found.sensitivities, key=lambda each: each.snr_db)
    others = [each.snr_db for each in found.sensitivities if each.path != worst.path and each.snr_db is not None]
    assert "middle" in worst.path
    assert min(others) > worst.snr_db + 10
    (override,) = chosen.settings["overrides"]
    names = {each.layer for each in found.sensitivities}
    assert [name for name in names if re.search(override["name"], name)] == [worst.layer]
    stored = np.load(sets / "evaluation.npz")["label"]
    assert len(stored) == found.choosing + found.scoring
    assert bundle.manifest.recipe["origins"]["overrides"] == "search"


def test_an_operator_that_carries_integers_to_the_planted_layer_is_left_out_with_it(sets, tmp_path):
    """MUL makes a channel loud behind the first layer; alone, in float, it would show no noise."""
    pytest.importorskip("litert_torch", reason="converts to TFLite: pip install 'edgeexport[litert]'")
    settings = {**LITERT, "quantization": {**DENSE, "carried_op_types": ["MUL"]}}
    _, report = search(sets, tmp_path / "out", "android-arm64-litert", settings)
    found = report.search
    assert found.met
    left = "|".join(override["name"] for override in found.trials[found.chosen - 1].settings["overrides"])
    names = ("first", "first:2", "middle", "third", "last")
    assert [name for name in names if re.search(left, name)] == ["first", "first:2", "middle"]
    assert {each.path for each in found.sensitivities} == {"first", "middle", "third", "last"}
