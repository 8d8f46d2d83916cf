"""The page over several bundles."""

import re
from html import unescape
from pathlib import Path

import msgspec
import pytest
import report_samples as samples

from edgeexport.report import comparison
from edgeexport.results import Accuracy


def targets():
    size = msgspec.structs.replace(samples.size(), artifact_bytes=21_000_000, ratio=0.2311, modules=())
    passed = samples.rich(target="desktop-x86", verdict="pass", checks=(), size=size, runs=(samples.run(),))
    return [(Path("out/one"), samples.rich()), (Path("out/two"), passed)]


def text(page):
    page = re.sub(r"<(style|title|desc)\b.*?</\1>", " ", page, flags=re.S)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", page)))


def test_every_target_with_its_figures():
    page = comparison.render(targets(), Path())
    shown = text(page)
    for figure in (
        *("sst2-minilm for 2 targets", "1 of 2 targets passes.", "raspberry-pi-4", "desktop-x86"),
        *("Fails on size and likeness of outputs", "25.67 MB", "0.2825", "21.00 MB", "0.2311", "0.8933", "0.8956"),
        *("6 of 872", "0.4145", "measured", "emulated", "estimated", "onnxruntime 1.32.0 on emulated:raspberry-pi-4"),
    ):
        assert figure in shown, figure


def test_what_each_search_chose_is_told():
    shown = text(comparison.render(targets(), Path()))
    said = "Kept by trial 1 (dynamic, everything in 8 bits), 0.23 points lost on the 436 samples that judged it."
    assert shown.count(said) == 2
    alone = [(path, msgspec.structs.replace(report, search=None)) for path, report in targets()]
    assert "Kept by" not in text(comparison.render(alone, Path()))


def test_the_legend_has_the_marks_that_are_drawn():
    def legend(*verdicts):
        bundles = [(Path(str(at)), samples.rich(verdict=verdict)) for at, verdict in enumerate(verdicts)]
        page = comparison.render(bundles, Path())
        return [word for word in ("passes</li>", "fails</li>", "not all was checked</li>") if word in page]

    assert legend("pass", "pass") == ["passes</li>"]
    assert legend("fail", "incomplete") == ["fails</li>", "not all was checked</li>"]


def test_no_milliseconds_are_set_beside_each_other():
    shown = text(comparison.render(targets(), Path()))
    for figure in ("3.80", "9.17", "4.01", " ms "):
        assert figure not in shown


def test_links_are_relative_and_lead_to_the_bundles_pages(tmp_path):
    bundles = [(tmp_path / "a b" / "x", samples.rich()), (tmp_path / "c" / "javascript:y", samples.rich())]
    page = comparison.render(bundles, tmp_path / "a b")
    links = set(re.findall(r'href="([^"]*)"', page))
    assert links == {"x/report.html", "../c/javascript%3Ay/report.html"}
    assert comparison.folder_of([path for path, _ in bundles]) == tmp_path
    assert "a%20b/x/report.html" in comparison.render(bundles)


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        (("pass",), "The target passes."),
        (("pass", "pass"), "All 2 targets pass."),
        (("pass", "pass", "fail"), "2 of 3 targets pass."),
        (("fail", "incomplete"), "None of 2 targets passes."),
    ],
)
def test_the_sentence(verdicts, said):
    bundles = [(Path(str(at)), samples.rich(verdict=verdict)) for at, verdict in enumerate(verdicts)]
    assert said in text(comparison.render(bundles, Path()))


def test_the_plot_is_of_one_measure():
    assert "accuracy lost, points" in comparison.render(targets(), Path())
    other = Accuracy(metric="cosine", value=0.9, reference=1.0, samples=9)
    mixed = [*targets(), (Path("p"), samples.rich(runs=(samples.run(accuracy=other),)))]
    assert "unlike float32, %" in comparison.render(mixed, Path())
    none = [(path, msgspec.structs.replace(report, runs=())) for path, report in targets()]
    assert 'id="plot"' not in comparison.render(none, Path())


def test_several_models_are_told_apart():
    bundles = [*targets(), (Path("three"), samples.rich(model="other"))]
    shown = text(comparison.render(bundles, Path()))
    assert "sst2-minilm, other for 3 targets" in shown
    assert " Model " in shown
    assert " Model " not in text(comparison.render(targets(), Path()))


def test_hostile_names_are_text():
    hostile = "<script>alert(1)</script>\"'"
    bundles = [(Path(hostile), samples.rich(target=hostile, model=hostile, precision=hostile))] * 2
    page = comparison.render(bundles, Path())
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert not re.findall(r"https?:|url\(", page)
