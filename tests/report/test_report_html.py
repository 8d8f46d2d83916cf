"""The page: every figure, nothing executed, nothing fetched, and no section without data."""

import re
from html import unescape
from html.parser import HTMLParser

import msgspec
import pytest
import report_samples as samples

from edgeexport.analysis import Search
from edgeexport.report import html
from edgeexport.results import Check, Parity

VOID = {"meta", "br"}


def text(page):
    """What a reader gets: no tags, no titles of drawings, no style."""
    page = re.sub(r"<(style|title|desc)\b.*?</\1>", " ", page, flags=re.S)
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", page)))


def section(page, name):
    _, _, after = page.partition(f'<section id="{name}">')
    return after.partition("</section>")[0]


class Watch(HTMLParser):
    """Every element is closed by its own end, ids are unique, and nothing leads outside."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.links = [], [], []

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        assert len(named) == len(attributes), (tag, attributes)
        assert tag not in {"script", "link", "img", "iframe", "object", "embed", "base", "form"}
        assert not [name for name in named if name.startswith("on") or name in {"src", "srcset", "xlink:href", "style"}]
        if "href" in named:
            self.links.append(named["href"])
        self.ids += [named["id"]] if "id" in named else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def watched(page):
    watch = Watch()
    watch.feed(page)
    watch.close()
    assert watch.open == []
    assert len(set(watch.ids)) == len(watch.ids)
    return watch


@pytest.fixture(scope="module")
def page():
    return html.render(samples.rich(), samples.MANIFEST)


def test_it_is_well_formed_and_leads_nowhere(page):
    watch = watched(page)
    assert watch.links
    assert {link[1:] for link in watch.links} <= set(watch.ids)
    assert all(link.startswith("#") for link in watch.links)
    for outside in ("http:", "https:", "@import", "javascript:"):
        assert outside not in page
    assert set(re.findall(r"url\(([^)]*)\)", page)) <= {f"#{name}" for name in watch.ids}


def test_every_reference_within_the_page_is_there(page):
    ids = set(watched(page).ids)
    named = [name for value in re.findall(r'aria-labelledby="([^"]*)"', page) for name in value.split()]
    assert named and set(named) <= ids


def test_every_figure_is_there(page):
    shown = text(page)
    for figure in (
        *("0.2825", "0.2700", "fail", "0.8956", "0.8933", "6 of 872", "3.80", "4.01", "9.17", "9.93", "86.09 MB"),
        *("25.67 MB", "90.86 MB", "0.9481", "0.9900", "29.8", "0.4145", "0.6000", "41.2 °C before", "60 times"),
        *("1,234,567", "6.17", "54,321 B", "0.23 MB", "88%", "ARG_MAX, CAST", "118 of 512 samples", "emulated"),
    ):
        assert figure in shown, figure


def test_every_number_of_a_search_is_there(page):
    told, search = text(section(page, "search")), samples.search()
    for trial in search.trials:
        figures = [f"{trial.number}", trial.title, f"{trial.samples:,}", trial.note]
        if trial.artifact_bytes is not None:
            figures += [f"{trial.artifact_bytes / 1e6:.2f} MB", f"{trial.size_ratio:.4f}", f"{trial.drop * 100:.2f}"]
        if trial.latency_ratio is not None:
            figures += [f"{trial.latency_ratio:.4f}", f"{trial.snr_db:.1f}", str(trial.unlike)]
        for figure in figures:
            assert figure in told, figure
    for figure in ("1.00 points lost", "32.00 MB", "0.6 of float32's time", "0.23 points lost", search.stopped):
        assert figure in told, figure


def test_every_layer_of_a_sensitivity_and_a_divergence_is_there(page):
    told = text(section(page, "sensitivity"))
    for one in samples.sensitivities():
        for figure in (one.path, f"{one.snr_db:.1f}", f"{one.unlike} of {one.samples}"):
            assert figure in told, figure
    told = text(section(page, "divergence"))
    for layer in samples.divergence().layers:
        for figure in (layer.path, layer.operator, f"{layer.snr_db:.1f}", f"{layer.high:.4g}"):
            assert figure in told, figure


def test_what_failed_comes_before_what_passed(page):
    checks = section(page, "checks")
    cards, _, table = checks.partition("<details>")
    assert cards.index("Size beside float32") < cards.index("Least cosine") < cards.index("not timed: emulated")
    assert "Peak memory" not in cards
    for check in samples.rich().checks:
        assert check.name in table
    passed = samples.rich(verdict="pass", checks=samples.rich().checks[2:4])
    assert "All 2 passed." in html.render(passed)


def test_sections_without_data_are_left_out():
    bare = samples.rich(lint=(), divergences=(), search=None, runs=(samples.run(),), notes=())
    shown = html.render(bare)
    for name in ("search", "sensitivity", "divergence", "calibration", "estimates", "notes", "again"):
        assert f'id="{name}"' not in shown and f'href="#{name}"' not in shown
    assert 'id="limits"' in shown and 'id="bytes"' in shown
    watched(shown)
    watched(html.render(msgspec.structs.replace(bare, runs=(), checks=())))


def test_a_perplexity_rises_and_has_no_points():
    search = msgspec.structs.replace(samples.search(), metric="perplexity")
    shown = text(section(html.render(samples.rich(search=search)), "search"))
    assert "perplexity risen, %" in shown and "1.00 % more perplexity" in shown
    assert "oints" not in shown


def test_a_failed_search_is_told_on_top_with_its_layers():
    search = samples.search(met=False)
    trials = tuple(msgspec.structs.replace(trial, kept=False) for trial in search.trials)
    shown = html.render(samples.rich(search=msgspec.structs.replace(search, trials=trials, chosen=5)))
    top = shown.partition("</header>")[0].partition("<header>")[2]
    told = text(top)
    assert "Closest: trial 5 (static, 4 layers float), 0.69 points lost on the 436 samples that chose" in told
    assert "0.23 points lost on the 436 samples that judged it" in told
    worst = sorted(search.sensitivities, key=lambda one: one.snr_db)[:5]
    assert re.findall(r"<code>(.*?)</code>", top) == [one.path for one in worst]
    assert "mark closest" in section(shown, "search") and "mark chosen" not in section(shown, "search")
    assert "Closest" not in text(html.render(samples.rich()))


def test_settings_of_a_search_are_folded_and_whole():
    pattern = "|".join(f"^(/bert/encoder/layer{number}/Add)$" for number in range(20))
    search = samples.search()
    first = msgspec.structs.replace(search.trials[0], settings={"overrides": [{"precision": "fp32", "name": pattern}]})
    shown = html.render(samples.rich(search=msgspec.structs.replace(search, trials=(first, *search.trials[1:]))))
    watched(shown)
    before, _, folded = section(shown, "search").partition("<details>")
    assert "layer7/Add" not in before
    assert pattern in unescape(folded)


@pytest.mark.parametrize(("count", "said"), [(1, "1 trial on"), (2, "2 trials on")])
def test_one_is_not_counted_as_several(count, said):
    search = samples.search()
    few = msgspec.structs.replace(search, trials=search.trials[:count], evaluations=count)
    shown = text(section(html.render(samples.rich(search=few)), "search"))
    assert said in shown and ("1 whole evaluation," if count == 1 else "2 whole evaluations,") in shown


def test_a_search_that_tried_nothing_that_ran():
    search = samples.search(met=False)
    empty: Search = msgspec.structs.replace(search, trials=search.trials[-1:], chosen=0, score=None, sensitivities=())
    shown = html.render(samples.rich(search=empty))
    watched(shown)
    assert "No trial keeps the budget." in text(shown)
    assert "<figure><figcaption>Size against" not in shown


def test_a_layer_without_figures_is_a_dash():
    silent = samples.divergence()
    layers = tuple(msgspec.structs.replace(layer, snr_db=None, clipped=None) for layer in silent.layers)
    shown = html.render(samples.rich(divergences=(msgspec.structs.replace(silent, layers=layers, worst=("gone",)),)))
    watched(shown)
    assert "nan" not in text(shown).lower().split()


def test_an_estimate_stands_apart(page):
    assert "vela" not in section(page, "runs")
    assert "vela 5.2.0" in section(page, "estimates")
    left = msgspec.structs.replace(samples.ESTIMATED.estimate, npu_share=0.0, cycles=0, cpu_ops=("CONV_2D",))
    runs = [msgspec.structs.replace(samples.ESTIMATED, estimate=one) for one in (left, None)]
    shown = section(html.render(samples.rich(runs=tuple(runs))), "estimates")
    assert "CONV_2D" in shown and "0%" in shown and "6.17" not in shown


def test_a_run_without_figures_shows_its_log():
    run = samples.run(parity=None, accuracy=None, latency_ms=None, peak_memory_bytes=None, error="boom\n<log>")
    check = Check(name="run", measured=None, limit=None, unit="", verdict="fail", where="there", note="boom\n<log>")
    shown = html.render(samples.rich(runs=(run,), checks=(check,)))
    assert section(shown, "runs").count("boom\n&lt;log&gt;") == 1
    assert "boom\n&lt;log&gt;" in section(shown, "checks")


def test_arena_and_what_stood_in_are_named():
    run = samples.run(arena_bytes=6_864, delegate="xnnpack", stand_in="evaluator of edgeexport 9", evidence="emulated")
    shown = text(section(html.render(samples.rich(runs=(run,))), "runs"))
    assert "Tensor arena" in shown and "6,864 B" in shown
    assert "onnxruntime 1.32.0 (evaluator of edgeexport 9, xnnpack)" in shown
    assert "measured" not in shown


def test_markup_in_names_is_text(page):
    hostile = "<script>alert(1)</script>\"'{{ 7 * 7 }}"

    def spoil(value):
        if isinstance(value, str):
            return hostile if value not in KEPT else value
        if isinstance(value, tuple):
            return tuple(spoil(one) for one in value)
        if isinstance(value, dict):
            return {key if key in KEPT else hostile: spoil(one) for key, one in value.items()}
        if isinstance(value, msgspec.Struct):
            return type(value)(**{name: spoil(getattr(value, name)) for name in value.__struct_fields__})
        return value

    literals = {"pass", "fail", "not run", "incomplete", "measured", "emulated", "estimated", "warning", "error"}
    KEPT = literals | {"settings", "origins", "evaluation", "classification", "w8a8", "onnx"}
    shown = html.render(spoil(samples.rich()), spoil(samples.MANIFEST))
    watched(shown)
    assert "<script" not in shown
    assert "49" not in re.findall(r"\b49\b", text(section(shown, "notes")))
    assert shown.count("&lt;script&gt;") > 150


def test_figures_that_are_no_numbers_do_not_break_it():
    parity = Parity(
        cosine_mean=0.0,
        cosine_min=0.0,
        max_abs=None,
        snr_db=None,
        agreement=None,
        unlike=None,
        samples=1,
        over="golden",
    )
    infinite = samples.check("latency_ratio", float("inf"), 0.5, verdict="fail")
    zero = samples.check("artifact_bytes_since", 5.0, 0.0, "bytes", "fail")
    watched(html.render(samples.rich(runs=(samples.run(parity=parity),), checks=(infinite, zero))))
