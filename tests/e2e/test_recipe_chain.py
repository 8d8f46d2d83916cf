"""One recipe from a teacher to three devices: taught, pruned, equalized, trained for rounding, exported."""

import pytest
import tiny_bert as sentences

import edgeexport
from edgeexport.results import Report

pytestmark = pytest.mark.usefixtures("one_thread")
RECIPE = """
precision = "w8a8"
[interface]
lengths = [32]
[timing]
pairs = 0
[[compress]]
method = "distill"
layers = 1
[compress.training]
epochs = 2
[[compress]]
method = "vocabulary"
[[compress]]
method = "equalize"
[[compress]]
method = "qat"
[compress.training]
epochs = 1
"""
METHODS = ["distill", "vocabulary", "equalize", "qat"]


@pytest.fixture
def chain(tiny_bert, tmp_path, cache):
    recipe, train = tmp_path / "recipe.toml", tmp_path / "train.jsonl"
    recipe.write_text(RECIPE)
    # Half of the words that the teacher knows do not come up, and go.
    seen = [
        one for one in sentences.sentences(900, seed=41) if "quite" not in one["text"] and "plot" not in one["text"]
    ]
    sentences.write_lines(train, seen)

    def export(target):
        settings = {} if target != "desktop-x86" else {"interface": {"lengths": []}}
        return edgeexport.export(
            tiny_bert.model,
            target=target,
            recipe=recipe,
            train=train,
            calibration=tiny_bert.calibration,
            evaluation=tiny_bert.evaluation,
            settings=settings,
            output=tmp_path / target,
        )

    return export


def test_one_recipe_for_three_formats(chain, cache):
    small = None
    for number, target in enumerate(("desktop-x86", "android-arm64-litert", "iphone-ios17"), 1):
        bundle = chain(target)
        stages = bundle.manifest.source["stages"]
        assert [stage["method"] for stage in stages] == METHODS
        kept, before = (int(word.replace(",", "")) for word in stages[1]["summary"].split(" tokens")[0].split(" of "))
        assert before - kept == 2
        report = Report.read(bundle.report_path)
        run = report.runs[0]
        assert run.error is None
        assert run.parity.unlike <= 2
        assert run.accuracy.value >= 0.9
        assert f"rounding of {bundle.manifest.format}" in next(
            note for note in report.notes if note.startswith("qat: ")
        )
        # Three stages serve every target, and the training for a rounding one.
        assert len(list((cache / "stages").iterdir())) == 3 + number
        small = small or bundle.manifest.source["float32_bytes"]
        assert bundle.manifest.source["float32_bytes"] == small
