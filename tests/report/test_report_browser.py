"""The pages as Chromium renders them: on a phone and on a desk, light, dark and on paper."""

import base64
import io
import itertools
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest
import report_samples as samples
from PIL import Image

from edgeexport.devices import _chromium
from edgeexport.errors import MissingRequirement
from edgeexport.report import comparison, html

WIDTHS = (360, 1280)
SCHEMES = ("light", "dark")

CHECKS = (Path(__file__).parent / "page_checks.js").read_text()


def targets():
    small = msgspec.structs.replace(samples.size(), artifact_bytes=21_000_000, ratio=0.2311, modules=())
    return [
        ("b/one", samples.rich()),
        ("b/two", samples.rich(target="desktop-x86", verdict="pass", checks=samples.rich().checks[:1], size=small)),
        ("b/three", samples.rich(target="iphone-ios18", verdict="incomplete", runs=samples.rich().runs[:1])),
    ]


def long_names():
    """Names without a place to break them."""
    name = "a" * 300
    run = samples.run(device=name, cpu=name, error=name)
    check = samples.check(name, 0.5, 0.25, "ratio", "fail", where=name, note=name)
    return samples.rich(model=name, target=name, runs=(run,), checks=(check,), notes=(name,))


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    rendered = {
        "report": html.render(samples.rich(), samples.MANIFEST),
        "comparison": comparison.render([(folder / path, report) for path, report in targets()], folder),
        "names": html.render(long_names(), samples.MANIFEST),
    }
    for name, page in rendered.items():
        (folder / f"{name}.html").write_text(page)
    return folder


@pytest.fixture(scope="module")
def browser():
    try:
        program = _chromium.find()
    except MissingRequirement as missing:
        pytest.skip(f"{missing.what}: {missing.hint}")
    with _chromium.Chromium(program) as page:
        yield page


@pytest.fixture
def show(browser, pages):
    """``show(name, width, scheme)`` opens a page, with everything unfolded."""

    def opened(name, width, scheme, media="", unfold=True):
        browser.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.ask("Emulation.setEmulatedMedia", media=media, features=features)
        address = (pages / f"{name}.html").as_uri()
        browser.ask("Page.navigate", url="about:blank")
        browser.ask("Page.navigate", url=address)
        deadline = time.monotonic() + 20
        while browser.evaluate("document.readyState + location.href") != f"complete{address}":
            assert time.monotonic() < deadline
            time.sleep(0.02)
        browser.evaluate(CHECKS)
        if unfold:
            browser.evaluate("unfold()")
        return browser

    return opened


EACH = pytest.mark.parametrize("width", WIDTHS)
PAGES = pytest.mark.parametrize("name", ["report", "comparison"])


@EACH
@pytest.mark.parametrize("name", ["report", "comparison", "names"])
def test_nothing_is_wider_than_the_page(show, name, width):
    page = show(name, width, "light")
    assert page.evaluate("outside()") == []
    if name != "names":
        assert page.evaluate("scrolling()") == []


@EACH
@PAGES
@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_text_can_be_read(show, name, width, scheme):
    found = show(name, width, scheme).evaluate("contrasts()")
    assert len(found) > 60
    assert [one for one in found if one["ratio"] < 4.5] == []


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_bar_and_mark_can_be_seen(show, scheme):
    found = show("report", 1280, scheme).evaluate("shapes()")
    assert {one["name"].split()[0] for one in found} == {"fill", "mark-limit", "bar", "mark", "front"}
    assert [one for one in found if one["ratio"] < 3] == []


@EACH
@PAGES
def test_labels_are_whole_and_not_too_small(show, name, width):
    page = show(name, width, "light")
    assert page.evaluate("forms().length") > 0
    assert page.evaluate("labels()") == []


def shot(page, width):
    """In grey."""
    height = page.evaluate("document.documentElement.scrollHeight")
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
    image = page.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(image["data"]))).convert("L"))


@EACH
@PAGES
def test_screenshots_are_light_and_dark(show, name, width):
    light, dark = (shot(show(name, width, scheme, unfold=False), width) for scheme in SCHEMES)
    assert light.shape == dark.shape and light.shape[1] == width
    assert np.median(light) > 235
    assert np.median(dark) < 50


@EACH
def test_one_form_of_each_plot_is_shown(show, width):
    assert show("report", width, "light").evaluate("forms()") == ["narrow" if width < 600 else "wide"] * 4


def test_paper_is_light_and_shows_what_is_folded(show):
    page = show("report", 800, "dark", media="print", unfold=False)
    assert np.median(shot(page, 800)) > 235
    assert page.evaluate("folded()") == 0
    assert page.evaluate("getComputedStyle(document.querySelector('nav')).display") == "none"


def test_headings_go_down_one_by_one_and_tables_and_drawings_have_names(show):
    page = show("report", 1280, "light")
    levels = page.evaluate("[...document.querySelectorAll('h1, h2, h3, h4')].map(one => +one.tagName[1])")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    assert page.evaluate("nameless()") == []


def test_nothing_is_fetched(show):
    page = show("report", 1280, "light")
    assert page.evaluate("performance.getEntriesByType('resource').length") == 0
